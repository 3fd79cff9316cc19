//! The table that marks packets: it sees new flows before all other rules, and remembers who opened them, so that it knows
//! their replies, whatever ports these come from after a translation.

use std::net::IpAddr;

use nft_ruleset::Protocol;
use nftwire::expr::{
    Access, Bitwise, Cmp, CmpOp, Dynset, DynsetOp, Immediate, Limit, LimitKind, Lookup, Meta, MetaKey,
    Operation, Payload, PayloadAction, PayloadBase,
};
use nftwire::{
    BaseChain, Batch, Chain, Data, Expr, Family, Hook, Policy, Position, Register, Rule, Set, SetFlags,
    Table, TableFlags,
};

use super::Filter;

/// The table's name, in the family inet.
pub const NAME: &str = "meshwire-trace";

/// Before everything else that looks at packets: raw is -300, and reassembly is -400 (linux/netfilter_ipv4.h). The chains
/// for replies come first, so that every traced packet that enters a hook is seen there.
const NEW: i32 = -450;
const REPLY: i32 = -451;

/// How many flows are remembered at a time, and for how long.
const FLOWS: u32 = 4096;
const SECONDS_REMEMBERED: u64 = 60;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const RST: u8 = 0x04;
const FIN: u8 = 0x01;

/// The chains: new flows and replies, on the way in and on the way out.
const CHAINS: [(&str, Hook, i32); 4] = [
    ("reply-in", Hook::PreRouting, REPLY),
    ("reply-out", Hook::LocalOut, REPLY),
    ("new-in", Hook::PreRouting, NEW),
    ("new-out", Hook::LocalOut, NEW),
];

/// Whether this chain of ours is the first one of its hook: the one for replies.
pub(super) fn is_first(chain: &[u8]) -> bool {
    chain.starts_with(b"reply-")
}

/// An address family of packets: where their addresses are.
struct Layer {
    family: Family,
    set: &'static str,
    source: u32,
    destination: u32,
    len: u32,
}

/// IPv4 (RFC 791, section 3.1) and IPv6 (RFC 8200, section 3).
const LAYERS: [Layer; 2] = [
    Layer { family: Family::Ipv4, set: "opened-v4", source: 12, destination: 16, len: 4 },
    Layer { family: Family::Ipv6, set: "opened-v6", source: 8, destination: 24, len: 16 },
];

/// The table and its rules, as one transaction.
pub(super) fn batch(filter: &Filter, rate: u32) -> Batch {
    let mut batch = Batch::new();
    batch.create_table(&Table { flags: TableFlags::OWNER, ..Table::new(Family::Inet, NAME) });
    for layer in &LAYERS {
        batch.add_set(&Set {
            flags: SetFlags::EVAL | SetFlags::TIMEOUT | SetFlags::CONCAT,
            fields: vec![layer.len, 2],
            size: FLOWS,
            timeout: 1000 * SECONDS_REMEMBERED,
            ..Set::new(Family::Inet, NAME, layer.set, layer.len + 4)
        });
    }
    for (name, hook, priority) in CHAINS {
        let base = BaseChain { kind: "filter", hook, priority, policy: Some(Policy::Accept) };
        batch.add_chain(&Chain { base: Some(base), ..Chain::new(Family::Inet, NAME, name) });
        for layer in &LAYERS {
            let of_layer = |address: Option<IpAddr>| {
                address.is_none_or(|address| address.is_ipv4() == (layer.family == Family::Ipv4))
            };
            if !of_layer(filter.source) || !of_layer(filter.destination) {
                continue;
            }
            for protocol in [Protocol::TCP, Protocol::UDP] {
                if filter.protocol.is_none_or(|only| only == protocol) {
                    let expressions = if priority == REPLY {
                        reply(layer, protocol, rate)
                    } else {
                        new_flow(filter, layer, protocol, rate)
                    };
                    batch.add_rule(&Rule::new(Family::Inet, NAME, name), Position::Append, &expressions);
                }
            }
        }
    }
    batch
}

/// A packet that opens a flow is remembered and traced.
fn new_flow(filter: &Filter, layer: &Layer, protocol: u8, rate: u32) -> Vec<Expr<'static>> {
    let mut rule = of_protocol(layer, protocol);
    let addresses = [(layer.source, filter.source), (layer.destination, filter.destination)];
    for (offset, address) in addresses {
        if let Some(address) = address {
            let data = match address {
                IpAddr::V4(address) => address.into(),
                IpAddr::V6(address) => address.into(),
            };
            rule.extend([load(PayloadBase::Network, offset, layer.len, Register::R1), equal(data)]);
        }
    }
    if let Some(port) = filter.port {
        rule.extend([load(PayloadBase::Transport, 2, 2, Register::R1), equal(Data::be16(port))]);
    }
    if protocol == Protocol::TCP {
        rule.extend(flags(SYN));
    }
    rule.extend(key(layer, layer.source, 0));
    if protocol == Protocol::UDP {
        // Nothing marks the first datagram of a flow but that there was none before.
        rule.push(is_opened(layer, false));
    }
    rule.push(limit(rate));
    rule.push(
        Dynset {
            set: layer.set.into(),
            set_id: 0,
            op: DynsetOp::Update,
            key: Register::R1,
            data: None,
            timeout: 0,
            inverted: false,
            expressions: Vec::new(),
        }
        .into(),
    );
    rule.extend(trace());
    rule
}

/// A packet to who opened a flow that was remembered.
fn reply(layer: &Layer, protocol: u8, rate: u32) -> Vec<Expr<'static>> {
    let mut rule = of_protocol(layer, protocol);
    if protocol == Protocol::TCP {
        rule.extend(flags(SYN | ACK));
    }
    rule.extend(key(layer, layer.destination, 2));
    rule.push(is_opened(layer, true));
    rule.push(limit(rate));
    rule.extend(trace());
    rule
}

/// Whether the key in the registers is that of a flow that was remembered, or is not.
fn is_opened(layer: &Layer, is: bool) -> Expr<'static> {
    Lookup { set: layer.set.into(), set_id: 0, sreg: Register::R1, dreg: None, inverted: !is }.into()
}

fn of_protocol(layer: &Layer, protocol: u8) -> Vec<Expr<'static>> {
    let load = |key| Meta { key, access: Access::Load(Register::R1) }.into();
    vec![
        load(MetaKey::NfProto),
        equal(Data::new(&[layer.family.number()])),
        load(MetaKey::L4Proto),
        equal(Data::new(&[protocol])),
    ]
}

/// An address and a port in registers, one after the other.
fn key(layer: &Layer, address: u32, port: u32) -> [Expr<'static>; 2] {
    let after = if layer.len == 4 { Register::new(9) } else { Register::R2 };
    [
        load(PayloadBase::Network, address, layer.len, Register::R1),
        load(PayloadBase::Transport, port, 2, after),
    ]
}

fn load(base: PayloadBase, offset: u32, len: u32, dreg: Register) -> Expr<'static> {
    Payload { base, offset, len, action: PayloadAction::Load(dreg) }.into()
}

fn equal(data: Data) -> Expr<'static> {
    Cmp { sreg: Register::R1, op: CmpOp::Eq, data }.into()
}

/// TCP's flags (RFC 9293, section 3.1), of those that open and end connections exactly these.
fn flags(flags: u8) -> [Expr<'static>; 3] {
    let mask = Data::new(&[SYN | ACK | RST | FIN]);
    let operation = Operation::MaskXor { mask, xor: Data::zero(1) };
    [
        load(PayloadBase::Transport, 13, 1, Register::R1),
        Bitwise { sreg: Register::R1, dreg: Register::R1, len: 1, operation }.into(),
        equal(Data::new(&[flags])),
    ]
}

fn limit(rate: u32) -> Expr<'static> {
    Limit { kind: LimitKind::Packets, rate: rate.into(), unit: 1, burst: rate, inverted: false }.into()
}

fn trace() -> [Expr<'static>; 2] {
    [
        Immediate::Value { dreg: Register::R1, data: Data::new(&[1]) }.into(),
        Meta { key: MetaKey::NfTrace, access: Access::Store(Register::R1) }.into(),
    ]
}
