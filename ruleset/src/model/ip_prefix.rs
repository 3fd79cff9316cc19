//! IPv4 and IPv6 prefixes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// An address and how many of its first bits count: all addresses that begin alike. What follows these bits is kept as
/// it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpPrefix(IpNet);

/// Not a prefix: the length is above 32, or 128 for IPv6, or the text is not `ADDRESS/LENGTH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address with a prefix length (up to 32, or 128 for IPv6)")]
#[non_exhaustive]
pub struct IpPrefixError;

impl IpPrefix {
    /// The first `length` bits of an address.
    ///
    /// # Errors
    /// The address does not have that many bits.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, IpPrefixError> {
        IpNet::new(address, length).map(Self).map_err(|_| IpPrefixError)
    }

    /// The address, as it was given.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.0.addr()
    }

    /// The first of the addresses: what follows the prefix is 0.
    #[must_use]
    pub fn network(&self) -> IpAddr {
        self.0.network()
    }

    /// How many bits count, from 0 to 32, or 128 for IPv6.
    #[must_use]
    pub fn length(&self) -> u8 {
        self.0.prefix_len()
    }

    /// An address whose bits are set where those of the prefix are: 255.255.255.0 for a length of 24.
    #[must_use]
    pub fn netmask(&self) -> IpAddr {
        self.0.netmask()
    }

    /// Whether no bit is left out: one address alone.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.0.prefix_len() == self.0.max_prefix_len()
    }

    /// Whether the address begins like this.
    #[must_use]
    pub fn contains(&self, address: &IpAddr) -> bool {
        self.0.contains(address)
    }

    /// Whether it is IPv4.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.0.addr().is_ipv4()
    }

    /// The same prefix, what follows it being 0.
    #[must_use]
    pub fn truncated(&self) -> Self {
        Self(self.0.trunc())
    }

    /// The fewest prefixes that hold the same addresses.
    #[must_use]
    pub fn merged(prefixes: &[Self]) -> Vec<Self> {
        let prefixes: Vec<_> = prefixes.iter().map(|prefix| prefix.0).collect();
        IpNet::aggregate(&prefixes).into_iter().map(Self).collect()
    }
}

/// As `10.0.0.0/8`.
impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `ADDRESS/LENGTH`, both as std reads them: no 010.0.0.0, which is 10.0.0.0 to some and 8.0.0.0 to others.
impl FromStr for IpPrefix {
    type Err = IpPrefixError;

    fn from_str(text: &str) -> Result<Self, IpPrefixError> {
        let (address, length) = text.split_once('/').ok_or(IpPrefixError)?;
        let length = length.parse().map_err(|_| IpPrefixError)?;
        Self::new(address.parse().map_err(|_| IpPrefixError)?, length)
    }
}

/// The address alone.
impl From<IpAddr> for IpPrefix {
    fn from(address: IpAddr) -> Self {
        Self(address.into())
    }
}

/// The address alone.
impl From<Ipv4Addr> for IpPrefix {
    fn from(address: Ipv4Addr) -> Self {
        IpAddr::from(address).into()
    }
}

/// The address alone.
impl From<Ipv6Addr> for IpPrefix {
    fn from(address: Ipv6Addr) -> Self {
        IpAddr::from(address).into()
    }
}

impl From<Ipv4Prefix> for IpPrefix {
    fn from(prefix: Ipv4Prefix) -> Self {
        Self(prefix.0.into())
    }
}

/// A prefix that is IPv4 for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ipv4Prefix(Ipv4Net);

impl Ipv4Prefix {
    /// The first `length` bits of an address.
    ///
    /// # Errors
    /// The length is above 32.
    pub fn new(address: Ipv4Addr, length: u8) -> Result<Self, IpPrefixError> {
        Ipv4Net::new(address, length).map(Self).map_err(|_| IpPrefixError)
    }
}

/// The address alone.
impl From<Ipv4Addr> for Ipv4Prefix {
    fn from(address: Ipv4Addr) -> Self {
        Self(address.into())
    }
}

impl TryFrom<IpPrefix> for Ipv4Prefix {
    type Error = IpPrefixError;

    /// # Errors
    /// It is IPv6.
    fn try_from(prefix: IpPrefix) -> Result<Self, IpPrefixError> {
        match prefix.0 {
            IpNet::V4(prefix) => Ok(Self(prefix)),
            IpNet::V6(_) => Err(IpPrefixError),
        }
    }
}

/// As `10.0.0.0/8`.
impl fmt::Display for Ipv4Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Ipv4Prefix {
    type Err = IpPrefixError;

    fn from_str(text: &str) -> Result<Self, IpPrefixError> {
        text.parse::<IpPrefix>()?.try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_text_and_back() {
        for text in ["0.0.0.0/0", "10.1.2.3/8", "192.0.2.1/32", "::/0", "2001:db8::1/64", "::1/128"] {
            assert_eq!(text.parse().as_ref().map(IpPrefix::to_string), Ok(text.to_owned()));
        }
        for wrong in
            ["", "/8", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "010.0.0.0/8", "::/129", "10.0.0.0/-1"]
        {
            assert_eq!(wrong.parse::<IpPrefix>(), Err(IpPrefixError), "{wrong}");
        }
        assert_eq!("::/0".parse::<Ipv4Prefix>(), Err(IpPrefixError));
        assert_eq!("127.0.0.0/8".parse().as_ref().map(Ipv4Prefix::to_string), Ok("127.0.0.0/8".to_owned()));
    }

    #[test]
    fn what_follows_the_prefix() {
        let prefix: IpPrefix = "10.1.2.3/8".parse().unwrap();
        assert_eq!(prefix.address(), IpAddr::from([10, 1, 2, 3]));
        assert_eq!((prefix.network(), prefix.length()), (IpAddr::from([10, 0, 0, 0]), 8));
        assert_eq!(prefix.truncated().to_string(), "10.0.0.0/8");
        assert!(!prefix.is_single() && IpPrefix::from(Ipv6Addr::LOCALHOST).is_single());
    }

    #[test]
    fn holds_what_begins_alike() {
        let prefix: IpPrefix = "10.1.2.3/8".parse().unwrap();
        let holds = |text: &str| prefix.contains(&text.parse().unwrap());
        assert!(holds("10.255.0.1") && !holds("11.1.2.3") && !holds("::10.1.2.3"));
        assert_eq!(prefix.netmask(), IpAddr::from([255, 0, 0, 0]));
    }

    #[test]
    fn halves_make_a_whole() {
        let halves = ["0.0.0.0/1", "128.0.0.0/1", "::1/128"].map(|text| text.parse().unwrap());
        let merged: Vec<_> = IpPrefix::merged(&halves).iter().map(IpPrefix::to_string).collect();
        assert_eq!(merged, ["0.0.0.0/0", "::1/128"]);
    }
}
