//! REDIRECT, the default mode: what leaves the app arrives at 15001, what comes in at 15006, and the proxy knows where
//! it was going.

use crate::harness::{
    BOTH, Intercept, Namespace, Pod, Server, User, V4, V6, captured, intercept, oracle, straight,
};

// Outbound.

#[test]
fn outbound_connections_of_the_app_arrive_at_15001() {
    let Some(pod) = Pod::intercepted(&["-i", "*"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.peer(80)), captured(15001, ip.peer(80)));
        assert_eq!(pod.app().tcp(ip.elsewhere(8080)), captured(15001, ip.elsewhere(8080)));
        assert_eq!(pod.app().tcp(ip.peer(15008)), captured(15001, ip.peer(15008)));
    }
}

#[test]
fn outbound_connections_of_the_proxy_go_straight_out_by_uid_or_by_gid() {
    let Some(pod) = Pod::intercepted(&["-i", "*"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.proxy().tcp(ip.peer(80)), straight(ip.peer(80)));
        assert_eq!(pod.user(User { uid: 1337, gid: 0 }).tcp(ip.peer(80)), straight(ip.peer(80)));
        assert_eq!(pod.user(User { uid: 0, gid: 1337 }).tcp(ip.peer(80)), straight(ip.peer(80)));
        assert_eq!(pod.user(User::ROOT).tcp(ip.peer(80)), captured(15001, ip.peer(80)));
    }
}

#[test]
fn proxies_may_have_other_ids_and_several() {
    let Some(pod) = Pod::intercepted(&["-i", "*", "-u", "3,4", "-g", "1,2"]) else { return };
    for ip in BOTH {
        for (uid, gid) in [(3, 0), (4, 0), (0, 1), (0, 2)] {
            assert_eq!(pod.user(User { uid, gid }).tcp(ip.peer(80)), straight(ip.peer(80)));
        }
        assert_eq!(pod.proxy().tcp(ip.peer(80)), captured(15001, ip.peer(80)));
    }
}

#[test]
fn without_outbound_settings_nothing_is_captured_on_the_way_out() {
    let Some(pod) = Pod::intercepted(&["-b", "*"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.peer(80)), straight(ip.peer(80)));
    }
}

#[test]
fn datagrams_are_left_alone() {
    let Some(pod) = Pod::intercepted(&["-i", "*", "-b", "*"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().udp(ip.peer(80)), straight(ip.peer(80)));
        assert_eq!(pod.app().udp(ip.peer(53)), straight(ip.peer(53)));
    }
}

#[test]
fn excluded_destinations_are_left_alone() {
    let Some(pod) = Pod::intercepted(&["-i", "*", "-x", "10.1.0.0/16,fd01::/64"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.elsewhere(80)), straight(ip.elsewhere(80)));
        assert_eq!(pod.app().tcp(ip.peer(80)), captured(15001, ip.peer(80)));
    }
}

#[test]
fn only_included_destinations_are_captured() {
    let Some(pod) = Pod::intercepted(&["-i", "10.1.0.0/16,fd01::/64"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.elsewhere(80)), captured(15001, ip.elsewhere(80)));
        assert_eq!(pod.app().tcp(ip.peer(80)), straight(ip.peer(80)));
    }
}

#[test]
fn an_exclusion_wins_over_an_inclusion() {
    let args = ["-i", "10.0.0.0/8,fd00::/8", "-x", "10.1.0.1/32,fd01::1/128"];
    let Some(pod) = Pod::intercepted(&args) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.elsewhere(80)), straight(ip.elsewhere(80)));
        assert_eq!(pod.app().tcp(ip.peer(80)), captured(15001, ip.peer(80)));
    }
}

#[test]
fn excluded_outbound_ports_are_left_alone() {
    let Some(pod) = Pod::intercepted(&["-i", "*", "-o", "80,81"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.peer(80)), straight(ip.peer(80)));
        assert_eq!(pod.app().tcp(ip.peer(81)), straight(ip.peer(81)));
        assert_eq!(pod.app().tcp(ip.peer(8080)), captured(15001, ip.peer(8080)));
    }
}

#[test]
fn included_outbound_ports_are_captured_whatever_the_destination() {
    let args = ["-q", "8080", "-i", "10.1.0.0/16,fd01::/64"];
    let Some(pod) = Pod::intercepted(&args) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.peer(8080)), captured(15001, ip.peer(8080)));
        assert_eq!(pod.app().tcp(ip.peer(80)), straight(ip.peer(80)));
        assert_eq!(pod.app().tcp(ip.elsewhere(80)), captured(15001, ip.elsewhere(80)));
    }
}

#[test]
fn excluded_groups_are_left_alone() {
    let command = Intercept::new(&["--dual-stack", "-i", "*"])
        .etc("group", "backup:x:2002:\n")
        .env("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "2001,backup");
    let Some(pod) = Pod::intercepted_by(command) else { return };
    for ip in BOTH {
        assert_eq!(pod.user(User { uid: 1000, gid: 2001 }).tcp(ip.peer(80)), straight(ip.peer(80)));
        assert_eq!(pod.user(User { uid: 1000, gid: 2002 }).tcp(ip.peer(80)), straight(ip.peer(80)));
        assert_eq!(pod.app().tcp(ip.peer(80)), captured(15001, ip.peer(80)));
    }
}

#[test]
fn only_included_groups_are_captured() {
    let command = Intercept::new(&["--dual-stack", "-i", "*"])
        .etc("group", "backup:x:2002:\n")
        .env("ISTIO_OUTBOUND_OWNER_GROUPS", "2001,backup");
    let Some(pod) = Pod::intercepted_by(command) else { return };
    for ip in BOTH {
        assert_eq!(pod.user(User { uid: 1000, gid: 2001 }).tcp(ip.peer(80)), captured(15001, ip.peer(80)));
        assert_eq!(pod.user(User { uid: 1000, gid: 2002 }).tcp(ip.peer(80)), captured(15001, ip.peer(80)));
        assert_eq!(pod.app().tcp(ip.peer(80)), straight(ip.peer(80)));
    }
}

// Inbound.

#[test]
fn inbound_connections_arrive_at_15006() {
    let Some(pod) = Pod::intercepted(&["-b", "*"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
        assert_eq!(pod.peer().tcp(ip.pod(12345)), captured(15006, ip.pod(12345)));
        assert_eq!(pod.peer().tcp(ip.pod_eth1(80)), captured(15006, ip.pod_eth1(80)));
    }
}

#[test]
fn excluded_inbound_ports_and_the_tunnel_port_are_left_alone() {
    let Some(pod) = Pod::intercepted(&["-b", "*", "-d", "81,8080"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.peer().tcp(ip.pod(81)), straight(ip.pod(81)));
        assert_eq!(pod.peer().tcp(ip.pod(8080)), straight(ip.pod(8080)));
        assert_eq!(pod.peer().tcp(ip.pod(15008)), straight(ip.pod(15008)));
        assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
    }
}

#[test]
fn only_listed_inbound_ports_are_captured() {
    let Some(pod) = Pod::intercepted(&["-b", "80,81"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
        assert_eq!(pod.peer().tcp(ip.pod(81)), captured(15006, ip.pod(81)));
        assert_eq!(pod.peer().tcp(ip.pod(8080)), straight(ip.pod(8080)));
    }
}

#[test]
fn without_inbound_settings_nothing_is_captured_on_the_way_in() {
    let Some(pod) = Pod::intercepted(&["-i", "*"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.peer().tcp(ip.pod(80)), straight(ip.pod(80)));
    }
}

#[test]
fn the_ports_of_the_proxy_can_be_chosen() {
    let args = ["-i", "*", "-b", "*", "-p", "16001", "-z", "16006", "-e", "16008"];
    let Some(pod) = Pod::intercepted(&args) else { return };
    let _proxy = Server::tcp(&pod.namespace, User::PROXY, &[16001, 16006, 16008]);
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.peer(80)), captured(16001, ip.peer(80)));
        assert_eq!(pod.peer().tcp(ip.pod(80)), captured(16006, ip.pod(80)));
        assert_eq!(pod.peer().tcp(ip.pod(15008)), captured(16006, ip.pod(15008)));
        assert_eq!(pod.peer().tcp(ip.pod(16008)), straight(ip.pod(16008)));
    }
}

// Inside the pod.

#[test]
fn loopback_destinations_are_left_alone() {
    let Some(pod) = Pod::intercepted(&["-i", "*", "-b", "*"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.loopback(80)), straight(ip.loopback(80)));
        assert_eq!(pod.proxy().tcp(ip.loopback(80)), straight(ip.loopback(80)));
    }
}

#[test]
fn the_app_reaches_its_own_pod_without_the_proxy() {
    let Some(pod) = Pod::intercepted(&["-i", "*", "-b", "*"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.pod(80)), straight(ip.pod(80)));
    }
}

#[test]
fn the_proxy_reaches_its_own_pod_through_15006() {
    let Some(pod) = Pod::intercepted(&["-i", "*", "-b", "*"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.proxy().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
        assert_eq!(pod.proxy().tcp(ip.pod(15008)), straight(ip.pod(15008)));
    }
}

#[test]
fn what_the_proxy_passes_through_to_the_app_is_left_alone() {
    let Some(pod) = Pod::intercepted(&["-i", "*", "-b", "*"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.proxy().from(ip.passthrough()).tcp(ip.pod(80)), straight(ip.pod(80)));
    }
}

#[test]
fn services_on_loopback_can_be_included_other_than_at_its_own_address() {
    let Some(pod) = Pod::intercepted(&["-i", "127.0.0.0/8,::1/128"]) else { return };
    let service = "127.1.2.3:80".parse().unwrap();
    assert_eq!(pod.app().tcp(service), captured(15001, service));
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.loopback(80)), straight(ip.loopback(80)));
    }
}

#[test]
fn the_loopback_prefix_can_be_wider() {
    let command = Intercept::new(&["-b", "*"]).env("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "127.0.0.0/8");
    let Some(pod) = Pod::intercepted_by(command) else { return };
    let service = "127.1.2.3:80".parse().unwrap();
    assert_eq!(pod.proxy().tcp(service), straight(service));
    assert_eq!(pod.proxy().tcp(V4.pod(80)), captured(15006, V4.pod(80)));
}

// Interfaces.

#[test]
fn excluded_interfaces_are_left_alone_in_both_directions() {
    let Some(pod) = Pod::intercepted(&["-i", "*", "-b", "*", "-c", "eth1"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.peer_eth1(80)), straight(ip.peer_eth1(80)));
        assert_eq!(pod.peer().tcp(ip.pod_eth1(80)), straight(ip.pod_eth1(80)));
        assert_eq!(pod.app().tcp(ip.peer(80)), captured(15001, ip.peer(80)));
        assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
    }
}

#[test]
fn what_a_virtual_machine_sends_is_outbound() {
    let Some(pod) = Pod::intercepted(&["-i", "*", "-b", "*", "-k", "eth1"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.peer().tcp(ip.beyond(80)), captured(15001, ip.beyond(80)));
        assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
    }
}

#[test]
fn what_a_virtual_machine_sends_elsewhere_than_included_is_left_alone() {
    let Some(pod) = Pod::intercepted(&["-i", "10.3.0.0/16,fd03::/64", "-b", "*", "-k", "eth1"]) else {
        return;
    };
    for ip in BOTH {
        assert_eq!(pod.peer().tcp(ip.beyond(80)), captured(15001, ip.beyond(80)));
        assert_eq!(pod.peer().tcp(ip.pod_eth1(80)), straight(ip.pod_eth1(80)));
    }
}

// Families.

#[test]
fn a_pod_with_one_family_is_captured_in_it() {
    for ip in BOTH {
        let Some(pod) = Pod::new(&[ip]) else { return };
        intercept(&pod.namespace, &["-i", "*", "-b", "*"]);
        assert_eq!(pod.app().tcp(ip.peer(80)), captured(15001, ip.peer(80)));
        assert_eq!(pod.proxy().tcp(ip.peer(80)), straight(ip.peer(80)));
        assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
        assert_eq!(pod.proxy().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
        assert_eq!(pod.proxy().from(ip.passthrough()).tcp(ip.pod(80)), straight(ip.pod(80)));
    }
}

#[test]
fn with_ipv6_off_ipv6_is_left_alone() {
    let command = Intercept::new(&["-i", "*", "-b", "*", "-c", "eth1"]);
    let Some(pod) = Pod::intercepted_by(command) else { return };
    assert_eq!(pod.app().tcp(V6.peer(80)), straight(V6.peer(80)));
    assert_eq!(pod.peer().tcp(V6.pod(80)), straight(V6.pod(80)));
    assert_eq!(pod.proxy().tcp(V6.pod(80)), straight(V6.pod(80)));
    assert_eq!(pod.app().tcp(V4.peer(80)), captured(15001, V4.peer(80)));
    assert_eq!(pod.peer().tcp(V4.pod(80)), captured(15006, V4.pod(80)));
}

#[test]
fn with_native_nftables_and_ipv6_off_ipv6_is_captured_as_istio_does() {
    let command = Intercept::new(&["-i", "*", "-b", "*", "--native-nftables"]);
    let Some(pod) = Pod::intercepted_by(command) else { return };
    assert_eq!(pod.app().tcp(V6.peer(80)), captured(15001, V6.peer(80)));
    assert_eq!(pod.peer().tcp(V6.pod(80)), captured(15006, V6.pod(80)));
}

// Invalid segments.

#[test]
fn stray_segments_are_answered_by_default() {
    let Some(pod) = Pod::intercepted(&["-b", "80"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.refused(ip, 40001, 40002), [40001, 40002]);
    }
}

#[test]
fn stray_segments_are_dropped_on_demand() {
    let Some(pod) = Pod::intercepted(&["-b", "80", "--drop-invalid"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.refused(ip, 40001, 40002), [40002]);
    }
}

// Runs that follow others.

#[test]
fn live_connections_survive_a_second_run() {
    let args = ["-i", "*", "-b", "*"];
    let Some(pod) = Pod::intercepted(&args) else { return };
    for ip in BOTH {
        let mut outbound = pod.app().open(ip.peer(80)).unwrap();
        let mut inbound = pod.peer().open(ip.pod(80)).unwrap();
        let before = (outbound.ask().unwrap(), inbound.ask().unwrap());
        assert_eq!((before.0.listener, before.1.listener), (15001, 15006));

        pod.intercept(&args);
        assert_eq!((outbound.ask().unwrap(), inbound.ask().unwrap()), before);
        assert_eq!(pod.app().tcp(ip.peer(80)), captured(15001, ip.peer(80)));
        assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
    }
}

#[test]
fn a_run_with_other_settings_leaves_nothing_of_the_last_one() {
    let Some(pod) = Pod::intercepted(&["-i", "*", "-b", "*", "-x", "10.1.0.0/16"]) else { return };
    pod.intercept(&["-i", "10.1.0.0/16"]);
    assert_eq!(pod.app().tcp(V4.elsewhere(80)), captured(15001, V4.elsewhere(80)));
    assert_eq!(pod.app().tcp(V4.peer(80)), straight(V4.peer(80)));
    assert_eq!(pod.peer().tcp(V4.pod(80)), straight(V4.pod(80)));
}

#[test]
fn a_clean_up_ends_the_capture() {
    let Some(pod) = Pod::intercepted(&["-i", "*", "-b", "*"]) else { return };
    pod.intercept(&["--cleanup-only"]);
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.peer(80)), straight(ip.peer(80)));
        assert_eq!(pod.peer().tcp(ip.pod(80)), straight(ip.pod(80)));
    }
}

#[test]
fn runs_that_only_look_touch_nothing() {
    let Some(pod) = Pod::new(&BOTH) else { return };
    for look in ["--dry-run", "--check", "--skip-rule-apply"] {
        pod.intercept(&["-i", "*", "-b", "*", look]);
        for ip in BOTH {
            assert_eq!(pod.app().tcp(ip.peer(80)), straight(ip.peer(80)));
            assert_eq!(pod.peer().tcp(ip.pod(80)), straight(ip.pod(80)));
        }
    }
}

#[test]
fn the_namespace_can_be_another_than_the_commands_own() {
    let Some(pod) = Pod::new(&BOTH) else { return };
    let elsewhere = Namespace::new();
    let args = ["--dual-stack", "-i", "*", "-b", "*", "--network-namespace", &pod.namespace.path()];
    intercept(&elsewhere, &args);
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.peer(80)), captured(15001, ip.peer(80)));
        assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
    }
}

#[test]
fn the_tables_of_others_stay() {
    let Some(pod) = Pod::new(&BOTH) else { return };
    if !oracle("nft") {
        return;
    }
    let list = ["nft", "list", "table", "inet", "neighbour"];
    pod.namespace
        .feed(&["nft", "-f", "-"], "table inet neighbour { chain input { ip saddr 192.0.2.1 drop; }; }");
    let before = pod.namespace.command(&list);
    for args in [&["-i", "*", "-b", "*"][..], &[], &["--cleanup-only"]] {
        pod.intercept(args);
        assert_eq!(pod.namespace.command(&list), before);
    }
}
