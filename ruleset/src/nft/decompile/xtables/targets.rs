//! Targets.

use nftwire::{Family, uapi};

use super::{Info, joined, network, range};

/// The words for a target; none where it has parameters that nothing expresses.
pub(super) fn text(info: &Info<'_>, name: &str, revision: u32, family: Family) -> Option<String> {
    if family == Family::Bridge {
        return super::bridge::target_text(info, name);
    }
    match (name, revision) {
        ("MARK", 2) => mark(info),
        // struct xt_connmark_tginfo1, struct xt_connmark_tginfo2
        ("CONNMARK", 1) => connmark(info, info.u8(12)?),
        ("CONNMARK", 2) if info.u8(13)? == 0 => connmark(info, info.u8(14)?),
        ("REDIRECT" | "MASQUERADE" | "SNAT" | "DNAT", revision) => nat(info, name, revision, family),
        ("REJECT", 0) => reject(info, family),
        ("LOG", 0) => log(info),
        ("AUDIT", 0) => Some("log level audit".to_owned()),
        ("CT", 0..=2) => ct(info),
        // struct xt_DSCP_info
        ("DSCP", 0) => Some(format!("{} dscp set {:#04x}", network(family), info.u8(0)?)),
        ("TCPMSS", 0) => tcpmss(info),
        ("CLASSIFY", 0) => classify(info),
        ("NFQUEUE", 0..=3) => nfqueue(info, revision),
        ("TEE", 1) => tee(info, family),
        ("SYNPROXY", 0) => synproxy(info),
        _ => None,
    }
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

fn connmark(info: &Info<'_>, mode: u8) -> Option<String> {
    let (mark, mask, packet_mask) = (info.u32(0)?, info.u32(4)?, info.u32(8)?);
    match (mode, mask, packet_mask) {
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
    let maps = flags & uapi::NF_NAT_RANGE_MAP_IPS != 0;
    let has_ports = flags & uapi::NF_NAT_RANGE_PROTO_SPECIFIED != 0;
    // Ports move along with those that come, which nft has no words for.
    if flags & uapi::NF_NAT_RANGE_PROTO_OFFSET != 0 {
        return None;
    }
    let mut to = String::new();
    if maps {
        let (low, high) = (info.address(low, family)?, info.address(high, family)?);
        let bracketed = |address: &str| {
            if family == Family::Ipv6 && has_ports { format!("[{address}]") } else { address.to_owned() }
        };
        to += &bracketed(&low);
        if low != high {
            to = format!("{to}-{}", bracketed(&high));
        }
    }
    if has_ports {
        to += &format!(":{}", range(info.be16(ports)?, info.be16(ports + 2)?));
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
    let prefix = info.text(2, 30)?;
    let mut text = "log".to_owned();
    if !prefix.is_empty() {
        text += &format!(" prefix {}", prefix.quoted());
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

/// `struct xt_ct_target_info`, `struct xt_ct_target_info_v1`, where they ask for nothing but no tracking
fn ct(info: &Info<'_>) -> Option<String> {
    let (no_tracking, zone) = (info.u16(0)? & 3 != 0, info.u16(2)?);
    (no_tracking && zone == 0).then(|| "notrack".to_owned())
}

/// `struct xt_tcpmss_info`
fn tcpmss(info: &Info<'_>) -> Option<String> {
    let path_mtu = u16::MAX;
    let size = match info.u16(0)? {
        size if size == path_mtu => "rt mtu".to_owned(),
        size => size.to_string(),
    };
    Some(format!("tcp option maxseg size set {size}"))
}

/// `struct xt_classify_target_info`
fn classify(info: &Info<'_>) -> Option<String> {
    let class = match info.u32(0)? {
        u32::MAX => "root".to_owned(),
        0 => "none".to_owned(),
        class => format!("{:x}:{:x}", class >> 16, class & 0xffff),
    };
    Some(format!("meta priority set {class}"))
}

/// `struct xt_NFQ_info` and its revisions, each with a field more
fn nfqueue(info: &Info<'_>, revision: u32) -> Option<String> {
    let first = info.u16(0)?;
    let total = if revision >= 1 { info.u16(2)? } else { 1 };
    let flags = if revision >= 2 { info.u16(4)? } else { 0 };
    let queues = range(first, first.saturating_add(total.saturating_sub(1)));
    let flags = joined(&[(1, "bypass"), (2, "fanout")], flags.into());
    Some(format!("queue num {queues} {flags}").trim_end().to_owned())
}

/// `struct xt_synproxy_info`
fn synproxy(info: &Info<'_>) -> Option<String> {
    let (options, wscale, mss) = (info.u8(0)?, info.u8(1)?, info.u16(2)?);
    let (has_mss, has_wscale, sack, timestamp) = (1, 2, 4, 8);
    let mut text = "synproxy".to_owned();
    for (flag, words) in [
        (sack, " sack-perm".to_owned()),
        (timestamp, " timestamp".to_owned()),
        (has_wscale, format!(" wscale {wscale}")),
        (has_mss, format!(" mss {mss}")),
    ] {
        if options & flag != 0 {
            text += &words;
        }
    }
    (options & 0x10 == 0).then_some(text)
}

/// `struct xt_tee_tginfo`
fn tee(info: &Info<'_>, family: Family) -> Option<String> {
    let (gateway, device) = (info.address(0, family)?, info.text(16, 16)?);
    Some(if device.is_empty() {
        format!("dup to {gateway}")
    } else {
        format!("dup to {gateway} device {device}")
    })
}
