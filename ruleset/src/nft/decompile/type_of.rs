//! The expression by which a set's type was declared, as nft keeps it in the set's userdata (`typeof ip saddr`).

use nftwire::expr::{CtKey, FibResult, MetaKey, RtKey, SocketKey, XfrmKey};
use nftwire::userdata::{Entries, Typeof};

use crate::model::option::{OptionField, OptionKind};
use crate::model::selector::{CtOf, Fib, HashRange, Ipsec, Numgen, Osf, RawPayload};
use crate::{Expression, FieldType, Protocol, Selector, SetType};

// nft's enum expr_types
pub(crate) const VERDICT: u32 = 1;
pub(crate) const PAYLOAD: u32 = 7;
pub(crate) const OPTION: u32 = 8;
pub(crate) const META: u32 = 9;
pub(crate) const SOCKET: u32 = 10;
pub(crate) const OSF: u32 = 11;
pub(crate) const CT: u32 = 12;
pub(crate) const CONCAT: u32 = 13;
pub(crate) const NUMGEN: u32 = 23;
pub(crate) const HASH: u32 = 24;
pub(crate) const RT: u32 = 25;
pub(crate) const FIB: u32 = 26;
pub(crate) const IPSEC: u32 = 27;

/// nft's enum nft_hash_types: of the connection's addresses and ports
pub(crate) const SYMMETRIC: u32 = 1;

/// nft's enum proto_desc_id, from 1 on
const PROTOCOLS: [Protocol; 17] = [
    Protocol::Ah,
    Protocol::Esp,
    Protocol::Comp,
    Protocol::Icmp,
    Protocol::Igmp,
    Protocol::Udp,
    Protocol::Udplite,
    Protocol::Tcp,
    Protocol::Dccp,
    Protocol::Sctp,
    Protocol::Th,
    Protocol::Ip,
    Protocol::Ip6,
    Protocol::Icmp6,
    Protocol::Arp,
    Protocol::Vlan,
    Protocol::Ether,
];

/// nft's enum exthdr_desc_id, from 1 on; of `rt2` it has no fields
const HEADERS: [&str; 8] = ["hbh", "rt", "rt0", "rt2", "srh", "frag", "dst", "mh"];

/// `enum nft_exthdr_op`
const KINDS: [OptionKind; 4] = [OptionKind::Ipv6, OptionKind::Tcp, OptionKind::Ipv4, OptionKind::Sctp];

fn option(desc: u32, index: u32, kind: u32) -> Option<OptionField> {
    let kind = *KINDS.get(usize::try_from(kind).ok()?)?;
    let name = match kind {
        OptionKind::Ipv6 => HEADERS.get(usize::try_from(desc.checked_sub(1)?).ok()?).copied(),
        kind => OptionField::name_of(kind, desc),
    };
    OptionField::at(kind, name?, index)
}

/// nft's numbers for a part of an option, where it has them: the option's, the field's, the kind's.
pub(crate) fn option_numbers(option: OptionField) -> Option<(u32, u32, u32)> {
    let desc = match option.kind {
        OptionKind::Ipv6 => {
            let name = option.names()?.option;
            (1..).zip(HEADERS).find(|(_, known)| *known == name).map(|(number, _)| number)?
        }
        _ => u32::from(option.number),
    };
    let kind = (0..).zip(KINDS).find(|(_, known)| *known == option.kind).map(|(number, _)| number)?;
    Some((desc, option.index()?, kind))
}

fn protocol(number: u32) -> Option<Protocol> {
    PROTOCOLS.get(usize::try_from(number.checked_sub(1)?).ok()?).copied()
}

/// nft's number for a protocol, where it has one.
pub(crate) fn protocol_number(protocol: Protocol) -> Option<u32> {
    (1..).zip(PROTOCOLS).find(|(_, known)| *known == protocol).map(|(number, _)| number)
}

/// What is said there, where it is understood.
pub(super) fn decode(of: &Typeof<'_>, len: u32) -> Option<SetType> {
    if of.expression != CONCAT {
        let selector = selector(of.expression, of.data)?;
        let field = field_type(selector, len);
        return Some(SetType { types: vec![field], expression: Some(selector.into()) });
    }
    let (mut types, mut parts) = (Vec::new(), Vec::new());
    for nest in Entries::new(of.data) {
        let (mut kind, mut data) = (None, [].as_slice());
        for entry in nest.entries() {
            match entry.kind {
                0 => kind = entry.number(),
                1 => data = entry.value,
                _ => {}
            }
        }
        let selector = selector(kind?, data)?;
        types.push(field_type(selector, 0));
        parts.push(selector.into());
    }
    (!types.is_empty()).then_some(SetType { types, expression: Some(Expression::Concat(parts)) })
}

fn field_type(selector: Selector, len: u32) -> FieldType {
    let data_type = selector.data_type();
    let own = match selector {
        Selector::Payload(field) => u32::from(field.len).div_ceil(8),
        Selector::Raw(raw) => raw.len.div_ceil(8),
        Selector::Option(option) => u32::from(option.len).div_ceil(8),
        selector => super::register::len(selector),
    };
    FieldType { data_type, len: if len == 0 { own } else { len } }
}

fn selector(kind: u32, data: &[u8]) -> Option<Selector> {
    let entry =
        |kind: u8| Entries::new(data).find(|entry| entry.kind == kind).and_then(|entry| entry.number());
    match kind {
        PAYLOAD => {
            let Some(protocol) = protocol(entry(0)?) else {
                // nft counts the bases from 1 on.
                let base = nftwire::expr::PayloadBase::from_number(entry(2)?.checked_sub(1)?);
                return Some(Selector::Raw(RawPayload { base, offset: entry(3)?, len: entry(4)? }));
            };
            let index = match (protocol, entry(1)?) {
                // nft has an old and a new name for the same bit.
                (Protocol::Vlan, number) if number > 2 => number - 2,
                (_, number) => number.checked_sub(1)?,
            };
            let index = usize::try_from(index).ok()?;
            protocol.fields().get(index).copied().map(Selector::Payload)
        }
        META => Some(Selector::Meta(MetaKey::from_number(entry(0)?))),
        OSF => Some(Selector::Osf(Osf { ttl: 0, version: false })),
        SOCKET => Some(Selector::Socket(SocketKey::from_number(entry(0)?), entry(1).unwrap_or(0))),
        CT => {
            let key = CtKey::from_number(entry(0)?);
            Some(match entry(1)? {
                0 => Selector::CtOf(CtOf { key, reply: false, family: None }),
                1 => Selector::CtOf(CtOf { key, reply: true, family: None }),
                _ => Selector::Ct(key),
            })
        }
        OPTION => option(entry(0)?, entry(1)?, entry(2).unwrap_or(0)).map(Selector::Option),
        FIB => Some(Selector::Fib(Fib { result: FibResult::from_number(entry(0)?), flags: entry(1)? })),
        NUMGEN => {
            let range = HashRange { modulus: entry(1)?, offset: entry(2).unwrap_or(0) };
            Some(Selector::Numgen(Numgen { random: entry(0)? == 1, range }))
        }
        HASH if entry(0)? == SYMMETRIC => {
            Some(Selector::SymmetricHash(HashRange { modulus: entry(2)?, offset: entry(1).unwrap_or(0) }))
        }
        RT => Some(Selector::Rt(RtKey::from_number(entry(0)?))),
        IPSEC => Some(Selector::Ipsec(Ipsec {
            key: XfrmKey::from_number(entry(0)?),
            spnum: entry(1).unwrap_or(0),
            out: entry(2).unwrap_or(0) == 1,
        })),
        _ => None,
    }
}
