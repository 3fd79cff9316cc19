//! DNS that is redirected to Istio's agent.

use std::net::IpAddr;

use meshwire::mesh::istio::sidecar::{DnsCapture, ServiceCidr, Sidecar};

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
