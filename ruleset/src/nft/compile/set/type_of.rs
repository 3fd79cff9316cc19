//! The expression by which a set's type is declared, as nft keeps it in the set's userdata: what
//! [reading it](crate::nft::decompile) understands.

use nftwire::userdata::{Typeof, Writer};

use super::super::{NotCompiled, SetFault};
use crate::model::selector::Numgen;
use crate::nft::decompile::type_of::{
    CONCAT, CT, FIB, HASH, IPSEC, META, NUMGEN, OPTION, OSF, PAYLOAD, RT, SOCKET, SYMMETRIC, option_numbers,
    protocol_number,
};
use crate::{Expression, Operator, Protocol, Selector, SetType};

/// A declaration, ready to be written.
pub(super) struct Encoded {
    expression: u32,
    data: Vec<u8>,
}

impl Encoded {
    pub(super) fn as_typeof(&self) -> Typeof<'_> {
        Typeof { expression: self.expression, data: &self.data }
    }
}

/// The declaration of a type, where an expression was given for it. Of several fields nft says at least that they are
/// several.
pub(super) fn encode(of: &SetType) -> Result<Option<Encoded>, NotCompiled> {
    match &of.expression {
        Some(of) => expression(of).map(Some),
        None if of.types.len() > 1 => Ok(Some(Encoded { expression: CONCAT, data: Vec::new() })),
        None => Ok(None),
    }
}

/// The declaration of the type that an expression has.
pub(super) fn expression(of: &Expression) -> Result<Encoded, NotCompiled> {
    match of {
        Expression::Selector(of) => selector(of),
        Expression::Concat(parts) => {
            let mut writer = Writer::default();
            for (kind, part) in (0..).zip(parts) {
                let Encoded { expression, data } = expression(part)?;
                let mut nest = Writer::default();
                nest.put_number(0, expression).and_then(|()| nest.put(1, &data)).map_err(too_long)?;
                nest.finish().and_then(|nest| writer.put(kind, &nest)).map_err(too_long)?;
            }
            Ok(Encoded { expression: CONCAT, data: writer.finish().map_err(too_long)? })
        }
        // A field that starts between bytes, as nft shows it among several.
        Expression::Binary(binary) if binary.operator == Operator::ShiftRight => expression(&binary.left),
        _ => Err(SetFault::Typeof.into()),
    }
}

fn too_long(_: nftwire::userdata::UserdataError) -> NotCompiled {
    SetFault::Userdata.into()
}

/// The parameters are numbered from 0 on, in nft's order (nftables 1.0.6: `payload_expr_build_udata` in src/payload.c and
/// its like).
fn selector(of: &Selector) -> Result<Encoded, NotCompiled> {
    let (expression, parameters) = match of {
        Selector::Payload(field) => {
            let place = field.protocol.fields().iter().position(|known| known == field);
            let index = place.and_then(|place| u32::try_from(place).ok()).ok_or(SetFault::Typeof)?;
            let number = match field.protocol {
                // nft has an old and a new name for the same bit.
                Protocol::Vlan if index > 1 => index + 2,
                _ => index + 1,
            };
            let protocol = protocol_number(field.protocol).ok_or(SetFault::Typeof)?;
            let mut parameters = vec![(0, protocol), (1, number)];
            // A number can have any length.
            parameters.extend((of.data_type().size() == 0).then_some((4, u32::from(field.len))));
            (PAYLOAD, parameters)
        }
        // nft counts the bases from 1 on, and has no protocol and no field here.
        Selector::Raw(raw) => {
            (PAYLOAD, vec![(0, 0), (1, 0), (2, raw.base.number() + 1), (3, raw.offset), (4, raw.len)])
        }
        Selector::Meta(key) => (META, vec![(0, key.number())]),
        Selector::Osf(osf) if osf.ttl == 0 && !osf.version => (OSF, Vec::new()),
        Selector::Socket(key, level) => (SOCKET, vec![(0, key.number()), (1, *level)]),
        Selector::CtOf(of) => (CT, vec![(0, of.key.number()), (1, u32::from(of.reply))]),
        Selector::Ct(key) => (CT, vec![(0, key.number()), (1, u32::MAX)]),
        Selector::Option(option) => {
            let (number, field, kind) = option_numbers(*option).ok_or(SetFault::Typeof)?;
            // The headers of IPv6 came first, without a kind.
            let kind = (kind != 0).then_some((2, kind));
            (OPTION, [(1, field)].into_iter().chain(kind).chain([(0, number)]).collect())
        }
        Selector::Fib(fib) => (FIB, vec![(0, fib.result.number()), (1, fib.flags)]),
        Selector::Numgen(Numgen { random, range }) => {
            (NUMGEN, vec![(0, u32::from(*random)), (1, range.modulus), (2, range.offset)])
        }
        // The last two are a seed, and whether there is one.
        Selector::SymmetricHash(range) => {
            (HASH, vec![(0, SYMMETRIC), (1, range.offset), (2, range.modulus), (3, 0), (4, 0)])
        }
        Selector::Rt(key) => (RT, vec![(0, key.number())]),
        Selector::Ipsec(ipsec) => {
            (IPSEC, vec![(0, ipsec.key.number()), (1, ipsec.spnum), (2, u32::from(ipsec.out))])
        }
        _ => return Err(SetFault::Typeof.into()),
    };
    let mut writer = Writer::default();
    for (kind, parameter) in parameters {
        writer.put_number(kind, parameter).map_err(too_long)?;
    }
    Ok(Encoded { expression, data: writer.finish().map_err(too_long)? })
}
