//! Names of network interfaces.

use std::fmt;

use nft_ruleset::{Data, Op, Rule, Selector};

/// An interface's name, or the beginning of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface(Data);

/// Why something is not an interface's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InterfaceError {
    /// Longer than the kernel's IFNAMSIZ allows
    #[error("an interface's name has at most 15 bytes")]
    TooLong,
    /// A character that the kernel does not take (`dev_valid_name` in net/core/dev.c), or that nft does not show
    #[error(
        "an interface's name has no slash, backslash, colon, white space or quote, and is not `.` or `..`"
    )]
    Character,
}

impl Interface {
    /// What `iifname` and `oifname` are compared with: the name with all its NULs, or its beginning without.
    pub(super) fn as_data(&self) -> Data {
        self.0.clone()
    }
}

impl fmt::Display for Interface {
    /// As it is parsed; names that begin so are nft's way, with `*`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_bytes();
        let name = String::from_utf8_lossy(bytes.split(|&byte| byte == 0).next().unwrap_or_default());
        // A whole name has all its NULs.
        f.write_str(&name)?;
        if bytes.contains(&0) { Ok(()) } else { f.write_str("*") }
    }
}

impl std::str::FromStr for Interface {
    type Err = InterfaceError;

    /// A name; with `*` (nft's way) or `+` (iptables') at its end, all names that begin so.
    fn from_str(name: &str) -> Result<Self, InterfaceError> {
        let beginning = name.strip_suffix(['*', '+']);
        let text = beginning.unwrap_or(name);
        // With its asterisk, too: nft takes no longer text.
        if name.len() > 15 {
            return Err(InterfaceError::TooLong);
        }
        let wrong = |c: char| c.is_whitespace() || c.is_control() || "/\\:\"*".contains(c);
        if text.is_empty() || text == "." || text == ".." || text.contains(wrong) {
            return Err(InterfaceError::Character);
        }
        Ok(Self(if beginning.is_some() { Data::new(text.as_bytes()) } else { Data::interface(text) }))
    }
}

/// Matches what comes in by an interface.
pub(super) fn iifname(interface: &Interface) -> Rule {
    Rule::new().matches(Selector::IIFNAME, Op::Eq, interface.as_data())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_it_is_parsed() {
        for (text, written) in
            [("eth0", "eth0"), ("fifteen-letters", "fifteen-letters"), ("tap*", "tap*"), ("tap+", "tap*")]
        {
            let interface: Interface = text.parse().unwrap();
            assert_eq!(interface.to_string(), written);
            assert_eq!(written.parse(), Ok(interface));
        }
    }
}
