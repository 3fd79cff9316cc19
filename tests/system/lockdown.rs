//! `--lockdown`: whatever the command does, it does with a few system calls and one capability.

use std::fs;
use std::process::Command;

use crate::harness::nft::{assert_same, bytecode, meaning};
use crate::harness::{Intercept, Namespace, User, Users, network, oracle};
use crate::image::static_build;
use crate::settings::{self, Setting};

const ARGS: [&str; 6] = ["-b", "*", "-i", "*", "-u", "1337"];

fn judged() -> bool {
    oracle("nft") && oracle("ip")
}

#[test]
fn every_setting_leaves_the_same() {
    if !judged() || Setting::namespace().is_none() {
        return;
    }
    for setting in settings::ALL {
        let (free, locked) = (setting.fresh(), Setting::namespace().unwrap());
        // Into nothing, and over itself.
        for flags in [&["--lockdown"][..], &["--lockdown", "--keep-counters"], &["--lockdown", "--check"]] {
            setting.command().with(flags).apply(&locked);
            assert_same(setting.args, &bytecode(&locked), &bytecode(&free));
            assert_same(setting.args, &meaning(&locked), &meaning(&free));
            assert_eq!(network(&locked), network(&free), "{}", setting.args);
        }
        let printed = setting.command().with(&["--lockdown", "--dry-run"]).apply(&locked);
        assert_eq!(printed, setting.printed("text"));
        settings::clean_up(&locked, &["--lockdown"]);
    }
}

#[test]
fn linkerds_rules_are_the_same() {
    let (Some(free), Some(locked)) = (Setting::namespace(), Setting::namespace()) else { return };
    if !judged() {
        return;
    }
    let args = ["-p", "4143", "-o", "4140", "-u", "2102", "--inbound-ports-to-ignore", "25,4000-4999"];
    let more = ["--timeout-close-wait-secs", "61"];
    Intercept::linkerd(&args).apply(&free);
    for flags in [&more[..], &["--keep-counters"], &["--check"]] {
        // The setting of the kernel is a file, and it is set before.
        Intercept::linkerd(&args).with(flags).with(&["--lockdown"]).apply(&locked);
        assert_same("linkerd", &meaning(&locked), &meaning(&free));
    }
    Intercept::linkerd(&["--cleanup-only", "--lockdown"]).apply(&locked);
    assert!(meaning(&locked).is_empty());
}

#[test]
fn in_a_namespace_that_is_named() {
    let Some(namespace) = Setting::namespace() else { return };
    let elsewhere = Namespace::new();
    let there = ["--lockdown", "--network-namespace", &namespace.path()];
    let applied = Intercept::new(&ARGS).with(&there).with(&["--output", "json"]).apply(&elsewhere);
    assert!(applied.contains("\"applied\""), "{applied}");
}

#[test]
fn as_any_user_with_the_capability() {
    let Some(namespace) = Setting::namespace() else { return };
    if !judged() || !oracle("setpriv") {
        return;
    }
    let as_nobody = [
        "setpriv",
        "--reuid=65534",
        "--clear-groups",
        "--inh-caps=-all,+net_admin",
        "--ambient-caps=-all,+net_admin",
    ];
    for args in [&["-m", "TPROXY", "--dual-stack"][..], &["--cleanup-only"]] {
        Intercept::new(&ARGS).with(args).with(&["--lockdown"]).through(&as_nobody).apply(&namespace);
    }
    // As a container has it: without the privilege to change the bounding set.
    let contained = ["setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all", "--no-new-privs"];
    Intercept::new(&ARGS).with(&["--lockdown"]).through(&contained).apply(&namespace);
    // Without it, the missing one is named as ever.
    let output =
        Intercept::new(&ARGS).with(&["--lockdown"]).user(User { uid: 65534, gid: 65534 }).run(&namespace);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && text.contains("CAP_NET_ADMIN"), "{text}");
}

#[test]
fn in_a_pod_with_users_of_its_own() {
    let Some((users, namespace)) = Users::new() else { return };
    namespace.add_addresses(&["10.0.0.2", "fd00::2"]);
    for args in [&["-m", "TPROXY", "--dual-stack"][..], &["--cleanup-only"]] {
        users.intercept(User::ROOT, &[&ARGS[..], &["--lockdown"], args].concat()).apply(&namespace);
    }
}

#[test]
fn the_proof_by_a_user_without_privileges() {
    let Some(namespace) = Setting::namespace() else { return };
    // Without a route there is nothing to prove.
    namespace.command(&["ip", "route", "add", "default", "dev", "lo"]);
    namespace.command(&["ip", "-6", "route", "add", "default", "dev", "lo"]);
    for family in [&[][..], &["--dual-stack"]] {
        let prove = || {
            let flags = ["--run-validation", "--skip-rule-apply", "--probe-timeout", "1s", "--lockdown"];
            Intercept::new(&ARGS).with(family).with(&flags).user(User::PROXY).run(&namespace)
        };
        let output = prove();
        assert_eq!(output.status.code(), Some(126), "{}", String::from_utf8_lossy(&output.stderr));
        Intercept::new(&ARGS).with(family).apply(&namespace);
        let output = prove();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        Intercept::new(&["--cleanup-only"]).apply(&namespace);
    }
}

#[test]
fn the_reason_of_a_failure_still_gets_to_kubernetes() {
    let Some(namespace) = Setting::namespace() else { return };
    let dev = tempfile::tempdir().unwrap();
    let log = dev.path().join("termination-log");
    fs::write(&log, "what was there before, and is longer than any error message of ours, ".repeat(20))
        .unwrap();
    let output = Intercept::new(&ARGS)
        .with(&["--lockdown", "--network-namespace", &namespace.path()])
        .folder(dev.path(), "/dev")
        .user(User { uid: 0, gid: 0 })
        .through(&["/usr/bin/setpriv", "--bounding-set=-net_admin"])
        .run(&namespace);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.ends_with(&format!("error: {}\n", fs::read_to_string(&log).unwrap())), "{stderr}");
}

/// After the filter, no call is refused by it: whatever is needed is allowed.
#[test]
fn nothing_that_is_needed_is_refused() {
    let Some(namespace) = Setting::namespace() else { return };
    if !oracle("strace") {
        return;
    }
    for args in
        [&ARGS[..], &["-b", "*", "-m", "TPROXY", "--dual-stack", "--keep-counters"], &["--cleanup-only"]]
    {
        let trace = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("strace");
        command
            .arg("-o")
            .arg(trace.path())
            .arg(static_build())
            .args(["istio-iptables", "--lockdown"])
            .args(args);
        let output = namespace.output(&mut command, "");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let trace = fs::read_to_string(trace.path()).unwrap();
        let (before, after) = trace.split_once("seccomp(SECCOMP_SET_MODE_FILTER").unwrap();
        assert!(before.contains("capset(") && before.contains("prctl(PR_SET_NO_NEW_PRIVS, 1"), "{before}");
        assert!(after.contains("NFNL_MSG_BATCH_BEGIN") && !before.contains("NETLINK_"), "{trace}");
        let refused: Vec<_> = after.lines().filter(|line| line.contains("EPERM")).collect();
        assert!(refused.is_empty(), "{args:?}: {refused:#?}");
    }
}
