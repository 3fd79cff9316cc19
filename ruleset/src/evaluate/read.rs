//! What an expression reads from a packet, as it is in a register.

use std::net::IpAddr;

use nftwire::expr::{CtKey, FibResult, MetaKey};
use nftwire::uapi;

use super::compare;
use super::packet::{Host, Owner, Packet, Tracking};
use crate::expression::swap_host_order;
use crate::selector::Fib;
use crate::{Binary, Data, DataType, Expression, Family, Field, Operator, Protocol, Selector, Table};

/// `NF_CT_STATE_INVALID_BIT` and `NF_CT_STATE_UNTRACKED_BIT` (linux/netfilter/nf_conntrack_common.h).
const INVALID: u32 = 1;
const UNTRACKED: u32 = 1 << 6;

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// The packet does not have it, which ends the rule (NFT_BREAK)
    Absent,
    /// It is not known
    Unknown,
}

/// The parts of a value: one, or those of a concatenation. Each in the byte order that it has in a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value(pub(super) Vec<Vec<u8>>);

impl Value {
    fn new(bytes: &[u8]) -> Self {
        Self(vec![bytes.to_vec()])
    }

    /// The bytes, where it is not a concatenation.
    pub(super) fn single(mut self) -> Option<Vec<u8>> {
        let only = self.0.pop()?;
        self.0.is_empty().then_some(only)
    }

    /// As a number in host order of at most four bytes.
    pub(super) fn host_number(&self) -> Option<u32> {
        match self.0.as_slice() {
            [part] => match part.len() {
                1 => Some(part[0].into()),
                2 => Some(u16::from_ne_bytes(part.as_slice().try_into().ok()?).into()),
                4 => Some(u32::from_ne_bytes(part.as_slice().try_into().ok()?)),
                _ => None,
            },
            _ => None,
        }
    }

    /// As a port.
    pub(super) fn port(&self) -> Option<u16> {
        match self.0.as_slice() {
            [part] => Some(u16::from_be_bytes(part.as_slice().try_into().ok()?)),
            _ => None,
        }
    }

    /// As an address.
    pub(super) fn address(self) -> Option<IpAddr> {
        let bytes = self.single()?;
        let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
        v4.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from)).ok()
    }
}

/// What the expression comes to for this packet.
pub(super) fn value(
    packet: &Packet,
    table: &Table,
    host: &dyn Host,
    expression: &Expression,
) -> Result<Value, Gap> {
    let read = |expression| value(packet, table, host, expression);
    match expression {
        Expression::Selector(selector) => Ok(Value(vec![select(packet, host, *selector)?])),
        Expression::Constant(constant) => Ok(Value::new(constant.data.as_bytes())),
        Expression::Concat(parts) => {
            let parts: Result<Vec<_>, _> =
                parts.iter().map(|part| read(part)?.single().ok_or(Gap::Unknown)).collect();
            Ok(Value(parts?))
        }
        Expression::Binary(binary) => {
            let (left, right) = (read(&binary.left)?, read(&binary.right)?);
            let (Some(left), Some(right)) = (left.single(), right.single()) else { return Err(Gap::Unknown) };
            Ok(Value(vec![operate(binary, &left, &right).ok_or(Gap::Unknown)?]))
        }
        Expression::Map(map) => {
            let elements = compare::elements(table, &map.map).ok_or(Gap::Unknown)?;
            let element = compare::find(elements, &read(&map.key)?)?.ok_or(Gap::Absent)?;
            element.value.as_ref().map_or(Err(Gap::Unknown), read)
        }
        Expression::Prefix(_)
        | Expression::Range(_)
        | Expression::List(_)
        | Expression::Set(_)
        | Expression::SetName(_)
        | Expression::Hash(_)
        | Expression::Verdict(_)
        | Expression::Name(_)
        | Expression::Wildcard => Err(Gap::Unknown),
    }
}

fn operate(binary: &Binary, left: &[u8], right: &[u8]) -> Option<Vec<u8>> {
    let bytes = |operate: fn(u8, u8) -> u8| {
        (left.len() == right.len())
            .then(|| left.iter().zip(right).map(|(left, right)| operate(*left, *right)).collect())
    };
    match binary.operator {
        Operator::And => bytes(|left, right| left & right),
        Operator::Or => bytes(|left, right| left | right),
        Operator::Xor => bytes(|left, right| left ^ right),
        Operator::ShiftLeft | Operator::ShiftRight => None,
    }
}

fn select(packet: &Packet, host: &dyn Host, selector: Selector) -> Result<Vec<u8>, Gap> {
    match selector {
        Selector::Meta(key) => meta(packet, key),
        Selector::Ct(key) => ct(packet, key),
        Selector::CtOf(_) if matches!(packet.tracking, Tracking::None | Tracking::Untracked) => {
            Err(Gap::Absent)
        }
        Selector::Payload(field) => payload(packet, field),
        Selector::Fib(fib) => address_type(packet, host, fib),
        _ => Err(Gap::Unknown),
    }
}

fn meta(packet: &Packet, key: MetaKey) -> Result<Vec<u8>, Gap> {
    let number = |number: Option<u32>| number.map(|number| number.to_ne_bytes().to_vec()).ok_or(Gap::Unknown);
    match key {
        MetaKey::Protocol => Ok(match packet.family() {
            Family::Ipv4 => vec![0x08, 0x00],
            _ => vec![0x86, 0xdd],
        }),
        MetaKey::NfProto => Ok(vec![packet.family().number()]),
        MetaKey::L4Proto => Ok(vec![packet.protocol]),
        MetaKey::Mark => number(packet.mark),
        MetaKey::Iif => number(packet.input.index),
        MetaKey::Oif => number(packet.output.index),
        MetaKey::IifName => Ok(Data::interface(&packet.input.name).as_bytes().to_vec()),
        MetaKey::OifName => Ok(Data::interface(&packet.output.name).as_bytes().to_vec()),
        MetaKey::SkUid | MetaKey::SkGid => match packet.owner {
            Owner::Socket { uid, .. } if key == MetaKey::SkUid => number(Some(uid)),
            Owner::Socket { gid, .. } => number(Some(gid)),
            Owner::None => Err(Gap::Absent),
            Owner::Unknown => Err(Gap::Unknown),
        },
        _ => Err(Gap::Unknown),
    }
}

/// As `nft_ct_get_eval` (net/netfilter/nft_ct.c, Linux 6.18): without a connection only the state can be read.
fn ct(packet: &Packet, key: CtKey) -> Result<Vec<u8>, Gap> {
    let number = |number: Option<u32>| number.map(|number| number.to_ne_bytes().to_vec()).ok_or(Gap::Unknown);
    match (key, packet.tracking) {
        (CtKey::State, Tracking::State(state)) => number(Some(state)),
        (CtKey::State, Tracking::None) => number(Some(INVALID)),
        (CtKey::State, Tracking::Untracked) => number(Some(UNTRACKED)),
        (_, Tracking::None | Tracking::Untracked) => Err(Gap::Absent),
        (CtKey::Mark, _) => number(packet.ct_mark),
        (CtKey::Status, _) => number(packet.ct_status),
        // IP_CT_DIR_ORIGINAL: it is the first packet, or belongs to those that go its way.
        (CtKey::Direction, Tracking::State(CtKey::STATE_NEW)) => Ok(vec![0]),
        (CtKey::Zone, _) => packet.zone.map(|zone| zone.to_ne_bytes().to_vec()).ok_or(Gap::Unknown),
        _ => Err(Gap::Unknown),
    }
}

fn payload(packet: &Packet, field: Field) -> Result<Vec<u8>, Gap> {
    let address = |address: IpAddr| match (address, field.protocol) {
        (IpAddr::V4(address), Protocol::Ip) => Ok(address.octets().to_vec()),
        (IpAddr::V6(address), Protocol::Ip6) => Ok(address.octets().to_vec()),
        _ => Err(Gap::Absent),
    };
    let port = |port: Option<u16>| port.map(|port| port.to_be_bytes().to_vec()).ok_or(Gap::Unknown);
    let is_v4 = packet.destination.is_ipv4();
    match (field.protocol, field.name) {
        (Protocol::Ip, _) if !is_v4 => Err(Gap::Absent),
        (Protocol::Ip6, _) if is_v4 => Err(Gap::Absent),
        (Protocol::Ip | Protocol::Ip6, "saddr") => address(packet.source),
        (Protocol::Ip | Protocol::Ip6, "daddr") => address(packet.destination),
        (Protocol::Ip, "protocol") | (Protocol::Ip6, "nexthdr") => Ok(vec![packet.protocol]),
        (protocol, name) => match protocol.transport_number() {
            Some(number) if number != packet.protocol => Err(Gap::Absent),
            Some(Protocol::TCP) if name == "flags" => {
                packet.tcp_flags.map(|flags| vec![flags]).ok_or(Gap::Unknown)
            }
            Some(_) if name == "sport" => port(packet.source_port),
            Some(_) if name == "dport" => port(packet.destination_port),
            None if protocol == Protocol::Th && name == "sport" => port(packet.source_port),
            None if protocol == Protocol::Th && name == "dport" => port(packet.destination_port),
            _ => Err(Gap::Unknown),
        },
    }
}

/// `fib daddr type` and `fib saddr type`, without a device or a mark.
fn address_type(packet: &Packet, host: &dyn Host, fib: Fib) -> Result<Vec<u8>, Gap> {
    let address = match (fib.flags, fib.result) {
        (uapi::NFTA_FIB_F_SADDR, FibResult::AddrType) => packet.source,
        (uapi::NFTA_FIB_F_DADDR, FibResult::AddrType) => packet.destination,
        _ => return Err(Gap::Unknown),
    };
    host.address_type(address).map(|kind| kind.to_ne_bytes().to_vec()).ok_or(Gap::Unknown)
}

/// The bytes with the most significant one first.
pub(super) fn most_significant_first(bytes: &[u8], data_type: Option<DataType>) -> Vec<u8> {
    if data_type.is_some_and(DataType::is_host_order) {
        swap_host_order(&Data::new(bytes)).as_bytes().to_vec()
    } else {
        bytes.to_vec()
    }
}
