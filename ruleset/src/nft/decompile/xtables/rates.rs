//! Matches that depend on time, or on what came before.

use super::{Info, network};
use crate::Family;
use crate::nft::print::{date, hour};

/// `struct xt_hashlimit_mtinfo3` of packets, by whole addresses or ports
pub(super) fn hashlimit(info: &Info<'_>, family: Family) -> Option<String> {
    let name = info.text(0, 255)?;
    let (cost, burst, mode, expire) = (info.u64(256)?, info.u64(264)?, info.u32(272)?, info.u32(288)?);
    let (source_mask, destination_mask) = (info.u8(296)?, info.u8(297)?);
    let (destination, dport, source, sport, invert) = (1, 2, 4, 8, 16);
    let whole = if family == Family::Ipv6 { 128 } else { 32 };
    let cut = (mode & source != 0 && source_mask != whole)
        || (mode & destination != 0 && destination_mask != whole);
    // Without a key, what is counted is one.
    if cut || mode & 15 == 0 || mode & !(destination | dport | source | sport | invert) != 0 || cost == 0 {
        return None;
    }
    let network = network(family);
    let keys = [
        (destination, format!("{network} daddr")),
        (dport, "tcp dport".to_owned()),
        (source, format!("{network} saddr")),
        (sport, "tcp sport".to_owned()),
    ];
    let keys: Vec<_> = keys.into_iter().filter(|(flag, _)| mode & flag != 0).map(|(_, key)| key).collect();
    let timeout = if expire == 1_000 { String::new() } else { format!(" timeout {}s", expire / 1_000) };
    let over = if mode & invert != 0 { "over " } else { "" };
    let (rate, unit) = rate(cost);
    let burst = if burst == 5 { String::new() } else { format!(" burst {burst} packets") };
    Some(format!("meter {name} {{ {}{timeout} limit rate {over}{rate}/{unit}{burst} }}", keys.join(" . ")))
}

/// A packet's cost in millionths of a second (`XT_HASHLIMIT_SCALE_v2`) as a rate: in the shortest unit in which it is
/// not less exact.
fn rate(cost: u64) -> (u64, &'static str) {
    let units = [("hour", 3_600), ("minute", 60), ("second", 1)];
    let mut best = (86_400_000_000 / cost, "day");
    for (name, seconds) in units {
        let unit = seconds * 1_000_000;
        if cost > unit || unit / cost < unit % cost {
            break;
        }
        best = (unit / cost, name);
    }
    best
}

/// `struct xt_time_info` in UTC, without days of the month
pub(super) fn time(info: &Info<'_>) -> Option<String> {
    let (from, to) = (info.u32(0)?, info.u32(4)?);
    let (start, stop) = (info.u32(8)?, info.u32(12)?);
    let (month_days, week_days, flags) = (info.u32(16)?, info.u8(20)?, info.u8(21)?);
    let (all_month, all_week, last_second) = (0xffff_fffe, 0xfe, 86_399);
    if month_days != all_month || flags != 0 {
        return None;
    }
    let mut words = Vec::new();
    if (from, to) != (0, i32::MAX.unsigned_abs()) {
        let date = |seconds: u32| date(u64::from(seconds) * 1_000_000_000);
        words.push(format!("meta time \"{}\"-\"{}\"", date(from), date(to)));
    }
    if (start, stop) != (0, last_second) {
        let time = |seconds: u32| {
            let text = hour(seconds.into());
            if seconds.is_multiple_of(60) { format!("{text}:00") } else { text }
        };
        words.push(format!("meta hour \"{}\"-\"{}\"", time(start), time(stop)));
    }
    if week_days != all_week {
        let days: Vec<_> =
            (1..=7).filter(|day| week_days & 1 << day != 0).map(|day: u8| (day % 7).to_string()).collect();
        words.push(match days.as_slice() {
            [day] => format!("meta day {day}"),
            days => format!("meta day {{ {} }}", days.join(", ")),
        });
    }
    // As iptables-translate(8), which begins all but dates with a space.
    let space = if words.first().is_some_and(|first| !first.starts_with("meta time")) { " " } else { "" };
    Some(format!("{space}{}", words.join(" ")))
}

/// `struct xt_connlabel_mtinfo`
pub(super) fn label(info: &Info<'_>) -> Option<String> {
    let (bit, options) = (info.u16(0)?, info.u16(2)?);
    let set = if options & 2 != 0 { format!("ct label set {bit} ") } else { String::new() };
    Some(match options & 1 {
        0 => format!("{set}ct label {bit}"),
        _ => format!("{set}ct label and {bit} != {bit}"),
    })
}
