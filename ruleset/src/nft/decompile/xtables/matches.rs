//! Matches.

use nftwire::Family;

use super::{Info, joined, network, not, range};
use crate::{DataType, Protocol};

/// The words for a match; none where it has parameters that nothing expresses.
pub(super) fn text(
    info: &Info<'_>,
    name: &str,
    revision: u32,
    family: Family,
    transport: Option<Protocol>,
) -> Option<String> {
    if family == Family::Bridge && matches!(name, "ip" | "ip6" | "mark_m" | "pkttype" | "vlan") {
        return super::bridge::match_text(info, name);
    }
    match (name, revision) {
        ("comment", _) => Some(String::new()),
        ("conntrack", 1..=3) => conntrack(info, revision, family),
        // struct xt_state_info
        ("state", _) => Some(format!("ct state {}", joined(&STATES, info.u32(0)?))),
        ("addrtype", 1) => addrtype(info),
        ("multiport", 1) => multiport(info, transport?.name()),
        ("owner", 1) => owner(info),
        ("connmark", 1) => connmark(info),
        ("connbytes", 0) => connbytes(info),
        // struct xt_helper_info
        ("helper", 0) => Some(format!("ct helper {}{}", not(info.u32(0)? != 0), info.text(4, 30)?.quoted())),
        ("statistic", 0) => statistic(info),
        ("tcp", 0) => tcp(info),
        // struct xt_udp
        ("udp", 0) => Some(ports(info, name, info.u8(8)?, [0, 4])?.join(" ")),
        ("sctp", 0) => sctp(info),
        ("dccp", 0) => dccp(info),
        ("esp", 0) => spi(info, name, 8),
        // struct ipt_ah
        ("ah", 0) if family == Family::Ipv4 => spi(info, name, 8),
        ("icmp" | "icmp6", _) => icmp(info, name),
        // struct xt_tcpmss_match_info
        ("tcpmss", 0) => {
            let sizes = range(info.u16(0)?, info.u16(2)?);
            Some(format!("tcp option maxseg size {}{sizes}", not(info.u8(4)? != 0)))
        }
        // struct xt_length_info
        ("length", 0) => {
            let lengths = range(info.u16(0)?, info.u16(2)?);
            Some(format!("meta length {}{lengths}", not(info.u8(4)? != 0)))
        }
        ("ttl" | "hl", 0) => ttl(info, name),
        // struct xt_dscp_info
        ("dscp", 0) => {
            Some(format!("{} dscp {}{:#04x}", network(family), not(info.u8(1)? != 0), info.u8(0)?))
        }
        ("ecn", 0) => ecn(info),
        ("iprange", 1) => iprange(info, family),
        ("mac", 0) => mac(info),
        ("pkttype", 0) => pkttype(info),
        // struct xt_cpu_info
        ("cpu", 0) => Some(format!("cpu {}{}", not(info.u32(4)? != 0), info.u32(0)?)),
        ("cgroup", 0 | 2) => cgroup(info, revision),
        ("devgroup", 0) => devgroup(info),
        ("realm", 0) => realm(info),
        ("policy", 0) => policy(info),
        // struct xt_quota_info
        ("quota", 0) => {
            let over = if info.u32(0)? & 1 != 0 { "over " } else { "" };
            Some(format!("quota {over}{} bytes", info.u64(8)?))
        }
        ("rpfilter", 0) => rpfilter(info),
        ("hashlimit", 3) => super::rates::hashlimit(info, family),
        ("time", 0) => super::rates::time(info),
        ("connlabel", 0 | 1) => super::rates::label(info),
        (name, revision) => super::headers::text(info, name, revision, family),
    }
}

const STATES: [(u32, &str); 5] =
    [(1, "invalid"), (8, "new"), (4, "related"), (2, "established"), (256, "untracked")];

/// `struct xt_conntrack_mtinfo3`, whose beginning `_mtinfo1` and `_mtinfo2` share but for the width of the masks.
fn conntrack(info: &Info<'_>, revision: u32, family: Family) -> Option<String> {
    let (flags, inverted) = (info.u16(146)?, info.u16(148)?);
    let (states, statuses) = match revision {
        1 => (u32::from(info.u8(150)?), u32::from(info.u8(151)?)),
        _ => (u32::from(info.u16(150)?), u32::from(info.u16(152)?)),
    };
    let (state, protocol, status, expires, direction) = (1, 2, 0x40, 0x80, 0x1000);
    let bang = |flag: u16| if inverted & flag != 0 { "! " } else { "" };
    let mut words = Vec::new();
    if flags & direction != 0 {
        let reply = inverted & direction != 0;
        words.push(format!("ct direction {}", if reply { "reply" } else { "original" }));
    }
    if flags & protocol != 0 {
        words.push(format!("ct original protocol {}{}", not(inverted & protocol != 0), info.u16(136)?));
    }
    if flags & state != 0 {
        // Addresses that were translated are a status to nft.
        let translated = joined(&[(64, "snat"), (128, "dnat")], states);
        if translated.is_empty() {
            words.push(format!("ct state {}{}", bang(state), joined(&STATES, states)));
        } else {
            words.push(format!("ct status {translated}"));
        }
    }
    if flags & status != 0 {
        let names = [(1, "expected"), (2, "seen-reply"), (4, "assured"), (8, "confirmed")];
        let names = joined(&names, statuses);
        words.push(format!("ct status {}{names}", bang(status)).trim_end().to_owned());
    }
    if flags & expires != 0 {
        let seconds = range(info.u32(128)?, info.u32(132)?);
        words.push(format!("ct expiration {}{seconds}", not(inverted & expires != 0)));
    }
    let ends = ["original saddr", "original daddr", "reply saddr", "reply daddr"];
    for ((end, at), flag) in ends.iter().zip([0, 32, 64, 96]).zip([4, 8, 0x10, 0x20]) {
        if flags & flag != 0 {
            let address = format!("{}{}", info.address(at, family)?, prefix(info, at + 16, family)?);
            words.push(format!("ct {end} {}{address}", not(inverted & flag != 0)));
        }
    }
    let ends = ["original proto-src", "original proto-dst", "reply proto-src", "reply proto-dst"];
    for ((end, at), flag) in ends.iter().zip([138, 140, 142, 144]).zip([0x100, 0x200, 0x400, 0x800]) {
        if flags & flag != 0 {
            let ports = match revision {
                3 => range(info.u16(at)?, info.u16(at + 16)?),
                _ => info.be16(at)?.to_string(),
            };
            words.push(format!("ct {end} {}{ports}", not(inverted & flag != 0)));
        }
    }
    Some(words.join(" "))
}

/// The length of a prefix by its mask, where it is not the whole address.
fn prefix(info: &Info<'_>, mask: usize, family: Family) -> Option<String> {
    let (mask, width) = match family {
        Family::Ipv4 => (u128::from(u32::from_be_bytes(info.bytes(mask)?)) << 96, 32),
        _ => (u128::from_be_bytes(info.bytes(mask)?), 128),
    };
    match mask.leading_ones() {
        length if length == width => Some(String::new()),
        length if length == mask.count_ones() => Some(format!("/{length}")),
        _ => None,
    }
}

/// `struct xt_addrtype_info_v1`
fn addrtype(info: &Info<'_>) -> Option<String> {
    let (source, destination, flags) = (info.u16(0)?, info.u16(2)?, info.u32(4)?);
    let limit = match flags & 12 {
        0 => "",
        4 => " . iif",
        8 => " . oif",
        _ => return None,
    };
    let mut words = Vec::new();
    for (types, name, inverted) in [(source, "saddr", flags & 1), (destination, "daddr", flags & 2)] {
        if types == 0 {
            continue;
        }
        let set = (0..16).filter(|bit| types & (1 << bit) != 0);
        let names = set.map(|bit| DataType::FibAddrType.symbol(bit)).collect::<Option<Vec<_>>>()?;
        let types = if let [one] = names.as_slice() {
            (*one).to_owned()
        } else {
            format!("{{ {} }}", names.join(", "))
        };
        words.push(format!("fib {name}{limit} type {}{types}", if inverted != 0 { "!= " } else { "" }));
    }
    Some(words.join(" "))
}

/// `struct xt_multiport_v1`
fn multiport(info: &Info<'_>, protocol: &str) -> Option<String> {
    let (which, count, inverted) = (info.u8(0)?, usize::from(info.u8(1)?), info.u8(47)? != 0);
    let mut ports = Vec::new();
    let mut index = 0;
    while index < count.min(15) {
        let port = info.u16(2 + 2 * index)?;
        let is_range = info.u8(32 + index)? != 0;
        if is_range {
            index += 1;
            ports.push(format!("{port}-{}", info.u16(2 + 2 * index)?));
        } else {
            ports.push(port.to_string());
        }
        index += 1;
    }
    let field = match which {
        0 => "sport",
        1 => "dport",
        // Either of both; nft leaves out that it is inverted.
        2 if !inverted => {
            let pairs = ports.iter().map(|port| format!("0-65535 . {port}, {port} . 0-65535"));
            let pairs: Vec<_> = pairs.collect();
            return Some(format!("{protocol} sport . {protocol} dport {{ {} }}", pairs.join(", ")));
        }
        _ => return None,
    };
    let ports = if ports.len() > 1 { format!("{{ {} }}", ports.join(", ")) } else { ports.join(", ") };
    Some(format!("{protocol} {field} {}{ports}", not(inverted)))
}

/// `struct xt_owner_match_info`
fn owner(info: &Info<'_>) -> Option<String> {
    let (flags, inverted) = (info.u8(16)?, info.u8(17)?);
    let mut words = Vec::new();
    for (flag, name, at) in [(1, "skuid", 0), (2, "skgid", 8)] {
        if flags & flag != 0 {
            let (from, to) = (info.u32(at)?, info.u32(at + 4)?);
            let not = if inverted & flag != 0 { " !=" } else { "" };
            let range = if from == to { from.to_string() } else { format!("{from}-{to}") };
            words.push(format!("{name}{not} {range}"));
        }
    }
    (flags & !3 == 0).then(|| words.join(" "))
}

/// `struct xt_connmark_mtinfo1`
fn connmark(info: &Info<'_>) -> Option<String> {
    let mark = format!("{:#x}", info.u32(0)?);
    Some(masked("ct mark", &mark, info.u32(4)?, info.u8(8)? != 0))
}

/// A comparison of all bits, or of those in a mask.
fn masked(field: &str, value: &str, mask: u32, inverted: bool) -> String {
    match mask {
        u32::MAX => format!("{field} {}{value}", not(inverted)),
        mask => format!("{field} and {mask:#x} {}{value}", if inverted { "!= " } else { "== " }),
    }
}

/// `struct xt_statistic_info`
fn statistic(info: &Info<'_>) -> Option<String> {
    let (mode, inverted) = (info.u16(0)?, info.u16(2)? != 0);
    match mode {
        // The kernel compares 31 random bits with the probability.
        0 => {
            let op = if inverted { ">=" } else { "<" };
            Some(format!("meta random & {} {op} {}", i32::MAX, info.u32(4)?))
        }
        1 => {
            let not = if inverted { "!= " } else { "" };
            Some(format!("numgen inc mod {} {not}{}", info.u32(4)?.checked_add(1)?, info.u32(8)?))
        }
        _ => None,
    }
}

/// The ports of both ends, unless they are all there are.
fn ports(info: &Info<'_>, name: &str, inverted: u8, offsets: [usize; 2]) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for ((field, at), flag) in ["sport", "dport"].iter().zip(offsets).zip([1, 2]) {
        let (from, to) = (info.u16(at)?, info.u16(at + 2)?);
        if (from, to) != (0, u16::MAX) {
            words.push(format!("{name} {field} {}{}", not(inverted & flag != 0), range(from, to)));
        }
    }
    Some(words)
}

/// `struct xt_tcp` without flags
fn tcp(info: &Info<'_>) -> Option<String> {
    let (option, flags, inverted) = (info.u8(8)?, info.bytes::<2>(9)?, info.u8(11)?);
    if flags != [0; 2] || inverted & 4 != 0 {
        return None;
    }
    let mut words = ports(info, "tcp", inverted, [0, 4])?;
    if option != 0 {
        let presence = if inverted & 8 != 0 { "missing" } else { "exists" };
        words.push(format!("tcp option {option} {presence}"));
    }
    Some(words.join(" "))
}

/// `struct xt_sctp_info`, which has 256 bytes for chunks
fn sctp(info: &Info<'_>) -> Option<String> {
    let (flags, inverted, chunks) = (info.u32(284)?, info.u32(288)?, 4);
    let mut words = chosen_ports(info, "sctp", flags & !chunks, inverted)?;
    if flags & chunks != 0 {
        words.extend(super::headers::chunks(info, inverted & chunks != 0)?);
    }
    Some(words.join(" "))
}

/// `struct xt_dccp_info`
fn dccp(info: &Info<'_>) -> Option<String> {
    let (flags, inverted): (u32, u32) = (info.u16(8)?.into(), info.u16(10)?.into());
    let (types, option) = (4, 8);
    let mut words = chosen_ports(info, "dccp", flags & !(types | option), inverted)?;
    if flags & types != 0 {
        words.push(super::headers::packet_types(info, inverted & types != 0)?);
    }
    if flags & option != 0 {
        let presence = if inverted & option != 0 { "missing" } else { "exists" };
        words.push(format!("dccp option {} {presence}", info.u8(14)?));
    }
    Some(words.join(" "))
}

/// Ports that count only where a flag says so.
fn chosen_ports(info: &Info<'_>, name: &str, flags: u32, inverted: u32) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for ((field, at), flag) in ["sport", "dport"].iter().zip([4, 0]).zip([1, 2]) {
        if flags & flag != 0 {
            let ports = range(info.u16(at)?, info.u16(at + 2)?);
            words.push(format!("{name} {field} {}{ports}", not(inverted & flag != 0)));
        }
    }
    (flags & !3 == 0).then_some(words)
}

/// `struct xt_esp`, `struct ipt_ah`
fn spi(info: &Info<'_>, name: &str, flags: usize) -> Option<String> {
    let (from, to, inverted) = (info.u32(0)?, info.u32(4)?, info.u8(flags)? & 1 != 0);
    let any = (from, to, inverted) == (0, u32::MAX, false);
    Some(if any { String::new() } else { format!("{name} spi {}{}", not(inverted), range(from, to)) })
}

/// `struct ipt_icmp`, `struct ip6t_icmp`, where any code will do
fn icmp(info: &Info<'_>, name: &str) -> Option<String> {
    let (kind, codes, inverted) = (info.u8(0)?, info.bytes::<2>(1)?, info.u8(3)? != 0);
    let (name, data_type) = match name {
        "icmp" => ("icmp", DataType::IcmpType),
        _ => ("icmpv6", DataType::Icmp6Type),
    };
    let not = if inverted { "!= " } else { "" };
    let symbol = data_type.symbol(kind.into()).map_or(kind.to_string(), str::to_owned);
    if (name, kind) == ("icmp", u8::MAX) {
        // No type has this number: it means all of them.
        return (!inverted).then(|| "ip protocol icmp".to_owned());
    }
    (codes == [0, u8::MAX]).then(|| format!("{name} type {not}{symbol}"))
}

/// `struct ipt_ttl_info`, `struct ip6t_hl_info`
fn ttl(info: &Info<'_>, name: &str) -> Option<String> {
    let op = ["", "!= ", "lt ", "gt "].get(usize::from(info.u8(0)?))?;
    let field = if name == "ttl" { "ip ttl" } else { "ip6 hoplimit" };
    Some(format!("{field} {op}{}", info.u8(1)?))
}

/// `struct xt_connbytes_info`
fn connbytes(info: &Info<'_>) -> Option<String> {
    let (from, to) = (info.u64(0)?, info.u64(8)?);
    let what = ["packets", "bytes", "avgpkt"].get(usize::from(info.u8(16)?))?;
    let direction = ["original ", "reply ", ""].get(usize::from(info.u8(17)?))?;
    let counts = match (from, to) {
        (from, u64::MAX) => format!("ge {from}"),
        // An end before the beginning is all but what lies between.
        (u64::MAX, to) => format!("lt {to}"),
        (from, to) if from > to => format!("!= {to}-{from}"),
        (from, to) => range(from, to),
    };
    Some(format!("ct {direction}{what} {counts}"))
}

/// `struct xt_iprange_mtinfo`
fn iprange(info: &Info<'_>, family: Family) -> Option<String> {
    let flags = info.u8(64)?;
    let mut words = Vec::new();
    for (field, at, flag) in [("saddr", 0, 1), ("daddr", 32, 2)] {
        if flags & flag != 0 {
            let (from, to) = (info.address(at, family)?, info.address(at + 16, family)?);
            let not = not(flags & (flag << 4) != 0);
            words.push(format!("{} {field} {not}{from}-{to}", network(family)));
        }
    }
    Some(words.join(" "))
}

/// `struct xt_mac_info`
fn mac(info: &Info<'_>) -> Option<String> {
    let address = info.bytes::<6>(0)?.map(|byte| format!("{byte:02x}")).join(":");
    Some(format!("ether saddr {}{address}", not(info.u32(8)? != 0)))
}

/// `struct xt_pkttype_info`
fn pkttype(info: &Info<'_>) -> Option<String> {
    let name = ["unicast", "broadcast", "multicast"].get(usize::try_from(info.u32(0)?).ok()?)?;
    Some(format!("pkttype {}{name}", not(info.u32(4)? != 0)))
}

/// `struct xt_cgroup_info_v0`, or `struct xt_cgroup_info_v2` with a class and no path
fn cgroup(info: &Info<'_>, revision: u32) -> Option<String> {
    let (id, inverted) = match revision {
        0 => (info.u32(0)?, info.u32(4)? != 0),
        _ if info.u8(0)? != 0 => return None,
        _ => (info.u32(4)?, info.u8(3)? != 0),
    };
    Some(format!("meta cgroup {}{id}", not(inverted)))
}

/// `struct xt_devgroup_info`
fn devgroup(info: &Info<'_>) -> Option<String> {
    let flags = info.u32(0)?;
    let mut words = Vec::new();
    for (field, at, flag) in [("iifgroup", 4, 1), ("oifgroup", 12, 4)] {
        if flags & flag != 0 {
            let (group, mask) = (info.u32(at)?, info.u32(at + 4)?);
            let name = DataType::DeviceGroup.symbol(group.into()).filter(|_| mask == u32::MAX);
            let name = name.map_or_else(|| format!("{group:#x}"), str::to_owned);
            words.push(masked(field, &name, mask, flags & (flag << 1) != 0));
        }
    }
    Some(words.join(" "))
}

/// `struct xt_realm_info` of a realm without a name
fn realm(info: &Info<'_>) -> Option<String> {
    let (id, mask, inverted) = (info.u32(0)?, info.u32(4)?, info.u8(8)? != 0);
    let nameless = DataType::Realm.symbol(id.into()).is_none();
    nameless.then(|| masked("rtclassid", &format!("{id:#x}"), mask, inverted))
}

/// `struct xt_policy_info` of packets that came in, with anything or nothing
fn policy(info: &Info<'_>) -> Option<String> {
    let (inwards, none) = (1, 4);
    let found = match info.u16(304)? {
        flags if flags == inwards | none => "missing",
        flags if flags == inwards && info.0.get(..304)?.iter().all(|byte| *byte == 0) => "exists",
        _ => return None,
    };
    Some(format!("meta secpath {found}"))
}

/// `struct xt_ecn_info`
fn ecn(info: &Info<'_>) -> Option<String> {
    let (operation, inverted) = (info.u8(0)?, info.u8(1)?);
    let mut words = Vec::new();
    for (name, flag) in [("ecn", 0x10), ("cwr", 0x20)] {
        if operation & flag != 0 {
            words.push(format!("tcp flags {}{name}", not(inverted & flag != 0)));
        }
    }
    let ip = 1;
    if operation & ip != 0 {
        let name = DataType::Ecn.symbol(info.u8(2)?.into())?;
        words.push(format!("ip ecn {}{name}", not(inverted & ip != 0)));
    }
    Some(words.join(" "))
}

/// `struct xt_rpfilter_info`
fn rpfilter(info: &Info<'_>) -> Option<String> {
    let (loose, mark, accept_local, invert) = (1, 2, 4, 8);
    let flags = info.u8(0)?;
    if flags & accept_local != 0 {
        return None;
    }
    let mark = if flags & mark != 0 { " . mark" } else { "" };
    let device = if flags & loose != 0 { "" } else { " . iif" };
    let op = if flags & invert != 0 { "" } else { "!= " };
    Some(format!("fib saddr{mark}{device} oif {op}0"))
}
