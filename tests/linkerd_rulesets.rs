//! The rulesets that settings of Linkerd's proxy-init lead to, as nft shows them. All expectations are written by hand.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use meshwire::mesh::linkerd::{ProxyInit, owned};
use nft_ruleset::validate::validate;

/// Linkerd's ports, and nothing else.
fn defaults() -> ProxyInit {
    ProxyInit {
        incoming_proxy_port: 4143,
        outgoing_proxy_port: 4140,
        proxy_uid: None,
        proxy_gid: None,
        ports_to_redirect: vec![],
        inbound_ports_to_ignore: vec![],
        outbound_ports_to_ignore: vec![],
        subnets_to_ignore: vec![],
        ipv6: true,
    }
}

/// The ruleset has these rules for inbound and for outbound packets, in a table of this family, and around them what
/// is always there.
#[track_caller]
fn assert_rules(settings: &ProxyInit, family: &str, inbound: &[&str], outbound: &[&str]) {
    let lines = |rules: &[&str]| -> String { rules.iter().map(|rule| format!("\t\t{rule}\n")).collect() };
    let expected = format!(
        "table {family} linkerd-proxy-init {{
	chain prerouting {{
		type nat hook prerouting priority dstnat; policy accept;
		counter jump proxy-init-redirect comment \"proxy-init/install-proxy-init-prerouting\"
	}}

	chain output {{
		type nat hook output priority -100; policy accept;
		counter jump proxy-init-output comment \"proxy-init/install-proxy-init-output\"
	}}

	chain proxy-init-redirect {{
{}	}}

	chain proxy-init-output {{
{}	}}
}}
",
        lines(inbound),
        lines(outbound)
    );
    let ruleset = settings.ruleset();
    assert_eq!(ruleset.to_string(), expected);
    validate(&ruleset).unwrap();
}

const ALL_IN: &str =
    "meta l4proto tcp counter redirect to :4143 comment \"proxy-init/redirect-all-incoming-to-proxy-port\"";
const ALL_OUT: &str =
    "meta l4proto tcp counter redirect to :4140 comment \"proxy-init/redirect-all-outgoing-to-proxy-port\"";
const LOOPBACK: &str = "oifname \"lo\" counter return comment \"proxy-init/ignore-loopback\"";

#[test]
fn the_ports_alone() {
    assert_rules(&defaults(), "inet", &[ALL_IN], &[LOOPBACK, ALL_OUT]);
}

#[test]
fn without_ipv6_the_table_is_one_for_ipv4() {
    assert_rules(&ProxyInit { ipv6: false, ..defaults() }, "ip", &[ALL_IN], &[LOOPBACK, ALL_OUT]);
}

#[test]
fn everything_in_linkerds_order() {
    let settings = ProxyInit {
        proxy_uid: Some(2102),
        proxy_gid: Some(2103),
        ports_to_redirect: vec![443, 80],
        inbound_ports_to_ignore: vec![4191..=4191, 4190..=4190],
        outbound_ports_to_ignore: vec![6443..=6443, 4567..=4569],
        subnets_to_ignore: ["fd00::/8", "10.1.2.3/8", "0.0.0.0/0", "192.0.2.1/32"]
            .map(|subnet| subnet.parse().unwrap())
            .into(),
        ..defaults()
    };
    let inbound = [
        "tcp dport { 4190, 4191 } counter return comment \"proxy-init/ignore-port-4191,4190\"",
        "ip6 saddr fd00::/8 counter return comment \"proxy-init/ignore-subnet-fd00::/8\"",
        "ip saddr 10.0.0.0/8 counter return comment \"proxy-init/ignore-subnet-10.1.2.3/8\"",
        "ip saddr 0.0.0.0/0 counter return comment \"proxy-init/ignore-subnet-0.0.0.0/0\"",
        "ip saddr 192.0.2.1 counter return comment \"proxy-init/ignore-subnet-192.0.2.1/32\"",
        "tcp dport 443 counter redirect to :4143 comment \"proxy-init/redirect-port-443-to-proxy-port\"",
        "tcp dport 80 counter redirect to :4143 comment \"proxy-init/redirect-port-80-to-proxy-port\"",
    ];
    let outbound = [
        "meta skuid 2102 counter return comment \"proxy-init/ignore-proxy-user-id\"",
        "meta skgid 2103 counter return comment \"proxy-init/ignore-proxy-group-id\"",
        LOOPBACK,
        "tcp dport { 4567-4569, 6443 } counter return comment \"proxy-init/ignore-port-6443,4567:4569\"",
        ALL_OUT,
    ];
    assert_rules(&settings, "inet", &inbound, &outbound);
    // Without IPv6 there is no rule for its networks.
    let v4: Vec<_> = inbound.into_iter().filter(|rule| !rule.contains("ip6")).collect();
    assert_rules(&ProxyInit { ipv6: false, ..settings }, "ip", &v4, &outbound);
}

#[test]
fn ignored_ports_are_one_match_in_the_form_that_nft_gives_them() {
    for (ports, text, comment) in [
        (vec![25..=25], "25", "25"),
        (vec![25..=27], "25-27", "25:27"),
        (vec![0..=65535], "0-65535", "0:65535"),
        // Single ports are not joined, as a set without ranges has none.
        (vec![27..=27, 25..=25, 26..=26, 25..=25], "{ 25, 26, 27 }", "27,25,26,25"),
        (vec![80..=80, 25..=27], "{ 25-27, 80 }", "80,25:27"),
        (vec![24..=24, 25..=27, 28..=28, 30..=30], "{ 24-28, 30 }", "24,25:27,28,30"),
        (vec![20..=29, 22..=23, 25..=40, 50..=50], "{ 20-40, 50 }", "20:29,22:23,25:40,50"),
        (vec![20..=29, 25..=40, 41..=41], "20-41", "20:29,25:40,41"),
        (vec![65535..=65535, 0..=0, 65530..=65534], "{ 0, 65530-65535 }", "65535,0,65530:65534"),
    ] {
        let rule = format!("tcp dport {text} counter return comment \"proxy-init/ignore-port-{comment}\"");
        let inbound = ProxyInit { inbound_ports_to_ignore: ports.clone(), ..defaults() };
        assert_rules(&inbound, "inet", &[&rule, ALL_IN], &[LOOPBACK, ALL_OUT]);
        let outbound = ProxyInit { outbound_ports_to_ignore: ports, ..defaults() };
        assert_rules(&outbound, "inet", &[ALL_IN], &[LOOPBACK, &rule, ALL_OUT]);
    }
}

#[test]
fn a_comment_that_is_too_long_is_cut_after_a_port() {
    for count in 1..60 {
        let ports = (0..count).map(|port| 10_000 + port..=10_000 + port).collect();
        let ruleset = ProxyInit { inbound_ports_to_ignore: ports, ..defaults() }.ruleset();
        let comment = ruleset.tables[0].chains[2].rules[0].comment.as_ref().unwrap().to_string();
        let all: Vec<_> = (0..count).map(|port| (10_000 + port).to_string()).collect();
        let all = format!("proxy-init/ignore-port-{}", all.join(","));
        if all.len() <= 127 {
            assert_eq!(comment, all);
        } else {
            let start = comment.strip_suffix(",...").unwrap();
            assert!(all.starts_with(&format!("{start},")) && comment.len() <= 127, "{comment}");
            assert!(comment.len() > 127 - 6, "{comment}");
        }
    }
}

#[test]
fn the_layout_has_every_table_and_chain_that_settings_need() {
    let owned = owned();
    for ipv6 in [false, true] {
        let ruleset = ProxyInit { ipv6, ..defaults() }.ruleset();
        let table = owned.tables.iter().find(|table| table.is_same_table(&ruleset.tables[0])).unwrap();
        let chains = |chains: &[nft_ruleset::Chain]| -> Vec<_> {
            chains.iter().map(|chain| (chain.name.clone(), chain.base)).collect()
        };
        assert_eq!(chains(&table.chains), chains(&ruleset.tables[0].chains));
    }
    assert_eq!(owned.tables.len(), 2);
}
