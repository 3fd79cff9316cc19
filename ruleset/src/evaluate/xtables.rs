//! What a match or a target of xtables does: what its words in nft's language do.

use std::net::IpAddr;

use super::packet::Host;
use crate::nft::parse::evaluate::{Evaluator, World};
use crate::nft::parse::source::{Source, Sources};
use crate::nft::parse::syntax::CommandKind;
use crate::nft::parse::{NoFiles, Variables, parse};
use crate::statement::Xtables;
use crate::{Family, Set, Statement};

/// What it does to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The same as these statements: none for a comment
    Statements(Vec<Statement>),
    /// A connection that is not tracked yet gets this zone (`xt_ct_target`)
    Zone(u16),
    /// Gives the packet to a transparent socket on this port, of any address where it has none, and drops it where none listens
    /// (`tproxy_tg4`, `tproxy_tg6_v1`); the mark's bits of `mask` become `mark`
    Tproxy { address: Option<IpAddr>, port: u16, mark: u32, mask: u32 },
    /// Nothing that rules or routes see
    Nothing,
    /// The packet's mark, and the connection's, become something that is not known
    Marks,
    /// Not known: whether a match passes, or where a target leads
    Unknown,
}

/// Its effect on packets of this transport protocol.
pub(super) fn effect(xtables: &Xtables, family: Family, protocol: u8, host: &dyn Host) -> Effect {
    if let Some(statements) = statements(xtables, family, protocol, host) {
        return Effect::Statements(statements);
    }
    if !xtables.target {
        return Effect::Unknown;
    }
    let info = &xtables.parameters;
    match &*xtables.name {
        "CT" => ne(info, 2).map_or(Effect::Unknown, |bytes| Effect::Zone(u16::from_ne_bytes(bytes))),
        "TPROXY" => tproxy(info, xtables.revision, family).unwrap_or(Effect::Unknown),
        "MARK" | "CONNMARK" | "HMARK" => Effect::Marks,
        "AUDIT" | "CHECKSUM" | "CLASSIFY" | "CONNSECMARK" | "DSCP" | "ECN" | "HL" | "IDLETIMER" | "LED"
        | "LOG" | "NFLOG" | "RATEEST" | "SECMARK" | "SET" | "TCPMSS" | "TCPOPTSTRIP" | "TEE" | "TOS"
        | "TRACE" | "TTL" => Effect::Nothing,
        _ => Effect::Unknown,
    }
}

fn ne<const N: usize>(info: &[u8], offset: usize) -> Option<[u8; N]> {
    info.get(offset..)?.first_chunk().copied()
}

/// `struct xt_tproxy_target_info`, `struct xt_tproxy_target_info_v1` (linux/netfilter/xt_TPROXY.h)
fn tproxy(info: &[u8], revision: u32, family: Family) -> Option<Effect> {
    let number = |offset| ne(info, offset).map(u32::from_ne_bytes);
    let (mask, mark) = (number(0)?, number(4)?);
    let (address, port): (IpAddr, _) = match family {
        Family::Ipv6 => (ne::<16>(info, 8)?.into(), 24),
        _ => (ne::<4>(info, 8)?.into(), if revision == 0 { 12 } else { 24 }),
    };
    let address = Some(address).filter(|address| !address.is_unspecified());
    Some(Effect::Tproxy { address, port: u16::from_be_bytes(ne(info, port)?), mark, mask })
}

/// The statements that do the same; none for a comment, `None` where nft has no words for it, or words that say less.
fn statements(xtables: &Xtables, family: Family, protocol: u8, host: &dyn Host) -> Option<Vec<Statement>> {
    let text = xtables.text.as_deref().filter(|_| !is_lossy(xtables))?;
    if text.is_empty() {
        return Some(Vec::new());
    }
    // A port to translate to takes a protocol, which the rule has looked at before.
    let has_port = xtables.target && text.contains(" to ") && text.contains(':');
    let before = if has_port { format!("meta l4proto {protocol} ") } else { String::new() };
    host.statements(family, &format!("{before}{text}"))
}

/// The statements of a rule in nft's language.
pub(super) fn read(family: Family, rule: &str) -> Option<Vec<Statement>> {
    let mut sources = Sources::default();
    let text = format!("add rule {family} t c {rule}");
    let source = sources.add(Source { name: None, text: text.into(), included: None });
    let commands = parse(&mut sources, source, &mut NoFiles, &mut Variables::default()).ok()?;
    let [command] = commands.as_slice() else { return None };
    let CommandKind::AddRule { rule, .. } = &command.kind else { return None };
    let (rule, chains) = Evaluator::new(&mut Nothing).rule(family, "t", rule).ok()?;
    chains.is_empty().then_some(rule.statements)
}

/// iptables-translate(8) leaves states out where translated addresses are one of them, and what is inverted with them.
fn is_lossy(xtables: &Xtables) -> bool {
    &*xtables.name == "conntrack" && xtables.text.as_deref().is_some_and(|text| text.contains("ct status"))
}

/// The words hold numbers and names that nft knows by itself.
struct Nothing;

impl World for Nothing {
    fn interface(&mut self, _name: &str) -> Option<u32> {
        None
    }

    fn service(&mut self, _name: &str) -> Option<u16> {
        None
    }

    fn host(&mut self, _name: &str) -> Vec<IpAddr> {
        Vec::new()
    }

    fn user(&mut self, _name: &str) -> Option<u32> {
        None
    }

    fn group(&mut self, _name: &str) -> Option<u32> {
        None
    }

    fn number(&mut self, _file: &str, _name: &str) -> Option<u32> {
        None
    }

    fn cgroup(&mut self, _path: &str) -> Option<u64> {
        None
    }

    fn is_utc(&mut self) -> bool {
        true
    }

    fn set(&mut self, _family: Family, _table: &str, _name: &str) -> Result<Option<Set>, nftwire::Error> {
        Ok(None)
    }
}
