//! Matches and targets of xtables, which iptables-nft loads, in the words of iptables-translate(8).
//!
//! Their parameters are C structures of include/uapi/linux/netfilter/xt_*.h and ipt_*.h in the machine's own layout.
//! Only what meshes, kube-proxy and container engines use is read; anything else keeps its name.

use std::net::{Ipv4Addr, Ipv6Addr};

use nftwire::Family;
use nftwire::expr::{Match, Target};

use super::context::TRANSPORT;
use super::{Decompiler, Statement};
use crate::ruleset::statement::Xtables;
use crate::ruleset::{DataType, Protocol};

impl Decompiler<'_> {
    pub(super) fn xtables_match(&mut self, xt: &Match<'_>) {
        let info = Info(xt.info);
        let text = match (xt.name, xt.revision) {
            ("comment", _) => Some(String::new()),
            ("conntrack", 1..=3) | ("state", _) => conntrack(&info, xt.name),
            ("addrtype", 1) => addrtype(&info),
            ("multiport", 1) => multiport(&info, self.context.protocol(TRANSPORT)),
            ("owner", 1) => owner(&info),
            ("connmark", 1) => connmark(&info),
            ("statistic", 0) => statistic(&info),
            ("tcp" | "udp", 0) => ports(&info, xt.name),
            ("icmp" | "icmp6", _) => icmp(&info, xt.name),
            ("length", 0) => length(&info),
            ("ttl" | "hl", 0) => ttl(&info, xt.name),
            _ => None,
        };
        self.push(Statement::Xtables(Box::new(Xtables { target: false, name: xt.name.into(), text })));
    }

    pub(super) fn xtables_target(&mut self, xt: &Target<'_>) {
        let info = Info(xt.info);
        let family = self.context.family;
        let text = match (xt.name, xt.revision) {
            ("MARK", 2) => mark(&info),
            ("CONNMARK", 1) => set_connmark(&info),
            ("REDIRECT" | "MASQUERADE" | "SNAT" | "DNAT", revision) => nat(&info, xt.name, revision, family),
            ("REJECT", 0) => reject(&info, family),
            ("LOG", 0) => log(&info),
            _ => None,
        };
        self.push(Statement::Xtables(Box::new(Xtables { target: true, name: xt.name.into(), text })));
    }
}

/// Parameters, read with every offset checked.
struct Info<'a>(&'a [u8]);

impl Info<'_> {
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.get(offset..)?.first_chunk().copied()
    }

    fn u8(&self, offset: usize) -> Option<u8> {
        self.bytes(offset).map(|[byte]| byte)
    }

    fn u16(&self, offset: usize) -> Option<u16> {
        self.bytes(offset).map(u16::from_ne_bytes)
    }

    fn be16(&self, offset: usize) -> Option<u16> {
        self.bytes(offset).map(u16::from_be_bytes)
    }

    fn u32(&self, offset: usize) -> Option<u32> {
        self.bytes(offset).map(u32::from_ne_bytes)
    }
}

fn joined(names: &[(u32, &'static str)], bits: u32) -> String {
    let set: Vec<_> = names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    set.join(",")
}

/// `struct xt_conntrack_mtinfo3`, whose beginning `_mtinfo1` and `_mtinfo2` share but for the width of the masks.
fn conntrack(info: &Info<'_>, name: &str) -> Option<String> {
    const STATES: [(u32, &str); 5] =
        [(1, "invalid"), (8, "new"), (4, "related"), (2, "established"), (256, "untracked")];
    if name == "state" {
        // struct xt_state_info
        return Some(format!("ct state {}", joined(&STATES, info.u32(0)?)));
    }
    let (flags, inverted) = (info.u16(146)?, info.u16(148)?);
    let (states, statuses) = (u32::from(info.u16(150)?), u32::from(info.u16(152)?));
    let not = |flag: u16, sign: &'static str| if inverted & flag != 0 { sign } else { "" };
    let (state, status, direction) = (1, 0x40, 0x1000);
    if flags & !(state | status | direction | 0x2000) != 0 {
        return None;
    }
    let mut words = Vec::new();
    if flags & direction != 0 {
        let reply = inverted & direction != 0;
        words.push(format!("ct direction {}", if reply { "reply" } else { "original" }));
    }
    if flags & state != 0 {
        // Addresses that were translated are a status to nft.
        let translated = joined(&[(64, "snat"), (128, "dnat")], states);
        if translated.is_empty() {
            words.push(format!("ct state {}{}", not(state, "! "), joined(&STATES, states)));
        } else {
            words.push(format!("ct status {translated}"));
        }
    }
    if flags & status != 0 {
        let names = [(1, "expected"), (2, "seen-reply"), (4, "assured"), (8, "confirmed")];
        words.push(format!("ct status {}{}", not(status, "! "), joined(&names, statuses)));
    }
    Some(words.join(" "))
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
fn multiport(info: &Info<'_>, protocol: Option<Protocol>) -> Option<String> {
    let field = match info.u8(0)? {
        0 => "sport",
        1 => "dport",
        _ => return None,
    };
    let (count, inverted) = (usize::from(info.u8(1)?), info.u8(47)? != 0);
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
    let not = if inverted { "!= " } else { "" };
    let ports = if count > 1 { format!("{{ {} }}", ports.join(", ")) } else { ports.join(", ") };
    Some(format!("{} {field} {not}{ports}", protocol?.name()))
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
    let (mark, mask, inverted) = (info.u32(0)?, info.u32(4)?, info.u8(8)? != 0);
    let op = if inverted { "!= " } else { "" };
    Some(match mask {
        u32::MAX => format!("ct mark {op}{mark:#x}"),
        mask => format!("ct mark and {mask:#x} {}{mark:#x}", if inverted { op } else { "== " }),
    })
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

/// `struct xt_tcp` with nothing but ports, or `struct xt_udp`
fn ports(info: &Info<'_>, name: &str) -> Option<String> {
    let (other, inverted) = match name {
        "tcp" => (info.bytes::<3>(8)?, info.u8(11)?),
        _ => ([0; 3], info.u8(8)?),
    };
    if other != [0; 3] || inverted & !3 != 0 {
        return None;
    }
    let mut words = Vec::new();
    for (at, field, flag) in [(0, "sport", 1), (4, "dport", 2)] {
        let not = if inverted & flag != 0 { "!= " } else { "" };
        match (info.u16(at)?, info.u16(at + 2)?) {
            (0, u16::MAX) => {}
            (from, to) if from == to => words.push(format!("{name} {field} {not}{from}")),
            (from, to) => words.push(format!("{name} {field} {not}{from}-{to}")),
        }
    }
    Some(words.join(" "))
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
    (codes == [0, u8::MAX]).then(|| format!("{name} type {not}{symbol}"))
}

/// `struct xt_length_info`
fn length(info: &Info<'_>) -> Option<String> {
    let (from, to, inverted) = (info.u16(0)?, info.u16(2)?, info.u8(4)? != 0);
    let range = if from == to { from.to_string() } else { format!("{from}-{to}") };
    Some(format!("meta length {}{range}", if inverted { "!= " } else { "" }))
}

/// `struct ipt_ttl_info`, `struct ip6t_hl_info`
fn ttl(info: &Info<'_>, name: &str) -> Option<String> {
    let op = ["", "!= ", "lt ", "gt "].get(usize::from(info.u8(0)?))?;
    let field = if name == "ttl" { "ip ttl" } else { "ip6 hoplimit" };
    Some(format!("{field} {op}{}", info.u8(1)?))
}

/// `mark & !mask ^ mark` in the fewest words.
fn marked(target: &str, source: &str, mark: u32, mask: u32) -> String {
    let value = match (mark, mask) {
        (mark, u32::MAX) => format!("{mark:#x}"),
        (0, mask) => format!("{source} and {:#x}", !mask),
        (mark, mask) if mark == mask => format!("{source} or {mark:#x}"),
        (mark, 0) => format!("{source} xor {mark:#x}"),
        (mark, mask) => format!("{source} and {:#x} xor {mark:#x}", !mask),
    };
    format!("{target} set {value}")
}

/// `struct xt_mark_tginfo2`
fn mark(info: &Info<'_>) -> Option<String> {
    Some(marked("meta mark", "mark", info.u32(0)?, info.u32(4)?))
}

/// `struct xt_connmark_tginfo1`
fn set_connmark(info: &Info<'_>) -> Option<String> {
    let (mark, mask, packet_mask) = (info.u32(0)?, info.u32(4)?, info.u32(8)?);
    match (info.u8(12)?, mask, packet_mask) {
        (0, mask, _) => Some(marked("ct mark", "ct mark", mark, mask)),
        (1, u32::MAX, u32::MAX) => Some("ct mark set mark".to_owned()),
        (2, u32::MAX, u32::MAX) => Some("meta mark set ct mark".to_owned()),
        _ => None,
    }
}

/// `struct nf_nat_ipv4_multi_range_compat`, `struct nf_nat_range` or `struct nf_nat_range2`.
fn nat(info: &Info<'_>, name: &str, revision: u32, family: Family) -> Option<String> {
    let old = family == Family::Ipv4 && revision == 0;
    let (flags, low, high, ports) = if old { (4, 8, 12, 16) } else { (0, 4, 20, 36) };
    let flags = info.u32(flags)?;
    let address = |at: usize| -> Option<String> {
        Some(if family == Family::Ipv4 {
            Ipv4Addr::from(info.bytes::<4>(at)?).to_string()
        } else {
            Ipv6Addr::from(info.bytes::<16>(at)?).to_string()
        })
    };
    let (maps, has_ports) = (flags & 1 != 0, flags & 2 != 0);
    let mut to = String::new();
    if maps {
        let (low, high) = (address(low)?, address(high)?);
        let bracketed = |address: &str| {
            if family == Family::Ipv6 && has_ports { format!("[{address}]") } else { address.to_owned() }
        };
        to += &bracketed(&low);
        if low != high {
            to = format!("{to}-{}", bracketed(&high));
        }
    }
    if has_ports {
        let (low, high) = (info.be16(ports)?, info.be16(ports + 2)?);
        to += &format!(":{low}");
        if low != high {
            to += &format!("-{high}");
        }
    }
    let mut text = name.to_ascii_lowercase();
    if !to.is_empty() {
        text = format!("{text} to {to}");
    }
    let flags = joined(&[(4, "random"), (16, "fully-random"), (8, "persistent")], flags);
    Some(if flags.is_empty() { text } else { format!("{text} {flags}") })
}

/// `struct ipt_reject_info`, `struct ip6t_reject_info`
fn reject(info: &Info<'_>, family: Family) -> Option<String> {
    let with = info.u32(0)?;
    let (protocol, names, usual, reset): (_, &[(u32, &str)], _, _) = match family {
        Family::Ipv6 => (
            "icmpv6",
            &[
                (0, "no-route"),
                (1, "admin-prohibited"),
                (3, "addr-unreachable"),
                (4, "port-unreachable"),
                (7, "policy-fail"),
                (8, "reject-route"),
            ],
            4,
            6,
        ),
        _ => (
            "icmp",
            &[
                (0, "net-unreachable"),
                (1, "host-unreachable"),
                (2, "prot-unreachable"),
                (3, "port-unreachable"),
                (5, "net-prohibited"),
                (6, "host-prohibited"),
                (8, "admin-prohibited"),
            ],
            3,
            7,
        ),
    };
    if with == usual {
        return Some("reject".to_owned());
    }
    if with == reset {
        return Some("reject with tcp reset".to_owned());
    }
    let (_, name) = names.iter().find(|(number, _)| *number == with)?;
    Some(format!("reject with {protocol} type {name}"))
}

/// `struct xt_log_info`
fn log(info: &Info<'_>) -> Option<String> {
    let (level, flags) = (info.u8(0)?, info.u8(1)?);
    let prefix = info.0.get(2..32)?;
    let end = prefix.iter().position(|&byte| byte == 0).unwrap_or(prefix.len());
    let mut text = "log".to_owned();
    if end > 0 {
        text += &format!(" prefix \"{}\"", String::from_utf8_lossy(&prefix[..end]));
    }
    let names = ["emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"];
    let warning = 4;
    if level != warning {
        text += &format!(" level {}", names.get(usize::from(level))?);
    }
    match flags & 3 {
        0 => {}
        1 => text += " flags tcp sequence",
        2 => text += " flags tcp options",
        _ => text += " flags tcp sequence,options",
    }
    for (flag, words) in [(4, " flags ip options"), (8, " flags skuid"), (0x20, " flags ether")] {
        if flags & flag != 0 {
            text += words;
        }
    }
    Some(text)
}
