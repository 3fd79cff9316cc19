//! Bytes of headers back to fields, by what is known of the headers.

use nftwire::expr::PayloadBase;

use super::context::{Context, LINK, layer_of};
use crate::model::selector::RawPayload;
use crate::{Data, Field, Protocol, Selector};

/// What is at a position in a header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) selector: Selector,
    /// Bits that are read: fewer than the field has where only its beginning is
    pub(super) len: u32,
}

/// Bits of the link layer headers before the one at this offset, and its protocol.
fn stacked(context: &Context, layer: usize, protocol: Protocol, offset: u32) -> (Protocol, u32) {
    let header = |protocol: Protocol| match protocol {
        Protocol::Ether => 112,
        Protocol::Vlan => 32,
        _ => 0,
    };
    if layer != LINK || offset < header(protocol) {
        return (protocol, 0);
    }
    let mut before = 0;
    for &protocol in &context.stacked {
        if offset - before < header(protocol) {
            return (protocol, before);
        }
        before += header(protocol);
    }
    (protocol, before)
}

/// The protocol whose fields are at this place, and bits before its header.
fn header(context: &Context, raw: &RawPayload) -> Option<(Protocol, u32)> {
    if raw.base == PayloadBase::Tunnel {
        return context.tunnel.map(|header| (header, 0));
    }
    let layer = layer_of(raw.base)?;
    let protocol = context.protocol(layer)?;
    Some(stacked(context, layer, protocol, raw.offset))
}

fn fits_message(context: &Context, field: &Field) -> bool {
    match (field.message, context.icmp_type) {
        (Some(message), Some(known)) => message == known,
        _ => true,
    }
}

/// The ports, which many transport protocols have.
fn port(raw: &RawPayload) -> Option<Field> {
    let fields = Protocol::Th.fields().iter();
    let is_transport = raw.base == Protocol::Th.base();
    fields.copied().find(|field| {
        is_transport && raw.offset == u32::from(field.offset) && raw.len == u32::from(field.len)
    })
}

/// What is read where it is one field as a whole.
pub(super) fn complete(context: &Context, raw: RawPayload) -> Selector {
    let exact = header(context, &raw).and_then(|(protocol, before)| {
        let offset = raw.offset.checked_sub(before)?;
        protocol.fields().iter().find(|field| {
            u32::from(field.offset) == offset
                && u32::from(field.len) == raw.len
                && fits_message(context, field)
        })
    });
    match exact.copied().or_else(|| port(&raw)) {
        Some(field) => Selector::Payload(field),
        None => Selector::Raw(raw),
    }
}

/// Takes the next field off the front of what is read: nft reads fields that are adjacent at once.
pub(super) fn split(context: &Context, raw: &mut RawPayload) -> Found {
    let field = header(context, raw).and_then(|(protocol, before)| {
        let offset = raw.offset.checked_sub(before)?;
        protocol
            .fields()
            .iter()
            .find(|field| u32::from(field.offset) == offset && fits_message(context, field))
    });
    let found = match field {
        Some(field) => Found { selector: Selector::Payload(*field), len: u32::from(field.len).min(raw.len) },
        None => Found { selector: port(raw).map_or(Selector::Raw(*raw), Selector::Payload), len: raw.len },
    };
    raw.offset += found.len;
    raw.len -= found.len;
    found
}

/// The place that a mask leaves of what is read, where it is that of fields; and by how many bits values are shifted.
pub(super) fn trim(context: &Context, raw: RawPayload, mask: &Data) -> Option<(RawPayload, u32)> {
    let (first, last) = bits(mask)?;
    let width = u32::try_from(mask.as_bytes().len()).ok()? * 8;
    let (protocol, before) = header(context, &raw)?;
    let mut offset = (raw.offset + first).checked_sub(before)?;
    let len = last + 1 - first;
    if len >= raw.len {
        return None;
    }
    let mut covered = 0;
    for field in protocol.fields() {
        if u32::from(field.offset) != offset {
            continue;
        }
        covered += u32::from(field.len);
        offset += u32::from(field.len);
        if covered >= len {
            break;
        }
    }
    let trimmed = RawPayload { offset: raw.offset + first, len, ..raw };
    (covered == len).then_some((trimmed, width - 1 - last))
}

/// The first and the last bit of a mask that is one run of ones, from the most significant bit on.
fn bits(mask: &Data) -> Option<(u32, u32)> {
    let ones: u32 = mask.as_bytes().iter().map(|byte| byte.count_ones()).sum();
    let mut first = 0;
    for byte in mask.as_bytes() {
        first += byte.leading_zeros();
        if *byte != 0 {
            break;
        }
    }
    let run = (first..first + ones).all(|bit| {
        let byte = usize::try_from(bit / 8).ok().and_then(|index| mask.as_bytes().get(index));
        byte.is_some_and(|byte| byte & (0x80 >> (bit % 8)) != 0)
    });
    (ones > 0 && run).then_some((first, first + ones - 1))
}

/// Bits of a constant in network order: `len` bits from bit `start` on, in the lowest bits of as many bytes as they
/// need.
pub(super) fn slice(data: &Data, start: u32, len: u32) -> Data {
    let bit = |index: u32| -> u8 {
        let byte = usize::try_from(index / 8).ok().and_then(|index| data.as_bytes().get(index));
        byte.map_or(0, |byte| byte >> (7 - index % 8) & 1)
    };
    if start.is_multiple_of(8) && len.is_multiple_of(8) {
        let from = usize::try_from(start / 8).unwrap_or(usize::MAX);
        let bytes = usize::try_from(len / 8).unwrap_or(0);
        if let Some(bytes) = data.as_bytes().get(from..).and_then(|rest| rest.get(..bytes)) {
            return Data::new(bytes);
        }
    }
    let total = usize::try_from(len.div_ceil(8)).unwrap_or(0);
    let mut bytes = vec![0_u8; total];
    for index in 0..len {
        // From the last bit on.
        let at = usize::try_from(index / 8).unwrap_or(0);
        bytes[total - 1 - at] |= bit(start + len - 1 - index) << (index % 8);
    }
    Data::new(&bytes)
}
