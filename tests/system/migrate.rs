//! `meshwire migrate` while connections are opened: from what Istio's and Linkerd's commands make with iptables-nft, from
//! Istio's native tables, and from another version of our rules.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use meshwire_testkit::ISTIO_AMBIENT_POD;
use nftwire::{Batch, Family, Socket};
use serde_json::Value;

use crate::harness::nft::assert_same;
use crate::harness::{
    Addresses, BOTH, Namespace, Outcome, Pod, V4, captured, full, intercept, network, nft, of_the_command,
    oracle, program, say, settle, skip,
};

/// As Istio's injector calls its command, with all DNS captured, and the same for TPROXY.
const REDIRECT: [&str; 8] =
    ["-i", "*", "-b", "*", "--redirect-dns", "--capture-all-dns", "--dual-stack", "-u1337"];
const TPROXY: [&str; 10] =
    ["-i", "*", "-b", "*", "--redirect-dns", "--capture-all-dns", "--dual-stack", "-u1337", "-m", "TPROXY"];

/// The rules that Istio's command makes of these settings with its default backend, for one family.
pub(crate) fn istios_rules(loopback: &str, passthrough: &str, tproxy: bool) -> String {
    let mangle = format!(
        "*mangle\n:ISTIO_DIVERT - [0:0]\n:ISTIO_TPROXY - [0:0]\n:ISTIO_INBOUND - [0:0]\n\
         -A ISTIO_DIVERT -j MARK --set-mark 1337\n-A ISTIO_DIVERT -j ACCEPT\n\
         -A ISTIO_TPROXY ! -d {loopback} -p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006\n\
         -A PREROUTING -p tcp -j ISTIO_INBOUND\n\
         -A ISTIO_INBOUND -p tcp -m mark --mark 1337 -j RETURN\n\
         -A ISTIO_INBOUND -p tcp -s {passthrough} -i lo -j RETURN\n\
         -A ISTIO_INBOUND -p tcp -i lo -m mark ! --mark 1338 -j RETURN\n\
         -A ISTIO_INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT\n\
         -A ISTIO_INBOUND -p tcp -j ISTIO_TPROXY\n\
         -A PREROUTING -p tcp -m mark --mark 1337 -j CONNMARK --save-mark\n\
         -A OUTPUT -p tcp -o lo -m mark --mark 1337 -j RETURN\n\
         -A OUTPUT ! -d {loopback} -p tcp -o lo -m owner --uid-owner 1337 -j MARK --set-mark 1338\n\
         -A OUTPUT ! -d {loopback} -p tcp -o lo -m owner --gid-owner 1337 -j MARK --set-mark 1338\n\
         -A OUTPUT -p tcp -m connmark --mark 1337 -j CONNMARK --restore-mark\nCOMMIT\n"
    );
    let inbound = if tproxy {
        ""
    } else {
        "-A PREROUTING -p tcp -j ISTIO_INBOUND\n-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT\n"
    };
    let owners = ["uid", "gid"].map(|owner| {
        format!(
            "-A ISTIO_OUTPUT -o lo ! -d {loopback} -p tcp -m multiport ! --dports 53,15008 -m owner --{owner}-owner 1337 -j ISTIO_IN_REDIRECT\n\
             -A ISTIO_OUTPUT -o lo -p tcp ! --dport 53 -m owner ! --{owner}-owner 1337 -j RETURN\n\
             -A ISTIO_OUTPUT -m owner --{owner}-owner 1337 -j RETURN\n"
        )
    });
    let nat = format!(
        "*nat\n:ISTIO_INBOUND - [0:0]\n:ISTIO_REDIRECT - [0:0]\n:ISTIO_IN_REDIRECT - [0:0]\n:ISTIO_OUTPUT - [0:0]\n\
         :ISTIO_OUTPUT_DNS - [0:0]\n-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN\n\
         -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001\n\
         -A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006\n{inbound}-A OUTPUT -j ISTIO_OUTPUT\n\
         -A ISTIO_OUTPUT -o lo -s {passthrough} -j RETURN\n{}{}-A ISTIO_OUTPUT -j ISTIO_OUTPUT_DNS\n\
         -A ISTIO_OUTPUT_DNS -p udp --dport 53 -m owner --uid-owner 1337 -j RETURN\n\
         -A ISTIO_OUTPUT_DNS -p udp --dport 53 -m owner --gid-owner 1337 -j RETURN\n\
         -A ISTIO_OUTPUT_DNS -p tcp --dport 53 -j REDIRECT --to-ports 15053\n\
         -A ISTIO_OUTPUT_DNS -p udp --dport 53 -j REDIRECT --to-ports 15053\n\
         -A ISTIO_OUTPUT -d {loopback} -j RETURN\n-A ISTIO_OUTPUT -j ISTIO_REDIRECT\n\
         -A OUTPUT -p udp --dport 9 -j ACCEPT\nCOMMIT\n",
        owners[0], owners[1]
    );
    let raw = "*raw\n:ISTIO_OUTPUT_DNS - [0:0]\n:ISTIO_INBOUND - [0:0]\n-A OUTPUT -j ISTIO_OUTPUT_DNS\n\
         -A ISTIO_OUTPUT_DNS -p udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1\n\
         -A ISTIO_OUTPUT_DNS -p udp --sport 15053 -m owner --uid-owner 1337 -j CT --zone 2\n\
         -A ISTIO_OUTPUT_DNS -p udp --dport 53 -m owner --gid-owner 1337 -j CT --zone 1\n\
         -A ISTIO_OUTPUT_DNS -p udp --sport 15053 -m owner --gid-owner 1337 -j CT --zone 2\n\
         -A PREROUTING -j ISTIO_INBOUND\n-A ISTIO_OUTPUT_DNS -p udp --dport 53 -j CT --zone 2\n\
         -A ISTIO_INBOUND -p udp --sport 53 -j CT --zone 1\nCOMMIT\n";
    let mangle = if tproxy { mangle } else { String::new() };
    format!("{mangle}{nat}{raw}")
}

/// A pod with the rules of Istio's command, and its routes; none where iptables cannot make them.
pub(crate) fn istios_pod(tproxy: bool) -> Option<Pod> {
    if !(oracle("iptables-nft") && oracle("ip") && oracle("nft")) {
        return None;
    }
    let pod = Pod::new(&BOTH)?;
    for (command, loopback, passthrough) in [
        ("iptables-nft-restore", "127.0.0.1/32", "127.0.0.6/32"),
        ("ip6tables-nft-restore", "::1/128", "::6/128"),
    ] {
        let rules = istios_rules(loopback, passthrough, tproxy);
        let made = pod.namespace.output(Command::new(command).arg("--noflush"), &rules);
        if !made.status.success() {
            skip(&format!("this kernel lacks some of iptables: {}", String::from_utf8_lossy(&made.stderr)));
            return None;
        }
    }
    let mut commands = vec!["address add ::6/128 dev lo"];
    if tproxy {
        commands.extend([
            "rule add fwmark 1337 lookup 133",
            "route add local default dev lo table 133",
            "-6 rule add fwmark 1337 lookup 133",
            "-6 route add local default dev lo table 133",
        ]);
    }
    for command in commands {
        ip(&pod.namespace, command);
    }
    settle(&pod.namespace);
    Some(pod)
}

fn ip(namespace: &Namespace, command: &str) {
    let words: Vec<_> = ["ip"].into_iter().chain(command.split(' ')).collect();
    namespace.command(&words);
}

fn migrate(namespace: &Namespace, before: &[&str], command: &str, settings: &[&str]) -> Output {
    let words = [&["migrate"], before, &[command], settings].concat();
    namespace.output(Command::new(program()).args(words).env_clear(), "")
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn ruleset(namespace: &Namespace) -> String {
    namespace.command(&["nft", "-s", "list", "ruleset"])
}

/// Opens connections without a pause while `change` runs, and asks on others that were open before: all of it is
/// intercepted, and none is cut. Returns how many were opened.
fn under_traffic(pod: &Pod, change: impl FnOnce()) -> usize {
    let (ended, opened) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ways: [&(dyn Fn(Addresses) -> (Outcome, Outcome) + Sync); 3] = [
        &|ip| (pod.app().tcp(ip.peer(80)), captured(15001, ip.peer(80))),
        &|ip| (pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80))),
        &|ip| (pod.app().udp(ip.peer(53)), captured(15053, ip.peer(53))),
    ];
    let mut open: Vec<_> = BOTH
        .iter()
        .flat_map(|ip| [pod.app().open(ip.peer(80)).unwrap(), pod.peer().open(ip.pod(80)).unwrap()])
        .collect();
    let before: Vec<_> = open.iter_mut().map(|connection| connection.ask().unwrap()).collect();
    thread::scope(|scope| {
        let (ended, opened) = (&ended, &opened);
        let openers: Vec<_> = ways
            .into_iter()
            .flat_map(|way| BOTH.map(|ip| (way, ip)))
            .map(|(way, ip)| {
                scope.spawn(move || {
                    while !ended.load(Ordering::Relaxed) {
                        let (came, wanted) = way(ip);
                        assert_eq!(came, wanted);
                        opened.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        // One flow of UDP lasts all the time.
        let flow = scope.spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let flow = pod.app().from(V4.pod(20000));
                assert_eq!(flow.udp(V4.peer(53)), captured(15053, V4.peer(53)));
            }
        });
        thread::sleep(Duration::from_millis(200));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(change));
        thread::sleep(Duration::from_millis(200));
        ended.store(true, Ordering::Relaxed);
        for opener in openers {
            opener.join().unwrap();
        }
        flow.join().unwrap();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    for (connection, before) in open.iter_mut().zip(before) {
        let after = connection.ask().unwrap();
        assert_eq!((after.listener, after.original), (before.listener, before.original));
    }
    opened.into_inner()
}

/// What the command makes where nothing existed before.
fn alone(settings: &[&str]) -> (String, Vec<String>) {
    let pod = Pod::new(&BOTH).unwrap();
    intercept(&pod.namespace, settings);
    (ruleset(&pod.namespace), of_the_command(&network(&pod.namespace)))
}

fn from_iptables(tproxy: bool, settings: &[&str]) {
    for _ in 0..if full() { 20 } else { 2 } {
        let Some(pod) = istios_pod(tproxy) else { return };
        let opened = under_traffic(&pod, || {
            let said = succeeded(&migrate(&pod.namespace, &[], "istio-iptables", settings));
            assert!(said.contains("removed: table ip nat of iptables-nft: ISTIO_INBOUND, "), "{said}");
            assert!(said.contains("counters of the old rules:\ntable ip "), "{said}");
            assert!(said.contains("  chain ISTIO_REDIRECT rule 1: packets "), "{said}");
        });
        let (rules, left) = (ruleset(&pod.namespace), of_the_command(&network(&pod.namespace)));
        assert!(!rules.contains("ISTIO_"), "{rules}");
        // What is somebody else's stays, and nothing else does.
        assert_eq!(rules.matches("udp dport 9 counter accept").count(), 2, "{rules}");
        let (ours, network) = alone(settings);
        assert!(rules.contains(&ours), "{rules}\n{ours}");
        assert_eq!(left, network);
        for command in ["iptables-nft", "ip6tables-nft"] {
            let mangle = pod.namespace.command(&[command, "-t", "mangle", "-S"]);
            assert!(!mangle.contains("-A "), "{mangle}");
        }
        say(&format!("{opened} connections during a migration"));
    }
}

#[test]
fn from_istios_iptables_rules_under_traffic() {
    from_iptables(false, &REDIRECT);
}

#[test]
fn from_istios_iptables_rules_with_tproxy_under_traffic() {
    from_iptables(true, &TPROXY);
}

#[test]
fn from_istios_native_tables_under_traffic() {
    let Some(pod) = Pod::new(&BOTH).filter(|_| oracle("nft")) else { return };
    let native = [&TPROXY[..], &["--native-nftables"]].concat();
    intercept(&pod.namespace, &native);
    let opened = under_traffic(&pod, || {
        succeeded(&migrate(&pod.namespace, &[], "istio-iptables", &TPROXY));
    });
    assert_eq!(ruleset(&pod.namespace), alone(&TPROXY).0);
    say(&format!("{opened} connections"));
}

/// Another version of our rules: the same, but its base chains have other names and priorities.
#[test]
fn from_another_version_whose_base_chains_differ_under_traffic() {
    let Some(pod) = Pod::new(&BOTH).filter(|_| oracle("nft")) else { return };
    intercept(&pod.namespace, &REDIRECT);
    let (ours, meaning) = (ruleset(&pod.namespace), nft::meaning(&pod.namespace));
    let other = ours
        .replace("chain output {", "chain old-output {")
        .replace("hook prerouting priority dstnat;", "hook prerouting priority -105;")
        .replace("hook prerouting priority raw;", "hook prerouting priority -310;");
    assert_ne!(ours, other);
    pod.namespace.feed(&["nft", "-f", "-"], &format!("flush ruleset\n{other}"));
    let steps = succeeded(&migrate(&pod.namespace, &["--dry-run"], "istio-iptables", &REDIRECT));
    assert!(
        steps.contains("bridge: ") && steps.contains("goes: inet istio-proxy-nat old-output\n"),
        "{steps}"
    );
    let opened = under_traffic(&pod, || {
        succeeded(&migrate(&pod.namespace, &[], "istio-iptables", &REDIRECT));
    });
    assert_same("after", &nft::meaning(&pod.namespace), &meaning);
    say(&format!("{opened} connections"));
}

#[test]
fn from_linkerds_iptables_rules() {
    let Some(pod) = Pod::new(&BOTH).filter(|_| oracle("iptables-nft") && oracle("nft")) else { return };
    pod.namespace.command(&["sh", "tests/corpus/iptables/linkerd.sh"]);
    let settings =
        ["-p", "4143", "-o", "4140", "-u", "2102", "--outbound-ports-to-ignore", "4567,4568,5432-5434"];
    let doctor = pod.namespace.output(Command::new(program()).args(["doctor", "--no-autoload"]), "");
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("`meshwire migrate MESH FLAGS`"));
    let before = ruleset(&pod.namespace);
    let plan = succeeded(&migrate(&pod.namespace, &["--dry-run"], "proxy-init", &settings));
    assert!(plan.starts_with("apply (") && plan.contains("\nwait: an RCU grace period\n"), "{plan}");
    assert!(
        plan.contains("  table ip nat of iptables-nft: PROXY_INIT_REDIRECT, PROXY_INIT_OUTPUT ("),
        "{plan}"
    );
    let json: [&str; 2] = ["--output", "json"];
    let json = [&settings[..], &json].concat();
    let plan: Value =
        serde_json::from_str(&succeeded(&migrate(&pod.namespace, &["--dry-run"], "proxy-init", &json)))
            .unwrap();
    let steps: Vec<_> =
        plan["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!((&plan["nothing_to_do"], &steps[..]), (&Value::Bool(false), &["apply", "wait", "remove"][..]));
    assert_eq!(ruleset(&pod.namespace), before);

    succeeded(&migrate(&pod.namespace, &[], "proxy-init", &settings));
    let after = ruleset(&pod.namespace);
    assert!(!after.contains("PROXY_INIT_") && after.contains("table inet linkerd-proxy-init {"), "{after}");
    let again = succeeded(&migrate(&pod.namespace, &["--dry-run"], "proxy-init", &settings));
    assert_eq!(again, "nothing to do: the rules are in place, and a mesh has no others\n");
}

#[test]
fn from_ambients_iptables_rules_in_a_pod() {
    let Some(pod) = Pod::new(&[V4]).filter(|_| oracle("iptables-nft") && oracle("ip") && oracle("nft"))
    else {
        return;
    };
    let made = pod.namespace.output(Command::new("iptables-nft-restore").arg("--noflush"), ISTIO_AMBIENT_POD);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    ip(&pod.namespace, "rule add fwmark 0x111/0xfff pref 32764 lookup 100");
    ip(&pod.namespace, "route add local default dev lo table 100");
    let said = succeeded(&migrate(&pod.namespace, &[], "ambient", &["pod"]));
    assert!(said.contains("removed: table ip mangle of iptables-nft: ISTIO_PRERT, ISTIO_OUTPUT\n"), "{said}");
    let alone = Pod::new(&[V4]).unwrap();
    crate::harness::ambient::ambient(&alone.namespace, "pod apply");
    let (rules, ours) = (ruleset(&pod.namespace), ruleset(&alone.namespace));
    assert!(rules.contains(&ours) && !rules.contains("ISTIO_"), "{rules}");
    assert_eq!(network(&pod.namespace), network(&alone.namespace));
}

#[test]
fn what_would_cut_connections_is_refused_by_name() {
    let Some(pod) = istios_pod(true) else { return };
    let before = (ruleset(&pod.namespace), network(&pod.namespace));
    let dns = ["--redirect-dns", "--capture-all-dns"];
    let tproxy = ["-i", "*", "-b", "*", "--dual-stack", "-m", "TPROXY"];
    for (settings, fault) in [
        (REDIRECT.to_vec(), "marks: 0x539, 0x53a there, none desired"),
        ([&tproxy[..], &dns, &["-t", "4711"]].concat(), "marks: 0x539, 0x53a there, 0x53a, 0x1267 desired"),
        (tproxy.to_vec(), "zones of connection tracking: 1, 2 there, none desired"),
        (
            [&tproxy[..], &dns, &["-r", "134"]].concat(),
            "routing tables for IPv4 packets marked 0x539: 133 there, 134 desired",
        ),
    ] {
        for dry in [&["--dry-run"][..], &[]] {
            let output = migrate(&pod.namespace, dry, "istio-iptables", &settings);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(fault), "{said}");
        }
    }
    assert_eq!((ruleset(&pod.namespace), network(&pod.namespace)), before);
    let cleanup = migrate(&pod.namespace, &[], "istio-iptables", &["--cleanup-only"]);
    assert_eq!(cleanup.status.code(), Some(2));
}

/// What a killed run leaves is named, and removed by the next one, by another run and by a cleanup.
#[test]
fn a_bridge_that_was_left_is_named_and_removed() {
    let Some(pod) = Pod::new(&[V4]).filter(|_| oracle("nft")) else { return };
    let settings = ["-i", "*", "-b", "*"];
    let meshwire = |words: &[&str]| pod.namespace.output(Command::new(program()).args(words).env_clear(), "");
    let leave_bridge = || {
        pod.namespace.run(|| {
            let mut batch = Batch::new();
            batch.add_table(&nftwire::Table::new(Family::Inet, "istio-proxy-raw-bridge"));
            Socket::open().unwrap().commit(&mut batch).unwrap();
        });
    };
    let alone = {
        let alone = Pod::new(&[V4]).unwrap();
        intercept(&alone.namespace, &settings);
        ruleset(&alone.namespace)
    };
    leave_bridge();
    let verify = meshwire(&[&["verify", "istio-iptables"], &settings[..]].concat());
    let said = String::from_utf8_lossy(&verify.stdout);
    assert_eq!(verify.status.code(), Some(3));
    assert!(said.contains("+ table inet istio-proxy-raw-bridge (0 chains, 0 rules)\n"), "{said}");
    let doctor = meshwire(&["doctor", "--no-autoload"]);
    let said = String::from_utf8_lossy(&doctor.stdout);
    assert!(said.contains("inet istio-proxy-raw-bridge is of a migration that did not end"), "{said}");
    succeeded(&migrate(&pod.namespace, &[], "istio-iptables", &settings));
    assert_eq!(ruleset(&pod.namespace), alone);
    assert_eq!(
        succeeded(&migrate(&pod.namespace, &["--dry-run"], "istio-iptables", &settings)).lines().count(),
        1
    );
    leave_bridge();
    succeeded(&migrate(&pod.namespace, &[], "istio-iptables", &settings));
    assert_eq!(ruleset(&pod.namespace), alone);
    leave_bridge();
    intercept(&pod.namespace, &settings);
    assert_eq!(ruleset(&pod.namespace), alone);
    leave_bridge();
    succeeded(&meshwire(&["istio-iptables", "--cleanup-only"]));
    assert_eq!(ruleset(&pod.namespace), "");
    for (command, removal) in [("ambient pod", "remove"), ("proxy-init", "--cleanup-only")] {
        let table =
            if command == "proxy-init" { "linkerd-proxy-init-bridge" } else { "istio-ambient-nat-bridge" };
        pod.namespace.feed(&["nft", "-f", "-"], &format!("add table inet {table}"));
        let words: Vec<_> = command.split(' ').chain([removal]).collect();
        succeeded(&meshwire(&words));
        assert_eq!(ruleset(&pod.namespace), "", "{command}");
    }
}

#[test]
fn legacy_rules_are_refused_with_what_to_type() {
    let Some(pod) = Pod::new(&[V4]).filter(|_| oracle("iptables-legacy")) else { return };
    let chain = ["-t", "nat", "-N", "ISTIO_OUTPUT"];
    if !pod.namespace.output(Command::new("iptables-legacy").args(chain), "").status.success() {
        skip("this kernel has no legacy iptables");
        return;
    }
    let output = migrate(&pod.namespace, &[], "istio-iptables", &["-i", "*"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("error: legacy iptables has rules in: ip nat;"), "{said}");
    assert!(
        said.contains("help: `iptables-legacy -t nat -S` shows them, and `iptables-legacy -t nat -F`"),
        "{said}"
    );
}
