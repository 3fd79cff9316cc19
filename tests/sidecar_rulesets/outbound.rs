//! What leaves the pod: whose traffic, to where, and what is left alone.

use meshwire::mesh::istio::sidecar::{OwnerGroups, ServiceCidr, Sidecar};

use super::{assert_changes, assert_ruleset, default_sidecar, networks};

#[test]
fn by_default_only_the_proxys_own_calls_to_the_pod_are_redirected() {
    assert_ruleset(
        &default_sidecar(),
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
                oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 1337 counter jump istio-in-redirect
                oifname "lo" meta skuid != 1337 counter return
                meta skuid 1337 counter return
                oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 1337 counter jump istio-in-redirect
                oifname "lo" meta skgid != 1337 counter return
                meta skgid 1337 counter return
                ip daddr 127.0.0.1 counter return
            }
        }
        "#,
    );
}

#[test]
fn ipv6_has_a_rule_beside_each_rule_with_an_ipv4_address() {
    assert_changes(
        &Sidecar { ipv6: true, ..default_sidecar() },
        r#"
        table inet istio-proxy-nat {
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
        "#,
    );
}

#[test]
fn every_uid_and_then_every_gid_of_the_proxy_has_its_rules() {
    assert_changes(
        &Sidecar { proxy_uids: vec![3, 4], proxy_gids: vec![0], ..default_sidecar() },
        r#"
        table inet istio-proxy-nat {
            chain istio-output {
                oifname "lo" ip saddr 127.0.0.6 counter return
                oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 3 counter jump istio-in-redirect
                oifname "lo" meta skuid != 3 counter return
                meta skuid 3 counter return
                oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 4 counter jump istio-in-redirect
                oifname "lo" meta skuid != 4 counter return
                meta skuid 4 counter return
                oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 0 counter jump istio-in-redirect
                oifname "lo" meta skgid != 0 counter return
                meta skgid 0 counter return
                ip daddr 127.0.0.1 counter return
            }
        }
        "#,
    );
}

#[test]
fn exceptions_come_before_what_is_redirected() {
    let sidecar = Sidecar {
        proxy_gids: vec![],
        outbound_ports_exclude: [22, 3306].map(|port| port..=port).into(),
        outbound_ports: [8080, 9090].map(|port| port..=port).into(),
        service_cidr: ServiceCidr::All,
        service_cidr_exclude: networks(&["10.1.2.3/8", "192.168.7.9/32"]),
        owner_groups: OwnerGroups::AllExcept(vec![888, 50]),
        ..default_sidecar()
    };
    assert_changes(
        &sidecar,
        r#"
        table inet istio-proxy-nat {
            chain istio-output {
                tcp dport 22 counter return
                udp dport 22 counter return
                tcp dport 3306 counter return
                udp dport 3306 counter return
                oifname "lo" ip saddr 127.0.0.6 counter return
                oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 1337 counter jump istio-in-redirect
                oifname "lo" meta skuid != 1337 counter return
                meta skuid 1337 counter return
                meta skgid 888 counter return
                meta skgid 50 counter return
                ip daddr 127.0.0.1 counter return
                ip daddr 10.0.0.0/8 counter return
                ip daddr 192.168.7.9 counter return
                tcp dport 8080 counter jump istio-redirect
                tcp dport 9090 counter jump istio-redirect
                counter jump istio-redirect
            }
        }
        "#,
    );
}

#[test]
fn networks_of_ipv4_come_before_those_of_ipv6() {
    let sidecar = Sidecar {
        ipv6: true,
        proxy_uids: vec![],
        proxy_gids: vec![],
        service_cidr: ServiceCidr::Only(networks(&[
            "fd00::/8",
            "172.16.0.0/12",
            "2001:db8::/33",
            "9.9.0.0/16",
        ])),
        service_cidr_exclude: networks(&["2001:db8::1/128", "0.0.0.0/0", "::/0"]),
        ..default_sidecar()
    };
    assert_changes(
        &sidecar,
        r#"
        table inet istio-proxy-nat {
            chain istio-output {
                oifname "lo" ip saddr 127.0.0.6 counter return
                oifname "lo" ip6 saddr ::6 counter return
                ip daddr 127.0.0.1 counter return
                ip6 daddr ::1 counter return
                ip daddr 0.0.0.0/0 counter return
                ip6 daddr 2001:db8::1 counter return
                ip6 daddr ::/0 counter return
                ip daddr 172.16.0.0/12 counter jump istio-redirect
                ip daddr 9.9.0.0/16 counter jump istio-redirect
                ip6 daddr fd00::/8 counter jump istio-redirect
                ip6 daddr 2001:db8::/33 counter jump istio-redirect
            }
        }
        "#,
    );
}

#[test]
fn networks_of_ipv6_are_left_out_when_it_is_off() {
    let sidecar = Sidecar {
        service_cidr: ServiceCidr::Only(networks(&["fd00::/8"])),
        service_cidr_exclude: networks(&["2001:db8::/32"]),
        ..default_sidecar()
    };
    assert_changes(&sidecar, "");
}

/// Without the rules for what is not the proxy's, the app's calls over `lo` come as far as the last rule.
#[test]
fn an_included_loopback_address_is_redirected_over_lo_too() {
    for loopback in ["127.1.2.3/32", "127.0.0.0/9"] {
        let sidecar = Sidecar { service_cidr: ServiceCidr::Only(networks(&[loopback])), ..default_sidecar() };
        let shown = loopback.trim_end_matches("/32");
        assert_changes(
            &sidecar,
            &format!(
                r#"
                table inet istio-proxy-nat {{
                    chain istio-output {{
                        oifname "lo" ip saddr 127.0.0.6 counter return
                        oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 1337 counter jump istio-in-redirect
                        meta skuid 1337 counter return
                        oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 1337 counter jump istio-in-redirect
                        meta skgid 1337 counter return
                        ip daddr 127.0.0.1 counter return
                        ip daddr {shown} counter jump istio-redirect
                    }}
                }}
                "#
            ),
        );
    }
}

/// Even of a family that there are no rules for: Istio looks at the list, not at the rules.
#[test]
fn an_included_loopback_address_of_ipv6_counts_without_ipv6() {
    let sidecar = Sidecar {
        proxy_gids: vec![],
        service_cidr: ServiceCidr::Only(networks(&["10.0.0.0/8", "::1/128"])),
        ..default_sidecar()
    };
    assert_changes(
        &sidecar,
        r#"
        table inet istio-proxy-nat {
            chain istio-output {
                oifname "lo" ip saddr 127.0.0.6 counter return
                oifname "lo" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 1337 counter jump istio-in-redirect
                meta skuid 1337 counter return
                ip daddr 127.0.0.1 counter return
                ip daddr 10.0.0.0/8 counter jump istio-redirect
            }
        }
        "#,
    );
}

#[test]
fn all_but_the_included_groups_are_left_alone() {
    let sidecar = |groups| Sidecar {
        proxy_uids: vec![],
        proxy_gids: vec![],
        service_cidr: ServiceCidr::All,
        owner_groups: OwnerGroups::Only(groups),
        ..default_sidecar()
    };
    assert_changes(
        &sidecar(vec![202, 4_294_967_295, 7]),
        r#"
        table inet istio-proxy-nat {
            chain istio-output {
                oifname "lo" ip saddr 127.0.0.6 counter return
                meta skgid != 202 meta skgid != 4294967295 meta skgid != 7 counter return
                ip daddr 127.0.0.1 counter return
                counter jump istio-redirect
            }
        }
        "#,
    );
    // Nobody's traffic is intercepted.
    assert_changes(
        &sidecar(vec![]),
        r#"
        table inet istio-proxy-nat {
            chain istio-output {
                oifname "lo" ip saddr 127.0.0.6 counter return
                counter return
                ip daddr 127.0.0.1 counter return
                counter jump istio-redirect
            }
        }
        "#,
    );
}

#[test]
fn ports_and_the_loopback_network_can_be_others() {
    let sidecar = Sidecar {
        envoy_port: 1,
        inbound_capture_port: 2,
        inbound_tunnel_port: 3,
        proxy_gids: vec![],
        loopback_v4: "127.128.0.0/9".parse().unwrap(),
        ..default_sidecar()
    };
    assert_changes(
        &sidecar,
        r#"
        table inet istio-proxy-nat {
            chain istio-inbound {
                tcp dport 3 counter return
            }
            chain istio-redirect {
                meta l4proto tcp counter redirect to :1
            }
            chain istio-in-redirect {
                meta l4proto tcp counter redirect to :2
            }
            chain istio-output {
                oifname "lo" ip saddr 127.0.0.6 counter return
                oifname "lo" meta l4proto tcp ip daddr != 127.128.0.0/9 tcp dport != 3 meta skuid 1337 counter jump istio-in-redirect
                oifname "lo" meta skuid != 1337 counter return
                meta skuid 1337 counter return
                ip daddr 127.128.0.0/9 counter return
            }
        }
        "#,
    );
}

/// One rule cannot compare more one by one.
#[test]
fn many_groups_are_a_set() {
    let rule = |count: u32| {
        let groups = OwnerGroups::Only((1..=count).rev().chain([1]).collect());
        let ruleset = Sidecar { owner_groups: groups, ..default_sidecar() }.ruleset();
        let text = ruleset.to_string();
        text.lines().map(str::trim).rfind(|line| line.contains("meta skgid !=")).unwrap().to_owned()
    };
    assert!(rule(62).starts_with("meta skgid != 62 meta skgid != 61 "));
    let all: Vec<_> = (1..=1000).map(|group| group.to_string()).collect();
    assert_eq!(rule(1000), format!("meta skgid != {{ {} }} counter return", all.join(", ")));
}
