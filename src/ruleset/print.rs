//! A ruleset as nft shows it (`nft -s list ruleset`), and as `nft -f` takes it.

use std::fmt::{self, Display, Write};
use std::net::IpAddr;

use nftwire::expr::{CtKey, MetaKey};

use super::{BaseChain, Bits, Chain, Data, DataType, Family, Hook, Op, Operand, Policy, Rule, Ruleset};
use super::{Selector, Source, Statement, Table, Target, Value, Verdict};

/// Every table, one behind the other.
impl Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tables.iter().try_for_each(|table| write_table(f, table))
    }
}

fn write_table(f: &mut fmt::Formatter<'_>, table: &Table) -> fmt::Result {
    writeln!(f, "table {table} {{")?;
    for (index, chain) in table.chains.iter().enumerate() {
        if index > 0 {
            writeln!(f)?;
        }
        write_chain(f, chain)?;
    }
    writeln!(f, "}}")
}

fn write_chain(f: &mut fmt::Formatter<'_>, chain: &Chain) -> fmt::Result {
    writeln!(f, "\tchain {} {{", chain.name)?;
    if let Some(base) = &chain.base {
        let BaseChain { kind, hook, priority, policy } = base;
        let policy = policy_name(*policy);
        let (kind, hook, priority) = (kind.name(), hook_name(*hook), priority_name(*priority, *hook));
        writeln!(f, "\t\ttype {kind} hook {hook} priority {priority}; policy {policy};")?;
    }
    for rule in &chain.rules {
        writeln!(f, "\t\t{rule}")?;
    }
    writeln!(f, "\t}}")
}

/// One line, without the counter's values.
impl Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, statement) in self.statements.iter().enumerate() {
            if index > 0 {
                f.write_char(' ')?;
            }
            statement.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Match { left, op, right } => {
                left.fmt(f)?;
                f.write_char(' ')?;
                if *op == Op::Ne {
                    f.write_str("!= ")?;
                } else if left.bits.is_some() {
                    // nft's grammar needs the operator behind a binary operation.
                    f.write_str("== ")?;
                }
                write_operand(f, left.selector.data_type(), right)
            }
            Self::Counter => f.write_str("counter"),
            Self::Set { target, value } => {
                write!(f, "{} set ", target.selector())?;
                write_value(f, *target, value)
            }
            Self::Redirect { port } => write!(f, "redirect to :{port}"),
            Self::Tproxy { family: Family::Inet | Family::Unspec, port } => write!(f, "tproxy to :{port}"),
            Self::Tproxy { family, port } => write!(f, "tproxy {family} to :{port}"),
            Self::Verdict(Verdict::Accept) => f.write_str("accept"),
            Self::Verdict(Verdict::Drop) => f.write_str("drop"),
            Self::Verdict(Verdict::Return) => f.write_str("return"),
            Self::Verdict(Verdict::Jump(chain)) => write!(f, "jump {chain}"),
        }
    }
}

/// `meta mark & 0x00000fff`
impl Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.selector.fmt(f)?;
        let Some(Bits { mask, or }) = &self.bits else { return Ok(()) };
        let data_type = self.selector.data_type();
        write!(f, " & {}", Shown { data_type, data: mask })?;
        if or.as_bytes().iter().any(|&byte| byte != 0) {
            write!(f, " | {}", Shown { data_type, data: or })?;
        }
        Ok(())
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Payload(field) => write!(f, "{} {}", field.protocol.name(), field.name),
            Self::Meta(key) => match meta_name(*key) {
                (name, true) => write!(f, "meta {name}"),
                (name, false) => f.write_str(name),
            },
            Self::Ct(key) => write!(f, "ct {}", ct_name(*key)),
        }
    }
}

fn write_operand(f: &mut fmt::Formatter<'_>, data_type: DataType, operand: &Operand) -> fmt::Result {
    match operand {
        Operand::Data(data) => Shown { data_type, data }.fmt(f),
        Operand::Prefix(prefix) => prefix.fmt(f),
        Operand::Set(elements) => {
            f.write_str("{ ")?;
            for (index, data) in elements.iter().enumerate() {
                if index > 0 {
                    f.write_str(", ")?;
                }
                Shown { data_type, data }.fmt(f)?;
            }
            f.write_str(" }")
        }
    }
}

fn write_value(f: &mut fmt::Formatter<'_>, target: Target, value: &Value) -> fmt::Result {
    match value {
        Value::Data(data) => Shown { data_type: target.selector().data_type(), data }.fmt(f),
        Value::Source(source) => source.fmt(f),
    }
}

/// A constant and what it is.
struct Shown<'a> {
    data_type: DataType,
    data: &'a Data,
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.data.as_bytes();
        match self.data_type {
            DataType::InterfaceName => write!(f, "\"{}\"", interface_name(bytes)),
            DataType::Mark => write!(f, "{:#010x}", host_number(bytes)),
            DataType::CtState => {
                for (index, name) in ct_state_names(host_number(bytes)).enumerate() {
                    if index > 0 {
                        f.write_char(',')?;
                    }
                    f.write_str(name)?;
                }
                Ok(())
            }
            DataType::Ipv4Addr | DataType::Ipv6Addr => address(bytes).ok_or(fmt::Error)?.fmt(f),
            DataType::InetService => network_number(bytes).fmt(f),
            DataType::Integer | DataType::InetProto | DataType::NfProto | DataType::Uid | DataType::Gid => {
                match symbol(self.data_type, bytes) {
                    Some(symbol) => f.write_str(symbol),
                    None => host_number(bytes).fmt(f),
                }
            }
        }
    }
}

/// An address of 4 or 16 bytes.
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    v4().or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

/// nft's name for a constant, where it has one.
pub(super) fn symbol(data_type: DataType, bytes: &[u8]) -> Option<&'static str> {
    match (data_type, bytes) {
        (DataType::InetProto, [1]) => Some("icmp"),
        (DataType::InetProto, [6]) => Some("tcp"),
        (DataType::InetProto, [17]) => Some("udp"),
        (DataType::InetProto, [58]) => Some("ipv6-icmp"),
        (DataType::NfProto, [2]) => Some("ipv4"),
        (DataType::NfProto, [10]) => Some("ipv6"),
        _ => None,
    }
}

/// nft's names for the bits of a connection's state, in nft's order.
pub(super) fn ct_state_names(state: u32) -> impl Iterator<Item = &'static str> {
    [
        (CtKey::STATE_INVALID, "invalid"),
        (CtKey::STATE_ESTABLISHED, "established"),
        (CtKey::STATE_RELATED, "related"),
        (CtKey::STATE_NEW, "new"),
        (CtKey::STATE_UNTRACKED, "untracked"),
    ]
    .into_iter()
    .filter(move |(bit, _)| state & bit != 0)
    .map(|(_, name)| name)
}

/// A number in host order.
pub(super) fn host_number(bytes: &[u8]) -> u32 {
    bytes_to_number(bytes, cfg!(target_endian = "big"))
}

/// A number in network order.
pub(super) fn network_number(bytes: &[u8]) -> u32 {
    bytes_to_number(bytes, true)
}

fn bytes_to_number(bytes: &[u8], most_significant_first: bool) -> u32 {
    let join = |number: u32, byte: &u8| number << 8 | u32::from(*byte);
    if most_significant_first { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
}

/// An interface's name without its padding; one that was not padded is the beginning of several, which nft shows by
/// an asterisk.
pub(super) fn interface_name(bytes: &[u8]) -> String {
    match bytes.iter().position(|&byte| byte == 0) {
        Some(end) => String::from_utf8_lossy(&bytes[..end]).into_owned(),
        None => format!("{}*", String::from_utf8_lossy(bytes)),
    }
}

/// nft's name for a hook.
#[must_use]
pub fn hook_name(hook: Hook) -> &'static str {
    match hook {
        Hook::PreRouting => "prerouting",
        Hook::LocalIn => "input",
        Hook::Forward => "forward",
        Hook::LocalOut => "output",
        Hook::PostRouting => "postrouting",
        Hook::Other(_) => "ingress",
    }
}

pub(super) fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::Accept => "accept",
        Policy::Drop => "drop",
    }
}

/// nft's name for a priority of the families ip, ip6 and inet, alone or with what is to be added to it
/// (nft(8), "Standard priority names").
fn priority_name(priority: i32, hook: Hook) -> String {
    let known = [
        (-300, "raw", true),
        (-150, "mangle", true),
        (-100, "dstnat", hook == Hook::PreRouting),
        (0, "filter", true),
        (50, "security", true),
        (100, "srcnat", hook == Hook::PostRouting),
    ];
    let near = |&(base, _, here): &(i32, _, bool)| here && priority.abs_diff(base) <= 10;
    match known.into_iter().find(near) {
        Some((base, name, _)) if base == priority => name.to_owned(),
        Some((base, name, _)) if priority > base => format!("{name} + {}", priority - base),
        Some((base, name, _)) => format!("{name} - {}", base - priority),
        None => priority.to_string(),
    }
}

/// nft's name for a key, and whether `meta` stands before it.
pub(super) fn meta_name(key: MetaKey) -> (&'static str, bool) {
    match key {
        MetaKey::Len => ("length", true),
        MetaKey::Protocol => ("protocol", true),
        MetaKey::Priority => ("priority", true),
        MetaKey::Mark => ("mark", true),
        MetaKey::Iif => ("iif", false),
        MetaKey::Oif => ("oif", false),
        MetaKey::IifName => ("iifname", false),
        MetaKey::OifName => ("oifname", false),
        MetaKey::IifType => ("iiftype", true),
        MetaKey::OifType => ("oiftype", true),
        MetaKey::SkUid => ("skuid", true),
        MetaKey::SkGid => ("skgid", true),
        MetaKey::NfTrace => ("nftrace", true),
        MetaKey::RtClassId => ("rtclassid", true),
        MetaKey::SecMark => ("secmark", true),
        MetaKey::NfProto => ("nfproto", true),
        MetaKey::L4Proto => ("l4proto", true),
        MetaKey::BriIifName => ("ibrname", true),
        MetaKey::BriOifName => ("obrname", true),
        MetaKey::PktType => ("pkttype", true),
        MetaKey::Cpu => ("cpu", true),
        MetaKey::IifGroup => ("iifgroup", false),
        MetaKey::OifGroup => ("oifgroup", false),
        MetaKey::Cgroup => ("cgroup", true),
        MetaKey::Prandom => ("random", true),
        MetaKey::SecPath => ("ipsec", true),
        MetaKey::IifKind => ("iifkind", true),
        MetaKey::OifKind => ("oifkind", true),
        MetaKey::BriIifPvid => ("ibrpvid", true),
        MetaKey::BriIifVproto => ("ibrvproto", true),
        MetaKey::TimeNs => ("time", true),
        MetaKey::TimeDay => ("day", true),
        MetaKey::TimeHour => ("hour", true),
        MetaKey::Sdif => ("sdif", true),
        MetaKey::SdifName => ("sdifname", true),
        MetaKey::Other(_) => ("unknown", true),
    }
}

/// nft's name for a key.
pub(super) fn ct_name(key: CtKey) -> &'static str {
    match key {
        CtKey::State => "state",
        CtKey::Direction => "direction",
        CtKey::Status => "status",
        CtKey::Mark => "mark",
        CtKey::Secmark => "secmark",
        CtKey::Expiration => "expiration",
        CtKey::Helper => "helper",
        CtKey::L3Protocol => "l3proto",
        CtKey::Src => "saddr",
        CtKey::Dst => "daddr",
        CtKey::Protocol => "protocol",
        CtKey::ProtoSrc => "proto-src",
        CtKey::ProtoDst => "proto-dst",
        CtKey::Labels => "label",
        CtKey::Pkts => "packets",
        CtKey::Bytes => "bytes",
        CtKey::Avgpkt => "avgpkt",
        CtKey::Zone => "zone",
        CtKey::EventMask => "event",
        CtKey::SrcIp => "ip saddr",
        CtKey::DstIp => "ip daddr",
        CtKey::SrcIp6 => "ip6 saddr",
        CtKey::DstIp6 => "ip6 daddr",
        CtKey::Id => "id",
        CtKey::Other(_) => "unknown",
    }
}
