//! What `meshwire ambient pod` and `host` leave in the kernel, whatever existed before. `nft` and `ip` are the judges.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::ambient::{ambient, ended};
use crate::harness::nft::{assert_same, bytecode, meaning, objects};
use crate::harness::{Namespace, network, oracle, privileged, skip};

/// Settings that between them use every kind of rule there is.
const PODS: [&str; 10] = [
    "",
    "--ipv6",
    "--dns",
    "--dns --ipv6",
    "--ingress",
    "--ingress --dns --ipv6 --virtual-interface tap0",
    "--virtual-interface tap0,tap1 --virtual-interface vm* --ipv6",
    "--probe-ipv4 192.0.2.1 --probe-ipv6 2001:db8::1 --ipv6=true --dns=false",
    "--probe-ipv6 2001:db8::1 --dns",
    "--dns --ipv6 --native-nftables",
];
const HOSTS: [&str; 5] = [
    "--kubelet-uid 0",
    "--kubelet-uid 1000 --ipv6",
    "--kubelet-uid 4294967294 --ipv6 --probe-ipv4 192.0.2.1 --probe-ipv6 2001:db8::1",
    "--kubelet-uid 1000 --ipv6 --native-nftables",
    "--kubelet-uid 1000,0,998 --ipv6",
];
const EQUAL: &str = "equal: rules, routes and addresses are as the settings want them\n";

/// A namespace with `lo`. None where privileges or a judge are missing.
fn place() -> Option<Namespace> {
    (privileged() && oracle("nft") && oracle("ip")).then(Namespace::new)
}

fn everything(namespace: &Namespace) -> (Vec<Value>, Vec<String>) {
    (objects(namespace), network(namespace))
}

fn load(namespace: &Namespace, text: &str) {
    namespace.feed(&["nft", "-f", "-"], text);
}

/// Every way to call `pod apply` and `host apply`.
fn commands() -> impl Iterator<Item = String> {
    let pods = PODS.iter().map(|args| format!("pod apply {args}"));
    pods.chain(HOSTS.iter().map(|args| format!("host apply {args}")))
}

#[test]
fn nft_makes_the_same_of_what_is_printed() {
    if place().is_none() {
        return;
    }
    for command in commands() {
        let ours = Namespace::new();
        ambient(&ours, &command);
        for (format, flags) in [("text", &[][..]), ("json", &["-j"])] {
            let theirs = Namespace::new();
            let printed = ambient(&theirs, &format!("{command} --dry-run --output {format}"));
            assert!(objects(&theirs).is_empty(), "{command}");
            theirs.feed(&[&["nft"], flags, &["-f", "-"]].concat(), &printed);
            assert_same(&command, &meaning(&ours), &meaning(&theirs));
            assert_same(&command, &bytecode(&ours), &bytecode(&theirs));
        }
    }
}

#[test]
fn a_second_run_changes_nothing() {
    if place().is_none() {
        return;
    }
    for command in commands() {
        let namespace = Namespace::new();
        ambient(&namespace, &command);
        let before = everything(&namespace);
        for check in ["", "--check", "--dry-run"] {
            ambient(&namespace, &format!("{command} {check}"));
            assert_eq!(everything(&namespace), before, "{command} {check}");
        }
        assert_eq!(ambient(&namespace, &command.replace("apply", "verify")), EQUAL, "{command}");
        assert_eq!(everything(&namespace), before, "{command}");
    }
}

#[test]
fn a_run_after_others_leaves_what_a_run_alone_leaves() {
    let Some(namespace) = place() else { return };
    let before = everything(&namespace);
    let count = PODS.len();
    for index in (0..count).chain((0..count).rev()).chain((0..count).map(|index| index * 4 % count)) {
        let command = format!("pod apply {}", PODS[index]);
        let alone = Namespace::new();
        ambient(&alone, &command);
        ambient(&namespace, &command);
        assert_same(&command, &meaning(&namespace), &meaning(&alone));
        assert_same(&command, &bytecode(&namespace), &bytecode(&alone));
        assert_eq!(network(&namespace), network(&alone), "{command}");
    }
    for _ in 0..2 {
        ambient(&namespace, "pod remove");
        assert_eq!(everything(&namespace), before);
    }
}

#[test]
fn dns_on_then_off_leaves_no_table_for_it() {
    let Some(namespace) = place() else { return };
    let tables = || namespace.command(&["nft", "list", "tables"]);
    ambient(&namespace, "pod apply --dns");
    assert!(tables().contains("istio-ambient-raw"));
    ambient(&namespace, "pod apply");
    assert_eq!(tables(), "table inet istio-ambient-nat\ntable inet istio-ambient-mangle\n");
}

#[test]
fn policy_routing_is_there_once_for_each_family() {
    let Some(namespace) = place() else { return };
    for _ in 0..3 {
        ambient(&namespace, "pod apply --ipv6");
    }
    let ours = || -> Vec<String> {
        let lines = network(&namespace).into_iter();
        lines.filter(|line| line.contains("0x111") || line.contains("table 100")).collect()
    };
    assert_eq!(
        ours(),
        [
            "32764:\tfrom all fwmark 0x111/0xfff lookup 100",
            "local default dev lo table 100 scope host ",
            "32764:\tfrom all fwmark 0x111/0xfff lookup 100",
            "local default dev lo table 100 metric 1024 pref medium",
        ]
    );
    ambient(&namespace, "pod apply");
    assert_eq!(
        ours(),
        ["32764:\tfrom all fwmark 0x111/0xfff lookup 100", "local default dev lo table 100 scope host "]
    );
}

#[test]
fn where_lo_does_without_ipv6_its_route_is_left_out() {
    let Some(namespace) = place() else { return };
    let disable = |value: &str| {
        let file = "/proc/sys/net/ipv6/conf/lo/disable_ipv6";
        namespace.run(|| fs::write(file, value).is_ok()) || skip("/proc/sys is read-only")
    };
    if !disable("1") {
        return;
    }
    ambient(&namespace, "pod apply --ipv6");
    assert_eq!(ambient(&namespace, "pod verify --ipv6"), EQUAL);
    assert!(namespace.command(&["ip", "-6", "rule"]).contains("fwmark 0x111/0xfff lookup 100"));
    assert!(!network(&namespace).iter().any(|line| line.contains("table 100 metric")));

    // With IPv6 again, it is missing, and comes with the next run.
    disable("0");
    let (code, stdout, _) = ended(&namespace, "pod verify --ipv6", "");
    let missing = "- IPv6 route local default dev lo table 100\n";
    assert_eq!((code, stdout.split_once('\n').unwrap().1), (3, missing));
    ambient(&namespace, "pod apply --ipv6");
    assert_eq!(ambient(&namespace, "pod verify --ipv6"), EQUAL);
    disable("1");
    ambient(&namespace, "pod remove");
    assert!(objects(&namespace).is_empty());
    assert!(!network(&namespace).iter().any(|line| line.contains("0x111")));
}

#[test]
fn what_fails_is_taken_back() {
    let Some(namespace) = place() else { return };
    // The IPv6 route comes last, so all else exists when it fails.
    namespace
        .command(&"ip -6 route add unreachable default metric 1024 table 100".split(' ').collect::<Vec<_>>());
    let before = everything(&namespace);
    let (code, stdout, stderr) = ended(&namespace, "pod apply --ipv6 --dns", "");
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(
        stderr.starts_with(
            "error: cannot add the IPv6 route local default dev lo table 100: EEXIST: the table has a default route that \
             is not ours"
        ),
        "{stderr}"
    );
    assert_eq!(everything(&namespace), before);
}

#[test]
fn what_is_foreign_in_the_tables_goes() {
    let Some(namespace) = place() else { return };
    ambient(&namespace, "pod apply --ipv6");
    let alone = meaning(&namespace);
    load(
        &namespace,
        "table inet istio-ambient-nat {
            set s { type ipv4_addr; elements = { 10.0.0.1 }; }
            set istio-inpod-probes-v4 { type ipv4_addr; elements = { 10.0.0.1 }; }
            counter c { }
            chain other { type filter hook input priority 0; ip saddr @s counter name c drop; }
        }
        add rule inet istio-ambient-nat istio-output ip daddr @s drop",
    );
    assert_eq!(ended(&namespace, "pod verify --ipv6", "").0, 3);
    ambient(&namespace, "pod apply --ipv6");
    assert_same("", &meaning(&namespace), &alone);
}

// The host.

/// A host with two addresses in its probe set.
fn host(args: &str) -> Option<Namespace> {
    let namespace = place()?;
    ambient(&namespace, &format!("host apply --kubelet-uid 0 {args}"));
    ambient(&namespace, "probes add 10.0.0.2 10.0.0.3 --pod-uid a");
    Some(namespace)
}

const PROBES: &str = "10.0.0.2 a\n10.0.0.3 a\n";

#[test]
fn the_probe_set_survives_all_but_its_destruction() {
    let Some(namespace) = host("--ipv6") else { return };
    ambient(&namespace, "probes add fd00::2 --pod-uid a");
    let all = format!("{PROBES}fd00::2 a\n");
    for command in [
        "host apply --kubelet-uid 0 --ipv6",
        "host apply --kubelet-uid 7",
        "host apply --kubelet-uid 7 --ipv6",
        "host remove",
        "host remove",
        "host apply --kubelet-uid 0",
        "host apply --kubelet-uid 0 --check",
        "host destroy --dry-run",
        "host remove --dry-run",
    ] {
        ambient(&namespace, command);
        assert_eq!(ambient(&namespace, "probes list"), all, "{command}");
    }
    // IPv6 is off, and its set stays nevertheless.
    assert_eq!(ambient(&namespace, "host verify --kubelet-uid 0"), EQUAL);
    for _ in 0..2 {
        ambient(&namespace, "host destroy");
        assert!(objects(&namespace).is_empty());
    }
    assert_eq!(ambient(&namespace, "probes list"), "");
    ambient(&namespace, "host remove");
    assert!(objects(&namespace).is_empty());
}

/// Within one transaction, the old chain would go before the new one sees packets.
#[test]
fn the_old_chain_goes_after_the_new_one_has_come() {
    let Some(namespace) = host("--native-nftables") else { return };
    let generation = || namespace.run(|| nftwire::Socket::open().unwrap().generation().unwrap());
    for (args, chains) in
        [("", ["istio-probes", "postrouting"]), ("--native-nftables", ["postrouting", "istio-probes"])]
    {
        let before = generation();
        ambient(&namespace, &format!("host apply --kubelet-uid 0 {args}"));
        assert_eq!(generation(), before + 2);
        let listing = namespace.command(&["nft", "list", "ruleset"]);
        assert!(
            chains.map(|chain| listing.contains(&format!("chain {chain} {{"))) == [true, false],
            "{listing}"
        );
        assert_eq!(ambient(&namespace, "probes list"), PROBES);
    }
    // A run that died in between left both.
    load(
        &namespace,
        "add chain inet istio-ambient-nat istio-probes { type nat hook postrouting priority srcnat - 1; }",
    );
    ambient(&namespace, "host apply --kubelet-uid 0");
    assert!(!namespace.command(&["nft", "list", "ruleset"]).contains("postrouting {"));
    assert_eq!(ambient(&namespace, "host verify --kubelet-uid 0"), EQUAL);
}

#[test]
fn a_removal_leaves_the_sets_and_nothing_else() {
    let Some(namespace) = host("") else { return };
    load(
        &namespace,
        "table inet istio-ambient-nat { set s { type ipv4_addr; }; chain c { jump d; }; chain d { }; }",
    );
    ambient(&namespace, "host remove");
    let listing = namespace.command(&["nft", "list", "ruleset"]);
    let expected = "table inet istio-ambient-nat {\n\tset istio-inpod-probes-v4 {\n\t\ttype ipv4_addr\n\t\t\
                    elements = { 10.0.0.2 comment \"a\", 10.0.0.3 comment \"a\" }\n\t}\n}\n";
    assert_eq!(listing, expected);
}

#[test]
fn sets_that_others_made_are_taken_over() {
    let Some(namespace) = place() else { return };
    load(
        &namespace,
        "table inet istio-ambient-nat {
            set istio-inpod-probes-v4 { typeof ip daddr; elements = { 10.0.0.2 comment \"a\", 10.0.0.3 comment \"a\" }; }
            set istio-inpod-probes-v6 { type ipv6_addr; flags interval; elements = { fd00::/64 }; }
        }",
    );
    let (code, stdout, _) = ended(&namespace, "host verify --kubelet-uid 0 --ipv6", "");
    assert_eq!(code, 3);
    assert_eq!(
        stdout,
        "different (- desired, + found, ~ found in another form):\n  table inet istio-ambient-nat\n\
         -   set istio-inpod-probes-v6: type ipv6_addr\n\
         +   set istio-inpod-probes-v6: type ipv6_addr; flags interval\n\
         -   chain istio-probes: type nat hook postrouting priority srcnat - 1; policy accept (2 rules)\n"
    );
    let kind = "error: the set istio-inpod-probes-v6 of inet istio-ambient-nat is of another kind\n\
                help: run `meshwire ambient host apply`, which makes it anew\n";
    assert_eq!(ended(&namespace, "probes list", ""), (1, String::new(), kind.to_owned()));
    // The one of the right kind keeps its elements, the other one is made anew.
    ambient(&namespace, "host apply --kubelet-uid 0 --ipv6");
    assert_eq!(ambient(&namespace, "host verify --kubelet-uid 0 --ipv6"), EQUAL);
    assert_eq!(ambient(&namespace, "probes list"), PROBES);
}

#[test]
fn verify_reports_what_differs_on_the_host() {
    let Some(namespace) = host("") else { return };
    load(
        &namespace,
        "flush chain inet istio-ambient-nat istio-probes
         delete set inet istio-ambient-nat istio-inpod-probes-v4
         add set inet istio-ambient-nat other { type ipv4_addr; }",
    );
    let (code, stdout, _) = ended(&namespace, "host verify --kubelet-uid 0", "");
    assert_eq!(code, 3);
    assert_eq!(
        stdout,
        "different (- desired, + found, ~ found in another form):\n  table inet istio-ambient-nat\n+   set other\n\
         -   set istio-inpod-probes-v4: type ipv4_addr\n    chain istio-probes\n\
         -     1: meta l4proto tcp meta skuid 0 ip daddr @istio-inpod-probes-v4 counter snat ip to 169.254.7.127\n"
    );
    let (_, stdout, _) = ended(&namespace, "host verify --kubelet-uid 0 --output json", "");
    let found: Value = serde_json::from_str(&stdout).unwrap();
    let missing = serde_json::json!({
        "difference": "missing", "object": "set", "family": "inet", "table": "istio-ambient-nat",
        "name": "istio-inpod-probes-v4", "desired": "type ipv4_addr",
    });
    assert!(found["differences"].as_array().unwrap().contains(&missing), "{found}");
}

#[test]
fn the_kubelet_is_found_in_a_proc_file_system() {
    let Some(namespace) = place() else { return };
    let proc = tempfile::tempdir().unwrap();
    let path = proc.path().display();
    let none = format!(
        "error: no process in {path} is the kubelet (named kubelet, kubelite, k3s, k3s-server or k3s-agent)\n\
         help: give the kubelet's uid, or the node's own proc file system\n"
    );
    assert_eq!(ended(&namespace, &format!("host apply --proc {path}"), ""), (1, String::new(), none));
    assert!(objects(&namespace).is_empty());
    let process = proc.path().join("4711");
    fs::create_dir(&process).unwrap();
    for (file, text) in [("comm", "k3s\n"), ("cmdline", "k3s\0agent\0"), ("status", "Uid:\t77\t0\t0\t0\n")] {
        fs::write(process.join(file), text).unwrap();
    }
    let (code, _, stderr) = ended(&namespace, &format!("host apply --proc {path}"), "");
    assert_eq!((code, stderr.as_str()), (0, "info: the kubelet is process 4711 (k3s) with uid 77\n"));
    assert!(namespace.command(&["nft", "list", "ruleset"]).contains("meta skuid 77 "));
}

/// A process of a pod may have any name, but it is in other namespaces than the node's.
#[test]
fn a_pod_cannot_pass_for_the_kubelet() {
    let Some(node) = place() else { return };
    let folder = tempfile::tempdir().unwrap();
    let kubelet = folder.path().join("k3s");
    meshwire_testkit::copy_executable(Path::new("/bin/sleep"), &kubelet);
    let start = |namespace: &Namespace| namespace.run(|| Command::new(&kubelet).arg("60").spawn().unwrap());
    let pod = Namespace::new();
    let mut forged = start(&pod);
    let found = || {
        let (code, _, stderr) = ended(&node, "host apply", "");
        (code, stderr)
    };
    // Other processes on this machine may have such a name, but none that is named by its number here.
    let named = |child: &std::process::Child| format!("process {} (k3s) with uid 0", child.id());
    assert!(!found().1.contains(&named(&forged)));
    let mut real = start(&node);
    let (code, stderr) = found();
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains(&named(&real)) && !stderr.contains(&named(&forged)), "{stderr}");
    for child in [&mut forged, &mut real] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

// Several pods at once.

#[test]
fn one_pod_that_fails_stops_no_other() {
    let Some(host) = place() else { return };
    let pods: Vec<_> = (0..5).map(|_| Namespace::new()).collect();
    let paths: Vec<_> = pods.iter().map(Namespace::path).collect();
    let gone = "/run/netns/meshwire-nowhere";
    let netns = format!(
        "--netns {} --netns {gone} --netns {} --netns {} --netns /etc/passwd --netns {} --netns {}",
        paths[0], paths[1], paths[2], paths[3], paths[4]
    );
    let before = everything(&host);
    let (code, stdout, stderr) = ended(&host, &format!("pod apply {netns}"), "");
    assert_eq!(code, 1);
    let done = stdout.lines().map(|line| line.split_once(": applied: tables 2,").unwrap().0);
    assert_eq!(done.collect::<BTreeSet<_>>(), paths.iter().map(String::as_str).collect());
    assert_eq!(
        sorted(&stderr),
        sorted(&format!(
            "error: {gone}: there is no network namespace {gone}: ENOENT: No such file or directory\n\
             help: a namespace is named by a file, by a process in it, or as `ip netns` names it; that of a pod goes with the pod\n\
             error: /etc/passwd: /etc/passwd is not a namespace\n\
             help: a namespace's file is such as /run/netns/NAME or /proc/PID/ns/net\n"
        ))
    );
    assert!(pods.iter().all(|pod| objects(pod).len() == objects(&pods[0]).len()));
    assert_eq!(everything(&host), before);

    let (code, stdout, _) = ended(&host, &format!("pod remove --output json {netns}"), "");
    assert_eq!(code, 1);
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |netns: &str| lines.iter().find(|line| line["netns"] == netns).unwrap();
    assert!(paths.iter().all(|path| of(path)["result"] == "removed"), "{stdout}");
    assert_eq!((&of(gone)["result"], &of(gone)["error"]["errno"]), (&"failed".into(), &"ENOENT".into()));
    assert_eq!((&of("/etc/passwd")["result"], lines.len()), (&"failed".into(), 7));
    assert!(pods.iter().all(|pod| objects(pod).is_empty()));
}

#[test]
fn several_pods_are_compared() {
    let Some(host) = place() else { return };
    let pods = [Namespace::new(), Namespace::new()];
    let [one, other] = pods.each_ref().map(Namespace::path);
    let netns = format!("--netns {one} --netns {other}");
    ambient(&host, &format!("pod apply {netns}"));
    let equal = ambient(&host, &format!("pod verify {netns}"));
    assert_eq!(sorted(&equal), sorted(&format!("{one}: {EQUAL}{other}: {EQUAL}")));
    pods[1].command(&["nft", "delete", "table", "inet", "istio-ambient-mangle"]);
    let (code, stdout, stderr) = ended(&host, &format!("pod verify {netns}"), "");
    assert_eq!((code, stderr.as_str()), (3, ""));
    assert_eq!(
        sorted(&stdout),
        sorted(&format!(
            "{one}: {EQUAL}{other}: different (- desired, + found, ~ found in another form):\n\
             - table inet istio-ambient-mangle (4 chains, 4 rules)\n"
        ))
    );
}

/// The lines of what is reported of several pods: whichever is done first comes first.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn wrong_usage_changes_nothing() {
    let Some(namespace) = place() else { return };
    for (args, error) in [
        ("pod apply --probe-ipv4 fd00::1", "--probe-ipv4: \"fd00::1\" is not an IPv4 address"),
        ("pod apply --probe-ipv6 10.0.0.1", "--probe-ipv6: \"10.0.0.1\" is not an IPv6 address"),
        ("pod apply --ipv6=maybe", "--ipv6: \"maybe\" is neither true nor false"),
        (
            "pod apply --virtual-interface a --virtual-interface b,a/b",
            "--virtual-interface: \"a/b\": an interface's name has no slash, backslash, colon, white space or quote, and \
             is not `.` or `..` (item 3)",
        ),
        ("pod apply --output xml", "--output: \"xml\" is neither text nor json"),
        ("host apply --kubelet-uid -1", "--kubelet-uid: \"-1\" is not a number from 0 to 4294967295"),
        (
            "host apply --kubelet-uid 1 --proc /proc",
            "the argument '--kubelet-uid <UIDS>' cannot be used with '--proc <PATH>' (see --help)",
        ),
    ] {
        assert_eq!(ended(&namespace, args, ""), (2, String::new(), format!("error: {error}\n")), "{args}");
    }
    assert!(objects(&namespace).is_empty());
}
