//! Matches and targets of ebtables.

use std::net::Ipv4Addr;

use nftwire::Name;

use super::{Info, not, range};
use crate::nft::print::{ipv6, level_name};
use crate::{DataType, Protocol};

/// The words for a match; none where nft has no word for what it asks.
pub(super) fn match_text(info: &Info<'_>, name: &str) -> Option<String> {
    match name {
        "ip" => Headers::four(info)?.text(info),
        "ip6" => Headers::six(info)?.text(info),
        "mark_m" => mark(info),
        "pkttype" => packet_type(info),
        "vlan" => vlan(info),
        _ => None,
    }
}

/// The words for a target or a watcher.
pub(super) fn target_text(info: &Info<'_>, name: &str) -> Option<String> {
    match name {
        // struct ebt_log_info
        "log" => {
            let (level, prefix) = (u32::from(info.u8(0)?), info.text(1, 30)?);
            let level = if level == 4 { String::new() } else { format!(" level {}", level_name(level)) };
            Some(format!("log{}{level} flags ether", quoted(" prefix", &prefix)))
        }
        // struct ebt_nflog_info
        "nflog" => {
            let (len, group, threshold) = (info.u32(0)?, info.u16(4)?, info.u16(6)?);
            let mut text = format!("log{} group {group}", quoted(" prefix", &info.text(12, 64)?));
            if len > 0 {
                text += &format!(" snaplen {len}");
            }
            if threshold != 1 {
                text += &format!(" queue-threshold {threshold}");
            }
            Some(text)
        }
        // struct ebt_mark_t_info
        "mark" => {
            let target = info.u32(8)?;
            let operation = match target | 0xf {
                0xffff_ffff => "",
                0xffff_ffef => "meta mark or ",
                0xffff_ffdf => "meta mark and ",
                0xffff_ffcf => "meta mark xor ",
                _ => return None,
            };
            let verdict = verdict(target | !0xf)?;
            Some(format!("meta mark set {operation}{:#x} {verdict}", info.u64(0)?))
        }
        // struct ebt_redirect_info
        "redirect" => Some(match verdict(info.u32(0)?)? {
            "continue" => "meta pkttype set host".to_owned(),
            verdict => format!("meta pkttype set host {verdict}"),
        }),
        // struct ebt_nat_info; with the bit, what ARP says of the address stays
        "snat" | "dnat" => {
            let (address, target) = (info.bytes::<6>(0)?, info.u32(8)?);
            let arp = 0x10;
            if name == "snat" && target & arp == 0 {
                return None;
            }
            let address: Vec<_> = address.iter().map(|byte| format!("{byte:x}")).collect();
            let field = if name == "snat" { "saddr" } else { "daddr" };
            Some(format!("ether {field} set {} {}", address.join(":"), verdict(target | !0xf)?))
        }
        _ => None,
    }
}

fn quoted(word: &str, text: &Name) -> String {
    if text.is_empty() { String::new() } else { format!("{word} {}", text.quoted()) }
}

/// `EBT_ACCEPT` and the others
fn verdict(target: u32) -> Option<&'static str> {
    Some(match target.cast_signed() {
        -1 => "accept",
        -2 => "drop",
        -3 => "continue",
        -4 => "return",
        _ => return None,
    })
}

/// `struct ebt_mark_m_info`, whose numbers are longs
fn mark(info: &Info<'_>) -> Option<String> {
    let (mark, mask, inverted) = (info.u64(0)?, info.u64(8)?, info.u8(16)? != 0);
    let any_bit = 2;
    Some(match info.u8(17)? {
        kind if kind == any_bit => format!("meta mark and {mask:#x} {}0", not(!inverted)),
        _ if mask == u64::MAX || mask == u64::from(u32::MAX) => {
            format!("meta mark {}{mark:#x}", not(inverted))
        }
        _ => format!("meta mark and {mask:#x} {}{mark:#x}", not(inverted)),
    })
}

/// `struct ebt_pkttype_info`
fn packet_type(info: &Info<'_>) -> Option<String> {
    let (kind, inverted) = (info.u8(0)?, info.u8(1)? != 0);
    let names = ["host", "broadcast", "multicast", "other"];
    let name = names.get(usize::from(kind)).map_or(kind.to_string(), |name| (*name).to_owned());
    Some(format!("meta pkttype {}{name}", not(inverted)))
}

/// `struct ebt_vlan_info`
fn vlan(info: &Info<'_>) -> Option<String> {
    let (asked, inverted) = (info.u8(6)?, info.u8(7)?);
    let encapsulated = info.be16(4)?;
    let parts = [
        (1, format!("vlan id {}{}", not(inverted & 1 != 0), info.u16(0)?)),
        (2, format!("vlan pcp {}{}", not(inverted & 2 != 0), info.u8(2)?)),
        (4, format!("vlan type {}{encapsulated:#06x}", not(inverted & 4 != 0))),
    ];
    let parts: Vec<_> =
        parts.into_iter().filter(|(flag, _)| asked & flag != 0).map(|(_, text)| text).collect();
    Some(parts.join(" "))
}

/// What `struct ebt_ip_info` and `struct ebt_ip6_info` have both.
struct Headers {
    six: bool,
    /// The addresses with their masks as the length of a prefix
    ends: [String; 2],
    /// Where the type of service is
    at: usize,
}

impl Headers {
    fn four(info: &Info<'_>) -> Option<Self> {
        let end = |address: usize, mask: usize| {
            let mask = u32::from_be_bytes(info.bytes(mask)?);
            let len = (mask.leading_ones() == mask.count_ones()).then(|| mask.leading_ones())?;
            let address = Ipv4Addr::from(info.bytes::<4>(address)?);
            Some(if len == 32 { address.to_string() } else { format!("{address}/{len}") })
        };
        Some(Self { six: false, ends: [end(0, 8)?, end(4, 12)?], at: 16 })
    }

    fn six(info: &Info<'_>) -> Option<Self> {
        let end = |address: usize, mask: usize| {
            let mask = u128::from_be_bytes(info.bytes(mask)?);
            let len = (mask.leading_ones() == mask.count_ones()).then(|| mask.leading_ones())?;
            let address = ipv6(info.bytes::<16>(address)?);
            Some(if len == 128 { address } else { format!("{address}/{len}") })
        };
        Some(Self { six: true, ends: [end(0, 32)?, end(16, 48)?], at: 64 })
    }

    fn text(&self, info: &Info<'_>) -> Option<String> {
        let (asked, inverted) = (info.u8(self.at + 2)?, info.u8(self.at + 3)?);
        let network = if self.six { "ip6" } else { "ip" };
        let is = |flag: u8| not(inverted & flag != 0);
        let (source, destination, tos, protocol, sport, dport, icmp) = (1, 2, 4, 8, 16, 32, 64);
        if asked & !(source | destination | tos | protocol | sport | dport | icmp) != 0 {
            return None;
        }
        let mut words = Vec::new();
        for (flag, name, end) in [(source, "saddr", &self.ends[0]), (destination, "daddr", &self.ends[1])] {
            if asked & flag != 0 {
                words.push(format!("{network} {name} {}{end}", is(flag)));
            }
        }
        if asked & tos != 0 {
            // Its eight bits, of which a code point is six.
            let place = if self.six { "@nh,4,8" } else { "@nh,8,8" };
            words.push(format!("{place} {}{:#04x}", is(tos), info.u8(self.at)?));
        }
        let number = info.u8(self.at + 1)?;
        let mut header = "th";
        if asked & protocol != 0 {
            let known = Protocol::from_transport_number(number.into()).filter(|_| inverted & protocol == 0);
            let ported = known.filter(|known| known.fields().iter().any(|field| field.name == "dport"));
            let messages = if self.six { Protocol::Icmp6 } else { Protocol::Icmp };
            match ported.filter(|_| asked & (sport | dport) != 0) {
                Some(known) => header = known.name(),
                // The type of a message says so.
                None if asked & icmp != 0 && known == Some(messages) => {}
                None => {
                    let field = if self.six { "ip6 nexthdr" } else { "ip protocol" };
                    let name = DataType::InetProto.symbol(number.into());
                    let name = name.map_or(number.to_string(), str::to_owned);
                    words.push(format!("{field} {}{name}", is(protocol)));
                }
            }
        }
        let pair = |at: usize| Some((info.u16(at)?, info.u16(at + 2)?));
        for (flag, name, at) in [(sport, "sport", self.at + 4), (dport, "dport", self.at + 8)] {
            if asked & flag != 0 {
                let (from, to) = pair(at)?;
                words.push(format!("{header} {name} {}{}", is(flag), range(from, to)));
            }
        }
        if asked & icmp != 0 {
            let name = if self.six { "icmpv6" } else { "icmp" };
            let (kinds, codes) = (info.bytes::<2>(self.at + 4)?, info.bytes::<2>(self.at + 8)?);
            let all_codes = codes == [0, u8::MAX];
            if inverted & icmp != 0 && !all_codes {
                return None;
            }
            words.push(format!("{name} type {}{}", is(icmp), range(kinds[0], kinds[1])));
            if !all_codes {
                words.push(format!("{name} code {}", range(codes[0], codes[1])));
            }
        }
        Some(words.join(" "))
    }
}
