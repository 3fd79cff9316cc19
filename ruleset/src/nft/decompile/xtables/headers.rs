//! Matches on headers: IPv6's extension headers, and what is inside of SCTP and DCCP.

use super::{Info, not, range};
use crate::model::option::{OptionField, OptionKind};
use crate::{DataType, Family};

/// The words for a match; `None` where nft has no word for it, `Some("")` where it matches everything.
pub(super) fn text(info: &Info<'_>, name: &str, revision: u32, family: Family) -> Option<String> {
    match (name, revision, family) {
        ("ah", 0, Family::Ipv6) => authentication(info),
        ("frag", 0, Family::Ipv6) => fragment(info),
        ("hbh" | "dst", 0, Family::Ipv6) => options(info, name),
        ("rt", 0, Family::Ipv6) => routing(info),
        ("mh", 0, Family::Ipv6) => mobility(info),
        // struct xt_ipcomp
        ("ipcomp", 0, _) if info.u8(9)? == 0 => {
            let inverted = info.u8(8)? & 1 != 0;
            Some(format!("comp cpi {}{}", not(inverted), range(info.u32(0)?, info.u32(4)?)))
        }
        _ => None,
    }
}

/// `field FROM-TO`, nothing for all numbers, `None` for none.
fn numbers(field: &str, [from, to]: [u32; 2], inverted: bool) -> Option<String> {
    match (from, to, inverted) {
        (0, u32::MAX, false) => Some(String::new()),
        (0, u32::MAX, true) => None,
        _ => Some(format!("{field} {}{}", not(inverted), range(from, to))),
    }
}

/// A header's length: xtables counts bytes, the header itself units after the first ones.
fn length(field: &str, bytes: u32, unit: u32, first: u32, inverted: bool) -> Option<String> {
    let units = (bytes / unit).checked_sub(first).filter(|_| bytes.is_multiple_of(unit))?;
    Some(format!("{field} {}{units}", not(inverted)))
}

/// The parts that say something.
fn words(parts: impl IntoIterator<Item = Option<String>>) -> Option<String> {
    let parts = parts.into_iter().collect::<Option<Vec<_>>>()?;
    Some(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "))
}

/// `struct ip6t_ah`, without the test of reserved bits. Any packet with the header matches one that asks for nothing.
fn authentication(info: &Info<'_>) -> Option<String> {
    let (bytes, reserved, inverted) = (info.u32(8)?, info.u8(12)?, info.u8(13)?);
    if reserved != 0 {
        return None;
    }
    let spi = numbers("ah spi", [info.u32(0)?, info.u32(4)?], inverted & 1 != 0);
    let len = match bytes {
        0 => Some(String::new()),
        bytes => length("ah hdrlength", bytes, 4, 2, inverted & 2 != 0),
    };
    let text = words([spi, len])?;
    Some(if text.is_empty() { "meta l4proto ah".to_owned() } else { text })
}

/// `struct ip6t_frag`, without the length
fn fragment(info: &Info<'_>) -> Option<String> {
    let (flags, inverted) = (info.u8(12)?, info.u8(13)?);
    let (ids, len) = (1, 2);
    if flags & len != 0 {
        return None;
    }
    let id = match flags & ids {
        0 => Some(String::new()),
        _ => numbers("frag id", [info.u32(0)?, info.u32(4)?], inverted & ids != 0),
    };
    let facts = [
        (4, "frag reserved 1"),
        (8, "frag frag-off 0"),
        (0x10, "frag more-fragments 1"),
        (0x20, "frag more-fragments 0"),
    ];
    let facts =
        facts.into_iter().filter(|(flag, _)| flags & flag != 0).map(|(_, text)| Some(text.to_owned()));
    words(std::iter::once(id).chain(facts))
}

/// `struct ip6t_opts`, without options
fn options(info: &Info<'_>, name: &str) -> Option<String> {
    match info.u8(4)? {
        0 => Some(format!("exthdr {name} exists")),
        1 => length(&format!("{name} hdrlength"), info.u32(0)?, 8, 1, info.u8(5)? & 1 != 0),
        _ => None,
    }
}

/// `struct ip6t_rt`, without addresses and the test of reserved bits
fn routing(info: &Info<'_>) -> Option<String> {
    let (flags, inverted) = (info.u8(16)?, info.u8(17)?);
    let (kind, left, len) = (1, 2, 4);
    if flags & !(kind | left | len) != 0 {
        return None;
    }
    let part = |flag: u8, text: Option<String>| if flags & flag == 0 { Some(String::new()) } else { text };
    words([
        part(kind, Some(format!("rt type {}{}", not(inverted & kind != 0), info.u32(0)?))),
        part(left, numbers("rt seg-left", [info.u32(4)?, info.u32(8)?], inverted & left != 0)),
        part(len, length("rt hdrlength", info.u32(12)?, 8, 1, inverted & len != 0)),
    ])
}

/// `struct ip6t_mh`
fn mobility(info: &Info<'_>) -> Option<String> {
    let (from, to, inverted) = (info.u8(0)?, info.u8(1)?, info.u8(2)? & 1 != 0);
    match (from, to, inverted) {
        (0, u8::MAX, false) => Some(String::new()),
        (0, u8::MAX, true) => None,
        _ => Some(format!("mh type {}{}", not(inverted), range(from, to))),
    }
}

/// The chunks of `struct xt_sctp_info`, where all of them have to be present, or one of one: `None` for other questions.
pub(super) fn chunks(info: &Info<'_>, inverted: bool) -> Option<Vec<String>> {
    let (any, all) = (1, 2);
    let set: Vec<u32> = (0..256)
        .filter_map(|kind: u32| {
            let word = info.u32(8 + 4 * usize::try_from(kind / 32).ok()?)?;
            (word & 1 << (kind % 32) != 0).then_some(kind)
        })
        .collect();
    let with_flags = usize::try_from(info.u32(280)?).ok().filter(|count| *count <= 4)?;
    let one = set.len() == 1;
    let plain = match info.u32(264)? {
        kind if kind == all => !inverted || one,
        kind if kind == any => one,
        _ => false,
    };
    if !plain {
        return None;
    }
    let flags = |kind: u32| {
        let all = (0..with_flags).filter_map(|index| info.bytes::<3>(268 + 3 * index));
        all.into_iter().find(|[of, ..]| u32::from(*of) == kind)
    };
    let presence = if inverted { "missing" } else { "exists" };
    set.into_iter()
        .map(|kind| {
            let chunk = OptionField::presence_of(OptionKind::Sctp, u8::try_from(kind).ok()?);
            let name = chunk.option_name()?;
            Some(match flags(kind) {
                None => format!("sctp chunk {name} {presence}"),
                Some([_, flag, mask]) => {
                    let op = if inverted { "!=" } else { "==" };
                    format!("sctp chunk {name} flags & {mask:#x} {op} {flag:#x}")
                }
            })
        })
        .collect()
}

/// The types of `struct xt_dccp_info`: a bit for each.
pub(super) fn packet_types(info: &Info<'_>, inverted: bool) -> Option<String> {
    let mask = info.u16(12)?;
    // Those that have no name are one to iptables.
    let nameless = 0xfc00;
    let (named, rest) =
        if mask & nameless == nameless { (mask & !nameless, Some("10-15")) } else { (mask, None) };
    let name = |bit: u16| {
        let name = DataType::DccpType.symbol(bit.into());
        name.map_or(bit.to_string(), str::to_owned)
    };
    let names = (0..16).filter(|bit| named & 1 << bit != 0).map(name);
    let names: Vec<_> = names.chain(rest.map(str::to_owned)).collect();
    let names =
        if let [one] = names.as_slice() { one.clone() } else { format!("{{ {} }}", names.join(", ")) };
    Some(format!("dccp type {}{names}", not(inverted)))
}
