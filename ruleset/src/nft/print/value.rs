//! Constants.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nftwire::Text;

use super::Printer;
use crate::{Constant, DataType};

impl Printer<'_> {
    /// A constant; a `number` inside a range, whose ends have no names.
    pub(crate) fn constant(&mut self, constant: &Constant, number: bool) {
        let bytes = constant.data.as_bytes();
        if !number && self.system_name(constant) {
            return;
        }
        match constant.data_type {
            DataType::Ipv4Addr => {
                if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
                    return self.ipv4(octets);
                }
            }
            DataType::Ipv6Addr => {
                if let Ok(octets) = <[u8; 16]>::try_from(bytes) {
                    return self.out.push_str(&ipv6(octets));
                }
            }
            DataType::InetService => {
                if let &[high, low] = bytes {
                    return self.number(u64::from(u16::from_be_bytes([high, low])));
                }
            }
            DataType::InterfaceName | DataType::String => {
                let text = text_bytes(bytes);
                return self.put(format_args!("{}", Text::from_bytes(&text).quoted()));
            }
            DataType::EtherAddr | DataType::LinkAddr => {
                for (index, byte) in bytes.iter().enumerate() {
                    let colon = if index > 0 { ":" } else { "" };
                    self.put(format_args!("{colon}{byte:02x}"));
                }
                return;
            }
            DataType::CtLabel => return self.label(constant),
            _ => {}
        }
        let Some(value) = constant.number() else {
            self.out.push_str("0x");
            let bytes = constant.most_significant_first();
            let digits: String = bytes.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            return self.out.push_str(digits.trim_start_matches('0'));
        };
        match u64::try_from(value) {
            Ok(value) => self.short(constant.data_type, value, number),
            Err(_) if constant.data_type == DataType::Hex => self.put(format_args!("{value:#x}")),
            Err(_) => self.put(format_args!("{value}")),
        }
    }

    /// Shows it by the name that the system has for it, where that is wanted and there is one.
    fn system_name(&mut self, constant: &Constant) -> bool {
        let names = self.options.names;
        let number = || constant.number().and_then(|number| u32::try_from(number).ok());
        let bytes = constant.data.as_bytes();
        let found = match constant.data_type {
            DataType::InetService => names
                .services
                .zip(number().and_then(|port| u16::try_from(port).ok()))
                .and_then(|(services, port)| services.get(&port)),
            DataType::Uid => names.users.zip(number()).and_then(|(users, uid)| users.get(&uid)),
            DataType::Gid => names.groups.zip(number()).and_then(|(groups, gid)| groups.get(&gid)),
            DataType::Ipv4Addr => names
                .hosts
                .zip(<[u8; 4]>::try_from(bytes).ok())
                .and_then(|(hosts, octets)| hosts.get(&IpAddr::from(octets))),
            DataType::Ipv6Addr => names
                .hosts
                .zip(<[u8; 16]>::try_from(bytes).ok())
                .and_then(|(hosts, octets)| hosts.get(&IpAddr::from(octets))),
            _ => None,
        };
        let Some(name) = found else { return false };
        match constant.data_type {
            DataType::Ipv4Addr | DataType::Ipv6Addr => self.out.push_str(name),
            _ => self.put(format_args!("\"{name}\"")),
        }
        true
    }

    fn short(&mut self, data_type: DataType, value: u64, number: bool) {
        // The kernel may keep a truth in more than one byte.
        let value = if data_type == DataType::Boolean { u64::from(value != 0) } else { value };
        let named = !number && self.options.numeric.has_names(data_type);
        if named && let Some(symbol) = data_type.symbol(value) {
            let quoted = matches!(data_type, DataType::Day | DataType::Realm | DataType::DeviceGroup);
            return if quoted { self.put(format_args!("\"{symbol}\"")) } else { self.out.push_str(symbol) };
        }
        match data_type {
            DataType::Mark => self.put(format_args!("{value:#010x}")),
            DataType::EtherType => self.put(format_args!("{value:#06x}")),
            DataType::Dscp => self.put(format_args!("{value:#04x}")),
            DataType::Hex | DataType::Ecn => self.put(format_args!("{value:#x}")),
            data_type if data_type.is_bitmask() => self.put(format_args!("{value:#x}")),
            DataType::Time if number => self.put(format_args!("{}s", value / 1_000)),
            DataType::Time => self.time(value),
            DataType::ClassId => self.out.push_str(&class_id(value)),
            DataType::InterfaceIndex => match self.interface(value) {
                Some(name) => self.put(format_args!("\"{name}\"")),
                None => self.number(value),
            },
            DataType::Date => self.put(format_args!("\"{}\"", date(value))),
            DataType::Hour => self.put(format_args!("\"{}\"", hour(value))),
            _ => self.number(value),
        }
    }

    fn label(&mut self, constant: &Constant) {
        let bytes = constant.most_significant_first();
        let lowest = bytes.as_bytes().iter().rev().enumerate().find(|(_, byte)| **byte != 0);
        let bit = lowest.map_or(0, |(index, byte)| 8 * index + byte.trailing_zeros() as usize);
        self.put(format_args!("{bit}"));
    }

    /// The name of the interface with this index.
    pub(crate) fn interface(&self, index: u64) -> Option<String> {
        let index = u32::try_from(index).ok()?;
        self.options.interfaces?.get(&index).cloned()
    }

    pub(super) fn number(&mut self, value: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = value;
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.out.extend(digits[at..].iter().copied().map(char::from));
    }

    fn ipv4(&mut self, octets: [u8; 4]) {
        for (index, octet) in Ipv4Addr::from(octets).octets().into_iter().enumerate() {
            if index > 0 {
                self.out.push('.');
            }
            self.number(octet.into());
        }
    }

    /// Milliseconds as days, hours, minutes, seconds and the rest.
    pub(super) fn time(&mut self, milliseconds: u64) {
        if self.options.numeric.time {
            return self.put(format_args!("{}s", milliseconds / 1_000));
        }
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
        let mut rest = milliseconds;
        for (unit, name) in units {
            if rest >= unit {
                self.number(rest / unit);
                self.out.push_str(name);
                rest %= unit;
            }
        }
    }
}

/// An IPv6 address as inet_ntop(3) writes it: one that embeds an IPv4 address ends with it.
pub(crate) fn ipv6(octets: [u8; 16]) -> String {
    let address = Ipv6Addr::from(octets);
    match (address.segments(), octets) {
        ([0, 0, 0, 0, 0, 0, high, _], [.., a, b, c, d]) if high != 0 => {
            format!("::{}", Ipv4Addr::new(a, b, c, d))
        }
        _ => address.to_string(),
    }
}

/// Text without its padding; an asterisk marks a text that is a prefix, and a real one is escaped.
fn text_bytes(bytes: &[u8]) -> Vec<u8> {
    match bytes.iter().position(|&byte| byte == 0) {
        Some(end) => match bytes[..end].strip_suffix(b"*") {
            Some(begin) => [begin, b"\\*"].concat(),
            None => bytes[..end].to_vec(),
        },
        None => [bytes, b"*"].concat(),
    }
}

/// A traffic class as `major:minor` (tc(8), "CLASSES").
pub(crate) fn class_id(value: u64) -> String {
    match value {
        0xffff_ffff => "root".to_owned(),
        0 => "none".to_owned(),
        value => format!("{:x}:{:x}", value >> 16, value & 0xffff),
    }
}

/// Nanoseconds since the epoch as a date and a time of day, UTC.
pub(crate) fn date(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    let time =
        humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
    time.to_string().replace('T', " ").trim_end_matches('Z').to_owned()
}

/// Seconds since midnight as a time of day, UTC.
pub(crate) fn hour(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if seconds == 0 {
        format!("{hours:02}:{minutes:02}")
    } else {
        format!("{hours:02}:{minutes:02}:{seconds:02}")
    }
}
