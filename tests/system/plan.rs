//! `--plan`: what a run would change is shown, and nothing is changed.

use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
use serde_json::Value as Json;

use crate::harness::nft::meaning;
use crate::harness::{Intercept, Namespace, oracle, privileged, program};

/// How it ends, and what it says.
#[track_caller]
fn said(namespace: &Namespace, args: &[&str]) -> String {
    let output = Intercept::command_line(args).run(namespace);
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(output.status.code(), Some(0), "{args:?}: {stdout}{stderr}");
    stdout
}

fn place() -> Option<Namespace> {
    (privileged() && oracle("nft") && oracle("ip")).then(|| Namespace::with_addresses(&["10.0.0.2"]))
}

/// What it says, and that the kernel holds what it held before.
#[track_caller]
fn planned(namespace: &Namespace, args: &[&str]) -> String {
    let held =
        || (meaning(namespace), namespace.command(&["ip", "rule"]), namespace.command(&["ip", "-6", "rule"]));
    let before = held();
    let said = said(namespace, args);
    assert_eq!(held(), before, "{args:?}");
    said
}

const NOTHING: &str = "planned: no change\n";

#[test]
fn a_plan_is_what_the_run_changes() {
    let Some(pod) = place() else { return };
    let istio = ["istio-iptables", "-i", "*", "-b", "*", "-m", "TPROXY"];
    let linkerd = ["proxy-init", "-p", "4143", "-o", "4140", "-u", "2102"];
    let (apply, remove) = (["ambient", "pod", "apply"], ["ambient", "pod", "remove"]);
    let (host, destroy) =
        (["ambient", "host", "apply", "--kubelet-uid", "0"], ["ambient", "host", "destroy"]);
    let with = |args: &[&'static str], more: &[&'static str]| [args, more].concat();
    for (apply, remove) in [
        (&istio[..], with(&istio, &["--cleanup-only"])),
        (&linkerd, with(&linkerd, &["--cleanup-only"])),
        (&apply, remove.to_vec()),
        (&host, destroy.to_vec()),
    ] {
        let plan = with(apply, &["--plan"]);
        let removal = with(&remove, &["--plan"]);
        assert_eq!(planned(&pod, &removal), NOTHING);
        let first = planned(&pod, &plan);
        let lines: Vec<_> = first.lines().collect();
        assert_eq!(lines[0], "planned (+ comes, - goes, ~ changes):", "{first}");
        assert!(lines.len() > 1 && lines[1..].iter().all(|line| line.starts_with("+ ")), "{first}");

        said(&pod, apply);
        assert_eq!(planned(&pod, &plan), NOTHING);
        let back = planned(&pod, &removal);
        let goes = |line: &str| line.starts_with("- ");
        assert!(back.lines().count() > 1 && back.lines().skip(1).all(goes), "{back}");

        said(&pod, &remove);
        assert_eq!(planned(&pod, &removal), NOTHING);
        assert_eq!(planned(&pod, &plan), first);
    }
}

#[test]
fn single_rules_come_and_go() {
    let Some(pod) = place() else { return };
    let istio = |ports: &'static str| ["istio-iptables", "-i", "*", "-b", "*", "-d", ports];
    said(&pod, &istio("15090"));
    let other = [&istio("15021")[..], &["--plan"]].concat();
    let text = planned(&pod, &other);
    let of = |sign: &str, port: &str| {
        let is_it = |line: &str| line.starts_with(sign) && line.contains(&format!("tcp dport {port} "));
        text.lines().filter(|line| is_it(line)).count()
    };
    let counts = [of("+", "15021"), of("-", "15090"), of("-", "15021"), of("+", "15090")];
    assert_eq!(counts, [1, 1, 0, 0], "{text}");

    let json = planned(&pod, &[&other[..], &["--output", "json"]].concat());
    let json: Json = serde_json::from_str(&json).unwrap();
    assert_eq!(json["result"], "planned");
    let [change] = json["changes"].as_array().unwrap().as_slice() else { panic!("{json}") };
    let facts = ["change", "object", "chain"].map(|key| change[key].as_str().unwrap());
    assert_eq!(facts, ["replace", "rule", "istio-inbound"], "{json}");
    assert!(change["desired"].as_str().unwrap().contains("15021"), "{json}");
    assert!(change["found"].as_str().unwrap().contains("15090"), "{json}");

    said(&pod, &istio("15021"));
    assert_eq!(planned(&pod, &other), NOTHING);
}

#[test]
fn a_plan_asks_the_kernel_and_a_dry_run_does_not() {
    let Some(pod) = place() else { return };
    for args in [
        &["istio-iptables", "--dry-run", "--plan"][..],
        &["proxy-init", "-p", "4143", "-o", "4140", "--simulate", "--plan"],
        &["ambient", "pod", "apply", "--dry-run", "--plan"],
        &["ambient", "pod", "remove", "--dry-run", "--plan"],
    ] {
        let output = Intercept::command_line(args).run(&pod);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains("--plan") && stderr.contains("it asks the kernel"), "{args:?}: {stderr}");
    }
}

/// Others wait for nobody: the one that somebody delays is reported last.
#[test]
fn each_pod_is_reported_as_soon_as_it_is_done() {
    let Some(slow) = place() else { return };
    let quick = Namespace::with_addresses(&["10.0.0.2"]);
    // What a run waits for, for up to a second: the netlink port that says that another run is under way.
    let holder = slow.run(|| {
        let flags = SockFlag::SOCK_CLOEXEC;
        let holder =
            socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute).unwrap();
        bind(holder.as_raw_fd(), &NetlinkAddr::new(0x6d77_6972, 0)).unwrap();
        holder
    });
    let mut command = Command::new(program());
    let [first, second] = [slow.path(), quick.path()];
    command.args(["ambient", "pod", "apply", "--netns", &first, "--netns", &second]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.next().unwrap();
    assert!(line.starts_with(&format!("{second}: applied: ")), "{line}");
    assert!(child.try_wait().unwrap().is_none(), "it ended before the other one was done");
    let line = lines.next().unwrap();
    assert!(line.starts_with(&format!("{first}: applied: ")), "{line}");
    assert!(child.wait().unwrap().success());
    drop(holder);
}
