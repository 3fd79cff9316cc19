//! Pods as they are in clusters: with users of their own, or with a user that nobody knows; with rules by the thousand;
//! with an IPv6 that does not work everywhere.

use std::fs;
use std::process::Output;

use crate::families::with_links;
use crate::harness::nft::{assert_same, meaning, objects};
use crate::harness::{
    BOTH, Intercept, Namespace, Pod, User, Users, V4, captured, network, oracle, outside, skip, straight,
};
use crate::settings::Setting;

/// What the kernel takes in one message to it without being asked for more: twice net.core.wmem_default's default, less
/// what it keeps for itself.
const DEFAULT_LIMIT: usize = 212_960;

const ARGS: [&str; 5] = ["--dual-stack", "-i", "*", "-b", "*"];

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The proxy is who the pod takes it for, and all others are captured.
fn assert_captured(pod: &Pod) {
    for ip in BOTH {
        let (app, proxy) = (pod.user(outside(User::APP)), pod.user(outside(User::PROXY)));
        assert_eq!(proxy.tcp(ip.peer(80)), straight(ip.peer(80)));
        assert_eq!(app.tcp(ip.peer(80)), captured(15001, ip.peer(80)));
        assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
        assert_eq!(proxy.tcp(ip.pod(80)), captured(15006, ip.pod(80)));
        // Outside, 1337 is somebody else.
        assert_eq!(pod.proxy().tcp(ip.peer(80)), captured(15001, ip.peer(80)));
    }
}

#[test]
fn a_pod_with_users_of_its_own_is_programmed_from_within() {
    let Some((users, namespace)) = Users::new() else { return };
    let pod = Pod::inside(namespace, &BOTH);
    for _ in 0..2 {
        users.intercept(User::ROOT, &ARGS).apply(&pod.namespace);
        assert_captured(&pod);
    }
    users.intercept(User::ROOT, &["--cleanup-only"]).apply(&pod.namespace);
    assert_eq!(pod.user(outside(User::APP)).tcp(V4.peer(80)), straight(V4.peer(80)));
}

#[test]
fn a_pod_with_users_of_its_own_is_programmed_from_outside() {
    let Some((_users, namespace)) = Users::new() else { return };
    let pod = Pod::inside(namespace, &BOTH);
    let elsewhere = Namespace::new();
    let there = ["--network-namespace", &pod.namespace.path()];
    for _ in 0..2 {
        Intercept::new(&[&ARGS[..], &there].concat()).apply(&elsewhere);
        assert_captured(&pod);
    }
}

#[test]
fn within_and_without_leave_the_same() {
    let Some((users, within)) = Users::new() else { return };
    let Some(without) = Setting::namespace() else { return };
    if !oracle("nft") || !oracle("ip") {
        return;
    }
    within.add_addresses(&["10.0.0.2", "fd00::2"]);
    let args = [&ARGS[..], &["-m", "TPROXY", "--redirect-dns", "--capture-all-dns"]].concat();
    users.intercept(User::ROOT, &args).apply(&within);
    Intercept::new(&args).apply(&without);
    assert_same("within a user namespace", &meaning(&within), &meaning(&without));
    assert_eq!(network(&within), network(&without));
}

// A user without privileges.

/// As OpenShift has them: no such user is in any file.
const ARBITRARY: User = User { uid: 1_000_680_000, gid: 0 };

#[test]
fn an_unknown_user_can_list() {
    let Some(namespace) = Setting::namespace() else { return };
    let by_root = Intercept::new(&ARGS).with(&["--dry-run"]).apply(&namespace);
    assert_eq!(Intercept::new(&ARGS).with(&["--dry-run"]).user(ARBITRARY).apply(&namespace), by_root);
    let output = Intercept::new(&ARGS).with(&["--skip-rule-apply"]).user(ARBITRARY).run(&namespace);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", stderr(&output));

    let output = Intercept::new(&["-p", "70000"]).user(ARBITRARY).run(&namespace);
    assert_eq!(stderr(&output), "error: --envoy-port: \"70000\" is not a port (0 to 65535)\n");
}

#[test]
fn an_unknown_user_can_validate_the_interception() {
    let Some(namespace) = Setting::namespace() else { return };
    let proxy = ARBITRARY.uid.to_string();
    for args in [&["-u", &proxy, "-b", "*"][..], &["-u", &proxy, "-b", "*", "--dual-stack"]] {
        let prove = || {
            let flags = ["--run-validation", "--skip-rule-apply", "--probe-timeout", "1s"];
            Intercept::new(args).with(&flags).user(ARBITRARY).run(&namespace)
        };
        let output = prove();
        assert_eq!(output.status.code(), Some(126), "{}", stderr(&output));
        Intercept::new(args).apply(&namespace);
        let output = prove();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        Intercept::new(&["--cleanup-only"]).apply(&namespace);
    }
}

// Rules by the thousand.

/// What a process may ask for at most without privileges outside its user namespace: twice this.
fn most_allowed() -> usize {
    let limit = fs::read_to_string("/proc/sys/net/core/wmem_max").unwrap();
    limit.trim().parse().unwrap()
}

/// Networks, as a list.
fn networks(count: usize) -> String {
    (0..count)
        .map(|number| format!("10.{}.{}.0/24", number / 256, number % 256))
        .collect::<Vec<_>>()
        .join(",")
}

/// Ports, as a list. Two rules for each: more does not fit into an argument.
fn ports(count: usize) -> String {
    (1..=count).map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

fn bytes_sent(result: &str) -> usize {
    let (_, rest) = result.split_once("bytes ").unwrap();
    rest.split(',').next().unwrap().parse().unwrap()
}

#[test]
fn thousands_of_networks_are_one_transaction_also_without_privileges_outside() {
    let Some((users, namespace)) = Users::new() else { return };
    let pod = Pod::inside(namespace, &BOTH);
    let networks = format!("10.1.0.1/32,{}", networks(2_000));
    let args = ["--dual-stack", "-i", "*", "-b", "*", "-x", &networks];
    let by_root = bytes_sent(&Intercept::new(&args).apply(&Namespace::with_addresses(&["fd00::2"])));
    assert!(by_root > 2 * DEFAULT_LIMIT, "{by_root}");
    if by_root > 2 * most_allowed() {
        skip("net.core.wmem_max is too low");
        return;
    }
    // Into nothing, over itself, and looking at what exists.
    for flags in [&[][..], &[], &["--keep-counters"], &["--check"]] {
        users.intercept(User::ROOT, &args).with(flags).apply(&pod.namespace);
        let app = pod.user(outside(User::APP));
        assert_eq!(app.tcp(V4.elsewhere(80)), straight(V4.elsewhere(80)));
    }
}

#[test]
fn more_than_the_kernel_grants_is_refused_with_the_limit() {
    let Some((users, namespace)) = Users::new() else { return };
    let pod = Pod::inside(namespace, &BOTH);
    if !oracle("nft") || !oracle("ip") {
        return;
    }
    let granted = 2 * most_allowed();
    // The rules for a port take more than 600 bytes, and an argument has room for no more than 20,000 ports.
    let count = granted / 600;
    if count > 20_000 {
        skip("net.core.wmem_max is so high that no ruleset reaches it");
        return;
    }
    let before = (objects(&pod.namespace), network(&pod.namespace));
    let args = ["--dual-stack", "-m", "TPROXY", "-b", "*", "-o", &ports(count)];
    let output = users.intercept(User::ROOT, &args).run(&pod.namespace);
    let text = stderr(&output);
    let lines: Vec<_> = text.lines().collect();
    let [.., error, help] = lines[..] else { panic!("{text}") };
    assert_eq!(output.status.code(), Some(1), "{text}");
    let needed = error.split_whitespace().find_map(|word| word.parse::<usize>().ok()).unwrap();
    assert!(needed > granted, "{error}");
    assert_eq!(
        error,
        format!(
            "error: nf_tables: the transaction needs {needed} bytes of send buffer, the kernel grants {granted} (twice \
             net.core.wmem_max)"
        )
    );
    let enough = needed.div_ceil(2);
    assert_eq!(help, format!("help: on the node: sysctl -w net.core.wmem_max={enough} (or more)"));
    assert_eq!((objects(&pod.namespace), network(&pod.namespace)), before);
    // With privileges outside it is done.
    let elsewhere = Namespace::new();
    Intercept::new(&args).with(&["--network-namespace", &pod.namespace.path()]).apply(&elsewhere);
}

// IPv6.

#[test]
fn ipv6_that_is_disabled_on_loopback_has_an_error_of_its_own() {
    let Some((namespace, _other)) = with_links(&["10.0.0.2", "fd00::2"], &[]) else {
        return;
    };
    if !oracle("nft") || !oracle("ip") {
        return;
    }
    namespace.run(|| fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1").unwrap());
    let before = network(&namespace);
    for args in [&["-b", "*"][..], &["-b", "*", "-m", "TPROXY"]] {
        let output = Intercept::new(args).with(&["--dual-stack"]).run(&namespace);
        assert_eq!(
            stderr(&output),
            "info: IPv6 on: the pod has an IPv6 address, fd00::2\n\
             error: cannot add ::6/128 to lo: EACCES: IPv6 is disabled on lo (net.ipv6.conf.lo.disable_ipv6=1)\n\
             help: set net.ipv6.conf.lo.disable_ipv6 to 0, or turn IPv6 off\n"
        );
        assert_eq!(output.status.code(), Some(1));
        assert_eq!((objects(&namespace), network(&namespace)), (Vec::new(), before.clone()));
    }
    // Without rules for IPv6 there is nothing to add, and with them nothing to remove.
    Intercept::new(&["-b", "*", "-m", "TPROXY"]).apply(&namespace);
    Intercept::new(&["--cleanup-only"]).apply(&namespace);
    assert_eq!((objects(&namespace), network(&namespace)), (Vec::new(), before));
}
