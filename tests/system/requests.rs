//! How many requests a reading takes: what is asked for does not grow with what is of no interest.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use crate::harness::{Intercept, Namespace, oracle, privileged, program, say};

/// The requests that a command sends to nf_tables: every message to the kernel but those of a batch that only waits.
fn requests(namespace: &Namespace, args: &[&str]) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-e", "trace=sendto,sendmsg", "-s", "64", "-o"])
        .arg(&trace)
        .arg(program())
        .args(args);
    let output = namespace.output(&mut command, "");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let trace = fs::read_to_string(trace).unwrap();
    trace.lines().filter(|line| line.contains("NFT_MSG_GET")).count()
}

fn place() -> Option<Namespace> {
    (privileged() && oracle("nft") && oracle("strace")).then(|| Namespace::with_addresses(&["10.0.0.2"]))
}

/// One chain of a table of 5,000 services, each with a chain and a set of its own.
#[test]
fn one_chain_among_five_thousand_services() {
    let Some(namespace) = place() else { return };
    let mut text = "table ip kube-services {\n".to_owned();
    for service in 0..5000 {
        let (high, low) = (service / 250, service % 250);
        let _ = writeln!(
            text,
            "chain service-{service} {{ ip daddr 10.{high}.{low}.1 tcp dport {{ 80, 443 }} accept; }}"
        );
    }
    text.push_str("}\n");
    namespace.feed(&["nft", "-f", "-"], &text);
    let listed =
        Intercept::command_line(&["list", "chain", "ip", "kube-services", "service-4711"]).apply(&namespace);
    assert!(listed.contains("ip daddr 10.18.211.1 tcp dport { 80, 443 } accept"), "{listed}");
    let sent = requests(&namespace, &["list", "chain", "ip", "kube-services", "service-4711"]);
    say(&format!("{sent} requests for one chain of 5,000 services"));
    assert!(sent <= 10, "{sent} requests");
}

/// A comparison reads what a listing reads, and no more.
#[test]
fn verify_asks_for_no_more_than_list() {
    let Some(namespace) = place() else { return };
    for args in [
        &["-i", "*", "-b", "*"][..],
        &["-i", "*", "-b", "*", "-m", "TPROXY", "--redirect-dns", "--capture-all-dns"],
    ] {
        Intercept::command_line(&[&["istio-iptables"], args].concat()).apply(&namespace);
        let verify = requests(&namespace, &[&["verify", "istio-iptables"], args].concat());
        let list = requests(&namespace, &["list"]);
        say(&format!("{verify} requests to compare, {list} to list: {}", args.join(" ")));
        assert!(verify <= list, "{verify} requests to compare, {list} to list");
    }
}
