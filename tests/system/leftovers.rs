//! What iptables has left of a mesh's rules in a pod. iptables itself makes it, and shows what is left.

use std::process::Command;

use crate::harness::{Intercept, Namespace, Pod, User, V4, captured, intercept, oracle, program, straight};
use crate::migrate::istios_pod;

/// As Istio's own command leaves them in both families, next to rules of somebody else.
fn istios_rules(namespace: &Namespace) {
    for command in ["iptables-nft", "ip6tables-nft"] {
        for rule in [
            "-N ISTIO_OUTPUT",
            "-N ISTIO_REDIRECT",
            "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",
            "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
            "-A OUTPUT -p udp --dport 9 -j ACCEPT",
            "-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN",
            "-A ISTIO_OUTPUT -j ISTIO_REDIRECT",
        ] {
            iptables(namespace, command, rule);
        }
    }
}

fn iptables(namespace: &Namespace, command: &str, rule: &str) -> String {
    let words: Vec<_> = [command, "-t", "nat"].into_iter().chain(rule.split(' ')).collect();
    namespace.command(&words)
}

#[test]
fn leftovers_of_iptables_are_named_compared_and_removed() {
    let Some(pod) = Pod::new(&[V4]) else { return };
    if !oracle("iptables-nft") {
        return;
    }
    istios_rules(&pod.namespace);
    let args = ["-i", "*", "-o", "80"];
    let run = Intercept::new(&args).run(&pod.namespace);
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success());
    for family in ["ip", "ip6"] {
        let warning = format!(
            "warn: rules of a mesh exist already, and stay in effect: table {family} nat of iptables-nft: \
             ISTIO_OUTPUT, ISTIO_REDIRECT; `meshwire migrate` takes their place\n"
        );
        assert!(said.contains(&warning), "{said}");
    }
    // They are why it does not do what it says.
    assert_eq!(pod.app().tcp(V4.peer(80)), captured(15001, V4.peer(80)));
    let verify = |more: &[&str]| {
        let words = [&["verify", "istio-iptables"], &args[..], more].concat();
        let output = pod.namespace.output(Command::new(program()).args(words), "");
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, found) = verify(&[]);
    assert_eq!(code, Some(3));
    assert!(found.contains("\n+ table ip nat of iptables-nft: ISTIO_OUTPUT, ISTIO_REDIRECT\n"), "{found}");
    assert!(verify(&["--output", "json"]).1.contains("\"ISTIO_REDIRECT\""));

    intercept(&pod.namespace, &["--cleanup-only"]);
    for command in ["iptables-nft", "ip6tables-nft"] {
        let left = iptables(&pod.namespace, command, "-S OUTPUT");
        assert_eq!(left, "-P OUTPUT ACCEPT\n-A OUTPUT -p udp -m udp --dport 9 -j ACCEPT\n");
        assert!(!iptables(&pod.namespace, command, "-S").contains("ISTIO"));
    }
    assert_eq!(pod.app().tcp(V4.peer(80)), straight(V4.peer(80)));
    intercept(&pod.namespace, &args);
    assert_eq!(verify(&[]).0, Some(0));
}

#[test]
fn ambient_removes_them_from_a_pod_and_not_from_a_node() {
    let Some(pod) = Pod::new(&[V4]) else { return };
    if !oracle("iptables-nft") {
        return;
    }
    istios_rules(&pod.namespace);
    crate::harness::ambient::ambient(&pod.namespace, "host remove");
    assert!(iptables(&pod.namespace, "iptables-nft", "-S").contains("ISTIO_OUTPUT"));
    crate::harness::ambient::ambient(&pod.namespace, "pod remove");
    assert!(!iptables(&pod.namespace, "iptables-nft", "-S").contains("ISTIO"));
    assert_eq!(pod.user(User::APP).tcp(V4.peer(80)), straight(V4.peer(80)));
}

/// Istio's command puts some of its rules for TPROXY into the chains of iptables, where others may have similar ones.
#[test]
fn rules_for_tproxy_in_chains_of_iptables_are_removed_and_others_stay() {
    let Some(pod) = istios_pod(true) else { return };
    let others = [
        "-A PREROUTING -p tcp -m mark --mark 0x53b -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff",
        "-A PREROUTING -p udp -m mark --mark 0x539 -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff",
        "-A OUTPUT -o lo -p tcp -m mark --mark 0x539 -j ACCEPT",
        "-A OUTPUT -o lo -p tcp -m owner --uid-owner 1337 -j MARK --set-xmark 0x53a/0xffffffff",
        "-A OUTPUT -p tcp -m connmark ! --mark 0x539 -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff",
    ];
    let mangle = |rule: &str| {
        let words: Vec<_> = ["iptables-nft", "-t", "mangle"].into_iter().chain(rule.split(' ')).collect();
        pod.namespace.command(&words)
    };
    for rule in others {
        mangle(rule);
    }
    intercept(&pod.namespace, &["--cleanup-only"]);
    let left = mangle("-S");
    let left: Vec<_> = left.lines().filter(|line| line.starts_with("-A")).collect();
    assert_eq!(left, others);
    let left = pod.namespace.command(&["ip6tables-nft", "-t", "mangle", "-S"]);
    assert!(!left.contains("-A") && !left.contains("-N"), "{left}");
}

/// Netlink does not show them; that there is a table is all that can be said.
#[test]
fn legacy_tables_are_named_with_what_to_type() {
    let Some(pod) = Pod::new(&[V4]) else { return };
    if !oracle("iptables-legacy") {
        return;
    }
    let made =
        pod.namespace.output(Command::new("iptables-legacy").args(["-t", "nat", "-N", "ISTIO_OUTPUT"]), "");
    if !made.status.success() {
        crate::harness::skip("this kernel has no legacy iptables");
        return;
    }
    let run = Intercept::new(&["-i", "*"]).run(&pod.namespace);
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(
        said.contains("legacy iptables has the table ip nat") && said.contains("`iptables-legacy -t nat -S`"),
        "{said}"
    );
    // Looking for them makes none.
    assert!(!said.contains("ip6 nat"), "{said}");
}
