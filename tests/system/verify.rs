//! `meshwire verify istio-iptables` against changes that nft and ip make.

use std::fmt::Write;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Intercept, Namespace, oracle, privileged, program};

/// What most tests intercept.
const ALL: [&str; 6] = ["-p", "15001", "-b", "*", "-i", "*"];
/// The same by TPROXY, which needs rules and routes.
const TPROXY: [&str; 8] = ["-p", "15001", "-b", "*", "-i", "*", "-m", "TPROXY"];
const EQUAL: &str = "equal: rules, routes and addresses are as the settings want them\n";

/// A namespace with addresses of both families, in which nothing was intercepted yet.
fn untouched() -> Option<Namespace> {
    if !(privileged() && oracle("nft") && oracle("ip")) {
        return None;
    }
    let pod = Namespace::new();
    for address in ["10.0.0.2/24", "fd00::2/64"] {
        pod.command(&["ip", "address", "add", address, "dev", "lo"]);
    }
    Some(pod)
}

/// One in which the command has run.
fn pod(args: &[&str]) -> Option<Namespace> {
    let pod = untouched()?;
    Intercept::new(args).apply(&pod);
    Some(pod)
}

/// The exit code, standard output and standard error.
fn run(pod: &Namespace, starter: &[&str], args: &[&str]) -> (i32, String, String) {
    let meshwire = program();
    let argv = [starter, &[meshwire.to_str().unwrap(), "verify", "istio-iptables"], args].concat();
    let output = pod.output(Command::new(argv[0]).args(&argv[1..]).env("ENVOY_USER", "nobody-here"), "");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn verify(pod: &Namespace, args: &[&str]) -> (i32, String) {
    let (code, stdout, stderr) = run(pod, &[], args);
    assert!(code == 0 || code == 3, "{code}: {stderr}");
    (code, stdout)
}

/// Everything that the kernel holds, with handles and counters.
fn state(pod: &Namespace) -> String {
    wait_for_routes(pod);
    let listings = [
        "nft -a list ruleset",
        "ip -o address show dev lo",
        "ip -4 rule",
        "ip -6 rule",
        "ip -4 route show table all",
        "ip -6 route show table all",
    ];
    let mut all = String::new();
    for listing in listings {
        writeln!(all, "{}", listed(pod, listing)).unwrap();
    }
    all
}

fn listed(pod: &Namespace, listing: &str) -> String {
    pod.command(&listing.split(' ').collect::<Vec<_>>())
}

/// A worker of the kernel adds the route of an IPv6 address after the address itself was made.
fn wait_for_routes(pod: &Namespace) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let lines = |listing| listed(pod, listing).lines().count();
    while lines("ip -6 -o address") != lines("ip -6 route show table local type local") {
        assert!(Instant::now() < deadline, "an IPv6 address did not become local");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The difference that the command shows, line by line, and that it changed nothing.
#[track_caller]
fn difference(pod: &Namespace, args: &[&str]) -> Vec<String> {
    let before = pod.command(&["nft", "-a", "list", "ruleset"]);
    let (code, stdout) = verify(pod, args);
    assert_eq!(pod.command(&["nft", "-a", "list", "ruleset"]), before);
    assert_eq!(code, 3, "{stdout}");
    let mut lines = stdout.lines();
    assert_eq!(lines.next(), Some("different (- desired, + found, ~ found in another form):"));
    lines.map(str::to_owned).collect()
}

fn nft(pod: &Namespace, commands: &str) {
    pod.feed(&["nft", "-f", "-"], commands);
}

/// Replaces the chain's only rule by one with these words instead.
fn replace(pod: &Namespace, chain: &str, from: &str, to: &str) {
    let (handle, text) = rule(pod, chain, 1);
    let rule = text.replace(from, to);
    nft(pod, &format!("replace rule inet istio-proxy-nat {chain} handle {handle} {rule}"));
}

/// The handle and the text of a rule, which counts from 1.
fn rule(pod: &Namespace, chain: &str, number: usize) -> (String, String) {
    let listing = pod.command(&["nft", "-a", "list", "chain", "inet", "istio-proxy-nat", chain]);
    let mut rules = listing.lines().filter(|line| line.starts_with("\t\t") && !line.contains(" hook "));
    let (text, handle) = rules.nth(number - 1).unwrap().trim().split_once(" # handle ").unwrap();
    (handle.to_owned(), text.to_owned())
}

#[test]
fn what_the_command_has_made_is_equal_under_many_settings() {
    let settings: [&[&str]; 7] = [
        &[],
        &ALL,
        &TPROXY,
        &["--dual-stack", "-b", "80,443", "-i", "10.0.0.0/8,fd00::/8", "-x", "10.1.0.0/16", "-o", "22,9000"],
        &["--dual-stack", "-b", "*", "-d", "15090,15021", "-i", "*", "-m", "TPROXY", "--drop-invalid"],
        &["-b", "*", "-i", "*", "--redirect-dns", "--capture-all-dns", "-u", "1337,1338", "-c", "eth9,veth*"],
        &["--native-nftables", "--dual-stack", "-b", "*", "-i", "*", "-k", "docker0", "-q", "3306"],
    ];
    for args in settings {
        let Some(pod) = pod(args) else { return };
        let before = state(&pod);
        assert_eq!(verify(&pod, args), (0, EQUAL.to_owned()), "{args:?}");
        assert_eq!(state(&pod), before, "{args:?}");
    }
}

#[test]
fn counters_do_not_differ_and_are_preserved() {
    let Some(pod) = pod(&ALL) else { return };
    for chain in ["prerouting", "output", "istio-redirect", "istio-in-redirect"] {
        replace(&pod, chain, "counter packets 0 bytes 0", "counter packets 7 bytes 420");
    }
    let before = pod.command(&["nft", "-a", "list", "ruleset"]);
    assert!(before.contains("packets 7 bytes 420"));
    assert_eq!(verify(&pod, &ALL), (0, EQUAL.to_owned()));
    assert_eq!(pod.command(&["nft", "-a", "list", "ruleset"]), before);
}

/// nft puts the match on the protocol elsewhere when it loads its own listing.
#[test]
fn what_nft_has_loaded_again_reads_the_same() {
    let Some(pod) = pod(&ALL) else { return };
    let listing = pod.command(&["nft", "list", "ruleset"]);
    nft(&pod, &format!("flush ruleset\n{listing}"));
    let lines = difference(&pod, &ALL);
    let rules: Vec<_> = lines.iter().filter(|line| !line.starts_with("  ")).collect();
    let same = |line: &str| line.ends_with("(reads the same, but is made of other expressions)");
    assert!(!rules.is_empty() && rules.iter().all(|line| line.starts_with("~ ") && same(line)), "{lines:#?}");
}

#[test]
fn a_deleted_rule() {
    let Some(pod) = pod(&ALL) else { return };
    let (handle, text) = rule(&pod, "istio-output", 2);
    nft(&pod, &format!("delete rule inet istio-proxy-nat istio-output handle {handle}"));
    let rule = text.replace("counter packets 0 bytes 0", "counter");
    assert_eq!(
        difference(&pod, &ALL),
        ["  table inet istio-proxy-nat", "    chain istio-output", &format!("-     2: {rule}")]
    );
}

#[test]
fn an_added_rule() {
    let Some(pod) = pod(&ALL) else { return };
    nft(
        &pod,
        "insert rule inet istio-proxy-nat istio-output ip saddr { 10.0.0.1, 10.0.0.9 } counter log return",
    );
    assert_eq!(
        difference(&pod, &ALL),
        [
            "  table inet istio-proxy-nat",
            "    chain istio-output",
            "+     1: ip saddr { 10.0.0.1, 10.0.0.9 } counter log return",
        ]
    );
}

#[test]
fn a_moved_rule() {
    let Some(pod) = pod(&ALL) else { return };
    let (handle, text) = rule(&pod, "istio-inbound", 1);
    nft(&pod, &format!("delete rule inet istio-proxy-nat istio-inbound handle {handle}"));
    nft(&pod, &format!("add rule inet istio-proxy-nat istio-inbound {text}"));
    let lines = difference(&pod, &ALL);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[2].starts_with("~     "), "{lines:#?}");
    assert!(lines[2].contains("out of order"), "{lines:#?}");
}

#[test]
fn a_changed_port() {
    let Some(pod) = pod(&ALL) else { return };
    replace(&pod, "istio-in-redirect", "redirect to :15006", "redirect to :15007");
    assert_eq!(
        difference(&pod, &ALL),
        [
            "  table inet istio-proxy-nat",
            "    chain istio-in-redirect",
            "-     1: meta l4proto tcp counter redirect to :15006",
            "+     1: meta l4proto tcp counter redirect to :15007",
        ]
    );
}

#[test]
fn a_changed_priority_and_policy() {
    let Some(pod) = pod(&ALL) else { return };
    let [(_, first), (_, second)] = [1, 2].map(|number| rule(&pod, "prerouting", number));
    nft(
        &pod,
        &format!(
            "delete chain inet istio-proxy-nat prerouting
             add chain inet istio-proxy-nat prerouting {{ type nat hook prerouting priority -95; policy drop; }}
             add rule inet istio-proxy-nat prerouting {first}
             add rule inet istio-proxy-nat prerouting {second}"
        ),
    );
    assert_eq!(
        difference(&pod, &ALL),
        [
            "  table inet istio-proxy-nat",
            "    chain prerouting",
            "-     type nat hook prerouting priority dstnat; policy accept",
            "+     type nat hook prerouting priority dstnat + 5; policy drop",
        ]
    );
}

#[test]
fn an_extra_chain_set_and_table() {
    let Some(pod) = pod(&ALL) else { return };
    nft(
        &pod,
        "add chain inet istio-proxy-nat mine { type filter hook input priority 0; }
         add rule inet istio-proxy-nat mine tcp dport 22 counter drop
         add set inet istio-proxy-nat friends { type ipv4_addr; }
         add counter inet istio-proxy-nat web
         add table inet istio-proxy-mangle
         add chain inet istio-proxy-mangle prerouting
         add rule inet istio-proxy-mangle prerouting meta mark set 1
         add table inet somebody-elses",
    );
    assert_eq!(
        difference(&pod, &ALL),
        [
            "  table inet istio-proxy-nat",
            "+   set friends",
            "+   counter web",
            "+   chain mine: type filter hook input priority filter; policy accept (1 rule)",
            "+     1: tcp dport 22 counter drop",
            "+ table inet istio-proxy-mangle (1 chain, 1 rule)",
            "+     chain prerouting (1 rule)",
            "+       1: meta mark set 0x00000001",
        ]
    );
}

#[test]
fn a_missing_chain_and_table() {
    let Some(pod) = pod(&TPROXY) else { return };
    nft(&pod, "delete table inet istio-proxy-nat");
    let (handles, chain) =
        (pod.command(&["nft", "-a", "list", "table", "inet", "istio-proxy-mangle"]), "istio-divert");
    for line in handles.lines().filter(|line| line.contains(&format!("jump {chain}"))) {
        let handle = line.rsplit(' ').next().unwrap();
        nft(&pod, &format!("delete rule inet istio-proxy-mangle istio-inbound handle {handle}"));
    }
    nft(&pod, &format!("delete chain inet istio-proxy-mangle {chain}"));
    let lines = difference(&pod, &TPROXY);
    assert!(lines.iter().any(|line| line.starts_with("- table inet istio-proxy-nat (")), "{lines:#?}");
    assert!(lines.contains(&"-   chain istio-divert (2 rules)".to_owned()), "{lines:#?}");
    let rule = "ct state established,related counter jump istio-divert";
    assert!(lines.iter().any(|line| line.starts_with("-     ") && line.contains(rule)), "{lines:#?}");
}

#[test]
fn a_dormant_table() {
    let Some(pod) = pod(&ALL) else { return };
    nft(&pod, "add table inet istio-proxy-nat { flags dormant; }");
    assert_eq!(
        difference(&pod, &ALL),
        ["  table inet istio-proxy-nat", "+   flags dormant: none of its chains sees a packet"]
    );
}

#[test]
fn removed_routes_rules_and_addresses() {
    let args = [&TPROXY[..], &["--dual-stack"]].concat();
    let Some(pod) = pod(&args) else { return };
    for command in [
        "ip -4 route del local default dev lo table 133",
        "ip -6 rule del fwmark 1337 lookup 133",
        "ip -6 address del ::6/128 dev lo",
    ] {
        pod.command(&command.split(' ').collect::<Vec<_>>());
    }
    assert_eq!(
        difference(&pod, &args),
        [
            "- address ::6/128 of lo",
            "- IPv6 rule fwmark 0x539 lookup 133",
            "- IPv4 route local default dev lo table 133",
        ]
    );
}

#[test]
fn what_other_settings_left_is_extra() {
    let args = [&TPROXY[..], &["--dual-stack"]].concat();
    let Some(pod) = pod(&args) else { return };
    let lines = difference(&pod, &[&args[..], &["--cleanup-only"]].concat());
    let starts: Vec<_> = lines.iter().filter(|line| !line.starts_with("+  ")).collect();
    assert_eq!(starts.len(), 2 + 5, "{starts:#?}");
    assert!(lines.contains(&"+ address ::6/128 of lo".to_owned()), "{lines:#?}");
    Intercept::new(&["--cleanup-only"]).apply(&pod);
    assert_eq!(verify(&pod, &["--cleanup-only"]), (0, EQUAL.to_owned()));
}

#[test]
fn json() {
    let Some(pod) = pod(&ALL) else { return };
    let args = [&ALL[..], &["--output", "json"]].concat();
    let object = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    let (code, equal) = verify(&pod, &args);
    assert_eq!((code, object(&equal)), (0, json!({ "equal": true, "differences": [] })));
    replace(&pod, "istio-in-redirect", "redirect to :15006", "redirect to :15007");
    pod.command(&["ip", "-6", "address", "add", "::6/128", "dev", "lo"]);
    let (code, different) = verify(&pod, &args);
    let rule = json!({
        "difference": "changed",
        "object": "rule",
        "family": "inet",
        "table": "istio-proxy-nat",
        "chain": "istio-in-redirect",
        "number": 1,
        "desired": "meta l4proto tcp counter redirect to :15006",
        "found_number": 1,
        "found": "meta l4proto tcp counter redirect to :15007",
    });
    let address = json!({ "difference": "extra", "object": "network", "found": "address ::6/128 of lo" });
    assert_eq!((code, object(&different)), (3, json!({ "equal": false, "differences": [rule, address] })));
}

#[test]
fn another_namespace_by_its_path() {
    let Some(pod) = pod(&ALL) else { return };
    let elsewhere = Namespace::new();
    let path = pod.path();
    let args = [&ALL[..], &["--network-namespace", &path]].concat();
    assert_eq!(verify(&elsewhere, &args), (0, EQUAL.to_owned()));
}

#[test]
fn failures_and_wrong_usage() {
    let Some(pod) = pod(&ALL) else { return };
    let (code, _, stderr) = run(&pod, &[], &["-p", "0"]);
    assert_eq!(code, 2, "{stderr}");
    let (code, _, stderr) = run(&pod, &[], &["--no-such-flag"]);
    assert_eq!(code, 2, "{stderr}");
    let (code, _, stderr) = run(&Namespace::new(), &[], &ALL);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("no interface has an address"), "{stderr}");
    if oracle("setpriv") {
        let without = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];
        let (code, stdout, stderr) = run(&pod, &without, &ALL);
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        assert!(stderr.contains("\nhelp: CAP_NET_ADMIN is needed in "), "{stderr}");
    }
}
