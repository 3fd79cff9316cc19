//! TPROXY: inbound connections arrive at a transparent listener, which sees the client's address and the port that the
//! client asked for as its own end. Outbound ones are redirected as in the other mode.

use crate::harness::{BOTH, Intercept, Pod, User, V4, V6, captured, intercept, oracle, straight};

const TPROXY: [&str; 6] = ["-m", "TPROXY", "-b", "*", "-i", "*"];
/// Whom Istio runs the proxy as in this mode: only root may have transparent sockets.
const TRANSPARENT_PROXY: User = User { uid: 0, gid: 1337 };

#[test]
fn the_listener_sees_the_client_and_the_original_port() {
    let Some(pod) = Pod::intercepted(&TPROXY) else { return };
    for ip in BOTH {
        for to in [ip.pod(80), ip.pod(12345), ip.pod_eth1(80), ip.beyond(80)] {
            let mut client = pod.peer().open(to).unwrap();
            let arrival = client.ask().unwrap();
            assert_eq!(arrival.listener, 15006);
            assert_eq!(arrival.peer, client.local());
            assert_eq!(arrival.local, to);
        }
    }
}

#[test]
fn excluded_inbound_ports_are_left_alone() {
    let Some(pod) = Pod::intercepted(&[&TPROXY[..], &["-d", "81,8080"]].concat()) else { return };
    for ip in BOTH {
        assert_eq!(pod.peer().tcp(ip.pod(81)), straight(ip.pod(81)));
        assert_eq!(pod.peer().tcp(ip.pod(8080)), straight(ip.pod(8080)));
        assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
    }
}

/// As Istio's own rules have it: only the redirection knows the tunnel port, so a list of all ports includes it.
#[test]
fn the_tunnel_port_is_captured_unless_it_is_excluded() {
    for (args, listener) in [(&[][..], 15006), (&["-d", "15008"], 15008)] {
        let Some(pod) = Pod::intercepted(&[&TPROXY, args].concat()) else { return };
        for ip in BOTH {
            assert_eq!(pod.peer().tcp(ip.pod(15008)), captured(listener, ip.pod(15008)));
        }
    }
}

#[test]
fn only_listed_inbound_ports_are_captured() {
    let Some(pod) = Pod::intercepted(&["-m", "TPROXY", "-b", "80,81"]) else { return };
    for ip in BOTH {
        assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
        assert_eq!(pod.peer().tcp(ip.pod(81)), captured(15006, ip.pod(81)));
        assert_eq!(pod.peer().tcp(ip.pod(8080)), straight(ip.pod(8080)));
        assert_eq!(pod.peer().tcp(ip.pod(15008)), straight(ip.pod(15008)));
    }
}

#[test]
fn outbound_connections_are_redirected() {
    let Some(pod) = Pod::intercepted(&TPROXY) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.peer(80)), captured(15001, ip.peer(80)));
        assert_eq!(pod.proxy().tcp(ip.peer(80)), straight(ip.peer(80)));
        assert_eq!(pod.user(TRANSPARENT_PROXY).tcp(ip.peer(80)), straight(ip.peer(80)));
    }
}

#[test]
fn inside_the_pod_only_the_proxy_is_captured() {
    let Some(pod) = Pod::intercepted(&TPROXY) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.loopback(80)), straight(ip.loopback(80)));
        assert_eq!(pod.app().tcp(ip.pod(80)), straight(ip.pod(80)));
        for proxy in [User::PROXY, TRANSPARENT_PROXY] {
            assert_eq!(pod.user(proxy).tcp(ip.loopback(80)), straight(ip.loopback(80)));
            assert_eq!(pod.user(proxy).tcp(ip.pod(80)), captured(15006, ip.pod(80)));
            assert_eq!(pod.user(proxy).from(ip.passthrough()).tcp(ip.pod(80)), straight(ip.pod(80)));
        }
    }
}

#[test]
fn the_app_sees_the_client_when_the_proxy_connects_in_its_name() {
    let Some(pod) = Pod::intercepted(&TPROXY) else { return };
    for ip in BOTH {
        let proxy = pod.user(TRANSPARENT_PROXY).from(ip.peer(40001)).marked(1337);
        let arrival = proxy.open(ip.pod(80)).unwrap().ask().unwrap();
        assert_eq!(arrival.listener, 80);
        assert_eq!(arrival.peer, ip.peer(40001));
        assert_eq!(arrival.local, ip.pod(80));
    }
}

#[test]
fn excluded_interfaces_are_left_alone_in_both_directions() {
    let Some(pod) = Pod::intercepted(&[&TPROXY[..], &["-c", "eth1"]].concat()) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.peer_eth1(80)), straight(ip.peer_eth1(80)));
        assert_eq!(pod.peer().tcp(ip.pod_eth1(80)), straight(ip.pod_eth1(80)));
        assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
    }
}

#[test]
fn the_mark_and_the_table_can_be_chosen() {
    let Some(pod) = Pod::intercepted(&[&TPROXY[..], &["-t", "1400", "-r", "200"]].concat()) else { return };
    for ip in BOTH {
        assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
    }
    if oracle("ip") {
        assert_eq!(policy_rules(&pod), ["fwmark 0x578 lookup 200"; 2]);
    }
}

#[test]
fn a_pod_with_one_family_is_captured_in_it() {
    for ip in BOTH {
        let Some(pod) = Pod::new(&[ip]) else { return };
        intercept(&pod.namespace, &TPROXY);
        assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
        assert_eq!(pod.app().tcp(ip.peer(80)), captured(15001, ip.peer(80)));
        assert_eq!(pod.proxy().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
    }
}

#[test]
fn with_ipv6_off_ipv6_is_left_alone() {
    let Some(pod) = Pod::intercepted_by(Intercept::new(&TPROXY)) else { return };
    assert_eq!(pod.peer().tcp(V6.pod(80)), straight(V6.pod(80)));
    assert_eq!(pod.app().tcp(V6.peer(80)), straight(V6.peer(80)));
    assert_eq!(pod.peer().tcp(V4.pod(80)), captured(15006, V4.pod(80)));
}

#[test]
fn live_connections_survive_a_second_run() {
    let Some(pod) = Pod::intercepted(&TPROXY) else { return };
    for ip in BOTH {
        let mut client = pod.peer().open(ip.pod(80)).unwrap();
        let before = client.ask().unwrap();
        pod.intercept(&TPROXY);
        assert_eq!(client.ask().unwrap(), before);
        assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
    }
}

#[test]
fn a_second_run_adds_no_second_policy_rule_and_a_clean_up_leaves_none() {
    let Some(pod) = Pod::intercepted(&TPROXY) else { return };
    if !oracle("ip") {
        return;
    }
    pod.intercept(&TPROXY);
    assert_eq!(policy_rules(&pod), ["fwmark 0x539 lookup 133"; 2]);
    pod.intercept(&["--cleanup-only"]);
    assert!(policy_rules(&pod).is_empty());
    for ip in BOTH {
        assert_eq!(pod.peer().tcp(ip.pod(80)), straight(ip.pod(80)));
    }
}

/// The policy rules of both families that a fresh namespace lacks, without their priorities.
fn policy_rules(pod: &Pod) -> Vec<String> {
    let listings = ["-4", "-6"].map(|family| pod.namespace.command(&["ip", family, "rule"]));
    let rules =
        listings.iter().flat_map(|listing| listing.lines()).filter_map(|line| line.split_once("from all "));
    rules.filter(|(_, rule)| rule.starts_with("fwmark")).map(|(_, rule)| rule.trim().to_owned()).collect()
}
