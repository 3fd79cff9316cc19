//! `meshwire doctor`: what it says of this kernel, as whom, and where.

use std::process::Output;

use serde_json::Value;

use crate::harness::nft::objects;
use crate::harness::{Intercept, Namespace, User, Users, network, oracle};
use crate::settings::Setting;

const NOBODY: User = User { uid: 65534, gid: 65534 };
const SUBJECTS: [&str; 13] = [
    "kernel",
    "privileges",
    "user namespace",
    "network namespace",
    "nf_tables",
    "IPv6",
    "policy routing",
    "send buffer",
    "conntrack",
    "modules",
    "… of iptables",
    "a mesh's rules",
    "others' rules",
];

fn doctor(args: &[&str]) -> Intercept {
    Intercept::command_line(&[&["doctor"], args].concat())
}

/// How it ends, and what it says as JSON.
#[track_caller]
fn json(command: Intercept, namespace: &Namespace) -> (Option<i32>, Value) {
    let Output { status, stdout, stderr } = command.with(&["--output", "json"]).run(namespace);
    assert_eq!(String::from_utf8_lossy(&stderr), "");
    (status.code(), serde_json::from_slice(&stdout).unwrap())
}

#[track_caller]
fn finding<'a>(report: &'a Value, subject: &str) -> &'a Value {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["subject"] == subject).unwrap()
}

#[track_caller]
fn verdict<'a>(report: &'a Value, subject: &str) -> &'a str {
    finding(report, subject)["verdict"].as_str().unwrap()
}

/// The answers about features: how many of each.
fn answers(report: &Value, answer: &str) -> usize {
    let features = finding(report, "nf_tables")["facts"]["features"].as_array().unwrap();
    features.iter().filter(|feature| feature["answer"] == answer).count()
}

#[test]
fn it_says_what_can_run_and_changes_nothing() {
    let Some(namespace) = Setting::namespace() else { return };
    if !oracle("nft") || !oracle("ip") {
        return;
    }
    let before = (objects(&namespace), network(&namespace));
    let (code, report) = json(doctor(&[]), &namespace);
    assert_eq!((code, &report["can_run"]), (Some(0), &Value::Bool(true)), "{report:#}");
    assert!(answers(&report, "works") > 15 && answers(&report, "missing") == 0, "{report:#}");
    assert_eq!(finding(&report, "nf_tables")["facts"]["asked"], "throwaway namespace");
    assert_eq!((objects(&namespace), network(&namespace)), before);
}

/// What programs read stays as it is: keys come, and none goes.
#[test]
fn the_schema_of_its_json() {
    let Some(namespace) = Setting::namespace() else { return };
    let (_, report) = json(doctor(&[]), &namespace);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&report), ["can_run", "findings", "profiles"]);
    let subjects: Vec<_> = report["findings"].as_array().unwrap().iter().map(|one| &one["subject"]).collect();
    assert_eq!(subjects, SUBJECTS);
    for finding in report["findings"].as_array().unwrap() {
        assert_eq!(keys(finding), ["advice", "facts", "says", "subject", "verdict"]);
        assert!(["ok", "unknown", "warning", "no"].contains(&finding["verdict"].as_str().unwrap()));
    }
    for profile in report["profiles"].as_array().unwrap() {
        assert_eq!(keys(profile), ["profile", "reasons", "verdict"]);
    }
    for feature in finding(&report, "nf_tables")["facts"]["features"].as_array().unwrap() {
        assert_eq!(keys(feature), ["answer", "kind", "module", "name", "option", "reason", "since"]);
    }
    for (subject, keys_of_it) in [
        ("kernel", &["oldest", "release"][..]),
        ("privileges", &["capabilities", "rules"]),
        ("user namespace", &["of_its_own"]),
        ("network namespace", &["links_to_others", "of_the_machine"]),
        ("nf_tables", &["asked", "features", "loaded_by_asking"]),
        ("IPv6", &["on"]),
        ("policy routing", &["ipv4", "ipv6"]),
        ("send buffer", &["largest_ruleset_bytes", "wmem_max"]),
        ("conntrack", &["count", "max"]),
        ("a mesh's rules", &["nf_tables"]),
        ("others' rules", &["legacy_iptables", "nf_tables"]),
    ] {
        assert_eq!(keys(&finding(&report, subject)["facts"]), keys_of_it, "{subject}");
    }
}

#[test]
fn the_text_is_one_screen_with_the_verdict_first() {
    let Some(namespace) = Setting::namespace() else { return };
    for command in [doctor(&[]), doctor(&[]).user(NOBODY)] {
        let text = String::from_utf8(command.run(&namespace).stdout).unwrap();
        assert!(text.lines().count() <= 40 && text.lines().all(|line| line.chars().count() <= 100), "{text}");
        for subject in SUBJECTS {
            let is_it = |line: &&str| line.get(9..).is_some_and(|rest| rest.starts_with(subject));
            let line = text.lines().find(is_it).unwrap_or_else(|| panic!("{subject} in {text}"));
            assert!(["ok", "unknown", "warning", "no"].contains(&line[..9].trim_end()), "{line}");
        }
        assert!(text.contains("\nWhat can run here\n") && !text.contains('\x1b'), "{text}");
    }
}

#[test]
fn a_profile_limits_it() {
    let Some(namespace) = Setting::namespace() else { return };
    let (code, report) = json(doctor(&["--profile", "ambient-host"]), &namespace);
    assert_eq!(code, Some(0));
    let profiles = report["profiles"].as_array().unwrap();
    assert_eq!((profiles.len(), &profiles[0]["profile"]), (1, &Value::from("ambient-host")));
    let features = finding(&report, "nf_tables")["facts"]["features"].as_array().unwrap();
    assert!(!features.iter().any(|feature| feature["name"] == "tproxy"), "{features:#?}");
    let output = doctor(&["--profile", "nothing"]).run(&namespace);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn without_privileges_it_says_what_it_sees_and_what_not() {
    let Some(namespace) = Setting::namespace() else { return };
    let (code, report) = json(doctor(&[]).user(NOBODY), &namespace);
    assert_eq!((code, &report["can_run"]), (Some(1), &Value::Bool(false)));
    assert_eq!(verdict(&report, "privileges"), "no");
    let advice = finding(&report, "privileges")["advice"][0].as_str().unwrap();
    assert!(advice.contains("securityContext.capabilities.add: [NET_ADMIN]"), "{advice}");
    assert_eq!(verdict(&report, "others' rules"), "unknown");
    for seen in ["kernel", "IPv6", "policy routing", "user namespace", "network namespace"] {
        assert_eq!(verdict(&report, seen), "ok", "{seen}");
    }
    for profile in report["profiles"].as_array().unwrap() {
        assert_eq!(profile["verdict"], "no");
    }
}

/// As an init container has it: no throwaway namespace can be made, not even one with users of its own.
#[test]
fn with_nothing_but_net_admin_it_asks_here_if_it_may() {
    let Some(namespace) = Setting::namespace() else { return };
    if !oracle("setpriv") || !oracle("sh") || !oracle("nft") {
        return;
    }
    let Some((users, own)) = Users::new() else { return };
    drop((users, own));
    // No further user namespace in this one, and then only NET_ADMIN of its root.
    let forbid = "echo 0 >/proc/sys/user/max_user_namespaces && echo 0 >/proc/sys/user/max_net_namespaces && \
                  exec setpriv --bounding-set=-all,+net_admin --inh-caps=-all \"$@\"";
    let starter = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", forbid, "sh"];
    let (code, report) = json(doctor(&[]).through(&starter), &namespace);
    assert_eq!(code, Some(1), "{report:#}");
    assert_eq!(finding(&report, "privileges")["facts"]["capabilities"], Value::from(vec!["NET_ADMIN"]));
    assert_eq!(finding(&report, "nf_tables")["facts"]["asked"], "nowhere");
    assert_eq!(answers(&report, "works"), 0);
    let advice = finding(&report, "nf_tables")["advice"][0].as_str().unwrap();
    assert!(advice.contains("--probe-here"), "{advice}");

    let (code, report) = json(doctor(&["--probe-here"]).through(&starter), &namespace);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(finding(&report, "nf_tables")["facts"]["asked"], "here");
    assert!(answers(&report, "works") > 15 && answers(&report, "missing") == 0);
}

#[test]
fn in_a_pod_with_users_of_its_own_it_can_run() {
    let Some((users, namespace)) = Users::new() else { return };
    let (code, report) = json(users.start(User::ROOT, doctor(&[])), &namespace);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(finding(&report, "user namespace")["facts"]["of_its_own"], true);
    assert!(finding(&report, "send buffer")["says"].as_str().unwrap().starts_with("rulesets up to "));
    // Root of the pod is nobody in the network namespace of another one.
    let other = Namespace::new();
    let (code, report) = json(users.start(User::ROOT, doctor(&[])), &other);
    assert_eq!(code, Some(1), "{report:#}");
    let advice = finding(&report, "privileges")["advice"][0].as_str().unwrap();
    assert!(advice.contains("belongs to another user namespace"), "{advice}");
}

#[test]
fn it_looks_into_another_namespace() {
    let Some(pod) = Setting::namespace() else { return };
    if !oracle("nft") {
        return;
    }
    pod.feed(
        &["nft", "-f", "-"],
        "table inet firewalld { }\ntable inet istio-proxy-nat { }\ntable ip linkerd-proxy-init { }\n\
         table inet istio-of-somebody { }\ntable inet meshwire-trace { }\ntable ip nat { chain DOCKER { }\n chain KUBE-SERVICES { }\n }\n",
    );
    let elsewhere = Namespace::new();
    let path = pod.path();
    let (code, report) = json(doctor(&["--netns", &path]), &elsewhere);
    assert_eq!(code, Some(0));
    assert_eq!(verdict(&report, "others' rules"), "warning");
    let advice = finding(&report, "others' rules")["advice"].to_string();
    for owner in [
        "firewalld: table inet firewalld",
        "Docker (iptables): table ip nat",
        "kube-proxy or the kubelet",
        "istio-of-somebody",
    ] {
        assert!(advice.contains(owner), "{owner} in {advice}");
    }
    // A mesh's own tables are not others'.
    let ours = ["inet istio-proxy-nat", "inet meshwire-trace", "ip linkerd-proxy-init"];
    assert_eq!(finding(&report, "a mesh's rules")["facts"]["nf_tables"], serde_json::json!(ours));
    assert_eq!(verdict(&report, "a mesh's rules"), "ok");
    assert!(ours.iter().all(|table| !advice.contains(table)), "{advice}");
    let (_, report) = json(doctor(&[]), &elsewhere);
    assert_eq!(verdict(&report, "others' rules"), "ok");
    let output = doctor(&["--netns", "/run/netns/nowhere"]).run(&elsewhere);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
}

/// With only what needs no module asked; what that is depends on the kernel's build.
#[test]
fn without_autoload_it_asks_no_more_than_it_may() {
    let Some(namespace) = Setting::namespace() else { return };
    let modules = || std::fs::read_to_string("/proc/modules").unwrap_or_default();
    let names = |text: String| {
        text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = names(modules());
    let (_, report) = json(doctor(&["--no-autoload"]), &namespace);
    assert_eq!(names(modules()), before);
    assert!(answers(&report, "works") + answers(&report, "not asked") > 15, "{report:#}");
    if before.is_empty() {
        assert_eq!(answers(&report, "not asked"), 0, "a kernel without modules loads none");
    }
}
