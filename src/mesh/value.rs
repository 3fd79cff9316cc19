//! Values as text: what flags, environment variables and a pod's annotations have in common.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use nft_ruleset::IpPrefix;

/// Why a text is not the value that it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Neither of Go's words for true and false
    #[error("{0:?} is neither true nor false")]
    Boolean(String),
    /// Not a port
    #[error("{0:?} is not a port (0 to 65535)")]
    Port(String),
    /// Port 0, where something has to listen
    #[error("cannot listen on port 0")]
    PortZero,
    /// Neither a port nor a range of ports
    #[error("{0:?} is neither a port nor a range of ports (0 to 65535, such as 80 or 8000-8080)")]
    PortRange(String),
    /// Neither a port, nor a range of ports, nor a service that is known here
    #[error("{0:?} is neither a port (0 to 65535), nor a range of ports, nor a service that is known here")]
    Service(String),
    /// A range whose last port is below its first one
    #[error("{0:?} is not a range: it ends before it begins")]
    ReversedRange(String),
    /// Not a number of 32 bits
    #[error("{0:?} is not a number from 0 to {max}", max = u32::MAX)]
    Number(String),
    /// Not a network
    #[error("{0:?} is not a network (ADDRESS/PREFIX-LENGTH)")]
    Network(String),
    /// An address without a prefix length
    #[error("{text:?} has no prefix length: write {suggestion}")]
    NoPrefixLength {
        /// The address
        text: String,
        /// The network that holds nothing else
        suggestion: IpPrefix,
    },
}

/// As Go's strconv.ParseBool, which Istio's flags, labels and variables go through.
///
/// # Errors
/// [`ValueError::Boolean`].
pub fn boolean(text: &str) -> Result<bool, ValueError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        text => Err(ValueError::Boolean(text.to_owned())),
    }
}

/// A port to which something listens: 1 to 65535.
///
/// # Errors
/// [`ValueError::PortZero`] and those of [`port`].
pub fn listening_port(text: &str) -> Result<u16, ValueError> {
    port(text).and_then(|port| match port {
        0 => Err(ValueError::PortZero),
        port => Ok(port),
    })
}

/// A port: 0 to 65535.
///
/// # Errors
/// [`ValueError::Port`].
pub fn port(text: &str) -> Result<u16, ValueError> {
    text.parse().map_err(|_| ValueError::Port(text.to_owned()))
}

/// Ports from one to another, both included, or a single one.
///
/// # Errors
/// [`ValueError::PortRange`], [`ValueError::ReversedRange`].
pub fn port_range(text: &str) -> Result<RangeInclusive<u16>, ValueError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (Ok(first), Ok(last)) = (first.parse(), last.parse()) else {
        return Err(ValueError::PortRange(text.to_owned()));
    };
    if last < first {
        return Err(ValueError::ReversedRange(text.to_owned()));
    }
    Ok(first..=last)
}

/// Ports as Istio takes them, who hands them on: iptables writes a range with a colon, whose ends can be names or left
/// out (`1000:` has all from there on), nft with a hyphen; `service` knows the ports of services by their names.
///
/// # Errors
/// [`ValueError::PortRange`], [`ValueError::ReversedRange`], [`ValueError::Service`].
pub fn ports(text: &str, service: impl Fn(&str) -> Option<u16>) -> Result<RangeInclusive<u16>, ValueError> {
    let (first, last) = match text.split_once(':') {
        None if text.starts_with(|first: char| first.is_ascii_digit()) => return port_range(text),
        None => {
            let port = service(text).ok_or_else(|| ValueError::Service(text.to_owned()))?;
            return Ok(port..=port);
        }
        Some(ends) => ends,
    };
    let end = |end: &str, open| match end {
        "" => Some(open),
        end => end.parse().ok().or_else(|| service(end)),
    };
    match (end(first, 0), end(last, u16::MAX)) {
        (Some(first), Some(last)) if text != ":" => match first <= last {
            true => Ok(first..=last),
            false => Err(ValueError::ReversedRange(text.to_owned())),
        },
        _ => Err(ValueError::PortRange(text.to_owned())),
    }
}

/// A number of 32 bits: decimal, or hexadecimal after `0x`.
///
/// # Errors
/// [`ValueError::Number`].
pub fn number(text: &str) -> Result<u32, ValueError> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| ValueError::Number(text.to_owned()))
}

/// A network in CIDR form.
///
/// # Errors
/// [`ValueError::Network`], [`ValueError::NoPrefixLength`].
pub fn network(text: &str) -> Result<IpPrefix, ValueError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Err(ValueError::NoPrefixLength { text: text.to_owned(), suggestion: address.into() });
    }
    text.parse().map_err(|_| ValueError::Network(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused<T: std::fmt::Debug>(result: Result<T, ValueError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn ranges_of_ports() {
        assert_eq!(port_range("80"), Ok(80..=80));
        assert_eq!(port_range("0-65535"), Ok(0..=65535));
        assert_eq!(port_range("25-25"), Ok(25..=25));
        for wrong in ["", "-", "80-", "-80", "1-2-3", "80:90", "65536", "1-65536", "http", "8 0", "1 - 2"] {
            let fault = format!(
                "{wrong:?} is neither a port nor a range of ports (0 to 65535, such as 80 or 8000-8080)"
            );
            assert_eq!(refused(port_range(wrong)), fault);
        }
        assert_eq!(refused(port_range("90-80")), "\"90-80\" is not a range: it ends before it begins");
    }

    #[test]
    fn ports_as_iptables_and_nft_write_them() {
        let services = |name: &str| (name == "http").then_some(80);
        let read = |text: &str| ports(text, services);
        for (text, expected) in [
            ("80", 80..=80),
            ("http", 80..=80),
            ("1-65535", 1..=65535),
            ("10:20", 10..=20),
            ("0:0", 0..=0),
            ("1000:", 1000..=65535),
            (":1000", 0..=1000),
            ("http:443", 80..=443),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
        for (text, fault) in [
            ("20:10", "\"20:10\" is not a range: it ends before it begins"),
            (
                "1:2:3",
                "\"1:2:3\" is neither a port nor a range of ports (0 to 65535, such as 80 or 8000-8080)",
            ),
            (":", "\":\" is neither a port nor a range of ports (0 to 65535, such as 80 or 8000-8080)"),
            (
                "gopher:80",
                "\"gopher:80\" is neither a port nor a range of ports (0 to 65535, such as 80 or 8000-8080)",
            ),
            (
                "gopher",
                "\"gopher\" is neither a port (0 to 65535), nor a range of ports, nor a service that is known here",
            ),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), fault);
        }
        assert!(read("").is_err() && read("-5").is_err() && read("80-").is_err());
    }

    #[test]
    fn single_ports() {
        assert_eq!(port("0"), Ok(0));
        assert_eq!(port("65535"), Ok(65535));
        for wrong in ["", "65536", "70000", "-1", "http", "80-90", "0x50", "8 0"] {
            assert_eq!(refused(port(wrong)), format!("{wrong:?} is not a port (0 to 65535)"));
        }
        assert_eq!(listening_port("1"), Ok(1));
        assert_eq!(refused(listening_port("0")), "cannot listen on port 0");
    }

    #[test]
    fn numbers() {
        assert_eq!(number("0"), Ok(0));
        assert_eq!(number("4294967295"), Ok(u32::MAX));
        assert_eq!(number("0x539"), Ok(1337));
        assert_eq!(number("0XFFFFFFFF"), Ok(u32::MAX));
        for wrong in ["", "4294967296", "-1", "1e3", "0x", "539x", "0x100000000"] {
            assert_eq!(refused(number(wrong)), format!("{wrong:?} is not a number from 0 to 4294967295"));
        }
    }

    #[test]
    fn networks() {
        for right in ["10.0.0.0/8", "10.1.2.3/8", "0.0.0.0/0", "127.0.0.1/32", "fd00::/8", "::/0", "::1/128"]
        {
            assert_eq!(network(right).map(|network| network.to_string()), Ok(right.to_owned()));
        }
        for wrong in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0.0/8",
            "256.0.0.0/8",
            "10.0.0.0/-1",
            "10.0.0.0/",
            "/8",
            "10.0.0.0/8/8",
            "10.0.0.0/255.0.0.0",
            "fe80::1%eth0/64",
            "fd00:::/8",
            "example/8",
            "*",
        ] {
            assert_eq!(
                refused(network(wrong)),
                format!("{wrong:?} is not a network (ADDRESS/PREFIX-LENGTH)")
            );
        }
    }

    /// 10.0.0.0 to some programs, 8.0.0.0 to others.
    #[test]
    fn an_address_has_no_leading_zeros() {
        assert!(network("010.0.0.0/8").is_err());
    }

    #[test]
    fn an_address_without_a_prefix_length_is_not_a_network() {
        let fault = |text| refused(network(text));
        assert_eq!(fault("10.0.0.1"), "\"10.0.0.1\" has no prefix length: write 10.0.0.1/32");
        assert_eq!(fault("fd00::1"), "\"fd00::1\" has no prefix length: write fd00::1/128");
    }
}
