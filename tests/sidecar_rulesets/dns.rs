//! DNS that is redirected to Istio's agent.

use std::net::IpAddr;

use meshwire::mesh::istio::sidecar::{DnsCapture, ServiceCidr, Sidecar};

use nft_ruleset::{Family, Ruleset, Table};

use super::{assert_changes, default_sidecar};

fn servers(texts: &[&str]) -> Option<DnsCapture> {
    let servers: Vec<IpAddr> = texts.iter().map(|text| text.parse().unwrap()).collect();
    Some(DnsCapture::Servers(servers))
}

/// Only of uids is port 53 left out where the proxy calls its own pod: Istio has it so.
#[test]
fn all_dns() {
    let sidecar = Sidecar {
        dns: Some(DnsCapture::All),
        proxy_uids: vec![3],
        proxy_gids: vec![1, 2],
        service_cidr: ServiceCidr::All,
        ..default_sidecar()
    };
    assert_changes(
        &sidecar,
        r#"
        table inet istio-proxy-nat {
            chain istio-output {
                oifname "lo" ip saddr 127.0.0.6 counter return
                oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != { 53, 15008 } meta skuid 3 counter jump istio-in-redirect
                oifname "lo" tcp dport != 53 meta skuid != 3 counter return
                meta skuid 3 counter return
                oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 1 counter jump istio-in-redirect
                oifname "lo" tcp dport != 53 meta skgid != 1 counter return
                meta skgid 1 counter return
                oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 2 counter jump istio-in-redirect
                oifname "lo" tcp dport != 53 meta skgid != 2 counter return
                meta skgid 2 counter return
                counter jump istio-output-dns
                ip daddr 127.0.0.1 counter return
                counter jump istio-redirect
            }
            chain istio-output-dns {
                tcp dport 53 counter redirect to :15053
                udp dport 53 counter redirect to :15053
            }
        }
        table inet istio-proxy-raw {
            chain prerouting {
                type filter hook prerouting priority raw; policy accept;
                counter jump istio-inbound
            }
            chain output {
                type filter hook output priority raw; policy accept;
                counter jump istio-output-dns
            }
            chain istio-inbound {
                udp sport 53 counter ct zone set 1
            }
            chain istio-output-dns {
                udp dport 53 meta skuid 3 counter ct zone set 1
                udp sport 15053 meta skuid 3 counter ct zone set 2
                udp dport 53 meta skgid 1 counter ct zone set 1
                udp sport 15053 meta skgid 1 counter ct zone set 2
                udp dport 53 meta skgid 2 counter ct zone set 1
                udp sport 15053 meta skgid 2 counter ct zone set 2
                udp dport 53 counter ct zone set 2
            }
        }
        "#,
    );
}

#[test]
fn dns_to_the_servers_of_both_families() {
    let sidecar = Sidecar {
        dns: servers(&["10.96.0.10", "fd00::a", "9.9.9.9"]),
        proxy_uids: vec![1337],
        proxy_gids: vec![],
        ipv6: true,
        ..default_sidecar()
    };
    assert_changes(
        &sidecar,
        r#"
        table inet istio-proxy-nat {
            chain istio-output {
                oifname "lo" ip saddr 127.0.0.6 counter return
                oifname "lo" ip6 saddr ::6 counter return
                oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != { 53, 15008 } meta skuid 1337 counter jump istio-in-redirect
                oifname "lo" meta l4proto tcp ip6 daddr != ::1 tcp dport != { 53, 15008 } meta skuid 1337 counter jump istio-in-redirect
                oifname "lo" tcp dport != 53 meta skuid != 1337 counter return
                meta skuid 1337 counter return
                counter jump istio-output-dns
                ip daddr 127.0.0.1 counter return
                ip6 daddr ::1 counter return
            }
            chain istio-output-dns {
                ip daddr 10.96.0.10 tcp dport 53 counter redirect to :15053
                ip daddr 9.9.9.9 tcp dport 53 counter redirect to :15053
                ip6 daddr fd00::a tcp dport 53 counter redirect to :15053
                ip daddr 10.96.0.10 udp dport 53 counter redirect to :15053
                ip daddr 9.9.9.9 udp dport 53 counter redirect to :15053
                ip6 daddr fd00::a udp dport 53 counter redirect to :15053
            }
        }
        table inet istio-proxy-raw {
            chain prerouting {
                type filter hook prerouting priority raw; policy accept;
                counter jump istio-inbound
            }
            chain output {
                type filter hook output priority raw; policy accept;
                counter jump istio-output-dns
            }
            chain istio-inbound {
                udp sport 53 ip saddr 10.96.0.10 counter ct zone set 1
                udp sport 53 ip saddr 9.9.9.9 counter ct zone set 1
                udp sport 53 ip6 saddr fd00::a counter ct zone set 1
            }
            chain istio-output-dns {
                udp dport 53 meta skuid 1337 counter ct zone set 1
                udp sport 15053 meta skuid 1337 counter ct zone set 2
                udp dport 53 ip daddr 10.96.0.10 counter ct zone set 2
                udp dport 53 ip daddr 9.9.9.9 counter ct zone set 2
                udp dport 53 ip6 daddr fd00::a counter ct zone set 2
            }
        }
        "#,
    );
}

#[test]
fn servers_of_ipv6_are_left_out_when_it_is_off() {
    let sidecar = |texts| Sidecar { dns: servers(texts), ..default_sidecar() };
    assert_eq!(sidecar(&["fd00::a", "10.96.0.10"]).ruleset(), sidecar(&["10.96.0.10"]).ruleset());
}

/// Istio's own transaction is refused then: it jumps to chains that have no rule and are not made.
#[test]
fn without_a_server_of_a_known_family_no_dns_is_redirected() {
    for none in [&[][..], &["fd00::a"]] {
        let sidecar = Sidecar { dns: servers(none), ..default_sidecar() };
        assert!(!sidecar.captures_dns());
        assert_changes(&sidecar, "");
    }
    assert!(Sidecar { dns: servers(&["fd00::a"]), ipv6: true, ..default_sidecar() }.captures_dns());
}

/// What departs from Istio: a forwarded query goes into the zone of its reply.
#[test]
fn guests_queries_are_in_the_zone_of_their_replies() {
    let zones = |sidecar: &Sidecar| {
        let text =
            sidecar.ruleset().tables.iter().find(|table| table.name == "istio-proxy-raw").unwrap().clone();
        let inbound = text.chains.into_iter().find(|chain| chain.name == "istio-inbound").unwrap();
        let table = Table::with_chains(Family::Inet, "t", [inbound]);
        let text = Ruleset { tables: vec![table] }.to_string();
        let rules = text.lines().map(str::trim).filter(|line| line.contains("zone"));
        rules.map(str::to_owned).collect::<Vec<_>>()
    };
    let all = Sidecar { dns: Some(DnsCapture::All), native_nftables: false, ..default_sidecar() };
    let answer = "udp sport 53 counter ct zone set 1";
    assert_eq!(zones(&all), [answer, "udp dport 53 fib daddr type != local counter ct zone set 1"]);
    assert_eq!(zones(&Sidecar { native_nftables: true, ..all.clone() }), [answer]);
    assert_eq!(
        zones(&Sidecar { dns: servers(&["fd00::a", "9.9.9.9"]), ipv6: true, ..all.clone() }),
        [
            "udp sport 53 ip saddr 9.9.9.9 counter ct zone set 1",
            "udp dport 53 ip daddr 9.9.9.9 fib daddr type != local counter ct zone set 1",
            "udp sport 53 ip6 saddr fd00::a counter ct zone set 1",
            "udp dport 53 ip6 daddr fd00::a fib daddr type != local counter ct zone set 1",
        ]
    );
    let with_ipv6 = Sidecar { ipv6: true, ..all };
    let without = with_ipv6.interception().without_fib().unwrap().ruleset;
    assert_eq!(without, Sidecar { native_nftables: true, ..with_ipv6 }.ruleset());
}

/// Go's parser, through which Istio reads the file, takes it for IPv4 as well.
#[test]
fn a_mapped_address_is_ipv4() {
    let sidecar = |texts, ipv6| Sidecar { dns: servers(texts), ipv6, ..default_sidecar() };
    for ipv6 in [false, true] {
        let mapped = sidecar(&["::ffff:10.96.0.10"], ipv6);
        assert!(mapped.captures_dns());
        assert_eq!(mapped.ruleset(), sidecar(&["10.96.0.10"], ipv6).ruleset());
    }
}
