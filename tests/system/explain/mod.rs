//! `explain` compared with the kernel: for random connections through every profile's rules, both say where they arrive.

mod others;

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use meshwire::explain::{End, Explanation, Flow, Listener, Machine, Origin, Verdict, Via, explain};
use nft_ruleset::evaluate::Fate;
use nft_ruleset::snapshot::{Depth, Scope, Snapshot};
use nft_ruleset::{Family, Ruleset};
use nftwire::Socket;
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::harness::{
    Addresses, BOTH, Client, Intercept, Outcome, Pod, User, V4, ambient, full, oracle, privileged, program,
    say,
};
use crate::migrate::istios_rules;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The peer's ports where somebody answers, in TCP and in UDP; and one where nobody does.
const PEER: [u16; 5] = [53, 80, 81, 8080, 15008];
const PORTS: [u16; 11] = [53, 80, 81, 8080, 15001, 15006, 15008, 15053, 9999, 443, 4143];

/// What makes a pod's rules.
enum Rules {
    Sidecar(&'static str),
    Linkerd(&'static str),
    Ambient(&'static str),
    Nft(&'static str),
    /// For IPv4 and IPv6, as iptables-nft-restore and ip6tables-nft-restore read them
    Iptables(fn() -> [String; 2]),
}

/// Each kind of rule that the profiles have, and some that they do not.
const PROFILES: [Rules; 24] = [
    Rules::Sidecar("-b * -i *"),
    Rules::Sidecar("-b 80,8080 -i * -x 10.1.0.0/16,fd01::/64 -o 81"),
    Rules::Sidecar("-m TPROXY -b * -i *"),
    Rules::Sidecar("-m TPROXY -b 80,81 -i * -d 81 -c eth1"),
    Rules::Sidecar("-b * -i * --redirect-dns --capture-all-dns --drop-invalid"),
    Rules::Sidecar("-b * -i 10.0.0.0/24,fd00::/64 -q 8080 -k eth1"),
    Rules::Sidecar("-b * -d 80 -i 127.0.0.0/8,10.1.0.0/16,::1/128 --optimize"),
    Rules::Sidecar("-b * -i * --native-nftables"),
    Rules::Linkerd(
        "-p 15006 -o 15001 -u 1337 --inbound-ports-to-ignore 81 --outbound-ports-to-ignore 8080 --ipv6",
    ),
    Rules::Linkerd("-p 15006 -o 15001 -u 1337 -r 80 --subnets-to-ignore 10.1.0.0/16 --ipv6"),
    Rules::Ambient("--ipv6"),
    Rules::Ambient("--ipv6 --ingress"),
    Rules::Nft(TRANSLATIONS),
    Rules::Nft(MARKS),
    Rules::Nft(KUBE_PROXY),
    Rules::Nft(CNI),
    Rules::Iptables(kube_proxy),
    Rules::Iptables(|| istios(false)),
    Rules::Iptables(|| istios(true)),
    Rules::Iptables(linkerds),
    Rules::Iptables(others::calico),
    Rules::Iptables(others::flannel),
    Rules::Iptables(others::cilium),
    Rules::Nft(others::NFTABLES),
];

const TRANSLATIONS: &str = "
    table ip first {
        chain out {
            type nat hook output priority -150;
            ip daddr 10.1.0.1 tcp dport 443 dnat to 10.0.0.1:80
        }
    }
    table inet second {
        map services {
            type ipv4_addr . inet_service : ipv4_addr . inet_service
            elements = { 10.9.9.9 . 80 : 10.0.0.1 . 8080, 10.0.0.1 . 443 : 10.1.0.1 . 81 }
        }
        chain in {
            type filter hook input priority 0; policy accept;
            tcp dport { 8080-8090 } reject with tcp reset
        }
        chain out {
            type nat hook output priority -100;
            ip saddr 10.0.0.2 meta skuid 1000-1336 tcp dport vmap { 80: jump web, 81: accept }
            dnat ip to ip daddr . tcp dport map @services
        }
        chain web {
            meta skuid != 1337 ip daddr != 127.0.0.0/8 meta l4proto tcp redirect to :15001
        }
    }";

const MARKS: &str = "
    table inet t {
        set proxies {
            typeof meta skuid
            flags interval
            elements = { 1300-1400 }
        }
        chain raw {
            type filter hook output priority -300;
            ct state untracked accept
            udp dport 53 notrack
        }
        chain marks {
            type route hook output priority -150;
            tcp dport 81 meta mark set 0x51
        }
        chain nat {
            type nat hook output priority -100; policy accept;
            meta skuid @proxies return
            meta mark 0x51 meta l4proto tcp redirect to :15006
            fib daddr type local return
            meta l4proto { tcp, udp } th dport { 53, 80 } redirect to :15053
        }
        chain pre {
            type nat hook prerouting priority -100;
            iifname eth* tcp dport 8080 redirect to :80
        }
    }";

/// As kube-proxy makes them in its mode nftables, of services of which 10.1.0.1 is the address: with two endpoints (443), with
/// affinity (udp 53), without endpoints (8080), and with a port of the node (9999).
const KUBE_PROXY: &str = "
    table ip kube-proxy {
        set cluster-ips {
            type ipv4_addr
            elements = { 10.1.0.1 }
        }
        set nodeport-ips {
            type ipv4_addr
            elements = { 10.0.0.2 }
        }
        set affinity-53 {
            type ipv4_addr
            size 65535
            flags dynamic,timeout
            timeout 3h
        }
        set affinity-80 {
            type ipv4_addr
            size 65535
            flags dynamic,timeout
            timeout 3h
        }
        map no-endpoint-services {
            type ipv4_addr . inet_proto . inet_service : verdict
            elements = { 10.1.0.1 . tcp . 8080 comment \"ns3/svc3:p80\" : goto reject-chain, 10.1.0.1 . tcp . 15053 : drop }
        }
        map service-ips {
            type ipv4_addr . inet_proto . inet_service : verdict
            elements = { 10.1.0.1 . tcp . 443 : goto service-ns1/svc1, 10.1.0.1 . udp . 53 : goto service-ns2/svc2,
                         10.1.0.1 . tcp . 81 : goto endpoint-8080 }
        }
        map service-nodeports {
            type inet_proto . inet_service : verdict
            elements = { tcp . 9999 : goto external-ns1/svc1 }
        }
        chain filter-input {
            type filter hook input priority -110; policy accept;
            ct state new jump service-endpoints-check
        }
        chain filter-output {
            type filter hook output priority -110; policy accept;
            ct state new jump service-endpoints-check
        }
        chain filter-output-post-dnat {
            type filter hook output priority -90; policy accept;
            ct state new jump cluster-ips-check
        }
        chain nat-prerouting {
            type nat hook prerouting priority dstnat; policy accept;
            jump services
        }
        chain nat-output {
            type nat hook output priority -100; policy accept;
            jump services
        }
        chain nat-postrouting {
            type nat hook postrouting priority srcnat; policy accept;
            jump masquerading
        }
        chain services {
            ip daddr . meta l4proto . th dport vmap @service-ips
            ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
        }
        chain service-endpoints-check {
            ip daddr . meta l4proto . th dport vmap @no-endpoint-services
        }
        chain cluster-ips-check {
            ip daddr @cluster-ips reject
            ip daddr 10.1.0.0/16 drop
        }
        chain reject-chain {
            reject
        }
        chain mark-for-masquerade {
            meta mark set meta mark | 0x4000
        }
        chain masquerading {
            meta mark & 0x4000 == 0 return
            meta mark set meta mark ^ 0x4000
            masquerade fully-random
        }
        chain service-ns1/svc1 {
            ip daddr 10.1.0.1 tcp dport 443 ip saddr != 10.0.0.0/24 jump mark-for-masquerade
            numgen random mod 2 vmap { 0 : goto endpoint-80, 1 : goto endpoint-8080 }
        }
        chain external-ns1/svc1 {
            jump mark-for-masquerade
            fib saddr type local goto endpoint-80
            goto service-ns1/svc1
        }
        chain endpoint-80 {
            ip saddr 10.0.0.1 jump mark-for-masquerade
            meta l4proto tcp dnat to 10.0.0.1:80
        }
        chain endpoint-8080 {
            ip saddr 10.0.0.1 jump mark-for-masquerade
            meta l4proto tcp dnat to 10.0.0.1:8080
        }
        chain service-ns2/svc2 {
            ip daddr 10.1.0.1 udp dport 53 ip saddr != 10.0.0.0/8 jump mark-for-masquerade
            ip saddr @affinity-53 goto endpoint-udp-53
            ip saddr @affinity-80 goto endpoint-udp-80
            numgen random mod 2 vmap { 0 : goto endpoint-udp-53, 1 : goto endpoint-udp-80 }
        }
        chain endpoint-udp-53 {
            update @affinity-53 { ip saddr }
            meta l4proto udp dnat to 10.0.0.1:53
        }
        chain endpoint-udp-80 {
            update @affinity-80 { ip saddr }
            meta l4proto udp dnat to 10.0.0.1:80
        }
    }";

/// What CNIs and firewalls do: marks by their bits, what connection tracking did, the first packet of TCP, dispatch by device,
/// translation by turns.
const CNI: &str = "
    table inet cni {
        map dispatch {
            type ifname : verdict
            elements = { \"eth0\" : goto from-eth0, \"eth1\" : goto from-eth1 }
        }
        set hosts {
            type ipv4_addr
            flags interval
            elements = { 10.0.0.0/30, 127.0.0.1 }
        }
        chain raw-output {
            type filter hook output priority raw; policy accept;
            meta mark set meta mark & 0xfff0ffff
            tcp dport { 80, 8080 } meta mark set meta mark | 0x10000
        }
        chain input {
            type filter hook input priority filter; policy drop;
            ct state established,related accept
            ct state invalid drop
            iifname lo accept
            meta l4proto { icmp, ipv6-icmp } accept
            tcp flags & (fin | syn | rst | ack) != syn drop
            iifname vmap @dispatch
        }
        chain from-eth0 {
            ct direction reply drop
            tcp dport != { 81 } accept
            ip6 nexthdr tcp reject with tcp reset
        }
        chain from-eth1 {
            meta mark & 0x10000 == 0x10000 drop
            ct status dnat accept
            tcp dport 80-8080 accept
        }
        chain output {
            type filter hook output priority filter; policy accept;
            ct status & dnat == 0 tcp dport 443 reject with tcp reset
            ip daddr != @hosts ip protocol tcp tcp dport 8080 meta mark & 0x10000 == 0x10000 drop
            ct status dnat,snat counter
        }
        chain nat-prerouting {
            type nat hook prerouting priority dstnat; policy accept;
            iifname \"eth1\" fib daddr type local tcp dport 9999 redirect to :80
        }
        chain nat-output {
            type nat hook output priority -100; policy accept;
            ip daddr 10.1.0.1 tcp dport 443 dnat ip to numgen inc mod 2 map { 0 : 10.0.0.1 . 80, 1 : 10.0.0.1 . 8080 }
            ip daddr 10.1.0.1 tcp dport 81 dnat ip to numgen random mod 2 map { 0 : 10.0.0.1, 1 : 10.1.0.1 }
            ip6 daddr fd01::/16 tcp dport 81 dnat ip6 to [fd00::1]:8080
        }
    }";

/// As kube-proxy makes them in its mode iptables, of the same services.
fn kube_proxy() -> [String; 2] {
    let rules = |cluster_ip: &str, node: &str, peer: &str, endpoint: &str, net: &str, icmp: &str| {
        format!(
            "*filter\n:KUBE-SERVICES - [0:0]\n:KUBE-FIREWALL - [0:0]\n\
             -A INPUT -j KUBE-FIREWALL\n\
             -A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -A OUTPUT -j KUBE-FIREWALL\n\
             -A KUBE-FIREWALL -m comment --comment \"dropping marked packets\" -m mark --mark 0x8000/0x8000 -j DROP\n\
             -A KUBE-SERVICES -d {cluster_ip} -p tcp -m comment --comment \"ns3/svc3 has no endpoints\" -m tcp --dport 8080 -j REJECT --reject-with {icmp}\n\
             COMMIT\n\
             *nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-POSTROUTING - [0:0]\n\
             :KUBE-SVC - [0:0]\n:KUBE-EXT - [0:0]\n:KUBE-SEP-A - [0:0]\n:KUBE-SEP-B - [0:0]\n\
             -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n\
             -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n\
             -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
             -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0\n\
             -A KUBE-POSTROUTING -m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully\n\
             -A KUBE-SERVICES -d {cluster_ip} -p tcp -m comment --comment \"default/kubernetes:https cluster IP\" -m tcp --dport 443 -j KUBE-SVC\n\
             -A KUBE-SERVICES -d {cluster_ip} -p tcp -m multiport --dports 81,15001:15007 -j KUBE-SEP-B\n\
             -A KUBE-SERVICES -m comment --comment \"kubernetes service nodeports\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n\
             -A KUBE-NODEPORTS -d {node} -p tcp -m comment --comment \"ns/svc:http\" -m tcp --dport 9999 -j KUBE-EXT\n\
             -A KUBE-EXT -m comment --comment \"masquerade traffic\" -j KUBE-MARK-MASQ\n\
             -A KUBE-EXT -j KUBE-SVC\n\
             -A KUBE-SVC ! -s {net} -d {cluster_ip} -p tcp -m tcp --dport 443 -j KUBE-MARK-MASQ\n\
             -A KUBE-SVC -m comment --comment \"ns/svc\" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-A\n\
             -A KUBE-SVC -m comment --comment \"ns/svc\" -j KUBE-SEP-B\n\
             -A KUBE-SEP-A -s {peer} -m comment --comment \"ns/svc\" -j KUBE-MARK-MASQ\n\
             -A KUBE-SEP-A -p tcp -m comment --comment \"ns/svc\" -m tcp -j DNAT --to-destination {endpoint}:80\n\
             -A KUBE-SEP-B -s {peer} -m comment --comment \"ns/svc\" -j KUBE-MARK-MASQ\n\
             -A KUBE-SEP-B -p tcp -m comment --comment \"ns/svc\" -m tcp -j DNAT --to-destination {endpoint}:8080\n\
             COMMIT\n"
        )
    };
    [
        rules(
            "10.1.0.1/32",
            "10.0.0.2/32",
            "10.0.0.1/32",
            "10.0.0.1",
            "10.0.0.0/24",
            "icmp-port-unreachable",
        ),
        rules(
            "fd01::1/128",
            "fd00::2/128",
            "fd00::1/128",
            "[fd00::1]",
            "fd00::/64",
            "icmp6-port-unreachable",
        ),
    ]
}

fn istios(tproxy: bool) -> [String; 2] {
    [istios_rules("127.0.0.1/32", "127.0.0.6/32", tproxy), istios_rules("::1/128", "::6/128", tproxy)]
}

/// As Linkerd's command makes them for one family.
fn linkerds() -> [String; 2] {
    let rules = "*nat\n:PROXY_INIT_REDIRECT - [0:0]\n:PROXY_INIT_OUTPUT - [0:0]\n\
         -A PREROUTING -m comment --comment proxy-init/install-proxy-init-prerouting -j PROXY_INIT_REDIRECT\n\
         -A OUTPUT -m comment --comment proxy-init/install-proxy-init-output -j PROXY_INIT_OUTPUT\n\
         -A PROXY_INIT_REDIRECT -p tcp -m multiport --dports 81,9000:9999 -m comment --comment proxy-init/ignore-port-81 -j RETURN\n\
         -A PROXY_INIT_REDIRECT -p tcp -m comment --comment proxy-init/redirect-all -j REDIRECT --to-ports 15006\n\
         -A PROXY_INIT_OUTPUT -m owner --uid-owner 1337 -m comment --comment proxy-init/ignore-proxy-user-id -j RETURN\n\
         -A PROXY_INIT_OUTPUT -o lo -m comment --comment proxy-init/ignore-loopback -j RETURN\n\
         -A PROXY_INIT_OUTPUT -p tcp -m multiport --dports 8080 -m comment --comment proxy-init/ignore-port-8080 -j RETURN\n\
         -A PROXY_INIT_OUTPUT -p tcp -m comment --comment proxy-init/redirect-all-outgoing -j REDIRECT --to-ports 15001\n\
         COMMIT\n";
    [rules.to_owned(), rules.to_owned()]
}

impl Rules {
    /// `None` where it cannot be made here.
    fn pod(&self) -> Option<Pod> {
        let pod = Pod::new(&BOTH)?;
        let words = |args: &'static str| args.split_whitespace().collect::<Vec<_>>();
        match self {
            Self::Sidecar(args) => {
                let args = [&["--dual-stack"], &words(args)[..]].concat();
                let resolvers = "nameserver 10.0.0.1\nnameserver fd00::1\n";
                Intercept::new(&args).etc("resolv.conf", resolvers).apply(&pod.namespace);
            }
            Self::Linkerd(args) => drop(Intercept::linkerd(&words(args)).apply(&pod.namespace)),
            Self::Ambient(args) => drop(ambient::ambient(&pod.namespace, &format!("pod apply {args}"))),
            Self::Nft(text) => {
                let output = pod.namespace.output(Command::new("nft").args(["-f", "-"]), text);
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
            Self::Iptables(rules) => {
                if !oracle("iptables-nft") {
                    return None;
                }
                for (command, text) in ["iptables-nft-restore", "ip6tables-nft-restore"].iter().zip(rules()) {
                    let output = pod.namespace.output(Command::new(command).arg("--noflush"), &text);
                    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                }
            }
        }
        // A node forwards what comes to its ports.
        pod.namespace.run(|| {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        });
        Some(pod)
    }
}

/// A random connection: who, from where and where to.
struct Attempt<'p> {
    client: Client<'p>,
    flow: Flow,
}

impl Attempt<'_> {
    /// Where the connection arrives: the server's own end, or how it failed. Silence is believed soon only where it may be
    /// expected; on a busy machine answers take their time.
    fn arrives(&self, expected: &[Result<SocketAddr, Outcome>]) -> Result<SocketAddr, Outcome> {
        let silence = Err(Outcome::Silence);
        let client = match expected.iter().any(|expected| self.is_same(*expected, silence)) {
            true => self.client.briefly(),
            false => self.client,
        };
        if self.flow.protocol == TCP {
            return client.arrival(self.flow.destination).map(|arrival| arrival.local);
        }
        match client.udp(self.flow.destination) {
            // The answer has the address that was asked, so the port is all that is known of the server.
            Outcome::Reached { listener, destination } => Ok(SocketAddr::new(destination.ip(), listener)),
            failed => Err(failed),
        }
    }

    fn is_same(&self, expected: Result<SocketAddr, Outcome>, found: Result<SocketAddr, Outcome>) -> bool {
        match (expected, found) {
            (Ok(expected), Ok(found)) if self.flow.protocol == UDP => expected.port() == found.port(),
            // Of a datagram that is dropped and one that is rejected, the sender sees the same.
            (Err(_), Err(_)) if self.flow.protocol == UDP => true,
            (expected, found) => expected == found,
        }
    }
}

fn random<'p>(pod: &'p Pod, rng: &mut TestRng) -> Attempt<'p> {
    let mut pick = |of: usize| usize::try_from(rng.next_u32()).unwrap() % of;
    let ip: Addresses = BOTH[pick(2)];
    let protocol = if pick(6) == 0 { UDP } else { TCP };
    let port = if protocol == UDP { [53, 80][pick(2)] } else { PORTS[pick(PORTS.len())] };
    if pick(3) == 0 {
        let destination = [ip.pod(port), ip.pod_eth1(port)][pick(2)];
        let source = if destination == ip.pod(port) { ip.peer(0) } else { ip.peer_eth1(0) };
        // A server for datagrams is only outside.
        let origin = Origin::Outside;
        let flow = Flow { protocol: TCP, origin, source: Some(source.ip()), source_port: None, destination };
        return Attempt { client: pod.peer().from(source), flow };
    }
    let user = [User::ROOT, User::APP, User::PROXY, User { uid: 1000, gid: 1337 }][pick(4)];
    let others = [ip.peer(port), ip.elsewhere(port)];
    let all = [others[0], others[1], ip.pod(port), ip.loopback(port), ip.pod_eth1(port)];
    let destination = if protocol == UDP { others[pick(2)] } else { all[pick(5)] };
    let origin = Origin::Process { uid: user.uid, gid: user.gid };
    let flow = Flow { protocol, origin, source: None, source_port: None, destination };
    Attempt { client: pod.user(user), flow }
}

/// What the explanation says that a client may meet, on each of its ways; `None` where it cannot say.
fn expected(explanation: &Explanation<'_>, flow: &Flow) -> Option<Vec<Result<SocketAddr, Outcome>>> {
    let mut ends = Vec::new();
    for path in &explanation.paths {
        let end = end(&path.end, flow)?;
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
    Some(ends)
}

fn end(end: &End, flow: &Flow) -> Option<Result<SocketAddr, Outcome>> {
    Some(match end {
        End::Delivered { via: Via::Tproxy, listener: Some(_), .. } => Ok(flow.destination),
        End::Delivered { to, listener: Some(_), .. } => Ok(*to),
        End::Delivered { listener: None, .. } => Err(Outcome::Refused),
        End::Leaves { to, .. } if flow.protocol == TCP && !PEER.contains(&to.port()) => Err(Outcome::Refused),
        End::Leaves { to, .. } => Ok(*to),
        End::Dropped(Fate::Rejected(_)) => Err(Outcome::Refused),
        End::Dropped(_) | End::Martian { .. } | End::Unroutable { .. } => Err(Outcome::Silence),
        End::Unknown(_) => return None,
    })
}

fn read(pod: &Pod) -> (Ruleset, Vec<Listener>) {
    pod.namespace.run(|| {
        let ruleset = Snapshot::read(&mut Socket::open().unwrap(), Scope::Family(Family::Unspec), Depth::All)
            .and_then(|snapshot| snapshot.listed())
            .unwrap();
        (ruleset, meshwire::explain::listeners().unwrap())
    })
}

#[test]
fn random_connections_arrive_where_it_says() {
    if !privileged() || !oracle("nft") {
        return;
    }
    let each = if full() { 10_000 } else { 700 } / PROFILES.len();
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let (mut compared, mut several, mut declined, mut caught) = (0, 0, 0, 0);
    for rules in &PROFILES {
        let Some(pod) = rules.pod() else { continue };
        for _ in 0..each {
            // Packets add to sets.
            let (ruleset, _) = read(&pod);
            let attempt = random(&pod, &mut rng);
            let explanation =
                pod.namespace.run(|| explain(&ruleset, &Machine::open().unwrap(), &attempt.flow).unwrap());
            match expected(&explanation, &attempt.flow) {
                Some(expected) => {
                    let found = attempt.arrives(&expected);
                    assert!(
                        expected.iter().any(|expected| attempt.is_same(*expected, found)),
                        "{:?}: said {expected:?}, arrived at {found:?}\n{:#?}\n{ruleset}",
                        attempt.flow,
                        explanation.paths
                    );
                    compared += 1;
                    several += usize::from(expected.len() > 1);
                    caught += usize::from(explanation.verdict() == Verdict::Intercepted);
                }
                None => declined += 1,
            }
        }
    }
    say(&format!(
        "{compared} connections as explained, of these {several} in one of several ways, {declined} not known beforehand, \
         {caught} intercepted"
    ));
    // Only what chance decides is left open, and no way ends where it cannot be followed.
    assert_eq!(declined, 0);
    assert!(several < compared / 10, "{several} of {compared}");
    assert!(caught > compared / 5, "{caught} of {compared} were intercepted");
}

#[test]
fn listeners_are_found_with_their_users_and_options() {
    let Some(pod) = Pod::new(&[V4]) else { return };
    let (_, listeners) = read(&pod);
    let find =
        |port| listeners.iter().find(|listener| listener.port == port && listener.address.is_ipv4()).unwrap();
    assert_eq!((find(80).uid, find(80).transparent), (User::APP.uid, Some(false)));
    assert_eq!((find(15006).uid, find(15006).transparent), (User::PROXY.uid, Some(true)));
    assert!(listeners.iter().any(|listener| (listener.protocol, listener.port) == (UDP, 15053)));
    let six = listeners.iter().find(|listener| listener.address.is_ipv6() && listener.port == 80).unwrap();
    assert!(six.v6_only);
}

/// The exit code, and what `meshwire explain` prints.
fn explained(pod: &Pod, args: &str) -> (i32, String) {
    let mut command = Command::new(program());
    let output = pod.namespace.output(command.arg("explain").args(args.split_whitespace()), "");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_command_says_by_its_exit_code_what_it_found() {
    let Some(pod) = Pod::intercepted(&["-b", "*", "-i", "*", "-x", "10.1.0.0/16", "-p", "15009"]) else {
        return;
    };
    for (args, code, end) in [
        (
            "--in --from 10.0.0.1 --to 10.0.0.2:80",
            0,
            "by NAT: uid 1337 listens at 0.0.0.0:15006, transparent",
        ),
        ("--in --to 10.0.0.2:80", 0, "by NAT: uid 1337 listens at 0.0.0.0:15006, transparent"),
        ("--in --to [fd00::2]:81", 0, "by NAT: uid 1337 listens at [::]:15006, transparent"),
        ("--uid 1337 --to 10.0.0.1:80", 4, "leaves by eth0 to 10.0.0.1:80"),
        ("--uid 1000 --to 10.1.0.1:80", 4, "leaves by eth0 to 10.1.0.1:80"),
        ("--uid 1000 --to 10.0.0.1:80", 5, "arrives at 127.0.0.1:15009 by NAT: nobody listens there"),
        ("--uid 1000 --to [fd00::1]:80", 5, "arrives at [::1]:15009 by NAT: nobody listens there"),
    ] {
        let (found, text) = explained(&pod, args);
        assert!(found == code && text.contains(end), "{args}: {found}\n{text}");
    }
    let (_, text) = explained(&pod, "--uid 1000 --to 10.0.0.1:80");
    assert!(text.contains("istio-redirect rule 1: meta l4proto tcp counter redirect to :15009"), "{text}");
    let (code, json) = explained(&pod, "--uid 1000 --to 10.0.0.1:80 --output json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["verdict"]), (5, &"no-listener".into()));
    assert_eq!(json["paths"][0]["end"]["to"], "127.0.0.1:15009");
}
