//! `monitor trace`: the rules that packets meet for which `meta nftrace` was set (nftables, src/netlink.c, 1.0.6).

use std::fmt::Write as _;

use nftwire::events::{Event, Events, Group, Trace, TraceKind};
use nftwire::expr::{MetaKey, PayloadBase};
use nftwire::{Error, Family, Socket};

use super::Settings;
use crate::listing::RuleTexts;
use crate::model::selector::RawPayload;
use crate::nft::print::{Options, Printer};
use crate::{Constant, Data, Field, Op, Protocol, Selector, Statement, Text, Verdict};

/// Hands the lines for each step of a traced packet to `show`, until that returns false.
///
/// # Errors
/// The subscription failed, or the rules could not be read.
pub fn trace(
    socket: &mut Socket,
    settings: Settings<'_>,
    mut show: impl FnMut(&str) -> bool,
) -> Result<(), Error> {
    let mut events = Events::open(&[Group::Trace])?;
    let mut rules = Rules { socket, options: settings.options(), texts: RuleTexts::default() };
    while let Some(event) = events.next(None)? {
        let text = match &event {
            Event::Trace(record) => {
                let message = record.message()?;
                rules.step(&Trace::decode(&message)?)?
            }
            Event::Missed => "# ERROR: No buffer space available\n".to_owned(),
            _ => continue,
        };
        if !text.is_empty() && !show(&text) {
            break;
        }
    }
    Ok(())
}

/// What says which rules packets met.
struct Rules<'a> {
    socket: &'a mut Socket,
    options: Options<'a>,
    texts: RuleTexts,
}

impl Rules<'_> {
    fn step(&mut self, trace: &Trace<'_>) -> Result<String, Error> {
        let (table, chain) = (Text::from_bytes(trace.table), Text::from_bytes(trace.chain));
        let place = (trace.family, table, chain);
        let head = format!("trace id {:08x} {} {table} {chain} ", trace.id, trace.family);
        let mut out = String::new();
        match trace.kind {
            TraceKind::Rule => {
                let verdict = self.verdict(trace);
                if !trace.link_header.is_empty() || !trace.network_header.is_empty() {
                    let _ = writeln!(out, "{head}packet: {}", self.packet(trace));
                }
                if let Some(handle) = trace.rule
                    && let Some(rule) = self.texts.find(self.socket, place, handle, self.options)?
                {
                    let _ = writeln!(out, "{head}rule {rule} ({verdict})");
                }
            }
            TraceKind::Policy => {
                out.push_str(&head);
                match trace.policy {
                    Some(0) => out.push_str("policy drop "),
                    Some(_) => out.push_str("policy accept "),
                    None => {}
                }
                self.mark(trace, &mut out);
            }
            TraceKind::Return => {
                out.push_str(&head);
                if trace.verdict.is_some() {
                    let _ = write!(out, "{} ", self.verdict(trace));
                }
                self.mark(trace, &mut out);
            }
            _ => {}
        }
        Ok(out)
    }

    /// The packet's mark, where it has one, and the end of the line.
    fn mark(&self, trace: &Trace<'_>, out: &mut String) {
        if let Some(mark) = trace.mark {
            self.show(Selector::Meta(MetaKey::Mark), Data::ne32(mark), out);
        }
        out.push('\n');
    }

    /// The devices and headers of a packet, each followed by a blank.
    fn packet(&self, trace: &Trace<'_>) -> String {
        let mut out = String::new();
        for (key, index) in [(MetaKey::Iif, trace.iif), (MetaKey::Oif, trace.oif)] {
            if let Some(index) = index {
                self.show(Selector::Meta(key), Data::ne32(index), &mut out);
            }
        }
        let link = trace.link_header;
        // The loopback device has no addresses.
        match link.get(..12) {
            Some(addresses) if addresses.iter().any(|byte| *byte != 0) => {
                self.header(Protocol::Ether, &["saddr", "daddr"], link, &mut out);
            }
            _ => self.raw(PayloadBase::LinkLayer, link, 0, &mut out),
        }
        let transport = self.network(trace, &mut out);
        let Some(transport) = transport else {
            self.raw(PayloadBase::Transport, trace.transport_header, 0, &mut out);
            return out;
        };
        let (fields, len): (&[_], _) = match transport {
            Protocol::Tcp => (&["sport", "dport", "flags", "window"], 20),
            Protocol::Udp => (&["sport", "dport", "length"], 8),
            Protocol::Udplite => (&["sport", "dport", "csumcov"], 8),
            Protocol::Sctp => (&["sport", "dport", "vtag"], 12),
            Protocol::Dccp => (&["sport", "dport", "type"], 12),
            Protocol::Icmp if matches!(trace.transport_header, [0 | 8, ..]) => {
                (&["type", "code", "id", "sequence"], 8)
            }
            Protocol::Icmp6 if matches!(trace.transport_header, [128 | 129, ..]) => {
                (&["type", "code", "id", "sequence"], 8)
            }
            Protocol::Icmp | Protocol::Icmp6 => (&["type", "code"], 4),
            _ => (&[], 0),
        };
        self.header(transport, fields, trace.transport_header, &mut out);
        self.raw(PayloadBase::Transport, trace.transport_header, len, &mut out);
        out
    }

    /// Shows the network header; returns which one follows, where nft has a name for it.
    fn network(&self, trace: &Trace<'_>, out: &mut String) -> Option<Protocol> {
        let header = trace.network_header;
        let (protocol, fields, upper) = match (trace.family, header.first().map(|byte| byte >> 4)) {
            (Family::Arp, _) => {
                let fields = ["saddr ip", "daddr ip", "operation"];
                self.header(Protocol::Arp, &fields, header, out);
                return None;
            }
            (_, Some(4)) => (
                Protocol::Ip,
                ["saddr", "daddr", "dscp", "ecn", "ttl", "id", "protocol", "length"],
                header.get(9).copied(),
            ),
            (_, Some(6)) => (
                Protocol::Ip6,
                ["saddr", "daddr", "dscp", "ecn", "hoplimit", "flowlabel", "nexthdr", "length"],
                header.get(6).copied(),
            ),
            _ => {
                self.raw(PayloadBase::Network, header, 0, out);
                return None;
            }
        };
        let upper = upper.and_then(|number| Protocol::from_transport_number(number.into()));
        // As in a rule, the transport header says which one it is; in families with several network protocols both are
        // shown.
        let implied = upper.is_some() && matches!(trace.family, Family::Ipv4 | Family::Ipv6);
        let shown: Vec<_> = fields
            .into_iter()
            .filter(|field| !implied || !matches!(*field, "protocol" | "nexthdr"))
            .collect();
        self.header(protocol, &shown, header, out);
        upper
    }

    /// Fields of a header, as far as it was not cut off.
    fn header(&self, protocol: Protocol, fields: &[&str], bytes: &[u8], out: &mut String) {
        for field in fields.iter().filter_map(|name| protocol.field(name)) {
            if let Some(data) = extract(&field, bytes) {
                self.show(Selector::Payload(field), data, out);
            }
        }
    }

    /// What comes after so many bytes, without names.
    fn raw(&self, base: PayloadBase, bytes: &[u8], from: usize, out: &mut String) {
        let Some(rest) = bytes.get(from..).filter(|rest| !rest.is_empty()) else { return };
        let bits = |bytes: usize| u32::try_from(8 * bytes).unwrap_or(0);
        let raw = RawPayload { base, offset: bits(from), len: bits(rest.len()) };
        self.show(Selector::Raw(raw), Data::new(rest), out);
    }

    /// A step without a verdict goes on.
    fn verdict(&self, trace: &Trace<'_>) -> String {
        let mut out = "verdict ".to_owned();
        let verdict = trace.verdict.and_then(Verdict::from_wire).unwrap_or(Verdict::Continue);
        Printer { out: &mut out, options: self.options }.statement(&Statement::Verdict(verdict));
        out
    }

    fn show(&self, selector: Selector, data: Data, out: &mut String) {
        let right = Constant::new(selector.data_type(), data).into();
        let statement = Statement::Match { left: selector.into(), op: Op::Eq, right };
        Printer { out, options: self.options }.statement(&statement);
        out.push(' ');
    }
}

/// A field's bytes; `None` where the header is cut off before its end.
fn extract(field: &Field, bytes: &[u8]) -> Option<Data> {
    let (first, last) = (usize::from(field.offset) / 8, (usize::from(field.offset + field.len) - 1) / 8);
    let bytes = bytes.get(first..=last)?;
    if field.is_whole_bytes() {
        return Some(Data::new(bytes));
    }
    let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let number = number >> field.shift() & ((1 << field.len) - 1);
    let len = usize::from(field.len).div_ceil(8);
    let all = number.to_be_bytes();
    Some(Data::new(&all[all.len() - len..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_header() {
        // The first bytes of a datagram (RFC 791): version 4, header of 20 bytes, DSCP 46 (EF), 52 bytes, TTL 64, TCP
        let header = [0x45, 0xb8, 0, 52, 0, 1, 0x40, 0, 64, 6];
        let value = |name| extract(&Protocol::Ip.field(name).unwrap(), &header);
        assert_eq!(value("dscp"), Some(Data::new(&[46])));
        assert_eq!(value("length"), Some(Data::be16(52)));
        assert_eq!(value("ttl"), Some(Data::new(&[64])));
        assert_eq!(value("saddr"), None);
        // A flow label of 20 bits (RFC 8200)
        let header = [0x60, 0x01, 0x23, 0x45];
        let label = extract(&Protocol::Ip6.field("flowlabel").unwrap(), &header);
        assert_eq!(label, Some(Data::new(&[0x01, 0x23, 0x45])));
    }
}
