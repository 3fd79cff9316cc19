//! Random packets, made of what the rules of a ruleset look at: they pass them, or only just not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nft_ruleset::evaluate::{Interface, Owner, Packet, Tracking};
use nft_ruleset::{Expression, Family, Op, Protocol, Rule, Ruleset, Selector, Statement};
use nftwire::expr::{CtKey, MetaKey};
use proptest::prelude::*;

use super::constant;
use super::random::{address, id, mark, port};

/// So many packets on their way out, most of them aimed at rules of the ruleset.
pub(crate) fn packets(ruleset: &Ruleset, count: usize) -> impl Strategy<Value = Vec<Packet>> + use<> {
    let rules: Vec<_> = ruleset.tables.iter().flat_map(|table| &table.chains).collect();
    let rules: Vec<Rule> = rules.into_iter().flat_map(|chain| chain.rules.clone()).collect();
    let packet = (packet(), prop::collection::vec(any::<prop::sample::Index>(), 0..4)).prop_perturb(
        move |(mut packet, targets), mut rng| {
            let mut pick = |of: usize| rng.random_range(0..of);
            // The later rules win: the packet meets them, and the earlier ones where they look at something else.
            for target in targets.iter().filter(|_| !rules.is_empty()) {
                for statement in &target.get(&rules).statements {
                    if let Statement::Match { left: Expression::Selector(selector), op, right } = statement {
                        aim(&mut packet, *selector, *op, right, &mut pick);
                    }
                }
            }
            packet
        },
    );
    prop::collection::vec(packet, count)
}

fn packet() -> impl Strategy<Value = Packet> {
    let protocol = prop_oneof![3 => Just(17), 1 => Just(6)];
    let ct_state = prop_oneof![Just(CtKey::STATE_NEW), Just(CtKey::STATE_ESTABLISHED)];
    let output = prop_oneof![3 => Just("lo"), 1 => Just("eth0")];
    (address(), protocol, port(), [id(), id()], [mark(), mark()], ct_state, output).prop_map(
        |(destination, protocol, destination_port, [uid, gid], [mark, ct_mark], ct_state, output)| Packet {
            input: Interface::NONE,
            output: Interface::named(output),
            source: match destination {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => destination,
            },
            destination,
            protocol,
            source_port: Some(4999),
            destination_port: Some(destination_port),
            owner: Owner::Socket { uid, gid },
            mark: Some(mark),
            tracking: Tracking::State(ct_state),
            ct_mark: Some(ct_mark),
            ct_status: Some(0),
            tcp_flags: None,
            zone: Some(0),
            socket: None,
        },
    )
}

/// Gives the packet the first or the last value of something that passes the match, or rarely the one next to it; the
/// other way round where the match is on what is unequal.
fn aim(
    packet: &mut Packet,
    selector: Selector,
    op: Op,
    right: &Expression,
    pick: &mut impl FnMut(usize) -> usize,
) {
    let mut ends = Vec::new();
    add_ends(right, &mut ends);
    if ends.is_empty() {
        return;
    }
    let (end, is_last) = &ends[pick(ends.len())];
    let misses = (pick(8) == 0) != (op == Op::Ne);
    let value = if misses { near_miss(end, *is_last, selector) } else { end.clone() };
    give(packet, selector, &value);
}

/// The first and the last value of each element, and which of both it is.
fn add_ends(right: &Expression, ends: &mut Vec<(Vec<u8>, bool)>) {
    match right {
        Expression::Set(elements) => elements.iter().for_each(|element| add_ends(&element.key, ends)),
        Expression::List(flags) => flags.iter().for_each(|flag| add_ends(flag, ends)),
        Expression::Range(range) => {
            ends.push((constant(&range.from).data.as_bytes().to_vec(), false));
            ends.push((constant(&range.to).data.as_bytes().to_vec(), true));
        }
        Expression::Prefix(prefix) => {
            let first = constant(&prefix.value).data.as_bytes().to_vec();
            let mut last = first.clone();
            for bit in prefix.len..u32::try_from(8 * last.len()).unwrap() {
                last[usize::try_from(bit / 8).unwrap()] |= 0x80 >> (bit % 8);
            }
            ends.extend([(first, false), (last, true)]);
        }
        right => {
            let value = constant(right).data.as_bytes().to_vec();
            ends.extend([(value.clone(), false), (value, true)]);
        }
    }
}

/// The value before the first one, or after the last one.
fn near_miss(end: &[u8], is_last: bool, selector: Selector) -> Vec<u8> {
    let step = |byte: u8| if is_last { byte.wrapping_add(1) } else { byte.wrapping_sub(1) };
    let carries = if is_last { 0 } else { u8::MAX };
    let mut value = end.to_vec();
    let mut bytes: Vec<_> = value.iter_mut().collect();
    if selector.data_type().is_host_order() && cfg!(target_endian = "little") {
        bytes.reverse();
    }
    for byte in bytes.into_iter().rev() {
        *byte = step(*byte);
        if *byte != carries {
            break;
        }
    }
    value
}

fn give(packet: &mut Packet, selector: Selector, value: &[u8]) {
    let number = || u32::from_ne_bytes(value.try_into().unwrap());
    match selector {
        Selector::Meta(key @ (MetaKey::SkUid | MetaKey::SkGid)) => {
            let Owner::Socket { uid, gid } = &mut packet.owner else { panic!("{packet:?}") };
            *(if key == MetaKey::SkUid { uid } else { gid }) = number();
        }
        Selector::Meta(MetaKey::Mark) => packet.mark = Some(number()),
        Selector::Ct(CtKey::Mark) => packet.ct_mark = Some(number()),
        Selector::Ct(CtKey::State) => packet.tracking = Tracking::State(number()),
        Selector::Meta(MetaKey::L4Proto) if value == [Protocol::TCP] => packet.protocol = Protocol::TCP,
        Selector::Meta(MetaKey::L4Proto) => packet.protocol = Protocol::UDP,
        Selector::Meta(MetaKey::NfProto) => speak(packet, value == [Family::Ipv6.number()]),
        Selector::Meta(MetaKey::OifName) => {
            let name = ["lo", "eth0", "l"].into_iter().find(|name| value.starts_with(name.as_bytes()));
            packet.output = Interface::named(name.unwrap_or("eth1"));
        }
        Selector::Payload(field) => match (field.protocol, field.name) {
            (Protocol::Tcp | Protocol::Udp, _) => {
                packet.protocol = if field.protocol == Protocol::Tcp { Protocol::TCP } else { Protocol::UDP };
                packet.destination_port = Some(u16::from_be_bytes(value.try_into().unwrap()));
            }
            (_, name) => {
                let address = match <[u8; 4]>::try_from(value) {
                    Ok(value) => IpAddr::from(value),
                    Err(_) => IpAddr::from(<[u8; 16]>::try_from(value).unwrap()),
                };
                speak(packet, address.is_ipv6());
                *(if name == "saddr" { &mut packet.source } else { &mut packet.destination }) = address;
            }
        },
        selector => panic!("{selector:?}"),
    }
}

/// Makes it a packet of IPv6 or IPv4, if it is not.
fn speak(packet: &mut Packet, v6: bool) {
    if packet.destination.is_ipv6() != v6 {
        let address =
            if v6 { Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into() } else { Ipv4Addr::LOCALHOST.into() };
        (packet.source, packet.destination) = (address, address);
    }
}
