//! DNS capture: questions of the app arrive at the agent's 15053, and answers come back as if from the server that was
//! asked, while the agent's own questions go out.

use crate::harness::{BOTH, Intercept, Pod, User, V4, V6, captured, oracle, straight};

const CAPTURE_ALL: [&str; 4] = ["-i", "*", "--redirect-dns", "--capture-all-dns"];
/// The pod's servers in the other variant: the peer is one, the address elsewhere is none.
const RESOLV_CONF: &str = "search example.com\nnameserver 10.0.0.1\nnameserver fd00::1\noptions ndots:5\n";

fn with_resolv_conf(args: &[&str], resolv_conf: &str) -> Option<Pod> {
    let args = [&["--dual-stack", "--redirect-dns"], args].concat();
    Pod::intercepted_by(Intercept::new(&args).etc("resolv.conf", resolv_conf))
}

#[test]
fn every_question_arrives_at_the_agent() {
    let Some(pod) = Pod::intercepted(&CAPTURE_ALL) else { return };
    for ip in BOTH {
        for server in [ip.peer(53), ip.elsewhere(53), ip.loopback(53)] {
            assert_eq!(pod.app().udp(server), captured(15053, server));
            assert_eq!(pod.app().tcp(server), captured(15053, server));
        }
    }
}

#[test]
fn the_agent_asks_upstream_itself() {
    let Some(pod) = Pod::intercepted(&CAPTURE_ALL) else { return };
    for ip in BOTH {
        for agent in [User::PROXY, User { uid: 1337, gid: 0 }, User { uid: 0, gid: 1337 }] {
            assert_eq!(pod.user(agent).udp(ip.peer(53)), straight(ip.peer(53)));
            assert_eq!(pod.user(agent).tcp(ip.peer(53)), straight(ip.peer(53)));
        }
    }
}

#[test]
fn the_agent_may_use_a_source_port_that_the_app_has_just_used() {
    let Some(pod) = Pod::intercepted(&CAPTURE_ALL) else { return };
    for ip in BOTH {
        let (app, agent) = (pod.app().from(ip.pod(40001)), pod.proxy().from(ip.pod(40001)));
        for _ in 0..2 {
            assert_eq!(app.udp(ip.peer(53)), captured(15053, ip.peer(53)));
            assert_eq!(agent.udp(ip.peer(53)), straight(ip.peer(53)));
        }
    }
}

#[test]
fn other_traffic_is_captured_as_without_dns() {
    let Some(pod) = Pod::intercepted(&[&CAPTURE_ALL[..], &["-b", "*"]].concat()) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().tcp(ip.peer(80)), captured(15001, ip.peer(80)));
        assert_eq!(pod.app().udp(ip.peer(80)), straight(ip.peer(80)));
        assert_eq!(pod.proxy().tcp(ip.peer(80)), straight(ip.peer(80)));
        assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
        assert_eq!(pod.app().tcp(ip.pod(80)), straight(ip.pod(80)));
        assert_eq!(pod.proxy().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
        assert_eq!(pod.app().tcp(ip.loopback(80)), straight(ip.loopback(80)));
    }
}

#[test]
fn questions_to_the_configured_servers_arrive_at_the_agent() {
    let Some(pod) = with_resolv_conf(&["-i", "*"], RESOLV_CONF) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().udp(ip.peer(53)), captured(15053, ip.peer(53)));
        assert_eq!(pod.app().tcp(ip.peer(53)), captured(15053, ip.peer(53)));
    }
}

#[test]
fn questions_to_other_servers_are_no_dns() {
    let Some(pod) = with_resolv_conf(&["-i", "*"], RESOLV_CONF) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().udp(ip.elsewhere(53)), straight(ip.elsewhere(53)));
        assert_eq!(pod.app().tcp(ip.elsewhere(53)), captured(15001, ip.elsewhere(53)));
    }
}

#[test]
fn the_agent_asks_the_configured_servers_itself() {
    let Some(pod) = with_resolv_conf(&["-i", "*"], RESOLV_CONF) else { return };
    for ip in BOTH {
        let (app, agent) = (pod.app().from(ip.pod(40001)), pod.proxy().from(ip.pod(40001)));
        for _ in 0..2 {
            assert_eq!(app.udp(ip.peer(53)), captured(15053, ip.peer(53)));
            assert_eq!(agent.udp(ip.peer(53)), straight(ip.peer(53)));
        }
        assert_eq!(pod.proxy().tcp(ip.peer(53)), straight(ip.peer(53)));
    }
}

#[test]
fn connection_tracking_matches_dns_replies_to_their_queries() {
    let [Some(all), Some(configured)] = [Pod::intercepted(&CAPTURE_ALL), with_resolv_conf(&[], RESOLV_CONF)]
    else {
        return;
    };
    if !oracle("nft") {
        return;
    }
    let firewall = "table inet firewall {
        chain input { type filter hook input priority 0; udp sport 53 ct state != established drop; }
    }";
    for pod in [all, configured] {
        pod.namespace.feed(&["nft", "-f", "-"], firewall);
        for ip in BOTH {
            assert_eq!(pod.app().udp(ip.peer(53)), captured(15053, ip.peer(53)));
            assert_eq!(pod.proxy().udp(ip.peer(53)), straight(ip.peer(53)));
        }
    }
}

#[test]
fn a_configured_server_may_be_on_loopback() {
    let Some(pod) = with_resolv_conf(&["-i", "*"], "nameserver 127.0.0.53\n") else { return };
    let server = "127.0.0.53:53".parse().unwrap();
    assert_eq!(pod.app().udp(server), captured(15053, server));
    assert_eq!(pod.app().tcp(server), captured(15053, server));
}

#[test]
fn without_any_server_dns_is_left_alone() {
    let Some(pod) = with_resolv_conf(&[], "search example.com\n") else { return };
    for ip in BOTH {
        assert_eq!(pod.app().udp(ip.peer(53)), straight(ip.peer(53)));
        assert_eq!(pod.app().tcp(ip.peer(53)), straight(ip.peer(53)));
    }
}

#[test]
fn questions_of_excluded_groups_are_answered_by_the_server() {
    let args = [&["--dual-stack"], &CAPTURE_ALL[..]].concat();
    let command = Intercept::new(&args).env("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "2001");
    let Some(pod) = Pod::intercepted_by(command) else { return };
    for ip in BOTH {
        let excluded = pod.user(User { uid: 1000, gid: 2001 });
        assert_eq!(excluded.udp(ip.peer(53)), straight(ip.peer(53)));
        assert_eq!(excluded.tcp(ip.peer(53)), straight(ip.peer(53)));
    }
}

#[test]
fn an_excluded_port_53_is_left_alone() {
    let Some(pod) = Pod::intercepted(&[&CAPTURE_ALL[..], &["-o", "53"]].concat()) else { return };
    for ip in BOTH {
        assert_eq!(pod.app().udp(ip.peer(53)), straight(ip.peer(53)));
        assert_eq!(pod.app().tcp(ip.peer(53)), straight(ip.peer(53)));
    }
}

#[test]
fn a_pod_with_one_family_is_captured_in_it() {
    for ip in BOTH {
        let Some(pod) = Pod::new(&[ip]) else { return };
        Intercept::new(&CAPTURE_ALL).apply(&pod.namespace);
        assert_eq!(pod.app().udp(ip.peer(53)), captured(15053, ip.peer(53)));
        assert_eq!(pod.app().tcp(ip.peer(53)), captured(15053, ip.peer(53)));
        assert_eq!(pod.proxy().udp(ip.peer(53)), straight(ip.peer(53)));
    }
}

#[test]
fn with_ipv6_off_ipv6_is_left_alone() {
    let Some(pod) = Pod::intercepted_by(Intercept::new(&CAPTURE_ALL)) else { return };
    assert_eq!(pod.app().udp(V6.peer(53)), straight(V6.peer(53)));
    assert_eq!(pod.app().tcp(V6.peer(53)), straight(V6.peer(53)));
    assert_eq!(pod.app().udp(V4.peer(53)), captured(15053, V4.peer(53)));
}

#[test]
fn a_run_without_dns_ends_the_capture() {
    let Some(pod) = Pod::intercepted(&CAPTURE_ALL) else { return };
    pod.intercept(&["-i", "10.1.0.0/16"]);
    for ip in BOTH {
        assert_eq!(pod.app().udp(ip.peer(53)), straight(ip.peer(53)));
        assert_eq!(pod.app().tcp(ip.peer(53)), straight(ip.peer(53)));
    }
}
