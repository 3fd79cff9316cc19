//! The expression by which a set's type was declared, as nft keeps it in the set's userdata (`typeof ip saddr`).

use nftwire::expr::{CtKey, MetaKey, SocketKey};
use nftwire::userdata::{Entries, Typeof};

use crate::model::selector::{CtOf, Osf, RawPayload};
use crate::{Expression, FieldType, Protocol, Selector, SetType};

// nft's enum expr_types
const PAYLOAD: u32 = 7;
const META: u32 = 9;
const SOCKET: u32 = 10;
const OSF: u32 = 11;
const CT: u32 = 12;
const CONCAT: u32 = 13;

/// nft's enum proto_desc_id
fn protocol(number: u32) -> Option<Protocol> {
    Some(match number {
        1 => Protocol::Ah,
        2 => Protocol::Esp,
        3 => Protocol::Comp,
        4 => Protocol::Icmp,
        5 => Protocol::Igmp,
        6 => Protocol::Udp,
        7 => Protocol::Udplite,
        8 => Protocol::Tcp,
        9 => Protocol::Dccp,
        10 => Protocol::Sctp,
        11 => Protocol::Th,
        12 => Protocol::Ip,
        13 => Protocol::Ip6,
        14 => Protocol::Icmp6,
        15 => Protocol::Arp,
        16 => Protocol::Vlan,
        17 => Protocol::Ether,
        _ => return None,
    })
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
        _ => None,
    }
}
