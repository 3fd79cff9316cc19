//! How `meshwire proxy-init` is called, and what it says.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::harness::nft::{meaning, objects};
use crate::harness::{Intercept, Namespace, User, oracle, privileged};

/// What the chart passes, word for word.
pub(crate) const CHART: [&str; 15] = [
    "--ipv6=false",
    "--incoming-proxy-port",
    "4143",
    "--outgoing-proxy-port",
    "4140",
    "--proxy-uid",
    "2102",
    "--inbound-ports-to-ignore",
    "4190,4191,4567,4568",
    "--outbound-ports-to-ignore",
    "4567,4568",
    "--firewall-bin-path",
    "iptables-nft",
    "--firewall-save-bin-path",
    "iptables-nft-save",
];

/// What the command says to the chart's flags.
pub(crate) const NATIVE: &str = "the backend is native nf_tables and no iptables is used, so this means nothing here: \
                                 --firewall-bin-path, --firewall-save-bin-path";

/// The chart's words with another list of outbound ports: those of a pod of the control plane.
fn control_plane() -> Vec<&'static str> {
    CHART.iter().map(|word| if *word == "4567,4568" { "443,6443" } else { word }).collect()
}

/// What the chart's words lead to, with this list of outbound ports.
fn expected(outbound: &str) -> String {
    let comment = outbound.replace(", ", ",");
    format!(
        "table ip linkerd-proxy-init {{
	chain prerouting {{
		type nat hook prerouting priority dstnat; policy accept;
		counter jump proxy-init-redirect comment \"proxy-init/install-proxy-init-prerouting\"
	}}

	chain output {{
		type nat hook output priority -100; policy accept;
		counter jump proxy-init-output comment \"proxy-init/install-proxy-init-output\"
	}}

	chain proxy-init-redirect {{
		tcp dport {{ 4190, 4191, 4567, 4568 }} counter return comment \"proxy-init/ignore-port-4190,4191,4567,4568\"
		meta l4proto tcp counter redirect to :4143 comment \"proxy-init/redirect-all-incoming-to-proxy-port\"
	}}

	chain proxy-init-output {{
		meta skuid 2102 counter return comment \"proxy-init/ignore-proxy-user-id\"
		oifname \"lo\" counter return comment \"proxy-init/ignore-loopback\"
		tcp dport {{ {outbound} }} counter return comment \"proxy-init/ignore-port-{comment}\"
		meta l4proto tcp counter redirect to :4140 comment \"proxy-init/redirect-all-outgoing-to-proxy-port\"
	}}
}}
"
    )
}

fn place() -> Option<Namespace> {
    (privileged() && oracle("nft")).then(Namespace::new)
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn listed(namespace: &Namespace) -> String {
    namespace.command(&["nft", "--stateless", "list", "ruleset"])
}

#[test]
fn the_charts_words_are_taken_under_all_three_names() {
    if place().is_none() {
        return;
    }
    for (words, outbound) in [(CHART.to_vec(), "4567, 4568"), (control_plane(), "443, 6443")] {
        let command = || Intercept::linkerd(&words);
        for command in [command(), command().by_name("linkerd2-proxy-init"), command().by_name("proxy-init")]
        {
            let namespace = Namespace::new();
            let output = command.run(&namespace);
            assert_eq!(stderr(&output), format!("info: {NATIVE}\n"));
            assert!(output.status.success());
            assert!(output.stdout.starts_with(b"applied: tables 1, chains 4, rules 8, bytes "));
            assert_eq!(listed(&namespace), expected(outbound));
        }
        let printed = command().with(&["--simulate"]).user(User { uid: 65534, gid: 65534 });
        assert_eq!(printed.apply(&Namespace::new()), expected(outbound));
    }
}

#[test]
fn older_charts_choose_a_mode() {
    let Some(namespace) = place() else { return };
    let older: Vec<_> = CHART[..11].iter().copied().chain(["--iptables-mode", "legacy", "-w"]).collect();
    let output = Intercept::linkerd(&older).by_name("proxy-init").run(&namespace);
    let native = NATIVE.split_once(": ").unwrap().0;
    assert_eq!(stderr(&output), format!("info: {native}: --iptables-mode, --use-wait-flag\n"));
    assert_eq!(listed(&namespace), expected("4567, 4568"));
}

#[test]
fn the_namespace_can_be_another_than_the_commands_own() {
    let (Some(place), Some(caller)) = (place(), place()) else { return };
    let there = ["-p", "4143", "-o", "4140", "--netns", &place.path()];
    Intercept::linkerd(&there).apply(&caller);
    assert!(objects(&caller).is_empty());
    let alone = Namespace::new();
    Intercept::linkerd(&there[..4]).apply(&alone);
    assert_eq!(meaning(&place), meaning(&alone));

    let output = Intercept::linkerd(&["-p", "4143", "-o", "4140", "--netns", "/etc/meshwire"]).run(&caller);
    assert_eq!(
        stderr(&output),
        "error: --netns: /etc/meshwire is not a namespace\n\
         help: a namespace's file is such as /run/netns/NAME or /proc/PID/ns/net\n"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn logs_in_json_are_one_object_a_line() {
    let Some(namespace) = place() else { return };
    for (args, levels) in [
        (&CHART[..], &["info"][..]),
        (&["-p", "4143", "-o", "4140", "--timeout-close-wait-secs", "3600", "-w"], &["info", "info"]),
        (&["-p", "4143", "-o", "4140", "--ipv6=false", "--subnets-to-ignore", "fd00::/8"], &["warn"]),
        (&["-p", "4143", "-o", "4140", "-w", "--log-level", "error"], &[]),
        (&["-p", "4143", "-o", "4140", "-w", "--log-level", "Warning"], &[]),
        (&["-p", "70000", "--log-level", "error"], &["error"]),
        (&["--bogus"], &["error"]),
        (&["--cleanup-only"], &[]),
    ] {
        for flag in [&["--log-format", "json"][..], &["--log-format=json"]] {
            let output = Intercept::linkerd(flag).with(args).run(&namespace);
            let mut found = Vec::new();
            for line in stderr(&output).lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                let keys: Vec<_> = line.as_object().unwrap().keys().collect();
                let expected = ["error", "level", "msg", "time"];
                assert_eq!(keys, expected[usize::from(line["level"] != "error")..]);
                found.push(line["level"].as_str().unwrap().to_owned());
            }
            assert_eq!(found, levels, "{args:?}");
        }
    }
    // As with Linkerd, any other format is plain.
    let output = Intercept::linkerd(&CHART).with(&["--log-format", "fancy"]).run(&namespace);
    assert_eq!(stderr(&output), format!("info: {NATIVE}\n"));
}

#[test]
fn the_result_can_be_json() {
    let Some(namespace) = place() else { return };
    for (flags, done, counts) in [
        (&[][..], "applied", [1, 4, 8]),
        (&["--check"], "valid", [1, 4, 8]),
        (&["--cleanup-only"], "removed", [0; 3]),
    ] {
        let line = Intercept::linkerd(&CHART).with(&["--output=json"]).with(flags).apply(&namespace);
        let result: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(result["result"], done);
        assert_eq!(["tables", "chains", "rules"].map(|key| &result[key]), counts.map(Value::from).each_ref());
    }
}

#[test]
fn the_machines_own_namespace_is_left_alone() {
    let Some((namespace, _other)) = crate::families::with_links(&["10.0.0.2"], &[]) else { return };
    if !oracle("nft") {
        return;
    }
    let core = tempfile::tempdir().unwrap();
    fs::write(core.path().join("netdev_max_backlog"), "1000\n").unwrap();
    let on_the_machine =
        |args: &[&str]| Intercept::linkerd(&CHART).with(args).folder(core.path(), "/proc/sys/net/core");
    for args in [&[][..], &["--check"], &["--timeout-close-wait-secs", "9"]] {
        let output = on_the_machine(args).run(&namespace);
        assert!(
            stderr(&output).contains("this is the machine's own network namespace"),
            "{}",
            stderr(&output)
        );
        assert_eq!(output.status.code(), Some(1));
    }
    assert!(objects(&namespace).is_empty());
    assert_ne!(close_wait(&namespace), "9");
    on_the_machine(&["--allow-host-network"]).apply(&namespace);
    assert!(!objects(&namespace).is_empty());
}

// How long connections that one side has closed are remembered.

/// The setting in seconds, in a namespace.
fn close_wait(namespace: &Namespace) -> String {
    let file = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait";
    namespace.run(|| fs::read_to_string(file)).unwrap().trim().to_owned()
}

const PORTS: [&str; 4] = ["-p", "4143", "-o", "4140"];

#[test]
fn the_timeout_is_set_in_the_pods_namespace_and_only_when_rules_are_applied() {
    let (Some(namespace), Some(other)) = (place(), place()) else { return };
    let default = close_wait(&namespace);
    let command = || Intercept::linkerd(&PORTS).with(&["--timeout-close-wait-secs", "3600"]);
    for flag in ["--simulate", "--check", "--cleanup-only", "--timeout-close-wait-secs=0"] {
        command().with(&[flag]).apply(&namespace);
        assert_eq!(close_wait(&namespace), default, "{flag}");
    }
    let output = command().run(&namespace);
    let text = "net.netfilter.nf_conntrack_tcp_timeout_close_wait is 3600";
    assert_eq!(stderr(&output), format!("info: {text}\n"));
    assert_eq!((close_wait(&namespace).as_str(), close_wait(&other)), ("3600", default));

    Intercept::linkerd(&PORTS)
        .with(&["--timeout-close-wait-secs", "42", "--netns", &other.path()])
        .apply(&namespace);
    assert_eq!([close_wait(&namespace), close_wait(&other)], ["3600", "42"]);
}

#[test]
fn where_the_timeout_cannot_be_set_no_rule_is_applied() {
    let Some(namespace) = place() else { return };
    let command = |seconds| Intercept::linkerd(&PORTS).with(&["--timeout-close-wait-secs", seconds]);
    let cannot = "error: cannot set net.netfilter.nf_conntrack_tcp_timeout_close_wait to";
    let read_only = command("60").read_only("/proc/sys");
    let nobody = command("60").user(User { uid: 65534, gid: 65534 });
    for (command, text) in [
        (
            read_only,
            format!(
                "{cannot} 60: EROFS: Read-only file system\nhelp: /proc/sys is read-only in a container that is not \
                 privileged; give this one securityContext: {{privileged: true, runAsUser: 0}}, or set it for the \
                 whole pod by spec.securityContext.sysctls, where the kubelet allows that (its setting allowedUnsafeSysctls)\n"
            ),
        ),
        (
            nobody,
            format!(
                "{cannot} 60: EACCES: Permission denied\nhelp: CAP_NET_ADMIN is needed in the user namespace that owns \
                 this network namespace, or the user that owns /proc; in a pod, securityContext: {{privileged: true, \
                 runAsUser: 0}}\n"
            ),
        ),
        (
            command("4294967295"),
            format!(
                "{cannot} 4294967295: EINVAL: Invalid argument\nhelp: the kernel cannot count so many seconds\n"
            ),
        ),
    ] {
        let output = command.run(&namespace);
        assert_eq!(stderr(&output), text);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        assert!(objects(&namespace).is_empty());
    }
}
