//! TPROXY: inbound packets are marked and handed to a transparent socket, their addresses unchanged.

use std::net::Ipv6Addr;

use meshwire::mesh::istio::sidecar::{DnsCapture, InboundPorts, Mode, Sidecar};
use meshwire::network::{Family, LocalRoute, Network, PolicyRule};

use super::{assert_changes, assert_ruleset, default_sidecar, interfaces};

fn tproxy() -> Sidecar {
    Sidecar { mode: Mode::Tproxy, ..default_sidecar() }
}

#[test]
fn all_ports_but_the_excluded_ones_of_both_families() {
    let sidecar = Sidecar {
        inbound_ports: InboundPorts::AllExcept([15090, 15021].map(|port| port..=port).into()),
        ipv6: true,
        ..tproxy()
    };
    assert_ruleset(
        &sidecar,
        r#"
        table inet istio-proxy-nat {
            chain output {
                type nat hook output priority -100; policy accept;
                counter jump istio-output
            }
            chain istio-inbound {
                tcp dport 15008 counter return
            }
            chain istio-redirect {
                meta l4proto tcp counter redirect to :15001
            }
            chain istio-in-redirect {
                meta l4proto tcp counter redirect to :15006
            }
            chain istio-output {
                oifname "lo" ip saddr 127.0.0.6 counter return
                oifname "lo" ip6 saddr ::6 counter return
                oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 1337 counter jump istio-in-redirect
                oifname "lo" meta l4proto tcp ip6 daddr != ::1 tcp dport != 15008 meta skuid 1337 counter jump istio-in-redirect
                oifname "lo" meta skuid != 1337 counter return
                meta skuid 1337 counter return
                oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 1337 counter jump istio-in-redirect
                oifname "lo" meta l4proto tcp ip6 daddr != ::1 tcp dport != 15008 meta skgid 1337 counter jump istio-in-redirect
                oifname "lo" meta skgid != 1337 counter return
                meta skgid 1337 counter return
                ip daddr 127.0.0.1 counter return
                ip6 daddr ::1 counter return
            }
        }
        table inet istio-proxy-mangle {
            chain prerouting {
                type filter hook prerouting priority mangle; policy accept;
                meta l4proto tcp counter jump istio-inbound
                meta l4proto tcp meta mark 0x00000539 counter ct mark set meta mark
            }
            chain output {
                type route hook output priority mangle; policy accept;
                oifname "lo" meta l4proto tcp meta mark 0x00000539 counter return
                oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 meta skuid 1337 counter meta mark set 0x0000053a
                oifname "lo" meta l4proto tcp ip6 daddr != ::1 meta skuid 1337 counter meta mark set 0x0000053a
                oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 meta skgid 1337 counter meta mark set 0x0000053a
                oifname "lo" meta l4proto tcp ip6 daddr != ::1 meta skgid 1337 counter meta mark set 0x0000053a
                meta l4proto tcp ct mark 0x00000539 counter meta mark set ct mark
            }
            chain istio-divert {
                counter meta mark set 0x00000539
                counter accept
            }
            chain istio-tproxy {
                meta l4proto tcp ip daddr != 127.0.0.1 tproxy ip to :15006 meta mark set 0x00000539 counter accept
                meta l4proto tcp ip6 daddr != ::1 tproxy ip6 to :15006 meta mark set 0x00000539 counter accept
            }
            chain istio-inbound {
                meta l4proto tcp meta mark 0x00000539 counter return
                iifname "lo" meta l4proto tcp ip6 saddr ::6 counter return
                iifname "lo" meta l4proto tcp meta mark != 0x0000053a counter return
                iifname "lo" meta l4proto tcp ip saddr 127.0.0.6 counter return
                tcp dport 15090 counter return
                tcp dport 15021 counter return
                meta l4proto tcp ct state established,related counter jump istio-divert
                meta l4proto tcp counter jump istio-tproxy
            }
        }
        "#,
    );
}

#[test]
fn only_the_listed_ports_and_after_the_excluded_interfaces() {
    let sidecar = Sidecar {
        inbound_ports: InboundPorts::Only([8080, 9090].map(|port| port..=port).into()),
        exclude_interfaces: interfaces(&["net1", "net2"]),
        drop_invalid: true,
        tproxy_mark: 0xabcd,
        inbound_capture_port: 7,
        loopback_v4: "127.0.0.0/8".parse().unwrap(),
        proxy_uids: vec![],
        proxy_gids: vec![],
        ..tproxy()
    };
    assert_changes(
        &sidecar,
        r#"
        table inet istio-proxy-nat {
            chain prerouting {
                type nat hook prerouting priority dstnat; policy accept;
                iifname "net1" counter return
                iifname "net2" counter return
            }
            chain output {
                type nat hook output priority -100; policy accept;
                oifname "net1" counter return
                oifname "net2" counter return
                counter jump istio-output
            }
            chain istio-in-redirect {
                meta l4proto tcp counter redirect to :7
            }
            chain istio-output {
                oifname "lo" ip saddr 127.0.0.6 counter return
                ip daddr 127.0.0.0/8 counter return
            }
        }
        table inet istio-proxy-mangle {
            chain prerouting {
                type filter hook prerouting priority mangle; policy accept;
                iifname "net1" counter return
                iifname "net2" counter return
                meta l4proto tcp ct state invalid counter jump istio-drop
                meta l4proto tcp counter jump istio-inbound
                meta l4proto tcp meta mark 0x0000abcd counter ct mark set meta mark
            }
            chain output {
                type route hook output priority mangle; policy accept;
                oifname "net1" counter return
                oifname "net2" counter return
                oifname "lo" meta l4proto tcp meta mark 0x0000abcd counter return
                meta l4proto tcp ct mark 0x0000abcd counter meta mark set ct mark
            }
            chain istio-divert {
                counter meta mark set 0x0000abcd
                counter accept
            }
            chain istio-tproxy {
                meta l4proto tcp ip daddr != 127.0.0.0/8 tproxy ip to :7 meta mark set 0x0000abcd counter accept
            }
            chain istio-inbound {
                meta l4proto tcp meta mark 0x0000abcd counter return
                iifname "lo" meta l4proto tcp ip saddr 127.0.0.6 counter return
                iifname "lo" meta l4proto tcp meta mark != 0x0000053a counter return
                meta l4proto tcp ct state established,related tcp dport 8080 counter jump istio-divert
                tcp dport 8080 counter jump istio-tproxy
                meta l4proto tcp ct state established,related tcp dport 9090 counter jump istio-divert
                tcp dport 9090 counter jump istio-tproxy
            }
            chain istio-drop {
                counter drop
            }
        }
        "#,
    );
}

/// Nothing leads to istio-inbound then, and Istio has it all the same.
#[test]
fn without_inbound_ports_only_marks_are_kept() {
    assert_changes(
        &tproxy(),
        r#"
        table inet istio-proxy-mangle {
            chain prerouting {
                type filter hook prerouting priority mangle; policy accept;
                meta l4proto tcp meta mark 0x00000539 counter ct mark set meta mark
            }
            chain output {
                type route hook output priority mangle; policy accept;
                oifname "lo" meta l4proto tcp meta mark 0x00000539 counter return
                oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 meta skuid 1337 counter meta mark set 0x0000053a
                oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 meta skgid 1337 counter meta mark set 0x0000053a
                meta l4proto tcp ct mark 0x00000539 counter meta mark set ct mark
            }
            chain istio-inbound {
                meta l4proto tcp meta mark 0x00000539 counter return
                iifname "lo" meta l4proto tcp ip saddr 127.0.0.6 counter return
                iifname "lo" meta l4proto tcp meta mark != 0x0000053a counter return
            }
        }
        "#,
    );
}

#[test]
fn dns_is_redirected_as_without_tproxy() {
    let raw = |sidecar: Sidecar| {
        let tables = sidecar.ruleset().tables;
        tables.into_iter().find(|table| table.name == "istio-proxy-raw").expect("a table for DNS")
    };
    let dns = Some(DnsCapture::All);
    assert_eq!(raw(Sidecar { dns: dns.clone(), ..tproxy() }), raw(Sidecar { dns, ..default_sidecar() }));
}

#[test]
fn marked_packets_are_routed_to_the_pod_itself() {
    let (mark, table) = (7, 8);
    let rule = |family| PolicyRule { family, mark, mask: None, priority: None, table };
    let route = |family| LocalRoute { family, table };
    let sidecar = Sidecar {
        tproxy_mark: mark,
        tproxy_route_table: table,
        inbound_ports: InboundPorts::AllExcept(vec![]),
        ..tproxy()
    };
    let v4 = Network { rules: vec![rule(Family::V4)], routes: vec![route(Family::V4)], ..Network::default() };
    assert_eq!(sidecar.network(), v4);
    let both = Network {
        skip_if_ipv6_disabled: false,
        loopback_addresses: vec![Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)],
        rules: vec![rule(Family::V4), rule(Family::V6)],
        routes: vec![route(Family::V4), route(Family::V6)],
    };
    assert_eq!(Sidecar { ipv6: true, ..sidecar.clone() }.network(), both);
    assert_eq!(sidecar.owned_network(), both);
    let nothing_inbound = Sidecar { inbound_ports: InboundPorts::Only(vec![]), ..sidecar.clone() };
    assert_eq!(nothing_inbound.network(), Network::default());
    assert_eq!(Sidecar { mode: Mode::Redirect, ..sidecar }.network(), Network::default());
}
