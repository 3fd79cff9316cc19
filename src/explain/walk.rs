//! The way of a connection's first packet through the hooks (Documentation/networking and net/ipv4/ip_output.c,
//! ip_input.c, net/netfilter/nf_nat_core.c in Linux 6.18).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nft_ruleset::evaluate::{Fate, Interface, Owner, Packet, Tracking, Translation, evaluate};
use nft_ruleset::statement::NatKind;
use nft_ruleset::{ChainKind, Hook, Policy, Ruleset};
use nftwire::expr::CtKey;

use super::order::chains;
use super::{End, Flow, Hop, Machine, MachineError, Origin, Path, Via};
use crate::network::{ResolvedRoute, RouteQuery};

/// `NF_IP_PRI_CONNTRACK`: from there on a packet belongs to a connection.
const CONNTRACK: i32 = -200;

/// IPPROTO_TCP, and the flags of the packet that opens a connection, without ECN (net.ipv4.tcp_ecn is 2 by default).
const TCP: u8 = 6;
const SYN: u8 = 2;

/// What connection tracking says that it has done (linux/netfilter/nf_conntrack_common.h): the connection left or arrived, its
/// source or destination changed, and it was decided about both.
const IPS_CONFIRMED: u32 = 1 << 3;
const IPS_SRC_NAT: u32 = 1 << 4;
const IPS_DST_NAT: u32 = 1 << 5;
const IPS_SRC_NAT_DONE: u32 = 1 << 7;
const IPS_DST_NAT_DONE: u32 = 1 << 8;

/// A source port such as the kernel chooses by default, of 32768 to 60999.
const EPHEMERAL: u16 = 50_000;

/// More paths than a person reads: what is left is not known.
const PATHS: usize = 256;

/// A packet on its way.
#[derive(Clone)]
struct Way<'r> {
    packet: Packet,
    hops: Vec<Hop<'r>>,
    /// Whether the connection's destination has been decided about, and its source
    bound: Bound,
    /// The device's index that it leaves by, or arrived on
    device: u32,
    uid: Option<u32>,
}

#[derive(Clone, Copy, Default)]
struct Bound {
    destination: bool,
    source: bool,
}

/// What a hook made of a packet.
enum Passed<'r> {
    /// It goes on
    On(Way<'r>),
    /// It ends here
    Ends(Path<'r>),
}

pub(super) fn paths<'r>(
    ruleset: &'r Ruleset,
    machine: &Machine,
    flow: &Flow,
) -> Result<Vec<Path<'r>>, MachineError> {
    let walk = Walk { ruleset, machine, flow };
    match flow.origin {
        Origin::Process { uid, gid } => walk.way_out(uid, gid),
        Origin::Outside => walk.way_in(),
    }
}

struct Walk<'r, 'm> {
    ruleset: &'r Ruleset,
    machine: &'m Machine,
    flow: &'m Flow,
}

impl<'r> Walk<'r, '_> {
    fn packet(&self, source: IpAddr, owner: Owner) -> Packet {
        Packet {
            input: Interface::NONE,
            output: Interface::NONE,
            source,
            destination: self.flow.destination.ip(),
            protocol: self.flow.protocol,
            source_port: self.flow.source_port.or(Some(EPHEMERAL)),
            destination_port: Some(self.flow.destination.port()),
            owner,
            mark: Some(0),
            tracking: Tracking::None,
            ct_mark: Some(0),
            ct_status: Some(0),
            tcp_flags: (self.flow.protocol == TCP).then_some(SYN),
            zone: Some(0),
            socket: None,
        }
    }

    /// Output, postrouting, and for what stays here the way in over `lo`.
    fn way_out(&self, uid: u32, gid: u32) -> Result<Vec<Path<'r>>, MachineError> {
        let to = self.flow.destination.ip();
        let query =
            RouteQuery { destination: to, source: self.flow.source, input: None, mark: 0, uid: Some(uid) };
        let Some(route) = self.machine.route(&query)? else {
            return Ok(vec![Path { hops: Vec::new(), end: End::Unroutable { to } }]);
        };
        let source = self.flow.source.or(route.source).unwrap_or_else(|| unspecified(to));
        let mut packet = self.packet(source, Owner::Socket { uid, gid });
        packet.output = self.machine.interface(route.output);
        let start =
            Way { packet, hops: Vec::new(), bound: Bound::default(), device: route.output, uid: Some(uid) };
        let mut paths = Vec::new();
        for way in self.hook(vec![start], Hook::LocalOut, &mut paths) {
            self.leave(way, &mut paths)?;
        }
        Ok(paths)
    }

    /// What the output hook let pass: its route may be another one now.
    fn leave(&self, mut way: Way<'r>, paths: &mut Vec<Path<'r>>) -> Result<(), MachineError> {
        let to = way.packet.destination;
        let query = RouteQuery {
            destination: to,
            source: Some(way.packet.source),
            input: None,
            mark: way.packet.mark.unwrap_or(0),
            uid: way.uid,
        };
        // A socket's own route holds unless a rule changed what it went by (nf_ip_route_me_harder).
        if self.is_rerouted(&way) {
            let Some(route) = self.machine.route(&query)? else {
                paths.push(Path { hops: way.hops, end: End::Unroutable { to } });
                return Ok(());
            };
            way.device = route.output;
            way.packet.output = self.machine.interface(route.output);
        }
        let stays = way.packet.output == self.machine.loopback();
        for mut way in self.hook(vec![way], Hook::PostRouting, paths) {
            if !stays {
                let (device, to) = (way.packet.output.name.clone(), address(&way.packet));
                let is_martian = way.packet.source.is_loopback();
                let end = if is_martian { End::Martian { device, to } } else { End::Leaves { device, to } };
                paths.push(Path { hops: way.hops, end });
                continue;
            }
            // The packet keeps its mark and its connection over lo, not its socket (loopback_xmit).
            way.packet.input = std::mem::replace(&mut way.packet.output, Interface::NONE);
            way.packet.owner = Owner::None;
            self.arrive(way, paths)?;
        }
        Ok(())
    }

    /// Whether an output chain changed the destination, or a chain of the type route the mark.
    fn is_rerouted(&self, way: &Way<'r>) -> bool {
        let mark_by_route = way.hops.iter().any(|hop| {
            hop.chain.base.is_some_and(|base| base.kind == ChainKind::Route)
                && hop.outcome.packet.mark != Some(0)
        });
        way.packet.destination != self.flow.destination.ip() || mark_by_route
    }

    fn way_in(&self) -> Result<Vec<Path<'r>>, MachineError> {
        let to = self.flow.destination.ip();
        let device = self.machine.arrival(to, self.flow.source)?;
        let source = self.flow.source.unwrap_or_else(|| unspecified(to));
        let mut packet = self.packet(source, Owner::None);
        packet.input = self.machine.interface(device);
        let way = Way { packet, hops: Vec::new(), bound: Bound::default(), device, uid: None };
        let mut paths = Vec::new();
        self.arrive(way, &mut paths)?;
        Ok(paths)
    }

    /// Prerouting, the route, and input or forward.
    fn arrive(&self, way: Way<'r>, paths: &mut Vec<Path<'r>>) -> Result<(), MachineError> {
        let has_route = way.packet.input == self.machine.loopback();
        let is_v4 = self.flow.destination.is_ipv4();
        let source = self.flow.source.or_else(|| self.machine.neighbor(way.device, is_v4));
        for mut way in self.hook(vec![way], Hook::PreRouting, paths) {
            let to = way.packet.destination;
            let query = RouteQuery {
                destination: to,
                source,
                input: Some(way.device),
                mark: way.packet.mark.unwrap_or(0),
                uid: None,
            };
            // What came over lo has the route of its way out (ip_rcv_finish_core).
            let route = if has_route { None } else { Some(self.machine.route(&query)?) };
            match route {
                Some(None) => {
                    paths.push(Path { hops: way.hops, end: End::Unroutable { to } });
                    continue;
                }
                Some(Some(route)) if route.kind != ResolvedRoute::LOCAL => {
                    way.packet.output = self.machine.interface(route.output);
                    way.device = route.output;
                    self.forward(way, paths);
                    continue;
                }
                _ => {}
            }
            for way in self.hook(vec![way], Hook::LocalIn, paths) {
                paths.push(self.deliver(way));
            }
        }
        Ok(())
    }

    fn forward(&self, way: Way<'r>, paths: &mut Vec<Path<'r>>) {
        let forwarded = self.hook(vec![way], Hook::Forward, paths);
        for mut way in forwarded {
            way.packet.input = Interface::NONE;
            for way in self.hook(vec![way], Hook::PostRouting, paths) {
                let to = address(&way.packet);
                paths.push(Path { hops: way.hops, end: End::Leaves { device: way.packet.output.name, to } });
            }
        }
    }

    fn deliver(&self, way: Way<'r>) -> Path<'r> {
        let mut to = address(&way.packet);
        let mut via = if to == self.flow.destination { Via::Direct } else { Via::Nat };
        if let Some((address, port)) = way.packet.socket {
            via = Via::Tproxy;
            to = SocketAddr::new(address.unwrap_or(to.ip()), port.unwrap_or(to.port()));
        }
        let listener = self.machine.listener(way.packet.protocol, to.ip(), to.port()).cloned();
        Path { hops: way.hops, end: End::Delivered { to, via, listener } }
    }

    /// All chains of a hook, one after the other. What ends there goes to `paths`.
    fn hook(&self, ways: Vec<Way<'r>>, hook: Hook, paths: &mut Vec<Path<'r>>) -> Vec<Way<'r>> {
        let Some(first) = ways.first() else { return ways };
        let family = first.packet.family();
        let mut ways = ways;
        let chains = chains(self.ruleset, family, hook);
        let has_nat = chains.iter().any(|at| at.base.kind == ChainKind::Nat);
        for at in chains {
            let mut passed = Vec::new();
            for mut way in ways {
                if at.runs_at >= CONNTRACK && way.packet.tracking == Tracking::None {
                    way.packet.tracking = Tracking::State(CtKey::STATE_NEW);
                }
                if at.base.kind == ChainKind::Nat && !sees(&way, hook) {
                    passed.push(way);
                    continue;
                }
                for outcome in evaluate(at.table, &at.chain.name, &way.packet, self.machine) {
                    let mut way = way.clone();
                    way.packet = outcome.packet.clone();
                    let fate = outcome.fate.clone();
                    way.hops.push(Hop { hook, table: at.table, chain: at.chain, outcome });
                    match self.settle(way, fate, at.base.policy, hook) {
                        Passed::On(way) if passed.len() + paths.len() < PATHS => passed.push(way),
                        Passed::On(way) => {
                            paths.push(Path { hops: way.hops, end: End::Unknown(Fate::Unknown) });
                        }
                        Passed::Ends(path) => paths.push(path),
                    }
                }
            }
            ways = passed;
        }
        // What no nat chain decided about keeps its addresses (nf_nat_alloc_null_binding).
        for way in &mut ways {
            bind(&mut way.bound, hook);
            let done = match hook {
                Hook::PreRouting | Hook::LocalOut if has_nat => IPS_DST_NAT_DONE,
                Hook::PostRouting | Hook::LocalIn if has_nat => IPS_SRC_NAT_DONE | IPS_CONFIRMED,
                Hook::PostRouting | Hook::LocalIn => IPS_CONFIRMED,
                _ => 0,
            };
            way.packet.ct_status = way.packet.ct_status.map(|status| status | done);
            if way.packet.tracking == Tracking::None {
                way.packet.tracking = Tracking::State(CtKey::STATE_NEW);
            }
        }
        ways
    }

    fn settle(&self, mut way: Way<'r>, fate: Fate, policy: Policy, hook: Hook) -> Passed<'r> {
        let ends = |way: Way<'r>, end| Passed::Ends(Path { hops: way.hops, end });
        match fate {
            Fate::Accepted => Passed::On(way),
            Fate::Policy if policy == Policy::Accept => Passed::On(way),
            Fate::Nat(translation) => match self.translate(&mut way, &translation, hook) {
                Some(()) => {
                    bind(&mut way.bound, hook);
                    Passed::On(way)
                }
                None => ends(way, End::Unknown(Fate::Nat(translation))),
            },
            Fate::Policy | Fate::Dropped | Fate::Rejected(_) => ends(way, End::Dropped(fate)),
            Fate::Queued | Fate::Taken | Fate::Unknown => ends(way, End::Unknown(fate)),
        }
    }

    /// `None` where what matters of the new address is not known.
    fn translate(&self, way: &mut Way<'r>, translation: &Translation, hook: Hook) -> Option<()> {
        let is_v4 = way.packet.destination.is_ipv4();
        let before = address(&way.packet);
        let stays = way.packet.output == self.machine.loopback();
        match translation.kind {
            NatKind::Redirect | NatKind::Destination if translation.is_open => return None,
            // What comes back over lo has the address of a device, which the kernel chooses.
            NatKind::Masquerade if stays => return None,
            NatKind::Source if stays && translation.address.is_none() => return None,
            NatKind::Redirect => {
                way.packet.destination = match hook {
                    Hook::LocalOut if is_v4 => Ipv4Addr::LOCALHOST.into(),
                    Hook::LocalOut => Ipv6Addr::LOCALHOST.into(),
                    _ => self.machine.redirect_address(way.device, is_v4)?,
                };
                way.packet.destination_port = translation.port.or(way.packet.destination_port);
            }
            NatKind::Destination => {
                // A port alone leaves the address.
                way.packet.destination = translation.address.unwrap_or(way.packet.destination);
                way.packet.destination_port = translation.port.or(way.packet.destination_port);
            }
            NatKind::Source | NatKind::Masquerade => {
                way.packet.source = translation.address.unwrap_or(way.packet.source);
                way.packet.source_port = translation.port;
            }
        }
        // Only what it changed has the status (nf_nat_setup_info), and a source's port may change by itself.
        way.packet.ct_status = match translation.kind {
            NatKind::Redirect | NatKind::Destination if address(&way.packet) == before => {
                way.packet.ct_status
            }
            NatKind::Redirect | NatKind::Destination => {
                way.packet.ct_status.map(|status| status | IPS_DST_NAT)
            }
            NatKind::Source if translation.address.is_some() => {
                way.packet.ct_status.map(|status| status | IPS_SRC_NAT)
            }
            NatKind::Source | NatKind::Masquerade => None,
        };
        Some(())
    }
}

/// Whether nat chains of the hook see the packet: it is the first of its connection, and nothing was decided yet.
fn sees(way: &Way<'_>, hook: Hook) -> bool {
    let is_first = way.packet.tracking == Tracking::State(CtKey::STATE_NEW);
    let is_bound = if changes_destination(hook) { way.bound.destination } else { way.bound.source };
    is_first && !is_bound
}

fn bind(bound: &mut Bound, hook: Hook) {
    match hook {
        Hook::PreRouting | Hook::LocalOut => bound.destination = true,
        Hook::PostRouting | Hook::LocalIn => bound.source = true,
        _ => {}
    }
}

fn changes_destination(hook: Hook) -> bool {
    matches!(hook, Hook::PreRouting | Hook::LocalOut)
}

fn address(packet: &Packet) -> SocketAddr {
    SocketAddr::new(packet.destination, packet.destination_port.unwrap_or(0))
}

fn unspecified(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}
