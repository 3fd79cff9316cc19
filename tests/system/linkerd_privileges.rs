//! Linkerd's init container and its network validator, with the privileges that a pod gives them.

use crate::harness::nft::objects;
use crate::harness::{Intercept, Namespace, Pod, User, V4, captured, oracle, privileged};
use crate::linkerd_invocation::{CHART, NATIVE};

/// What an image's file may carry, so that it can be executed without them, too: permitted and inheritable, and no
/// effective bit.
const FILE: &str = "cap_net_admin,cap_net_raw=ip";

/// What becomes of a container's process that is this user and may have these capabilities: permitted, but not passed
/// on to what it executes, as of containerd's and CRI-O's runtimes.
fn container(user: &str, capabilities: &str) -> Vec<String> {
    let (reuid, regid) = (format!("--reuid={user}"), format!("--regid={user}"));
    let bounds = format!("--bounding-set=-all{capabilities}");
    ["setpriv", &reuid, &regid, "--clear-groups", "--inh-caps=-all", &bounds].map(str::to_owned).into()
}

fn through(command: Intercept, starter: &[String]) -> Intercept {
    command.through(&starter.iter().map(String::as_str).collect::<Vec<_>>())
}

fn place() -> Option<Namespace> {
    let oracles = ["nft", "setpriv", "setcap"];
    (privileged() && oracles.into_iter().all(oracle)).then(Namespace::new)
}

#[track_caller]
fn assert_applies(command: Intercept) {
    let namespace = Namespace::new();
    command.apply(&namespace);
    assert!(!objects(&namespace).is_empty());
}

#[test]
fn a_file_with_capabilities_serves_whoever_the_container_runs_as() {
    if place().is_none() {
        return;
    }
    for user in ["65534", "2102", "0"] {
        for capabilities in [",+net_admin,+net_raw", ",+net_admin"] {
            for more in [&[][..], &["--no-new-privs"]] {
                let more = more.iter().map(ToString::to_string);
                let starter: Vec<_> = container(user, capabilities).into_iter().chain(more).collect();
                let command =
                    Intercept::linkerd(&CHART).file_capabilities(FILE).read_only("/").read_only("/etc");
                assert_applies(through(command.by_name("linkerd2-proxy-init"), &starter));
            }
        }
    }
}

#[test]
fn a_user_with_ambient_capabilities_needs_none_in_the_file() {
    if place().is_none() {
        return;
    }
    for capabilities in [",+net_admin,+net_raw", ",+net_admin"] {
        let mut starter = container("65534", capabilities);
        starter.retain(|word| word != "--inh-caps=-all");
        starter.push(format!("--inh-caps=-all{capabilities}"));
        starter.push(format!("--ambient-caps=-all{capabilities}"));
        starter.push("--no-new-privs".to_owned());
        assert_applies(through(Intercept::linkerd(&CHART).read_only("/").read_only("/etc"), &starter));
    }
}

#[test]
fn the_timeout_needs_no_more_where_proc_can_be_written() {
    if place().is_none() {
        return;
    }
    let command =
        Intercept::linkerd(&CHART).with(&["--timeout-close-wait-secs", "3600"]).file_capabilities(FILE);
    assert_applies(through(command, &container("65534", ",+net_admin,+net_raw")));
}

#[test]
fn without_privileges_the_missing_one_is_named() {
    let Some(namespace) = place() else { return };
    let text = format!(
        "info: {NATIVE}\nerror: the kernel refused the ruleset: EPERM: Operation not permitted\nhelp: CAP_NET_ADMIN is needed in the \
         user namespace that owns this network namespace; a pod gets it by securityContext.capabilities.add: \
         [NET_ADMIN]\n"
    );
    let with_file = || Intercept::linkerd(&CHART).file_capabilities(FILE);
    let without = || Intercept::linkerd(&CHART);
    for (command, starter) in [
        // Nothing may be had, though the file offers it.
        (with_file(), container("1337", "")),
        (with_file(), container("65534", "")),
        (with_file(), container("65534", ",+net_raw")),
        (without(), container("0", "")),
        (without(), container("0", ",+net_raw")),
        // It could be had, but nobody passes it on.
        (without(), container("65534", ",+net_admin,+net_raw")),
    ] {
        let output = through(command, &starter).run(&namespace);
        assert_eq!(String::from_utf8_lossy(&output.stderr), text, "{starter:?}");
        assert_eq!(output.status.code(), Some(1));
        assert!(objects(&namespace).is_empty());
    }
}

#[test]
fn looking_at_rules_needs_the_same_capabilities_and_gets_them_from_the_file() {
    let Some(namespace) = place() else { return };
    Intercept::linkerd(&CHART).apply(&namespace);
    let starter = container("65534", ",+net_admin,+net_raw");
    let verify = [&["verify", "proxy-init"], &CHART[..]].concat();
    through(Intercept::command_line(&verify).file_capabilities(FILE), &starter).apply(&namespace);
    let listed =
        through(Intercept::command_line(&["list"]).file_capabilities(FILE), &starter).apply(&namespace);
    assert!(listed.contains("table ip linkerd-proxy-init"), "{listed}");
}

#[test]
fn the_validator_needs_nothing_at_all() {
    if place().is_none() {
        return;
    }
    let Some(pod) = Pod::intercepted_by(Intercept::linkerd(&["-p", "15006", "-o", "4140", "-u", "2102"]))
    else {
        return;
    };
    let args = "validate linkerd --timeout 10s --listen-addr 0.0.0.0:4140 --connect-addr 1.1.1.1:20001";
    let args: Vec<_> = args.split_whitespace().collect();
    let command = || Intercept::command_line(&args).read_only("/").read_only("/etc");
    for user in ["1337", "65534", "1000680000"] {
        let starter = [container(user, ""), vec!["--no-new-privs".to_owned()]].concat();
        through(command(), &starter).apply(&pod.namespace);
        through(command().file_capabilities(FILE), &starter).apply(&pod.namespace);
    }
}

#[test]
fn what_an_unprivileged_container_has_made_captures_connections() {
    if place().is_none() {
        return;
    }
    let command = Intercept::linkerd(&["-p", "15006", "-o", "15001", "-u", "1337"]).file_capabilities(FILE);
    let starter = [container("65534", ",+net_admin,+net_raw"), vec!["--no-new-privs".to_owned()]].concat();
    let Some(pod) = Pod::intercepted_by(through(command, &starter)) else { return };
    assert_eq!(pod.user(User::APP).tcp(V4.peer(80)), captured(15001, V4.peer(80)));
    assert_eq!(pod.peer().tcp(V4.pod(80)), captured(15006, V4.pod(80)));
}
