//! DNS of guests whose packets a pod forwards, masqueraded, where the pod's own DNS is captured; and of a DNS server in the
//! pod, which must not notice.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use crate::harness::ambient::ambient;
use crate::harness::{
    Addresses, BOTH, Client, Intercept, Namespace, Pod, Server, User, V4, V6, captured, link, oracle,
    straight,
};

/// How a pod captures DNS: `istio-iptables` or `ambient pod apply`, with arguments, and an /etc/resolv.conf.
struct Capture {
    command: &'static str,
    args: &'static str,
    resolv_conf: &'static str,
    /// The port to which a guest's TCP goes, whether DNS is captured or not
    tcp: Option<u16>,
}

const CAPTURES: [Capture; 5] = [
    Capture {
        command: "sidecar",
        args: "--dual-stack -i * -b * --redirect-dns --capture-all-dns",
        resolv_conf: "",
        tcp: Some(15006),
    },
    Capture {
        command: "sidecar",
        args: "--dual-stack -i * -b * --redirect-dns --capture-all-dns -k guest0 --optimize",
        resolv_conf: "",
        tcp: Some(15001),
    },
    // The mapped address is the server's in IPv4.
    Capture {
        command: "sidecar",
        args: "--dual-stack -i * --redirect-dns",
        resolv_conf: "nameserver fd00::1\nnameserver ::ffff:10.0.0.1\n",
        tcp: None,
    },
    Capture { command: "ambient", args: "--dns --ipv6", resolv_conf: "", tcp: Some(15006) },
    Capture {
        command: "ambient",
        args: "--dns --ipv6 --virtual-interface guest0",
        resolv_conf: "",
        tcp: Some(15001),
    },
];

impl Capture {
    fn apply(&self, namespace: &Namespace, more: &str) {
        match self.command {
            "ambient" => {
                ambient(namespace, &format!("pod apply {} {more}", self.args));
            }
            _ => {
                let args: Vec<_> = self.args.split_whitespace().chain(more.split_whitespace()).collect();
                Intercept::new(&args).etc("resolv.conf", self.resolv_conf).apply(namespace);
            }
        }
    }

    fn remove(&self, namespace: &Namespace) {
        match self.command {
            "ambient" => drop(ambient(namespace, "pod remove")),
            _ => drop(Intercept::new(&["--cleanup-only"]).apply(namespace)),
        }
    }
}

/// A pod with a guest as docker and KubeVirt make one: the pod forwards its packets, with its own address.
fn pod_with_guest() -> Option<(Pod, Namespace)> {
    let pod = Pod::new(&BOTH)?;
    if !oracle("nft") {
        return None;
    }
    let guest = Namespace::new();
    pod.namespace.run(|| link::veth_pair("guest0", &guest));
    for (here, there) in [("10.4.0.1", "10.4.0.2"), ("fd04::1", "fd04::2")] {
        let (here, there): (IpAddr, IpAddr) = (here.parse().unwrap(), there.parse().unwrap());
        let prefix = if here.is_ipv4() { 24 } else { 64 };
        pod.namespace.run(|| link::address("guest0", here, prefix));
        guest.run(|| {
            link::address("guest0", there, prefix);
            link::default_route(here);
        });
    }
    pod.namespace.run(|| {
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            fs::write(format!("/proc/sys/net/{setting}"), "1").unwrap();
        }
    });
    pod.namespace.feed(
        &["nft", "-f", "-"],
        "table inet guests { chain post {
             type nat hook postrouting priority srcnat; iifname guest0 oifname != guest0 masquerade;
           }
         }",
    );
    Some((pod, guest))
}

#[test]
fn guests_have_dns_where_the_pods_own_is_captured() {
    let Some((pod, guest)) = pod_with_guest() else { return };
    let guest = Client::new(&guest, User::APP);
    for capture in CAPTURES {
        capture.apply(&pod.namespace, "");
        for ip in BOTH {
            let server = ip.peer(53);
            assert_eq!(guest.connected().udp(server), straight(server), "{}", capture.args);
            assert_eq!(guest.udp(server), straight(server), "{}", capture.args);
            // The app's own are captured as ever, from the port, too, that the guest's masqueraded query has.
            let app = pod.app().from(ip.pod(40_001));
            assert_eq!(app.connected().udp(server), captured(15053, server), "{}", capture.args);
            assert_eq!(pod.app().tcp(server), captured(15053, server), "{}", capture.args);
            let guest = guest.from(SocketAddr::new(guest_address(ip), 40_001));
            assert_eq!(guest.connected().udp(server), straight(server), "{}", capture.args);
        }
        for server in BOTH.map(|ip| ip.peer(53)) {
            let there = capture.tcp.map_or_else(|| straight(server), |port| captured(port, server));
            assert_eq!(guest.tcp(server), there, "{}", capture.args);
        }
        capture.remove(&pod.namespace);
    }
}

fn guest_address(ip: Addresses) -> IpAddr {
    if ip.pod(0).is_ipv4() { "10.4.0.2".parse().unwrap() } else { "fd04::2".parse().unwrap() }
}

/// Istio's own rules lose the reply: what departs from them is needed.
#[test]
fn without_the_rule_their_replies_are_lost() {
    let Some((pod, guest)) = pod_with_guest() else { return };
    let guest = Client::new(&guest, User::APP).connected();
    assert_eq!(guest.udp(V4.peer(53)), straight(V4.peer(53)));
    for capture in [&CAPTURES[0], &CAPTURES[3]] {
        capture.apply(&pod.namespace, "--native-nftables");
        assert_ne!(guest.briefly().udp(V4.peer(53)), straight(V4.peer(53)), "{}", capture.args);
        capture.apply(&pod.namespace, "");
        assert_eq!(guest.udp(V4.peer(53)), straight(V4.peer(53)), "{}", capture.args);
        capture.remove(&pod.namespace);
    }
}

/// Its queries are for the pod itself and stay in the zone of its replies, with a filter that looks at states, too.
#[test]
fn a_dns_server_in_the_pod_is_not_cut_off() {
    let Some(pod) = Pod::new(&BOTH) else { return };
    if !oracle("nft") {
        return;
    }
    let addresses = BOTH.map(|ip| ip.pod(53));
    let _server = Server::udp(&pod.namespace, User::APP, &addresses);
    let filter = "table inet filter {
        chain input { type filter hook input priority 0; udp dport 53 ct state invalid drop; }
        chain output { type filter hook output priority 0; udp sport 53 ct state != established drop; }
    }";
    for capture in CAPTURES {
        capture.apply(&pod.namespace, "");
        for with_filter in [false, true] {
            if with_filter {
                pod.namespace.feed(&["nft", "-f", "-"], filter);
            }
            for ip in [V4, V6] {
                let server = ip.pod(53);
                for client in [pod.peer(), pod.peer().connected()] {
                    assert_eq!(client.udp(server), straight(server), "{} {with_filter}", capture.args);
                }
            }
        }
        pod.namespace.command(&["nft", "flush", "ruleset"]);
    }
}
