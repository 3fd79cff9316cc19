//! What comes to the pod, with REDIRECT, and on which interfaces.

use meshwire::mesh::istio::sidecar::{DnsCapture, InboundPorts, Mode, ServiceCidr, Sidecar};

use super::{assert_changes, default_sidecar, interfaces, networks};

#[test]
fn all_ports_but_the_excluded_ones_are_redirected() {
    let sidecar = Sidecar {
        inbound_ports: InboundPorts::AllExcept([15090, 15021].map(|port| port..=port).into()),
        ..default_sidecar()
    };
    assert_changes(
        &sidecar,
        r#"
        table inet istio-proxy-nat {
            chain prerouting {
                type nat hook prerouting priority dstnat; policy accept;
                meta l4proto tcp counter jump istio-inbound
            }
            chain istio-inbound {
                tcp dport 15008 counter return
                tcp dport 15090 counter return
                tcp dport 15021 counter return
                meta l4proto tcp counter jump istio-in-redirect
            }
        }
        "#,
    );
}

#[test]
fn only_the_listed_ports_are_redirected() {
    let sidecar = Sidecar {
        inbound_ports: InboundPorts::Only([8080, 53].map(|port| port..=port).into()),
        ..default_sidecar()
    };
    assert_changes(
        &sidecar,
        r#"
        table inet istio-proxy-nat {
            chain prerouting {
                type nat hook prerouting priority dstnat; policy accept;
                meta l4proto tcp counter jump istio-inbound
            }
            chain istio-inbound {
                tcp dport 15008 counter return
                tcp dport 8080 counter jump istio-in-redirect
                tcp dport 53 counter jump istio-in-redirect
            }
        }
        "#,
    );
}

#[test]
fn an_excluded_interface_is_left_alone_both_ways() {
    let sidecar = Sidecar {
        exclude_interfaces: interfaces(&["net1", "eth*"]),
        inbound_ports: InboundPorts::AllExcept(vec![]),
        ..default_sidecar()
    };
    assert_changes(
        &sidecar,
        r#"
        table inet istio-proxy-nat {
            chain prerouting {
                type nat hook prerouting priority dstnat; policy accept;
                iifname "net1" counter return
                iifname "eth*" counter return
                meta l4proto tcp counter jump istio-inbound
            }
            chain output {
                type nat hook output priority -100; policy accept;
                oifname "net1" counter return
                oifname "eth*" counter return
                counter jump istio-output
            }
            chain istio-inbound {
                tcp dport 15008 counter return
                meta l4proto tcp counter jump istio-in-redirect
            }
        }
        "#,
    );
}

#[test]
fn an_interface_may_be_named_the_way_of_iptables() {
    assert_eq!(interfaces(&["eth+"]), interfaces(&["eth*"]));
}

/// Each rule for a virtual interface is put before all others, so the last one comes first.
#[test]
fn what_a_virtual_machine_sends_is_outbound() {
    let sidecar = Sidecar {
        virtual_interfaces: interfaces(&["tap0", "tap1"]),
        exclude_interfaces: interfaces(&["net1"]),
        service_cidr: ServiceCidr::All,
        proxy_uids: vec![],
        proxy_gids: vec![],
        ..default_sidecar()
    };
    assert_changes(
        &sidecar,
        r#"
        table inet istio-proxy-nat {
            chain prerouting {
                type nat hook prerouting priority dstnat; policy accept;
                iifname "tap1" counter jump istio-redirect
                iifname "tap0" counter jump istio-redirect
                iifname "tap1" counter return
                iifname "tap0" counter return
                iifname "net1" counter return
            }
            chain output {
                type nat hook output priority -100; policy accept;
                oifname "net1" counter return
                counter jump istio-output
            }
            chain istio-output {
                oifname "lo" ip saddr 127.0.0.6 counter return
                ip daddr 127.0.0.1 counter return
                counter jump istio-redirect
            }
        }
        "#,
    );
}

#[test]
fn what_a_virtual_machine_sends_to_listed_networks_is_outbound() {
    let sidecar = Sidecar {
        virtual_interfaces: interfaces(&["tap0", "tap1"]),
        service_cidr: ServiceCidr::Only(networks(&["fd00::/8", "10.0.0.0/8", "9.0.0.0/8"])),
        proxy_uids: vec![],
        proxy_gids: vec![],
        ipv6: true,
        ..default_sidecar()
    };
    assert_changes(
        &sidecar,
        r#"
        table inet istio-proxy-nat {
            chain prerouting {
                type nat hook prerouting priority dstnat; policy accept;
                iifname "tap1" ip6 daddr fd00::/8 counter jump istio-redirect
                iifname "tap0" ip6 daddr fd00::/8 counter jump istio-redirect
                iifname "tap1" ip daddr 9.0.0.0/8 counter jump istio-redirect
                iifname "tap0" ip daddr 9.0.0.0/8 counter jump istio-redirect
                iifname "tap1" ip daddr 10.0.0.0/8 counter jump istio-redirect
                iifname "tap0" ip daddr 10.0.0.0/8 counter jump istio-redirect
                iifname "tap1" counter return
                iifname "tap0" counter return
            }
            chain istio-output {
                oifname "lo" ip saddr 127.0.0.6 counter return
                oifname "lo" ip6 saddr ::6 counter return
                ip daddr 127.0.0.1 counter return
                ip6 daddr ::1 counter return
                ip daddr 10.0.0.0/8 counter jump istio-redirect
                ip daddr 9.0.0.0/8 counter jump istio-redirect
                ip6 daddr fd00::/8 counter jump istio-redirect
            }
        }
        "#,
    );
}

#[test]
fn invalid_packets_are_dropped_before_nat() {
    assert_changes(
        &Sidecar { drop_invalid: true, ..default_sidecar() },
        r#"
        table inet istio-proxy-mangle {
            chain prerouting {
                type filter hook prerouting priority mangle; policy accept;
                meta l4proto tcp ct state invalid counter jump istio-drop
            }
            chain istio-drop {
                counter drop
            }
        }
        "#,
    );
}

/// As Istio's iptables backend does, which is what others have.
#[test]
fn invalid_packets_of_any_protocol_are_dropped() {
    let sidecar = Sidecar { drop_invalid: true, ipv6: true, ..default_sidecar() };
    let native = sidecar.ruleset().to_string();
    let ruleset = Sidecar { native_nftables: false, ..sidecar }.ruleset().to_string();
    assert_eq!(ruleset, native.replace("meta l4proto tcp ct state invalid", "ct state invalid"));
    assert_ne!(ruleset, native);
}

#[test]
fn without_ipv6_every_base_chain_lets_it_pass_first() {
    let sidecar = Sidecar {
        native_nftables: false,
        virtual_interfaces: interfaces(&["tap0"]),
        service_cidr: ServiceCidr::All,
        drop_invalid: true,
        dns: Some(DnsCapture::All),
        proxy_uids: vec![],
        proxy_gids: vec![],
        ..default_sidecar()
    };
    assert_changes(
        &sidecar,
        r#"
        table inet istio-proxy-nat {
            chain prerouting {
                type nat hook prerouting priority dstnat; policy accept;
                meta nfproto ipv6 counter return
                iifname "tap0" counter jump istio-redirect
                iifname "tap0" counter return
            }
            chain output {
                type nat hook output priority -100; policy accept;
                meta nfproto ipv6 counter return
                counter jump istio-output
            }
            chain istio-output {
                oifname "lo" ip saddr 127.0.0.6 counter return
                counter jump istio-output-dns
                ip daddr 127.0.0.1 counter return
                counter jump istio-redirect
            }
            chain istio-output-dns {
                tcp dport 53 counter redirect to :15053
                udp dport 53 counter redirect to :15053
            }
        }
        table inet istio-proxy-mangle {
            chain prerouting {
                type filter hook prerouting priority mangle; policy accept;
                meta nfproto ipv6 counter return
                ct state invalid counter jump istio-drop
            }
            chain istio-drop {
                counter drop
            }
        }
        table inet istio-proxy-raw {
            chain prerouting {
                type filter hook prerouting priority raw; policy accept;
                meta nfproto ipv6 counter return
                counter jump istio-inbound
            }
            chain output {
                type filter hook output priority raw; policy accept;
                meta nfproto ipv6 counter return
                counter jump istio-output-dns
            }
            chain istio-inbound {
                udp sport 53 counter ct zone set 1
                udp dport 53 fib daddr type != local counter ct zone set 1
            }
            chain istio-output-dns {
                udp dport 53 counter ct zone set 2
            }
        }
        "#,
    );
}

#[test]
fn with_ipv6_it_passes_nowhere_first() {
    for mode in [Mode::Redirect, Mode::Tproxy] {
        let sidecar = |native_nftables| Sidecar { native_nftables, mode, ipv6: true, ..default_sidecar() };
        assert_eq!(sidecar(false).ruleset(), sidecar(true).ruleset());
    }
}
