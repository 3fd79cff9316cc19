//! The rulesets that settings of Istio's ambient mode lead to, as nft shows them. All expectations are written by hand.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use meshwire::mesh::istio::ambient::{HostInterception, PodInterception};
use meshwire::network::{Family, LocalRoute, Network, PolicyRule};
use nft_ruleset::Ruleset;
use nft_ruleset::validate::validate;

/// The whole ruleset is this text, indentation and empty lines aside.
#[track_caller]
fn assert_ruleset(ruleset: &Ruleset, expected: &str) {
    let lines = |text: &str| -> Vec<String> {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    assert_eq!(lines(&ruleset.to_string()), lines(expected));
    validate(ruleset).unwrap();
}

const MANGLE: &str = r"
    table inet istio-ambient-mangle {
        chain prerouting {
            type filter hook prerouting priority mangle; policy accept;
            jump istio-prerouting
        }
        chain output {
            type route hook output priority mangle; policy accept;
            jump istio-output
        }
        chain istio-prerouting {
            meta mark & 0x00000fff == 0x00000539 counter ct mark set ct mark & 0xfffff000 | 0x00000111
        }
        chain istio-output {
            ct mark & 0x00000fff == 0x00000111 counter meta mark set ct mark
        }
    }
";

const RAW: &str = r"
    table inet istio-ambient-raw {
        chain prerouting {
            type filter hook prerouting priority raw; policy accept;
            jump istio-prerouting
        }
        chain output {
            type filter hook output priority raw; policy accept;
            jump istio-output
        }
        chain istio-prerouting {
            udp sport 53 meta mark & 0x00000fff != 0x00000539 counter ct zone set 1
        }
        chain istio-output {
            udp dport 53 meta mark & 0x00000fff == 0x00000539 counter ct zone set 1
        }
    }
";

/// The table of addresses with these rules in its two chains.
fn nat(prerouting: &str, output: &str) -> String {
    format!(
        "table inet istio-ambient-nat {{
        chain prerouting {{
            type nat hook prerouting priority dstnat; policy accept;
            jump istio-prerouting
        }}
        chain output {{
            type nat hook output priority -100; policy accept;
            jump istio-output
        }}
        chain istio-prerouting {{
            {prerouting}
        }}
        chain istio-output {{
            {output}
        }}
        }}"
    )
}

const INBOUND: &str = r"
    meta l4proto tcp ip saddr 169.254.7.127 counter accept
    ip daddr != 127.0.0.1 tcp dport != 15008 meta mark & 0x00000fff != 0x00000539 counter redirect to :15006
";

const OUTBOUND: &str = r#"
    meta l4proto tcp ip daddr 169.254.7.127 counter accept
    meta l4proto tcp meta mark & 0x00000fff == 0x00000111 counter accept
    oifname "lo" ip daddr != 127.0.0.1 counter accept
    meta l4proto tcp ip daddr != 127.0.0.1 meta mark & 0x00000fff != 0x00000539 counter redirect to :15001
"#;

/// Exactly the rules of Istio's native backend.
fn native() -> PodInterception {
    PodInterception { native_nftables: true, ..PodInterception::default() }
}

#[test]
fn a_pod_without_anything_else() {
    for pod in [native(), PodInterception::default()] {
        assert_ruleset(&pod.ruleset(), &(nat(INBOUND, OUTBOUND) + MANGLE));
    }
}

/// What departs from Istio: a forwarded query goes into the zone of its reply.
#[test]
fn guests_queries_are_in_the_zone_of_their_replies() {
    let pod = PodInterception { dns: true, ..PodInterception::default() };
    let ruleset = pod.ruleset();
    let raw = ruleset.tables.iter().find(|table| table.name == "istio-ambient-raw").unwrap();
    let answer = "udp sport 53 meta mark & 0x00000fff != 0x00000539 counter ct zone set 1\n";
    let query =
        "udp dport 53 meta mark & 0x00000fff != 0x00000539 fib daddr type != local counter ct zone set 1";
    let expected = RAW.replace(answer, &format!("{answer}{query}\n"));
    assert_ruleset(&Ruleset { tables: vec![raw.clone()] }, &expected);
    // Without it, it is Istio's.
    let without = pod.interception().without_fib().unwrap();
    assert_eq!(without.ruleset, PodInterception { dns: true, ..native() }.ruleset());
    assert!(without.without_fib().is_none());
}

#[test]
fn dns_has_a_table_of_its_own() {
    let output = r#"
        meta l4proto tcp ip daddr 169.254.7.127 counter accept
        oifname != "lo" meta mark & 0x00000fff != 0x00000539 udp dport 53 counter redirect to :15053
        ip daddr != 127.0.0.1 tcp dport 53 meta mark & 0x00000fff != 0x00000539 counter redirect to :15053
        meta l4proto tcp meta mark & 0x00000fff == 0x00000111 counter accept
        oifname "lo" ip daddr != 127.0.0.1 counter accept
        meta l4proto tcp ip daddr != 127.0.0.1 meta mark & 0x00000fff != 0x00000539 counter redirect to :15001
    "#;
    let pod = PodInterception { dns: true, ..native() };
    assert_ruleset(&pod.ruleset(), &(nat(INBOUND, output) + MANGLE + RAW));
}

#[test]
fn both_families_and_everything_else() {
    let prerouting = r#"
        iifname "tap0" meta l4proto tcp counter redirect to :15001
        iifname "tap0" meta l4proto tcp counter return
        iifname "vm*" meta l4proto tcp counter redirect to :15001
        iifname "vm*" meta l4proto tcp counter return
        meta l4proto tcp ip saddr 192.0.2.1 counter accept
        meta l4proto tcp ip6 saddr 2001:db8::1 counter accept
        ip daddr != 127.0.0.1 tcp dport != 15008 meta mark & 0x00000fff != 0x00000539 counter redirect to :15006
        ip6 daddr != ::1 tcp dport != 15008 meta mark & 0x00000fff != 0x00000539 counter redirect to :15006
    "#;
    let output = r#"
        meta l4proto tcp ip daddr 192.0.2.1 counter accept
        meta l4proto tcp ip6 daddr 2001:db8::1 counter accept
        oifname != "lo" meta mark & 0x00000fff != 0x00000539 udp dport 53 counter redirect to :15053
        ip daddr != 127.0.0.1 tcp dport 53 meta mark & 0x00000fff != 0x00000539 counter redirect to :15053
        ip6 daddr != ::1 tcp dport 53 meta mark & 0x00000fff != 0x00000539 counter redirect to :15053
        meta l4proto tcp meta mark & 0x00000fff == 0x00000111 counter accept
        oifname "lo" ip daddr != 127.0.0.1 counter accept
        oifname "lo" ip6 daddr != ::1 counter accept
        meta l4proto tcp ip daddr != 127.0.0.1 meta mark & 0x00000fff != 0x00000539 counter redirect to :15001
        meta l4proto tcp ip6 daddr != ::1 meta mark & 0x00000fff != 0x00000539 counter redirect to :15001
    "#;
    let pod = PodInterception {
        ipv6: true,
        dns: true,
        ingress: false,
        virtual_interfaces: ["tap0", "vm*"].map(|name| name.parse().unwrap()).to_vec(),
        probe_v4: "192.0.2.1".parse().unwrap(),
        probe_v6: "2001:db8::1".parse().unwrap(),
        native_nftables: true,
    };
    assert_ruleset(&pod.ruleset(), &(nat(prerouting, output) + MANGLE + RAW));
}

/// The chain that is jumped to stays, though nothing is in it.
#[test]
fn a_gateways_inbound_traffic_is_left_alone() {
    let pod = PodInterception { ingress: true, ..PodInterception::default() };
    assert_ruleset(&pod.ruleset(), &(nat("", OUTBOUND) + MANGLE));
    let virtual_interfaces = vec!["tap0".parse().unwrap()];
    let prerouting = r#"
        iifname "tap0" meta l4proto tcp counter redirect to :15001
        iifname "tap0" meta l4proto tcp counter return
    "#;
    let pod = PodInterception { virtual_interfaces, ..pod };
    assert_ruleset(&pod.ruleset(), &(nat(prerouting, OUTBOUND) + MANGLE));
}

#[test]
fn replies_are_routed_to_the_pod_itself() {
    let rule =
        |family| PolicyRule { family, mark: 0x111, mask: Some(0xfff), priority: Some(32764), table: 100 };
    let network = |families: &[Family]| Network {
        loopback_addresses: vec![],
        rules: families.iter().map(|&family| rule(family)).collect(),
        routes: families.iter().map(|&family| LocalRoute { family, table: 100 }).collect(),
        skip_if_ipv6_disabled: true,
    };
    let pod = PodInterception::default();
    assert_eq!(pod.network(), network(&[Family::V4]));
    assert_eq!(PodInterception { ipv6: true, ..pod }.network(), network(&[Family::V4, Family::V6]));
    assert_eq!(PodInterception::nothing().owned_network, network(&[Family::V4, Family::V6]));
}

#[test]
fn the_host_has_a_rule_and_a_set_for_each_family() {
    let host = HostInterception { native_nftables: true, ..HostInterception::new([1000]) };
    assert_ruleset(
        &host.ruleset(),
        "table inet istio-ambient-nat {
            set istio-inpod-probes-v4 {
                type ipv4_addr
            }
            chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                meta l4proto tcp meta skuid 1000 ip daddr @istio-inpod-probes-v4 counter snat ip to 169.254.7.127
            }
        }",
    );
    let host = HostInterception { ipv6: true, probe_v4: "192.0.2.1".parse().unwrap(), ..host };
    assert_ruleset(
        &host.ruleset(),
        "table inet istio-ambient-nat {
            set istio-inpod-probes-v4 {
                type ipv4_addr
            }
            set istio-inpod-probes-v6 {
                type ipv6_addr
            }
            chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                meta l4proto tcp meta skuid 1000 ip daddr @istio-inpod-probes-v4 counter snat ip to 192.0.2.1
                meta l4proto tcp meta skuid 1000 ip6 daddr @istio-inpod-probes-v6 counter snat ip6 to fd16:9254:7127:1337:ffff:ffff:ffff:ffff
            }
        }",
    );
}

/// What departs from Istio: nobody else's translation of source addresses comes before the probes', whenever it is made.
#[test]
fn the_hosts_chain_is_before_all_others() {
    let chain = |uids: &str| {
        format!(
            "chain istio-probes {{
                type nat hook postrouting priority srcnat - 1; policy accept;
                meta l4proto tcp meta skuid {uids} ip daddr @istio-inpod-probes-v4 counter snat ip to 169.254.7.127
            }}\n"
        )
    };
    let table = |chains: &str| {
        let set = "set istio-inpod-probes-v4 {\ntype ipv4_addr\n}\n";
        format!("table inet istio-ambient-nat {{\n{set}{chains}}}")
    };
    for (uids, text) in [(vec![0], "0"), (vec![1000, 0, 1000], "{ 0, 1000 }")] {
        assert_ruleset(&HostInterception::new(uids).ruleset(), &table(&chain(text)));
    }
    // On the way from the one to the other there are both, with the same rules.
    let host = HostInterception::new([0]);
    let native = HostInterception { native_nftables: true, ..host.clone() };
    let postrouting = chain("0").replace("istio-probes ", "postrouting ").replace("srcnat - 1", "srcnat");
    assert_ruleset(&host.interception().handover, &table(&(chain("0") + &postrouting)));
    assert_ruleset(&native.interception().handover, &table(&(postrouting + &chain("0"))));
    let owned = HostInterception::nothing().owned;
    assert_eq!(owned.kept_sets(nft_ruleset::Family::Inet, "istio-ambient-nat".into()).len(), 2);
}
