use std::time::Duration;

use nix::errno::Errno;

use super::*;
use crate::preflight::modules::{FOR_IPTABLES, FOR_NFTABLES, State};
use crate::preflight::owners::Owner;
use crate::preflight::probe::Probed;
use crate::privilege::Capabilities;

/// A pod on a node where everything is as it should be.
fn healthy() -> Facts {
    let mut features: Vec<_> =
        Profile::ALL.into_iter().flat_map(|profile| profile.features().unwrap()).collect();
    features.sort_unstable_by_key(|feature| (feature.kind, feature.name));
    features.dedup();
    let answers = features.into_iter().map(|feature| (feature, Answer::Works)).collect();
    Facts {
        release: "6.12.43+deb13-amd64".to_owned(),
        capabilities: Some(Capabilities(1 << NET_ADMIN)),
        users_of_its_own: Some(false),
        network_of_the_machine: Some(false),
        links_to_others: Vec::new(),
        access: Access::Granted,
        asked: Probed { stage: Stage::Throwaway, answers, elapsed: Duration::from_millis(2) },
        loaded_by_asking: Vec::new(),
        ipv6: Ipv6::On,
        policy_routing: [Some(true); 2],
        wmem_max: Some(212_992),
        conntrack: Some([12, 65_536]),
        for_nftables: FOR_NFTABLES.iter().map(|module| (module, State::Loaded)).collect(),
        for_iptables: FOR_IPTABLES.iter().map(|module| (module, State::Absent)).collect(),
        selinux_enforces: false,
        owners: Some(Vec::new()),
        legacy_iptables: Some(Vec::new()),
    }
}

fn answers(facts: &mut Facts, name: &str, new: &Answer) {
    for (feature, answer) in &mut facts.asked.answers {
        if feature.name == name {
            *answer = new.clone();
        }
    }
}

#[track_caller]
fn finding_of(facts: &Facts, subject: &str) -> (Verdict, String) {
    let report = Report::new(facts, &Profile::ALL);
    let finding = report.findings.into_iter().find(|finding| finding.subject == subject).unwrap();
    (finding.verdict, [vec![finding.says], finding.advice].concat().join("\n"))
}

fn verdicts(facts: &Facts) -> Vec<Verdict> {
    Report::new(facts, &Profile::ALL).judgements.iter().map(|judgement| judgement.verdict).collect()
}

fn reasons(facts: &Facts, profile: Profile) -> (Verdict, String) {
    let judgement = judge(facts, profile);
    (judgement.verdict, judgement.reasons.join("; "))
}

#[test]
fn with_every_feature_every_profile_can_run() {
    let report = Report::new(&healthy(), &Profile::ALL);
    assert!(report.all_can_run());
    for finding in &report.findings {
        assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");
    }
    assert!(report.judgements.iter().all(|judgement| judgement.reasons.is_empty()));
}

#[test]
fn a_missing_feature_stops_those_that_take_it_and_hides_no_other() {
    let mut facts = healthy();
    answers(&mut facts, "tproxy", &Answer::Missing(Errno::ENOENT as i32));
    answers(&mut facts, "ct zone", &Answer::Missing(Errno::EOPNOTSUPP as i32));
    let (verdict, text) = finding_of(&facts, "nf_tables");
    assert_eq!(verdict, Verdict::Warning);
    assert!(text.contains("modprobe nft_tproxy") && text.contains("CONFIG_NF_CONNTRACK_ZONES"), "{text}");
    assert_eq!(reasons(&facts, Profile::SidecarRedirect).0, Verdict::Ok);
    let missing = (Verdict::No, "missing: expression tproxy".to_owned());
    assert_eq!(reasons(&facts, Profile::SidecarTproxy), missing);
    let missing = (Verdict::No, "missing: expression ct zone".to_owned());
    assert_eq!(reasons(&facts, Profile::SidecarDns), missing);
    assert!(!Report::new(&facts, &Profile::ALL).all_can_run());
    assert!(Report::new(&facts, &[Profile::SidecarRedirect]).all_can_run());
}

#[test]
fn without_the_privilege_nothing_runs_and_help_says_how_to_get_it() {
    for (set, access, advice) in [
        (0, Access::Denied, "securityContext.capabilities.add: [NET_ADMIN]"),
        (1 << NET_ADMIN, Access::Denied, "belongs to another user namespace"),
        (0, Access::NotProbed, "securityContext.capabilities.add: [NET_ADMIN]"),
    ] {
        let mut facts = Facts { capabilities: Some(Capabilities(set)), access, ..healthy() };
        facts.owners = None;
        let (verdict, text) = finding_of(&facts, "privileges");
        assert!(verdict == Verdict::No && text.contains(advice), "{text}");
        assert_eq!(finding_of(&facts, "others' rules").0, Verdict::Unknown);
        assert_eq!(verdicts(&facts), [Verdict::No; Profile::ALL.len()]);
    }
}

#[test]
fn a_kernel_without_nf_tables_is_reported_once() {
    let mut facts = Facts { access: Access::NoNfTables, ..healthy() };
    facts.asked = Probed::nothing(&[]);
    let (verdict, text) = finding_of(&facts, "nf_tables");
    assert!(verdict == Verdict::No && text.contains("modprobe nf_tables"), "{text}");
    assert_eq!(reasons(&facts, Profile::SidecarRedirect), (Verdict::No, "no nf_tables".to_owned()));
}

#[test]
fn what_was_not_asked_is_unknown_and_no_promise() {
    let mut facts = healthy();
    facts.asked = Probed::nothing(&[]);
    let (verdict, text) = finding_of(&facts, "nf_tables");
    assert!(verdict == Verdict::Unknown && text.contains("turns connection tracking on"), "{text}");
    let finding = nf_tables(&facts);
    assert_eq!(finding.remedy, Some(Remedy::ProbeHere));
    assert_eq!(verdicts(&facts), [Verdict::Unknown; Profile::ALL.len()]);
    assert!(!Report::new(&facts, &Profile::ALL).all_can_run());
    let why = "nf_tables was not probed".to_owned();
    assert_eq!(reasons(&facts, Profile::SidecarRedirect), (Verdict::Unknown, why));
    // One that is unknown leaves open only those that take it.
    let mut facts = healthy();
    answers(&mut facts, "tproxy", &Answer::Unknown("ENOMEM: Cannot allocate memory".to_owned()));
    assert_eq!(reasons(&facts, Profile::Linkerd).0, Verdict::Ok);
    let why = "not known: expression tproxy".to_owned();
    assert_eq!(reasons(&facts, Profile::SidecarTproxy), (Verdict::Unknown, why));
}

#[test]
fn an_old_kernel_is_warned_of_and_judged_by_what_it_has() {
    let facts = Facts { release: "5.10.0-30-amd64".to_owned(), ..healthy() };
    let (verdict, text) = finding_of(&facts, "kernel");
    assert!(verdict == Verdict::Warning && text.contains("older than 5.13"), "{text}");
    assert_eq!(verdicts(&facts), [Verdict::Warning; Profile::ALL.len()]);
    assert!(Report::new(&facts, &Profile::ALL).all_can_run());
}

#[test]
fn without_ipv6_profiles_run_without_it() {
    for (ipv6, word) in [(Ipv6::OffOnLoopback, "disable_ipv6"), (Ipv6::Absent, "not in this kernel")] {
        let facts = Facts { ipv6, policy_routing: [Some(true), Some(false)], ..healthy() };
        assert!(finding_of(&facts, "IPv6").1.contains(word));
        assert_eq!(reasons(&facts, Profile::AmbientPod), (Verdict::Warning, "without IPv6".to_owned()));
    }
}

#[test]
fn policy_routing_is_needed_by_those_that_mark_packets() {
    let facts = Facts { policy_routing: [Some(false), Some(false)], ..healthy() };
    assert!(finding_of(&facts, "policy routing").1.contains("CONFIG_IP_MULTIPLE_TABLES"));
    assert_eq!(reasons(&facts, Profile::SidecarRedirect).0, Verdict::Ok);
    assert_eq!(reasons(&facts, Profile::SidecarTproxy).0, Verdict::No);
    let facts = Facts { policy_routing: [Some(true), Some(false)], ..healthy() };
    assert_eq!(reasons(&facts, Profile::AmbientPod).0, Verdict::Warning);
    let facts = Facts { policy_routing: [None, None], ..healthy() };
    assert_eq!(reasons(&facts, Profile::AmbientPod).0, Verdict::Unknown);
}

#[test]
fn the_send_buffer_limits_those_without_privileges_outside() {
    assert!(finding_of(&healthy(), "send buffer").1.starts_with("rulesets of any size"));
    let facts = Facts { users_of_its_own: Some(true), ..healthy() };
    assert_eq!(finding_of(&facts, "send buffer").1, "rulesets up to 416 KiB (net.core.wmem_max 212992)");
    let facts = Facts { wmem_max: None, ..facts };
    assert!(finding_of(&facts, "send buffer").1.starts_with("rulesets up to 208 KiB at least"));
}

#[test]
fn connection_tracking_is_warned_of_when_it_is_nearly_full() {
    for (entries, verdict) in [
        (Some([58_982, 65_536]), Verdict::Ok),
        (Some([58_983, 65_536]), Verdict::Warning),
        (Some([70_000, 0]), Verdict::Ok),
        (None, Verdict::Ok),
    ] {
        assert_eq!(finding_of(&Facts { conntrack: entries, ..healthy() }, "conntrack").0, verdict);
    }
}

#[test]
fn modules_are_counted_by_where_they_are() {
    let mut facts = healthy();
    facts.for_nftables[9].1 = State::Loadable;
    assert_eq!(finding_of(&facts, "modules"), (Verdict::Ok, "9 loaded, 1 loadable (nft_tproxy)".to_owned()));
    facts.selinux_enforces = true;
    assert!(finding_of(&facts, "modules").1.contains("modprobe nft_tproxy on the node"));
    facts.for_nftables[9].1 = State::Absent;
    assert_eq!(finding_of(&facts, "modules").0, Verdict::Warning);
    assert_eq!(finding_of(&facts, "… of iptables").0, Verdict::Ok);
}

#[test]
fn others_rules_are_listed() {
    let owner = |name, table: &str, is_mesh| Owner { name, tables: vec![table.to_owned()], is_mesh };
    let firewalld = owner("firewalld", "inet firewalld", false);
    let ours = owner("meshwire", "inet istio-proxy-nat", true);
    let legacy_iptables = Some(vec!["ip nat".to_owned()]);
    let facts = Facts { owners: Some(vec![firewalld, ours]), legacy_iptables, ..healthy() };
    let (verdict, text) = finding_of(&facts, "others' rules");
    assert_eq!(verdict, Verdict::Warning);
    assert!(text.ends_with("\nfirewalld: table inet firewalld\nlegacy iptables: ip nat"), "{text}");
    assert!(!text.contains("istio-proxy-nat"), "{text}");
    let ours = (Verdict::Ok, "table inet istio-proxy-nat".to_owned());
    assert_eq!(finding_of(&facts, "a mesh's rules"), ours);
}

#[test]
fn the_machines_own_namespace_is_pointed_out() {
    let links_to_others = vec!["veth1".to_owned(), "veth2".to_owned()];
    let facts = Facts { network_of_the_machine: Some(true), links_to_others, ..healthy() };
    let (verdict, text) = finding_of(&facts, "network namespace");
    assert!(verdict == Verdict::Warning && text.contains("2 links"), "{text}");
}
