//! Matches and targets of xtables, which iptables-nft loads, in the words of iptables-translate(8).
//!
//! Their parameters are C structures of include/uapi/linux/netfilter/xt_*.h and ipt_*.h in the machine's own layout.
//! Those that are alone are read; anything else keeps its name, as do those that nft 1.0.6 has no words for.

mod bridge;
mod headers;
mod matches;
mod rates;
mod targets;

use std::fmt::Display;
use std::net::{Ipv4Addr, Ipv6Addr};

use nftwire::expr::{Match, Target};
use nftwire::{Family, Name, Text};

use super::context::TRANSPORT;
use super::{Decompiler, Statement};
use crate::model::statement::Xtables;

impl Decompiler<'_> {
    pub(super) fn xtables_match(&mut self, xt: &Match<'_>) {
        let transport = self.context.protocol(TRANSPORT);
        let text = matches::text(&Info(xt.info), xt.name, xt.revision, self.context.family, transport);
        self.push_xtables(false, xt.name, text, xt.revision, xt.info);
    }

    pub(super) fn xtables_target(&mut self, xt: &Target<'_>) {
        let text = targets::text(&Info(xt.info), xt.name, xt.revision, self.context.family);
        self.push_xtables(true, xt.name, text, xt.revision, xt.info);
    }

    fn push_xtables(&mut self, target: bool, name: &str, text: Option<String>, revision: u32, info: &[u8]) {
        let (name, parameters) = (name.into(), info.into());
        self.push(Statement::Xtables(Box::new(Xtables { target, name, text, revision, parameters })));
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

    fn u64(&self, offset: usize) -> Option<u64> {
        self.bytes(offset).map(u64::from_ne_bytes)
    }

    /// `union nf_inet_addr`
    fn address(&self, offset: usize, family: Family) -> Option<String> {
        Some(match family {
            Family::Ipv4 => Ipv4Addr::from(self.bytes::<4>(offset)?).to_string(),
            _ => Ipv6Addr::from(self.bytes::<16>(offset)?).to_string(),
        })
    }

    /// Characters up to a NUL, in a field of this length.
    fn text(&self, offset: usize, length: usize) -> Option<Name> {
        let field = self.0.get(offset..)?.get(..length)?;
        let end = field.iter().position(|&byte| byte == 0).unwrap_or(length);
        Some(Text::from_bytes(&field[..end]).to_name())
    }
}

fn joined(names: &[(u32, &'static str)], bits: u32) -> String {
    let set: Vec<_> = names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    set.join(",")
}

/// `!= ` where the flag is set.
fn not(inverted: bool) -> &'static str {
    if inverted { "!= " } else { "" }
}

/// One value, or the two ends of a range.
fn range<T: Copy + Display + PartialEq>(from: T, to: T) -> String {
    if from == to { from.to_string() } else { format!("{from}-{to}") }
}

/// The header of the network layer.
fn network(family: Family) -> &'static str {
    if family == Family::Ipv6 { "ip6" } else { "ip" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATCHES: [&str; 30] = [
        "addrtype",
        "ah",
        "cgroup",
        "comment",
        "connbytes",
        "connmark",
        "conntrack",
        "cpu",
        "dccp",
        "devgroup",
        "dscp",
        "ecn",
        "esp",
        "helper",
        "hl",
        "icmp",
        "icmp6",
        "iprange",
        "length",
        "mac",
        "multiport",
        "owner",
        "pkttype",
        "policy",
        "quota",
        "realm",
        "rpfilter",
        "sctp",
        "statistic",
        "tcp",
    ];
    const TARGETS: [&str; 14] = [
        "AUDIT",
        "CLASSIFY",
        "CONNMARK",
        "CT",
        "DNAT",
        "DSCP",
        "LOG",
        "MARK",
        "MASQUERADE",
        "NFQUEUE",
        "REDIRECT",
        "REJECT",
        "TCPMSS",
        "TEE",
    ];

    /// Parameters are the kernel's word, but a dump may come from anywhere.
    #[test]
    fn parameters_of_any_length_and_value() {
        let values = [0, 1, 2, 5, 0x0f, 0x7f, 0x80, 0xff];
        let mut shown = 0;
        for (value, length) in values.iter().flat_map(|value| (0..320).map(move |length| (*value, length))) {
            let bytes = vec![value; length];
            for (revision, family) in
                (0..4).flat_map(|revision| [(revision, Family::Ipv4), (revision, Family::Ipv6)])
            {
                let info = Info(&bytes);
                let all = MATCHES
                    .iter()
                    .map(|name| matches::text(&info, name, revision, family, Some(crate::Protocol::Udp)));
                let all = all.chain(TARGETS.iter().map(|name| targets::text(&info, name, revision, family)));
                shown += all.flatten().count();
            }
        }
        assert!(shown > 10_000, "{shown}");
    }
}
