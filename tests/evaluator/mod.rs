//! What a ruleset does to a packet, said by the model alone.

pub(crate) mod packets;
pub(crate) mod random;

use std::net::IpAddr;

use nft_ruleset::statement::NatKind;
use nft_ruleset::{Chain, Constant, Data, Element, Expression, Family, Field, Op, Operator, Protocol};
use nft_ruleset::{Rule, Selector, Statement, Table, Verdict};
use nftwire::expr::{CtKey, MetaKey};

/// A packet and what the kernel keeps beside it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packet {
    pub(crate) input: &'static str,
    pub(crate) output: &'static str,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// IPPROTO_*
    pub(crate) protocol: u8,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mark: u32,
    pub(crate) ct_state: u32,
    pub(crate) ct_mark: u32,
    pub(crate) zone: u16,
    /// Whether any counter saw it
    pub(crate) counted: bool,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate {
    /// No rule decided
    Policy,
    Accepted,
    Dropped,
    Redirected(Option<Data>),
}

/// What a chain comes to.
enum Flow {
    Decided(Fate),
    /// Back to where it was jumped from
    Back,
}

/// What becomes of a packet that enters this base chain; it is as the rules leave it then.
pub(crate) fn evaluate(table: &Table, chain: &str, packet: &mut Packet) -> Fate {
    match walk(table, find(table, chain), packet) {
        Flow::Decided(fate) => fate,
        Flow::Back => Fate::Policy,
    }
}

fn find<'t>(table: &'t Table, name: &str) -> &'t Chain {
    table.chains.iter().find(|chain| chain.name == name).unwrap()
}

fn walk(table: &Table, chain: &Chain, packet: &mut Packet) -> Flow {
    for rule in &chain.rules {
        match act(rule, packet) {
            None => {}
            Some(Step::Fate(fate)) => return Flow::Decided(fate),
            Some(Step::Verdict(verdict)) => match verdict {
                Verdict::Accept => return Flow::Decided(Fate::Accepted),
                Verdict::Drop => return Flow::Decided(Fate::Dropped),
                Verdict::Return => return Flow::Back,
                Verdict::Continue | Verdict::Break => {}
                Verdict::Goto(name) => return walk(table, find(table, name), packet),
                Verdict::Jump(name) => match walk(table, find(table, name), packet) {
                    Flow::Back => {}
                    decided => return decided,
                },
                Verdict::Other(code) => panic!("verdict {code}"),
            },
        }
    }
    Flow::Back
}

enum Step<'r> {
    Verdict(&'r Verdict),
    Fate(Fate),
}

fn act<'r>(rule: &'r Rule, packet: &mut Packet) -> Option<Step<'r>> {
    for statement in &rule.statements {
        match statement {
            Statement::Match { left, op, right } => {
                if !passes(packet, left, *op, right) {
                    return None;
                }
            }
            Statement::Counter(_) => packet.counted = true,
            Statement::Set { target, value } => {
                let value = match value {
                    Expression::Constant(constant) => constant.data.as_bytes().to_vec(),
                    value => read(packet, value)?,
                };
                set(packet, *target, &value);
            }
            Statement::Nat(nat) => {
                assert_eq!(nat.kind, NatKind::Redirect);
                let port = nat.port.as_ref().map(|port| constant(port).data.clone());
                return Some(Step::Fate(Fate::Redirected(port)));
            }
            Statement::Verdict(verdict) => return Some(Step::Verdict(verdict)),
            Statement::VerdictMap(Expression::Map(map)) => {
                let key = read(packet, &map.key)?;
                let Expression::Set(elements) = &map.map else { panic!("{map:?}") };
                let element = find_element(packet, elements, &key)?;
                let Some(Expression::Verdict(verdict)) = &element.value else { panic!("{element:?}") };
                return Some(Step::Verdict(verdict));
            }
            statement => panic!("{statement:?}"),
        }
    }
    None
}

fn passes(packet: &mut Packet, left: &Expression, op: Op, right: &Expression) -> bool {
    // A packet that does not have what is looked at passes no match, not even an unequal one.
    let Some(value) = read(packet, left) else { return false };
    match op {
        Op::Eq => match right {
            Expression::Set(elements) => find_element(packet, elements, &value).is_some(),
            right => contains(right, &value),
        },
        Op::Ne => !contains(right, &value),
        Op::In => flags(right).iter().zip(&value).any(|(flags, value)| flags & value != 0),
        op => panic!("{op:?}"),
    }
}

/// The element with this value; what it counts, it counts then.
fn find_element<'r>(packet: &mut Packet, elements: &'r [Element], value: &[u8]) -> Option<&'r Element> {
    let element = elements.iter().find(|element| contains(&element.key, value))?;
    packet.counted |= element.details.as_ref().is_some_and(|details| !details.statements.is_empty());
    Some(element)
}

/// Whether the value is among those of the right side of a match.
fn contains(right: &Expression, value: &[u8]) -> bool {
    match right {
        // The beginning of an interface's name stands for all names that begin so.
        Expression::Constant(constant) => value.starts_with(constant.data.as_bytes()),
        Expression::Prefix(prefix) => {
            let network = constant(&prefix.value).data.as_bytes();
            let bit = |bytes: &[u8], index: u32| {
                let byte = bytes[usize::try_from(index / 8).unwrap()];
                byte >> (7 - index % 8) & 1
            };
            (0..prefix.len).all(|index| bit(network, index) == bit(value, index))
        }
        Expression::Range(range) => {
            let ends = [&range.from, &range.to].map(|end| constant(end).data.as_bytes());
            ends[0] <= value && value <= ends[1]
        }
        Expression::Set(elements) => elements.iter().any(|element| contains(&element.key, value)),
        right => panic!("{right:?}"),
    }
}

fn flags(expression: &Expression) -> Vec<u8> {
    match expression {
        Expression::List(list) => {
            let all: Vec<_> = list.iter().map(|flag| u32::from_ne_bytes(bytes(flag))).collect();
            all.iter().fold(0, |all, flag| all | flag).to_ne_bytes().to_vec()
        }
        flag => constant(flag).data.as_bytes().to_vec(),
    }
}

fn constant(expression: &Expression) -> &Constant {
    let Expression::Constant(constant) = expression else { panic!("{expression:?}") };
    constant
}

fn bytes<const N: usize>(expression: &Expression) -> [u8; N] {
    constant(expression).data.as_bytes().try_into().unwrap()
}

/// As it would stand in a register; `None` where the packet does not have it.
fn read(packet: &Packet, expression: &Expression) -> Option<Vec<u8>> {
    let selector = match expression {
        Expression::Selector(selector) => *selector,
        Expression::Binary(binary) if binary.operator == Operator::And => {
            let mask = constant(&binary.right).data.as_bytes();
            let value = read(packet, &binary.left)?;
            return Some(value.iter().zip(mask).map(|(value, mask)| value & mask).collect());
        }
        expression => panic!("{expression:?}"),
    };
    Some(match selector {
        Selector::Meta(MetaKey::IifName) => Data::interface(packet.input).as_bytes().to_vec(),
        Selector::Meta(MetaKey::OifName) => Data::interface(packet.output).as_bytes().to_vec(),
        Selector::Meta(MetaKey::SkUid) => packet.uid.to_ne_bytes().to_vec(),
        Selector::Meta(MetaKey::SkGid) => packet.gid.to_ne_bytes().to_vec(),
        Selector::Meta(MetaKey::Mark) => packet.mark.to_ne_bytes().to_vec(),
        Selector::Meta(MetaKey::L4Proto) => vec![packet.protocol],
        Selector::Meta(MetaKey::NfProto) => {
            vec![if packet.destination.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }.number()]
        }
        Selector::Ct(CtKey::State) => packet.ct_state.to_ne_bytes().to_vec(),
        Selector::Ct(CtKey::Mark) => packet.ct_mark.to_ne_bytes().to_vec(),
        Selector::Payload(field) => return read_field(packet, &field),
        selector => panic!("{selector:?}"),
    })
}

fn read_field(packet: &Packet, field: &Field) -> Option<Vec<u8>> {
    let address = |address: IpAddr| match (address, field.protocol) {
        (IpAddr::V4(address), Protocol::Ip) => Some(address.octets().to_vec()),
        (IpAddr::V6(address), Protocol::Ip6) => Some(address.octets().to_vec()),
        _ => None,
    };
    match (field.protocol, field.name) {
        (_, "saddr") => address(packet.source),
        (_, "daddr") => address(packet.destination),
        (Protocol::Tcp, _) if packet.protocol != Protocol::TCP => None,
        (Protocol::Udp, _) if packet.protocol != Protocol::UDP => None,
        (_, "sport") => Some(packet.source_port.to_be_bytes().to_vec()),
        (_, "dport") => Some(packet.destination_port.to_be_bytes().to_vec()),
        _ => panic!("{field:?}"),
    }
}

fn set(packet: &mut Packet, target: Selector, value: &[u8]) {
    match target {
        Selector::Meta(MetaKey::Mark) => packet.mark = u32::from_ne_bytes(value.try_into().unwrap()),
        Selector::Ct(CtKey::Mark) => packet.ct_mark = u32::from_ne_bytes(value.try_into().unwrap()),
        Selector::Ct(CtKey::Zone) => packet.zone = u16::from_ne_bytes(value.try_into().unwrap()),
        target => panic!("{target:?}"),
    }
}
