//! `explain` compared with the kernel: for random connections through every profile's rules, both say where they arrive.

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
    Addresses, BOTH, Client, Intercept, Outcome, Pod, User, V4, ambient, full, oracle, program, say,
};

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
}

/// Each kind of rule that the profiles have, and some that they do not.
const PROFILES: [Rules; 14] = [
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

impl Rules {
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
        }
        Some(pod)
    }
}

/// A random connection: who, from where and where to.
struct Attempt<'p> {
    client: Client<'p>,
    flow: Flow,
}

impl Attempt<'_> {
    /// Where the connection arrives: the server's own end, or how it failed.
    fn arrives(&self) -> Result<SocketAddr, Outcome> {
        if self.flow.protocol == TCP {
            return self.client.arrival(self.flow.destination).map(|arrival| arrival.local);
        }
        match self.client.udp(self.flow.destination) {
            // The answer has the address that was asked, so the port is all that is known of the server.
            Outcome::Reached { listener, destination } => Ok(SocketAddr::new(destination.ip(), listener)),
            failed => Err(failed),
        }
    }

    fn is_same(&self, expected: Result<SocketAddr, Outcome>, found: Result<SocketAddr, Outcome>) -> bool {
        match (expected, found) {
            (Ok(expected), Ok(found)) if self.flow.protocol == UDP => expected.port() == found.port(),
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

/// What the explanation says that a client meets; `None` where it depends on what it does not know.
fn expected(explanation: &Explanation<'_>, flow: &Flow) -> Option<Result<SocketAddr, Outcome>> {
    let [path] = explanation.paths.as_slice() else { return None };
    if path.hops.iter().any(|hop| !hop.outcome.assumptions.is_empty()) {
        return None;
    }
    Some(match &path.end {
        End::Delivered { via: Via::Tproxy, listener: Some(_), .. } => Ok(flow.destination),
        End::Delivered { to, listener: Some(_), .. } => Ok(*to),
        End::Delivered { listener: None, .. } => Err(Outcome::Refused),
        End::Leaves { to, .. } if flow.protocol == TCP && !PEER.contains(&to.port()) => Err(Outcome::Refused),
        End::Leaves { to, .. } => Ok(*to),
        End::Dropped(Fate::Rejected(_)) => Err(Outcome::Refused),
        End::Dropped(_) => Err(Outcome::Silence),
        End::Unroutable { .. } | End::Unknown(_) => return None,
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
    if !oracle("nft") {
        return;
    }
    let each = if full() { 10_000 } else { 1_400 } / PROFILES.len();
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let (mut compared, mut declined, mut caught) = (0, 0, 0);
    for rules in &PROFILES {
        let Some(pod) = rules.pod() else { return };
        let (ruleset, _) = read(&pod);
        for _ in 0..each {
            let attempt = random(&pod, &mut rng);
            let explanation =
                pod.namespace.run(|| explain(&ruleset, &Machine::open().unwrap(), &attempt.flow).unwrap());
            let found = attempt.arrives();
            match expected(&explanation, &attempt.flow) {
                Some(expected) => {
                    assert!(
                        attempt.is_same(expected, found),
                        "{:?}: said {expected:?}, arrived at {found:?}\n{:#?}\n{ruleset}",
                        attempt.flow,
                        explanation.paths
                    );
                    compared += 1;
                    caught += usize::from(explanation.verdict() == Verdict::Intercepted);
                }
                None => declined += 1,
            }
        }
    }
    say(&format!(
        "{compared} connections as explained, {declined} not known beforehand, {caught} intercepted"
    ));
    // Nothing in these rules depends on what only the kernel knows.
    assert_eq!(declined, 0);
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
