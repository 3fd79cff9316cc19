//! Linkerd's interception, connection by connection: every kind of sender, by every way, to every kind of port. Where
//! each arrives is compared with what Linkerd's rules say, and with what the commands do that Linkerd runs.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::process::Command;

use meshwire::mesh::linkerd::ProxyInit;

use crate::harness::{
    Addresses, BOTH, Intercept, Namespace, Outcome, Pod, Server, User, captured, linkerd, oracle, say,
};

/// Where the proxy listens, in every pod of the harness.
const INCOMING: u16 = 15006;
const OUTGOING: u16 = 15001;

/// The first has the proxy's uid, the second its gid, the third neither.
const SENDERS: [User; 3] =
    [User { uid: 1337, gid: 2000 }, User { uid: 1000, gid: 1338 }, User { uid: 1000, gid: 1000 }];

/// Of both lists some single ports, every edge of a range and what is next to it, and others.
const PORTS: [u16; 15] = [1, 22, 80, 81, 443, 4189, 4190, 4191, 4566, 4567, 4568, 4569, 4570, 8080, 65535];

/// Who sends a packet, from where.
#[derive(Clone, Copy, Debug)]
enum Sender {
    /// Somebody in the pod, by their place among [`SENDERS`]
    Inside(usize),
    /// The pod's neighbour, from its own address
    Neighbour,
    /// The pod's neighbour, from an address in a subnet that can be ignored
    Subnet,
}

/// One way to send.
#[derive(Clone, Copy)]
struct Packet {
    ip: Addresses,
    sender: Sender,
    to: SocketAddr,
    /// Whether it leaves by `lo`
    over_lo: bool,
    udp: bool,
}

impl Packet {
    fn all() -> Vec<Self> {
        BOTH.into_iter().flat_map(|ip| [Self::tcp(ip), Self::udp(ip)].concat()).collect()
    }

    fn tcp(ip: Addresses) -> Vec<Self> {
        let mut packets = Vec::new();
        for port in PORTS {
            for sender in (0..SENDERS.len()).map(Sender::Inside) {
                let ways = [
                    (ip.peer(port), false),
                    (ip.elsewhere(port), false),
                    (ip.pod(port), true),
                    (ip.loopback(port), true),
                ];
                packets.extend(ways.map(|(to, over_lo)| Self { ip, sender, to, over_lo, udp: false }));
            }
            for sender in [Sender::Neighbour, Sender::Subnet] {
                for to in [ip.pod(port), ip.pod_eth1(port)] {
                    packets.push(Self { ip, sender, to, over_lo: false, udp: false });
                }
            }
        }
        packets
    }

    /// To ports at which somebody listens: silence takes its time.
    fn udp(ip: Addresses) -> Vec<Self> {
        let udp = |sender, to| Self { ip, sender, to, over_lo: false, udp: true };
        let inside = (0..SENDERS.len()).flat_map(|sender| {
            [ip.peer(53), ip.peer(80), ip.elsewhere(80)].map(|to| udp(Sender::Inside(sender), to))
        });
        let outside = [Sender::Neighbour, Sender::Subnet]
            .into_iter()
            .flat_map(|sender| [80, 4190].map(|port| udp(sender, ip.pod(port))));
        inside.chain(outside).collect()
    }

    fn send(&self, pod: &Pod) -> Outcome {
        let client = match self.sender {
            Sender::Inside(index) => pod.user(SENDERS[index]),
            Sender::Neighbour => pod.peer(),
            Sender::Subnet => pod.peer().from(self.ip.elsewhere(0)),
        };
        if self.udp { client.udp(self.to) } else { client.tcp(self.to) }
    }

    fn is_inbound(&self) -> bool {
        !matches!(self.sender, Sender::Inside(_))
    }
}

/// The port of the proxy at which it arrives, if it does not go its own way: Linkerd's rules, as prose has them.
fn redirected(settings: &ProxyInit, packet: &Packet) -> Option<u16> {
    let port = packet.to.port();
    let ignored = |ports: &[RangeInclusive<u16>]| ports.iter().any(|range| range.contains(&port));
    if packet.udp || (packet.to.is_ipv6() && !settings.ipv6) {
        return None;
    }
    match packet.sender {
        Sender::Inside(index) => {
            let User { uid, gid } = SENDERS[index];
            let by_proxy = settings.proxy_uid == Some(uid) || settings.proxy_gid == Some(gid);
            let alone = by_proxy || packet.over_lo || ignored(&settings.outbound_ports_to_ignore);
            (!alone).then_some(OUTGOING)
        }
        sender => {
            let source = match sender {
                Sender::Subnet => packet.ip.elsewhere(0),
                _ if packet.to.ip() == packet.ip.pod(0).ip() => packet.ip.peer(0),
                _ => packet.ip.peer_eth1(0),
            };
            let from_subnet = settings.subnets_to_ignore.iter().any(|subnet| subnet.contains(&source.ip()));
            let listed = settings.ports_to_redirect.is_empty() || settings.ports_to_redirect.contains(&port);
            let alone = ignored(&settings.inbound_ports_to_ignore) || from_subnet;
            (!alone && listed).then_some(INCOMING)
        }
    }
}

/// Ways to call the command that between them use every flag.
fn all_settings() -> [ProxyInit; 5] {
    let usual = ProxyInit {
        incoming_proxy_port: INCOMING,
        outgoing_proxy_port: OUTGOING,
        proxy_uid: Some(1337),
        proxy_gid: Some(1338),
        ports_to_redirect: vec![],
        inbound_ports_to_ignore: vec![4190..=4190, 4567..=4569, 8080..=8080],
        outbound_ports_to_ignore: vec![443..=443, 81..=81, 4567..=4569],
        subnets_to_ignore: ["10.1.0.0/16", "fd01::/64"].map(|subnet| subnet.parse().unwrap()).into(),
        ipv6: true,
    };
    [
        usual.clone(),
        ProxyInit { ipv6: false, ..usual.clone() },
        ProxyInit {
            proxy_uid: None,
            ports_to_redirect: vec![80, 4190, 4570, 65535],
            inbound_ports_to_ignore: vec![4190..=4190],
            outbound_ports_to_ignore: vec![],
            subnets_to_ignore: vec![],
            ..usual.clone()
        },
        ProxyInit {
            proxy_gid: None,
            inbound_ports_to_ignore: vec![0..=4567],
            outbound_ports_to_ignore: vec![4190..=65535],
            subnets_to_ignore: vec!["10.1.0.1/32".parse().unwrap(), "::/0".parse().unwrap()],
            ..usual.clone()
        },
        ProxyInit {
            inbound_ports_to_ignore: vec![0..=65535],
            outbound_ports_to_ignore: vec![80..=80],
            ..usual
        },
    ]
}

/// A pod in which UDP is answered, too.
struct Place {
    pod: Pod,
    _udp: Server,
}

fn place() -> Option<Place> {
    let pod = Pod::new(&BOTH)?;
    let addresses: Vec<_> = BOTH.iter().flat_map(|ip| [ip.pod(80), ip.pod(4190)]).collect();
    let udp = Server::udp(&pod.namespace, User::APP, &addresses);
    Some(Place { pod, _udp: udp })
}

/// Every packet arrives where the settings say: at the proxy, or where it arrives without any rule.
#[track_caller]
fn assert_arrivals(pod: &Pod, settings: &ProxyInit, packets: &[(Packet, Outcome)], whose: &str) -> usize {
    for (packet, alone) in packets {
        let expected = redirected(settings, packet).map_or(*alone, |port| captured(port, packet.to));
        let Packet { sender, to, over_lo, udp, .. } = packet;
        let arrival = packet.send(pod);
        assert_eq!(arrival, expected, "{whose}: {sender:?} to {to}, lo: {over_lo}, UDP: {udp}, {settings:?}");
    }
    packets.len()
}

/// All packets, and where each arrives without any rule.
fn packets() -> Option<Vec<(Packet, Outcome)>> {
    let place = place()?;
    Some(Packet::all().into_iter().map(|packet| (packet, packet.send(&place.pod))).collect())
}

#[test]
fn every_connection_arrives_where_linkerds_rules_say() {
    let Some(packets) = packets() else { return };
    let mut count = 0;
    for settings in all_settings() {
        let place = place().unwrap();
        let flags = linkerd::flags(&settings);
        Intercept::linkerd(&flags.iter().map(String::as_str).collect::<Vec<_>>()).apply(&place.pod.namespace);
        count += assert_arrivals(&place.pod, &settings, &packets, "meshwire");
    }
    say(&format!(
        "{count} connections and questions through meshwire's rules arrived where Linkerd's rules say"
    ));
}

#[test]
fn every_connection_arrives_where_linkerds_own_commands_make_it() {
    if !oracle("iptables-nft") || !oracle("ip6tables-nft") {
        return;
    }
    let Some(packets) = packets() else { return };
    let mut count = 0;
    for settings in all_settings() {
        let place = place().unwrap();
        let missing = run_commands(&place.pod.namespace, &settings);
        if missing.contains("REDIRECT") {
            say("this kernel has no REDIRECT for iptables-nft: Linkerd's own rules are not compared");
            return;
        }
        let packets: Vec<_> =
            packets.iter().filter(|(packet, _)| !needs(packet, &settings, &missing)).copied().collect();
        count += assert_arrivals(&place.pod, &settings, &packets, "iptables-nft");
        if !missing.is_empty() {
            say(&format!(
                "this kernel lacks {missing:?} for iptables-nft; {} packets compared",
                packets.len()
            ));
        }
    }
    say(&format!("{count} connections and questions through Linkerd's own rules arrived there, too"));
}

/// Whether what becomes of the packet depends on an extension of iptables that is missing.
fn needs(packet: &Packet, settings: &ProxyInit, missing: &BTreeSet<&str>) -> bool {
    let ignored = if packet.is_inbound() {
        &settings.inbound_ports_to_ignore
    } else {
        &settings.outbound_ports_to_ignore
    };
    let by_port = ignored.iter().any(|range| range.contains(&packet.to.port()));
    let by_owner = matches!(packet.sender, Sender::Inside(0 | 1));
    (missing.contains("multiport") && by_port) || (missing.contains("owner") && by_owner)
}

/// Runs what Linkerd runs; returns the extensions that this kernel does not have.
fn run_commands(namespace: &Namespace, settings: &ProxyInit) -> BTreeSet<&'static str> {
    let mut missing = BTreeSet::new();
    for argv in linkerd::commands(settings) {
        let output = namespace.output(Command::new(&argv[0]).args(&argv[1..]), "");
        if output.status.success() {
            continue;
        }
        let extension =
            ["owner", "multiport", "REDIRECT"].into_iter().find(|name| argv.iter().any(|word| word == name));
        let stderr = String::from_utf8_lossy(&output.stderr);
        missing.insert(extension.unwrap_or_else(|| panic!("{argv:?}: {stderr}")));
    }
    missing
}
