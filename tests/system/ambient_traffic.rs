//! Real connections through a pod of Istio's ambient mode, with a ztunnel of the tests' own in it, from its node and from
//! another pod.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::harness::ambient::ambient;
use crate::harness::{
    Addresses, BOTH, Client, Namespace, Pod, User, V4, V6, captured, link, oracle, straight,
};

/// SO_MARK on ztunnel's own sockets; bits beyond the mask are others' business.
const ZTUNNEL: [u32; 2] = [0x539, 0xabc0_0539];
/// The addresses that its probes get.
const PROBES: [&str; 2] = ["169.254.7.127", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"];
/// The kubelet's user, which is not root.
const KUBELET: User = User { uid: 4321, gid: 4321 };

/// A pod with both families in which the command has run, with IPv6.
fn pod(args: &str) -> Option<Pod> {
    let pod = Pod::new(&BOTH)?;
    ambient(&pod.namespace, &format!("pod apply --ipv6 {args}"));
    Some(pod)
}

/// Another pod, on a link of its own; its address.
fn second_pod(pod: &Pod, address: &str, here: &str) -> (Namespace, SocketAddr) {
    let second = Namespace::new();
    let (address, here): (IpAddr, IpAddr) = (address.parse().unwrap(), here.parse().unwrap());
    let prefix = if address.is_ipv4() { 24 } else { 64 };
    pod.namespace.run(|| {
        link::veth_pair("eth2", &second);
        link::address("eth2", here, prefix);
    });
    second.run(|| {
        link::address("eth2", address, prefix);
    });
    (second, SocketAddr::new(here, 80))
}

#[test]
fn plain_text_that_comes_in_goes_to_ztunnel() {
    let Some(pod) = pod("") else { return };
    for ip in BOTH {
        for to in [ip.pod(80), ip.pod(8080), ip.pod(12345), ip.pod(15001), ip.pod_eth1(80)] {
            assert_eq!(pod.peer().tcp(to), captured(15006, to));
        }
        assert_eq!(pod.peer().tcp(ip.pod(15008)), straight(ip.pod(15008)));
    }
}

#[test]
fn another_pods_connections_go_to_ztunnel_too() {
    for (address, here) in [("10.4.0.3", "10.4.0.2"), ("fd04::3", "fd04::2")] {
        let Some(pod) = pod("") else { return };
        let (second, to) = second_pod(&pod, address, here);
        let client = Client::new(&second, User::APP);
        let mut connection = client.open(to).unwrap();
        let arrival = connection.ask().unwrap();
        assert_eq!((arrival.listener, arrival.peer, arrival.original), (15006, connection.local(), to));
        let tunnel = SocketAddr::new(to.ip(), 15008);
        assert_eq!(client.tcp(tunnel), straight(tunnel));
    }
}

#[test]
fn what_leaves_goes_to_ztunnel_and_what_ztunnel_sends_passes() {
    let Some(pod) = pod("") else { return };
    for ip in BOTH {
        for user in [User::APP, User::ROOT, User::PROXY] {
            for to in [ip.peer(80), ip.peer(53), ip.elsewhere(8080), ip.peer(4)] {
                assert_eq!(pod.user(user).tcp(to), captured(15001, to));
            }
            for mark in ZTUNNEL {
                assert_eq!(pod.user(user).marked(mark).tcp(ip.peer(80)), straight(ip.peer(80)));
            }
            assert_eq!(pod.user(user).marked(0x538).tcp(ip.peer(80)), captured(15001, ip.peer(80)));
        }
        // Inside the pod nothing is redirected.
        for to in [ip.loopback(80), ip.pod(80), ip.pod(8080)] {
            assert_eq!(pod.app().tcp(to), straight(to));
        }
    }
}

/// ztunnel connects to the app from the address of who connected to the pod, and the app's answers must come back to it.
#[test]
fn replies_to_the_address_that_ztunnel_took_on_come_back() {
    let Some(pod) = pod("") else { return };
    for ip in BOTH {
        for (mark, port) in ZTUNNEL.into_iter().zip([40_001, 40_002]) {
            let ztunnel = pod.proxy().marked(mark).from(ip.peer(port));
            let mut connection = ztunnel.open(ip.pod(80)).unwrap();
            let arrival = connection.ask().unwrap();
            assert_eq!((arrival.listener, arrival.peer), (80, ip.peer(port)));
        }
    }
    // Without the policy rule the answers leave the pod.
    for family in ["-4", "-6"] {
        pod.namespace.command(&["ip", family, "rule", "del", "pref", "32764"]);
    }
    for ip in BOTH {
        let ztunnel = pod.proxy().marked(ZTUNNEL[0]).from(ip.peer(40_003));
        assert_ne!(ztunnel.briefly().tcp(ip.pod(80)), straight(ip.pod(80)));
    }
}

#[test]
fn dns_goes_to_ztunnel_where_it_is_asked_for() {
    let Some(pod) = pod("--dns") else { return };
    for ip in BOTH {
        for to in [ip.peer(53), ip.elsewhere(53)] {
            assert_eq!(pod.app().udp(to), captured(15053, to));
            assert_eq!(pod.app().tcp(to), captured(15053, to));
            // ztunnel's own questions.
            assert_eq!(pod.proxy().marked(ZTUNNEL[0]).udp(to), straight(to));
        }
        assert_eq!(pod.app().udp(ip.peer(80)), straight(ip.peer(80)));
        assert_eq!(pod.app().tcp(ip.peer(80)), captured(15001, ip.peer(80)));
    }
    ambient(&pod.namespace, "pod apply --ipv6");
    for ip in BOTH {
        assert_eq!(pod.app().udp(ip.peer(53)), straight(ip.peer(53)));
        assert_eq!(pod.app().tcp(ip.peer(53)), captured(15001, ip.peer(53)));
    }
}

/// A question of the pod's and ztunnel's own with the same ports must not be taken for one another.
#[test]
fn questions_with_the_same_ports_get_their_own_answers() {
    let Some(pod) = pod("--dns") else { return };
    for ip in BOTH {
        let source = ip.pod(40_053);
        assert_eq!(pod.app().from(source).udp(ip.peer(53)), captured(15053, ip.peer(53)));
        assert_eq!(pod.proxy().marked(ZTUNNEL[0]).from(source).udp(ip.peer(53)), straight(ip.peer(53)));
        assert_eq!(pod.app().from(source).udp(ip.peer(53)), captured(15053, ip.peer(53)));
    }
}

#[test]
fn what_a_virtual_machine_sends_counts_as_outbound() {
    for interface in ["eth1", "eth1*", "tap0,eth1"] {
        let Some(pod) = pod(&format!("--virtual-interface {interface}")) else { return };
        for ip in BOTH {
            for to in [ip.pod_eth1(80), ip.beyond(80), ip.beyond(15008)] {
                assert_eq!(pod.peer().tcp(to), captured(15001, to));
            }
            assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
        }
    }
}

#[test]
fn a_gateways_clients_reach_it() {
    let Some(pod) = pod("--ingress") else { return };
    for ip in BOTH {
        assert_eq!(pod.peer().tcp(ip.pod(80)), straight(ip.pod(80)));
        assert_eq!(pod.peer().tcp(ip.pod(15008)), straight(ip.pod(15008)));
        assert_eq!(pod.app().tcp(ip.peer(80)), captured(15001, ip.peer(80)));
    }
}

#[test]
fn a_removal_leaves_traffic_alone() {
    let Some(pod) = pod("--dns") else { return };
    ambient(&pod.namespace, "pod remove");
    for ip in BOTH {
        assert_eq!(pod.peer().tcp(ip.pod(80)), straight(ip.pod(80)));
        assert_eq!(pod.app().tcp(ip.peer(80)), straight(ip.peer(80)));
        assert_eq!(pod.app().udp(ip.peer(53)), straight(ip.peer(53)));
    }
}

// Pods with one family.

#[test]
fn a_pod_with_ipv4_alone() {
    let Some(pod) = Pod::new(&[V4]) else { return };
    ambient(&pod.namespace, "pod apply --dns");
    one_family(&pod, V4);
}

#[test]
fn a_pod_with_ipv6_alone() {
    let Some(pod) = Pod::new(&[V6]) else { return };
    ambient(&pod.namespace, "pod apply --dns --ipv6");
    one_family(&pod, V6);
}

fn one_family(pod: &Pod, ip: Addresses) {
    assert_eq!(pod.peer().tcp(ip.pod(80)), captured(15006, ip.pod(80)));
    assert_eq!(pod.peer().tcp(ip.pod(15008)), straight(ip.pod(15008)));
    assert_eq!(pod.app().tcp(ip.peer(80)), captured(15001, ip.peer(80)));
    assert_eq!(pod.app().udp(ip.peer(53)), captured(15053, ip.peer(53)));
    assert_eq!(pod.proxy().marked(ZTUNNEL[0]).tcp(ip.peer(80)), straight(ip.peer(80)));
    let ztunnel = pod.proxy().marked(ZTUNNEL[0]).from(ip.peer(40_001));
    assert_eq!(ztunnel.tcp(ip.pod(80)), straight(ip.pod(80)));
}

// The kubelet's probes.

/// The node of the pod has the host's rules, and the pod's addresses at eth0 are in its probe set.
fn node(pod: &Pod, args: &str) {
    ambient(pod.node(), &format!("host apply --ipv6 --kubelet-uid {} {args}", KUBELET.uid));
    let [v4, v6] = BOTH.map(|ip| ip.pod(0).ip());
    ambient(pod.node(), &format!("probes add {v4} {v6} --pod-uid a"));
    // A neighbour is asked for from the packet's own address, which a probe has no more at that point, or from the link
    // local one, which a new link has after a second or two. This asks from a proper one, before the first probe.
    for ip in BOTH {
        assert_eq!(pod.peer().tcp(ip.pod(15008)), straight(ip.pod(15008)));
    }
}

/// Where a connection to `to` arrives, and from whom.
fn arrival(client: &Client<'_>, to: SocketAddr) -> (u16, IpAddr) {
    let arrival = client.open(to).unwrap().ask().unwrap();
    (arrival.listener, arrival.peer.ip())
}

#[test]
fn the_kubelets_probes_reach_the_app_from_their_own_address() {
    let own = ["--probe-ipv4 192.0.2.1", "--probe-ipv6 2001:db8::1"].join(" ");
    for (args, sources) in [("", PROBES), (&own, ["192.0.2.1", "2001:db8::1"])] {
        let Some(pod) = pod(args) else { return };
        node(&pod, args);
        for (ip, source) in BOTH.into_iter().zip(sources) {
            let kubelet = pod.peer_user(KUBELET);
            assert_eq!(arrival(&kubelet, ip.pod(80)), (80, source.parse().unwrap()));
            assert_eq!(arrival(&kubelet, ip.pod(8080)), (8080, source.parse().unwrap()));
            // Another user's connections, and those to an address that is not in the set.
            for other in [User::ROOT, User::APP] {
                assert_eq!(arrival(&pod.peer_user(other), ip.pod(80)), (15006, ip.peer(0).ip()));
            }
            assert_eq!(arrival(&kubelet, ip.pod_eth1(80)), (15006, ip.peer_eth1(0).ip()));
        }
    }
}

#[test]
fn probes_follow_the_set_at_once() {
    let Some(pod) = pod("") else { return };
    node(&pod, "");
    let kubelet = pod.peer_user(KUBELET);
    let reaches = |ip: Addresses| arrival(&kubelet, ip.pod(80)).0;
    let all = BOTH.map(|ip| ip.pod(0).ip()).map(|address| address.to_string()).join(" ");
    assert_eq!(BOTH.map(reaches), [80, 80]);
    ambient(pod.node(), "probes remove --pod-uid a");
    assert_eq!(BOTH.map(reaches), [15006, 15006]);
    ambient(pod.node(), &format!("probes add {all} --pod-uid b"));
    assert_eq!(BOTH.map(reaches), [80, 80]);
    // The rules go, and come back to a set that is as full as before.
    ambient(pod.node(), "host remove");
    assert_eq!(BOTH.map(reaches), [15006, 15006]);
    node(&pod, "");
    assert_eq!(BOTH.map(reaches), [80, 80]);
    ambient(pod.node(), "host destroy");
    assert_eq!(BOTH.map(reaches), [15006, 15006]);
}

/// A network plugin makes its chain anew, with the usual priority, and so runs before all older ones that have it.
#[test]
fn a_younger_chain_does_not_take_the_probes() {
    let Some(pod) = pod("") else { return };
    if !oracle("nft") {
        return;
    }
    node(&pod, "");
    let plugin = "table inet cni { chain post {
        type nat hook postrouting priority srcnat; ip daddr 10.0.0.0/24 masquerade; ip6 daddr fd00::/64 masquerade;
    }; }";
    for _ in 0..2 {
        pod.node().feed(&["nft", "-f", "-"], plugin);
        for (ip, source) in BOTH.into_iter().zip(PROBES) {
            assert_eq!(arrival(&pod.peer_user(KUBELET), ip.pod(80)), (80, source.parse().unwrap()));
        }
        pod.node().command(&["nft", "delete", "table", "inet", "cni"]);
    }
}

/// From Istio's chain to ours and back, while the kubelet probes.
#[test]
fn no_probe_is_lost_when_the_hosts_chain_gets_another_priority() {
    let Some(pod) = pod("") else { return };
    node(&pod, "--native-nftables");
    let (done, probed) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let kubelet = scope.spawn(|| {
            for number in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                let ip = BOTH[number % 2];
                assert_eq!(
                    arrival(&pod.peer_user(KUBELET), ip.pod(80)),
                    (80, PROBES[number % 2].parse().unwrap())
                );
                probed.fetch_add(1, Ordering::Relaxed);
            }
        });
        // More often where the kubelet gets little of a busy machine.
        let is_enough = |rounds| rounds >= 10 && probed.load(Ordering::Relaxed) > 100;
        for rounds in 0..1000 {
            if is_enough(rounds) || kubelet.is_finished() {
                break;
            }
            for args in ["", "--native-nftables"] {
                let args = format!("--ipv6 --kubelet-uid {} {args}", KUBELET.uid);
                ambient(pod.node(), &format!("host apply {args}"));
                assert!(ambient(pod.node(), &format!("host verify {args}")).starts_with("equal"));
            }
        }
        done.store(true, Ordering::Relaxed);
        kubelet.join().unwrap();
    });
    let probed = probed.into_inner();
    assert!(probed > 100, "{probed}");
}

/// On a node where it runs as one of several users.
#[test]
fn any_of_the_kubelets_uids_probes() {
    let Some(pod) = pod("") else { return };
    node(&pod, &format!("--kubelet-uid {},{}", KUBELET.uid, User::APP.uid));
    for user in [KUBELET, User::APP] {
        assert_eq!(arrival(&pod.peer_user(user), V4.pod(80)), (80, PROBES[0].parse().unwrap()));
    }
    assert_eq!(arrival(&pod.peer_user(User::ROOT), V4.pod(80)).0, 15006);
}
