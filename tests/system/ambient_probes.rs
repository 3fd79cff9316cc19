//! `meshwire ambient probes`: whose addresses the kubelet probes. `nft` is the judge.

use serde_json::{Value, json};

use crate::harness::ambient::{ambient, ended};
use crate::harness::nft::objects;
use crate::harness::{Namespace, oracle, privileged};

/// A node with the host's rules for both families. None where privileges or the judge are missing.
fn node() -> Option<Namespace> {
    if !(privileged() && oracle("nft")) {
        return None;
    }
    let node = Namespace::new();
    ambient(&node, "host apply --kubelet-uid 0 --ipv6");
    Some(node)
}

fn list(node: &Namespace) -> String {
    ambient(node, "probes list")
}

/// The elements of a set, as nft shows them.
fn elements(node: &Namespace, set: &str) -> String {
    let listing = node.command(&["nft", "list", "set", "inet", "istio-ambient-nat", set]);
    let elements = listing.split_once("elements = {").map_or("", |(_, elements)| elements);
    elements.split('}').next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn addresses_are_added_with_their_pod() {
    let Some(node) = node() else { return };
    let said = ambient(
        &node,
        "probes add 10.0.0.2 fd00::2 10.0.0.1 10.0.0.2 --pod-uid 1b4e28ba-2fa1-11d2-883f-0016d3cca427",
    );
    assert_eq!(said, "added: addresses 4\n");
    let uid = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
    assert_eq!(
        elements(&node, "istio-inpod-probes-v4"),
        format!("10.0.0.1 comment \"{uid}\", 10.0.0.2 comment \"{uid}\"")
    );
    assert_eq!(elements(&node, "istio-inpod-probes-v6"), format!("fd00::2 comment \"{uid}\""));
    assert_eq!(list(&node), format!("10.0.0.1 {uid}\n10.0.0.2 {uid}\nfd00::2 {uid}\n"));
    // An IPv4 address in IPv6's clothes.
    ambient(&node, "probes add ::ffff:10.0.0.9 --pod-uid b");
    assert!(list(&node).contains("10.0.0.9 b\n"));
}

#[test]
fn an_address_gets_its_new_owner() {
    let Some(node) = node() else { return };
    ambient(&node, "probes add 10.0.0.1 10.0.0.2 fd00::1 --pod-uid a");
    ambient(&node, "probes add 10.0.0.2 fd00::1 --pod-uid b");
    ambient(&node, "probes add 10.0.0.2 --pod-uid b");
    assert_eq!(list(&node), "10.0.0.1 a\n10.0.0.2 b\nfd00::1 b\n");
}

#[test]
fn addresses_are_removed_whoever_has_them() {
    let Some(node) = node() else { return };
    ambient(&node, "probes add 10.0.0.1 10.0.0.2 fd00::1 --pod-uid a");
    let said = ambient(&node, "probes remove 10.0.0.2 10.0.0.7 fd00::1 fd00::7");
    assert_eq!((said.as_str(), list(&node).as_str()), ("removed: addresses 2\n", "10.0.0.1 a\n"));
    assert_eq!(ambient(&node, "probes remove 10.0.0.2"), "removed: addresses 0\n");
}

#[test]
fn another_pods_address_is_kept_and_its_owner_is_named() {
    let Some(node) = node() else { return };
    ambient(&node, "probes add 10.0.0.1 10.0.0.2 --pod-uid a");
    ambient(&node, "probes add 10.0.0.3 fd00::3 --pod-uid b");
    let args = "probes remove 10.0.0.1 10.0.0.3 10.0.0.9 fd00::3 --pod-uid a";
    let (code, stdout, stderr) = ended(&node, args, "");
    assert_eq!((code, stdout.as_str()), (3, "removed: addresses 1\n"));
    assert_eq!(
        stderr,
        "error: 10.0.0.3 belongs to pod b, not to pod a: it stays\n\
         error: fd00::3 belongs to pod b, not to pod a: it stays\n"
    );
    assert_eq!(list(&node), "10.0.0.2 a\n10.0.0.3 b\nfd00::3 b\n");
    let (code, stdout, _) = ended(&node, "probes remove 10.0.0.3 --pod-uid a --output json", "");
    let found: Value = serde_json::from_str(&stdout).unwrap();
    let expected = json!({
        "result": "removed", "addresses": 0, "others": [{ "address": "10.0.0.3", "pod_uid": "b" }],
    });
    assert_eq!((code, found), (3, expected));
}

#[test]
fn all_that_a_pod_has_is_removed() {
    let Some(node) = node() else { return };
    ambient(&node, "probes add 10.0.0.1 fd00::1 --pod-uid a");
    ambient(&node, "probes add 10.0.0.2 --pod-uid b");
    assert_eq!(ambient(&node, "probes remove --pod-uid a"), "removed: addresses 2\n");
    assert_eq!(ambient(&node, "probes remove --pod-uid a"), "removed: addresses 0\n");
    assert_eq!(list(&node), "10.0.0.2 b\n");
}

#[test]
fn what_others_put_there_is_shown() {
    let Some(node) = node() else { return };
    node.feed(&["nft", "-f", "-"], "add element inet istio-ambient-nat istio-inpod-probes-v4 { 10.0.0.1 }");
    ambient(&node, "probes add 10.0.0.2 --pod-uid a");
    assert_eq!(list(&node), "10.0.0.1 -\n10.0.0.2 a\n");
    let found: Value = serde_json::from_str(&ambient(&node, "probes list --output json")).unwrap();
    let expected = json!({ "probes": [
        { "address": "10.0.0.1", "pod_uid": null },
        { "address": "10.0.0.2", "pod_uid": "a" },
    ] });
    assert_eq!(found, expected);
    let (code, _, stderr) = ended(&node, "probes remove 10.0.0.1 --pod-uid a", "");
    assert_eq!((code, stderr.as_str()), (3, "error: 10.0.0.1 belongs to nobody, not to pod a: it stays\n"));
}

#[test]
fn the_set_is_emptied_and_destroyed() {
    let Some(node) = node() else { return };
    ambient(&node, "probes add 10.0.0.1 fd00::1 --pod-uid a");
    let in_use = "error: cannot remove the probe set: EBUSY: Device or resource busy: the host rules look addresses up in it\n\
                  help: run `meshwire ambient host remove` first, or `meshwire ambient host destroy`, which removes all\n";
    assert_eq!(ended(&node, "probes destroy", ""), (1, String::new(), in_use.to_owned()));
    assert_eq!(list(&node), "10.0.0.1 a\nfd00::1 a\n");
    assert_eq!(ambient(&node, "probes flush"), "flushed\n");
    assert_eq!(list(&node), "");
    ambient(&node, "probes add 10.0.0.1 --pod-uid a");
    ambient(&node, "host remove");
    for _ in 0..2 {
        assert_eq!(ambient(&node, "probes destroy"), "destroyed\n");
        assert!(objects(&node).is_empty());
        ambient(&node, "probes flush");
        assert_eq!(list(&node), "");
    }
}

#[test]
fn without_a_set_adding_fails_and_help_says_what_to_do() {
    let Some(node) = node() else { return };
    ambient(&node, "host destroy");
    let first = |set, ipv6| {
        format!(
            "error: the set {set} of inet istio-ambient-nat does not exist\n\
             help: run `meshwire ambient host apply{ipv6}` first\n"
        )
    };
    let no_v4 = first("istio-inpod-probes-v4", "");
    assert_eq!(ended(&node, "probes add 10.0.0.1 --pod-uid a", ""), (1, String::new(), no_v4.clone()));
    assert_eq!(ended(&node, "probes sync", "10.0.0.1 a\n"), (1, String::new(), no_v4));
    assert_eq!(ambient(&node, "probes remove 10.0.0.1"), "removed: addresses 0\n");
    assert!(
        ended(&node, "probes sync --allow-empty", "").1.starts_with("synced: added 0, changed 0, removed 0,")
    );
    ambient(&node, "host apply --kubelet-uid 0");
    let no_v6 = first("istio-inpod-probes-v6", " --ipv6");
    let both = "probes add 10.0.0.1 fd00::1 --pod-uid a";
    assert_eq!(ended(&node, both, ""), (1, String::new(), no_v6));
    assert_eq!(list(&node), "");
}

// Synchronisation.

fn sync(node: &Namespace, desired: &str) -> String {
    let (code, stdout, stderr) = ended(node, "probes sync", desired);
    assert_eq!((code, stderr.as_str()), (0, ""));
    stdout.split(", bytes").next().unwrap().to_owned()
}

#[test]
fn the_set_becomes_what_standard_input_says() {
    let Some(node) = node() else { return };
    let desired = "10.0.0.1 a\n10.0.0.2 b\nfd00::1 a\n";
    assert_eq!(sync(&node, desired), "synced: added 3, changed 0, removed 0");
    assert_eq!(list(&node), desired);
    let generation = || node.run(|| nftwire::Socket::open().unwrap().generation().unwrap());
    let before = generation();
    assert_eq!(sync(&node, desired), "synced: added 0, changed 0, removed 0");
    assert_eq!(generation(), before);
    let (code, stdout, _) =
        ended(&node, "probes sync --output json", "\nfd00::1 b\n10.0.0.2 b\r\n10.0.0.3 c");
    let found: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (code, &found["added"], &found["changed"], &found["removed"]),
        (0, &1.into(), &1.into(), &1.into())
    );
    assert_eq!(list(&node), "10.0.0.2 b\n10.0.0.3 c\nfd00::1 b\n");
    // What it lists, it takes.
    assert_eq!(sync(&node, &list(&node)), "synced: added 0, changed 0, removed 0");
    // Whoever writes there may have failed.
    for nothing in ["", "\n \n"] {
        let (code, stdout, stderr) = ended(&node, "probes sync", nothing);
        assert_eq!((code, stdout.as_str()), (2, ""));
        let text = "error: standard input has no address, and the set would be emptied\nhelp: --allow-empty does that\n";
        assert_eq!(stderr, text);
    }
    let (code, stdout, _) = ended(&node, "probes sync --allow-empty", "");
    assert!(code == 0 && stdout.starts_with("synced: added 0, changed 0, removed 3,"), "{stdout}");
    assert_eq!(list(&node), "");
}

#[test]
fn only_the_differences_are_sent() {
    let Some(node) = node() else { return };
    let many = |owner: &str| -> String {
        (0..3000).map(|number| format!("10.0.{}.{} {owner}\n", number / 256, number % 256)).collect()
    };
    sync(&node, &many("a"));
    let (_, stdout, _) =
        ended(&node, "probes sync --output json", &many("a").replace("10.0.7.7 a", "10.0.7.7 b"));
    let found: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&found["changed"], &found["added"]), (&1.into(), &0.into()));
    assert!(found["bytes"].as_u64().unwrap() < 400, "{found}");
    assert!(list(&node).contains("10.0.7.7 b\n"));
}

#[test]
fn a_wrong_line_is_named_and_nothing_changes() {
    let Some(node) = node() else { return };
    ambient(&node, "probes add 10.0.0.1 --pod-uid a");
    for (input, fault) in [
        ("10.0.0.2 b\n10.0.0 b\n", "line 2: \"10.0.0\" is not an IP address"),
        ("10.0.0.2 b\n\n10.0.0.3\n", "line 3: it is not an address, a space and a pod's UID"),
        ("10.0.0.2 b\n10.0.0.2 c\n", "line 2: 10.0.0.2 is pod c's here, and pod b's in line 1"),
    ] {
        let error = format!("error: standard input, {fault}\n");
        assert_eq!(ended(&node, "probes sync", input), (2, String::new(), error));
        assert_eq!(list(&node), "10.0.0.1 a\n");
    }
}

#[test]
fn what_others_change_meanwhile_is_not_lost() {
    let Some(node) = node() else { return };
    // Each adds its own address again and again; the other's must never be a difference.
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| {
            for number in 0..30 {
                ambient(&node, &format!("probes add 10.0.1.{number} --pod-uid a"));
            }
        });
        for number in 0..30 {
            ambient(&node, &format!("probes add 10.0.2.{number} --pod-uid b"));
            ambient(&node, &format!("probes remove 10.0.2.{number} --pod-uid b"));
        }
        adding.join().unwrap();
    });
    let left = list(&node);
    assert_eq!(left.lines().count(), 30, "{left}");
    assert!(left.lines().all(|line| line.starts_with("10.0.1.") && line.ends_with(" a")), "{left}");
}

#[test]
fn wrong_usage_is_refused() {
    let Some(node) = node() else { return };
    for (args, error) in [
        (
            "probes add 10.0.0.1/32 --pod-uid a",
            "invalid value '10.0.0.1/32' for '<ADDR>...': \"10.0.0.1/32\" is not an IP address",
        ),
        (
            "probes add 10.0.0.1 --pod-uid a\"b",
            "invalid value 'a\"b' for '--pod-uid <UID>': a pod's UID has 1 to 127 letters, digits and signs, without \
             spaces and quotes",
        ),
        ("probes frobnicate", "unrecognized subcommand 'frobnicate'"),
    ] {
        let error = format!("error: {error} (see --help)\n");
        assert_eq!(ended(&node, args, ""), (2, String::new(), error), "{args}");
    }
    for args in ["probes add 10.0.0.1", "probes add --pod-uid a", "probes remove"] {
        assert_eq!(ended(&node, args, "").0, 2, "{args}");
    }
    assert_eq!(list(&node), "");
}
