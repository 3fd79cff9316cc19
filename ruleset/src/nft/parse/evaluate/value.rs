//! Words and numbers as constants of a type (nftables, the `parse` functions of src/datatype.c and src/meta.c).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::parser::parse_duration;
use super::super::source::{Fault, Span};
use super::{Evaluated, Evaluator, Kind};
use crate::model::expression::swap_host_order;
use crate::{Constant, Data, DataType, Expression};

/// Names that are read, but never shown.
const ALIASES: &[(DataType, &str, u64)] = &[
    (DataType::EtherType, "vlan", 0x8100),
    (DataType::PacketType, "unicast", 0),
    (DataType::Dscp, "df", 0),
    (DataType::Dscp, "be", 0),
    (DataType::Icmp6Type, "mld-listener-reduction", 132),
    // nft's grammar has these itself.
    (DataType::InetProto, "icmpv6", 58),
    (DataType::InetProto, "comp", 108),
    (DataType::ClassId, "root", 0xffff_ffff),
    (DataType::ClassId, "none", 0),
];

/// nft's words for a type, in messages.
fn description(data_type: DataType) -> &'static str {
    match data_type {
        DataType::Verdict => "netfilter verdict",
        DataType::NfProto => "netfilter protocol",
        DataType::Bitmask => "bitmask",
        DataType::Integer | DataType::NetworkInteger | DataType::Hex => "integer",
        DataType::String => "string",
        DataType::LinkAddr => "link layer address",
        DataType::Ipv4Addr => "IPv4 address",
        DataType::Ipv6Addr => "IPv6 address",
        DataType::EtherAddr => "Ethernet address",
        DataType::EtherType => "Ethernet protocol",
        DataType::ArpOperation => "ARP operation",
        DataType::InetProto => "Internet protocol",
        DataType::InetService => "internet network service",
        DataType::IcmpType => "ICMP type",
        DataType::TcpFlag => "TCP flag",
        DataType::DccpType => "DCCP packet type",
        DataType::MobilityType => "Mobility Header Type",
        DataType::Time => "relative time",
        DataType::Mark => "packet mark",
        DataType::InterfaceIndex => "network interface index",
        DataType::InterfaceType => "network interface type",
        DataType::Realm => "routing realm",
        DataType::ClassId => "TC classid",
        DataType::Uid => "user ID",
        DataType::Gid => "group ID",
        DataType::CtState => "conntrack state",
        DataType::CtDirection => "conntrack direction",
        DataType::CtStatus => "conntrack status",
        DataType::Icmp6Type => "ICMPv6 type",
        DataType::CtLabel => "conntrack label",
        DataType::PacketType => "packet type",
        DataType::IcmpCode => "icmp code",
        DataType::Icmp6Code => "icmpv6 code",
        DataType::IcmpxCode => "icmpx code",
        DataType::DeviceGroup => "devgroup name",
        DataType::Dscp => "Differentiated Services Code Point",
        DataType::Ecn => "Explicit Congestion Notification",
        DataType::FibAddrType => "fib address type",
        DataType::Boolean => "boolean type",
        DataType::CtEvent => "conntrack event bits",
        DataType::InterfaceName => "network interface name",
        DataType::IgmpType => "IGMP type",
        DataType::Date => "Relative time of packet reception",
        DataType::Hour => "Hour of day of packet reception",
        DataType::Day => "Day of week of packet reception",
        DataType::CgroupV2 => "cgroupsv2 path",
    }
}

/// nft's words for a type, in messages.
pub(super) fn describe(data_type: DataType) -> &'static str {
    description(data_type)
}

/// A number as a constant.
pub(super) fn number(number: u128, kind: Kind, span: Span) -> Evaluated<Constant> {
    let max = if kind.bits >= 128 { u128::MAX } else { (1 << kind.bits) - 1 };
    if number > max {
        return Err(Fault::new(span, format!("Value {number} exceeds valid range 0-{max}")));
    }
    let bytes = number.to_be_bytes();
    let len = kind.bytes();
    let data = match bytes.len().checked_sub(len) {
        Some(start) => Data::new(&bytes[start..]),
        None => {
            let mut padded = vec![0; len - bytes.len()];
            padded.extend_from_slice(&bytes);
            Data::new(&padded)
        }
    };
    let data = if kind.data_type.is_host_order() { swap_host_order(&data) } else { data };
    Ok(Constant::new(kind.data_type, data))
}

/// Decimal digits, or hexadecimal ones of a number of more than 64 bits.
fn digits(text: &str) -> Option<u128> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u128::from_str_radix(digits, 16).ok(),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}

impl Evaluator<'_> {
    /// A word or digits as a constant.
    pub(super) fn symbol(&mut self, text: &str, kind: Kind, span: Span) -> Evaluated<Expression> {
        let fail = |message: String| Err(Fault::new(span, message));
        let unknown = || fail(format!("Could not parse {}", description(kind.data_type)));
        match kind.data_type {
            DataType::String | DataType::InterfaceName => return text_constant(text, kind, span),
            DataType::Ipv4Addr | DataType::Ipv6Addr => return self.address(text, kind, span),
            DataType::EtherAddr | DataType::LinkAddr => {
                let bytes: Option<Vec<_>> =
                    text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
                return match bytes {
                    Some(bytes) if bytes.len() == kind.bytes() => {
                        Ok(Expression::constant(kind.data_type, Data::new(&bytes)))
                    }
                    _ => unknown(),
                };
            }
            DataType::Verdict => return fail(format!("unknown chain or verdict {text}")),
            _ => {}
        }
        let value = match self.special(text, kind, span)? {
            Some(value) => Some(value),
            None => named(kind.data_type, text).map(u128::from).or_else(|| digits(text)),
        };
        match value {
            Some(value) => number(value, kind, span).map(Expression::Constant),
            None => unknown(),
        }
    }

    /// What no table of symbols has.
    fn special(&mut self, text: &str, kind: Kind, span: Span) -> Evaluated<Option<u128>> {
        let fail = |message: &str| Err(Fault::new(span, message));
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let world = &mut self.world;
        let found = match kind.data_type {
            DataType::InetService if !is_number => match world.service(text) {
                Some(port) => Some(port.into()),
                None => return fail("Could not resolve service: Servname not supported for ai_socktype"),
            },
            DataType::InetService => match digits(text) {
                Some(port) if port > u16::MAX.into() => return fail("Service out of range"),
                port => port,
            },
            DataType::Uid if !is_number => match world.user(text) {
                Some(uid) => Some(uid.into()),
                None => return fail("User does not exist"),
            },
            DataType::Gid if !is_number => match world.group(text) {
                Some(gid) => Some(gid.into()),
                None => return fail("Group does not exist"),
            },
            DataType::InterfaceIndex => match world.interface(text) {
                Some(index) => Some(index.into()),
                None if is_number => None,
                None => return fail("Interface does not exist"),
            },
            DataType::Mark if !is_number => world.number("/etc/iproute2/rt_marks", text).map(u128::from),
            DataType::Realm if !is_number => world.number("/etc/iproute2/rt_realms", text).map(u128::from),
            DataType::DeviceGroup if !is_number => world.number("/etc/iproute2/group", text).map(u128::from),
            DataType::CtLabel => {
                let bit = match text.parse() {
                    Ok(bit) => Some(bit),
                    Err(_) => world.number("/etc/xtables/connlabel.conf", text),
                };
                match bit {
                    Some(bit) if bit < 128 => Some(1 << bit),
                    _ => return fail("conntrack label does not exist"),
                }
            }
            DataType::Time => match digits(text) {
                // Seconds where nothing else is said.
                Some(seconds) => Some(seconds.saturating_mul(1_000)),
                None => match parse_duration(text) {
                    Some(milliseconds) => Some(milliseconds.into()),
                    None => return fail("invalid time specification"),
                },
            },
            DataType::ClassId if text.contains(':') => match class_id(text) {
                Some(class) => Some(class.into()),
                None => return fail("Could not parse traffic control handle"),
            },
            DataType::Day if !is_number => day(text),
            DataType::Day => match digits(text) {
                Some(day) if day > 6 => return fail("Day of week is out of range"),
                day => day,
            },
            DataType::Hour if text.contains(':') => match hour(text) {
                Some(_) if !world.is_utc() => {
                    return fail("times of day are supported only where local time is UTC");
                }
                Some(seconds) => Some(seconds.into()),
                None => return fail("Error parsing hour"),
            },
            DataType::Date if !is_number => match date(text) {
                Some(_) if !world.is_utc() => {
                    return fail("dates are supported only where local time is UTC");
                }
                Some(seconds) => Some(u128::from(seconds) * 1_000_000_000),
                None => return fail("Cannot parse date"),
            },
            DataType::Date => digits(text).map(|seconds| seconds.saturating_mul(1_000_000_000)),
            DataType::CgroupV2 if !is_number => match world.cgroup(text) {
                Some(inode) => Some(inode.into()),
                None => return fail("cgroupv2 path fails: No such file or directory"),
            },
            _ => None,
        };
        Ok(found)
    }

    fn address(&mut self, text: &str, kind: Kind, span: Span) -> Evaluated<Expression> {
        let is_v4 = kind.data_type == DataType::Ipv4Addr;
        let literal = match is_v4 {
            // As getaddrinfo(3) has it: 255 is 0.0.0.255.
            true => dotted(text).or_else(|| text.parse::<u32>().map(Ipv4Addr::from).ok()).map(IpAddr::V4),
            false => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        };
        let address = match literal {
            Some(address) => address,
            None => {
                let mut addresses = self.world.host(text);
                addresses.retain(|address| address.is_ipv4() == is_v4);
                match addresses.as_slice() {
                    [address] => *address,
                    [] => {
                        return Err(Fault::new(
                            span,
                            "Could not resolve hostname: Name or service not known",
                        ));
                    }
                    _ => return Err(Fault::new(span, "Hostname resolves to multiple addresses")),
                }
            }
        };
        let data = match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => address.into(),
        };
        Ok(Expression::constant(kind.data_type, data))
    }
}

/// Four decimal numbers, as the standard library reads them. Nothing else is read as often, and built to be small, as it is
/// for releases, the library takes six times as long.
fn dotted(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let (mut part, mut digits) = (0, 0);
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' if digits == 0 || octets[part] > 0 => {
                octets[part] = octets[part].checked_mul(10)?.checked_add(byte - b'0')?;
                digits += 1;
            }
            b'.' if digits > 0 && part < 3 => (part, digits) = (part + 1, 0),
            _ => return None,
        }
    }
    (part == 3 && digits > 0).then(|| octets.into())
}

fn named(data_type: DataType, text: &str) -> Option<u64> {
    let alias = ALIASES.iter().find(|(of, name, _)| *of == data_type && *name == text);
    let same = |name: &str| match data_type {
        // As /etc/protocols has them in both cases.
        DataType::InetProto => name.eq_ignore_ascii_case(text),
        _ => name == text,
    };
    let known = crate::model::symbols::table(data_type).iter().find(|(_, name)| same(name));
    alias.map(|alias| alias.2).or(known.map(|known| known.0))
}

/// Text, padded with NUL; one that ends in an asterisk is the beginning of a longer one and has no padding.
fn text_constant(text: &str, kind: Kind, span: Span) -> Evaluated<Expression> {
    let len = kind.bytes();
    let (text, wildcard) = match text.strip_suffix('*') {
        Some(start) if !start.ends_with('\\') => (start.to_owned(), true),
        _ => (text.replace("\\*", "*"), false),
    };
    if text.is_empty() {
        let message =
            if wildcard { "All-wildcard strings are not supported" } else { "Empty string is not allowed" };
        return Err(Fault::new(span, message));
    }
    if text.len() >= len {
        return Err(Fault::new(span, format!("String exceeds maximum length of {}", len.saturating_sub(1))));
    }
    let mut bytes = text.into_bytes();
    if !wildcard {
        bytes.resize(len, 0);
    }
    Ok(Expression::constant(kind.data_type, Data::new(&bytes)))
}

fn class_id(text: &str) -> Option<u32> {
    let (major, minor) = text.split_once(':')?;
    let part = |text: &str| match text.strip_prefix("0x").unwrap_or(text) {
        "" => Some(0),
        digits => u16::from_str_radix(digits, 16).ok(),
    };
    Some(u32::from(part(major)?) << 16 | u32::from(part(minor)?))
}

/// A day's name, or at least its first three letters.
fn day(text: &str) -> Option<u128> {
    let days = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
    let text = text.to_ascii_lowercase();
    let index = days.iter().position(|day| text.len() >= 3 && day.starts_with(&text))?;
    u128::try_from(index).ok()
}

/// `HH:MM` or `HH:MM:SS` in seconds.
fn hour(text: &str) -> Option<u32> {
    let mut parts = text.split(':').map(|part| part.parse::<u32>().ok());
    let (hours, minutes) = (parts.next()??, parts.next()??);
    let seconds = parts.next().unwrap_or(Some(0))?;
    let valid = hours < 24 && minutes < 60 && seconds < 60 && parts.next().is_none();
    valid.then_some(hours * 3_600 + minutes * 60 + seconds)
}

/// `YYYY-MM-DD`, with a time of day or without, in seconds since the epoch.
fn date(text: &str) -> Option<u64> {
    let (day, time) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    let time = if time.matches(':').count() == 1 { format!("{time}:00") } else { time.to_owned() };
    let moment = humantime::parse_rfc3339_weak(&format!("{day} {time}")).ok()?;
    moment.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(hour("23:59"), Some(86_340));
        assert_eq!(hour("23:59:59"), Some(86_399));
        assert_eq!(hour("24:00"), None);
        assert_eq!(date("1970-01-02 00:00:01"), Some(86_401));
        assert_eq!(date("2019-06-21 17:00"), Some(1_561_136_400));
        assert_eq!((day("Sunday"), day("tue"), day("s")), (Some(0), Some(2), None));
    }

    #[test]
    fn numbers_have_the_types_order_and_range() {
        let span = Span::default();
        let port = number(80, Kind::new(DataType::InetService), span).unwrap();
        assert_eq!(port.data, Data::be16(80));
        let mark = number(1, Kind::new(DataType::Mark), span).unwrap();
        assert_eq!(mark.data, Data::ne32(1));
        let too_large = number(65_536, Kind::new(DataType::InetService), span).unwrap_err();
        assert_eq!(too_large.message, "Value 65536 exceeds valid range 0-65535");
    }

    #[test]
    fn text_is_padded_unless_it_is_a_beginning() {
        let kind = Kind::new(DataType::InterfaceName);
        let bytes = |text: &str| match text_constant(text, kind, Span::default()).unwrap() {
            Expression::Constant(constant) => constant.data.as_bytes().to_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!(bytes("lo"), b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(bytes("eth*"), b"eth");
        assert_eq!(bytes("eth\\*"), b"eth*\0\0\0\0\0\0\0\0\0\0\0\0");
        assert!(text_constant("0123456789abcdef", kind, Span::default()).is_err());
        assert!(text_constant("*", kind, Span::default()).is_err());
    }

    #[test]
    fn addresses_are_those_of_the_standard_library() {
        let texts = [
            "1.2.3.4",
            "0.0.0.0",
            "255.255.255.255",
            "256.1.1.1",
            "1.2.3",
            "1.2.3.4.5",
            "01.2.3.4",
            "00.0.0.0",
            "1.2.3.04",
            "1..3.4",
            ".1.2.3",
            "1.2.3.",
            "",
            "1",
            "1.2.3.4 ",
            "a.b.c.d",
            "1.2.3.1000",
            "999.1.1.1",
            "10.20.30.40",
            "0.10.0.1",
        ];
        for text in texts {
            assert_eq!(dotted(text), text.parse().ok(), "{text}");
        }
    }
}
