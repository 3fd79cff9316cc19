//! Random rulesets in which much is alike, and random packets that they are about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use meshwire::ruleset::{
    BaseChain, Chain, ChainKind, Data, Family, Hook, Op, Operand, Policy, Rule, Ruleset,
};
use meshwire::ruleset::{Selector, Statement, TCP_DPORT, Table, Target, UDP_DPORT, Verdict};
use nftwire::expr::CtKey;
use proptest::prelude::*;

use super::Packet;

/// The base chain of a random ruleset.
pub(crate) const BASE: &str = "output";

/// A table with a base chain at the output hook and chains that it jumps into. Only what the kernel of a real machine
/// can be asked about with a datagram, where `plain`.
pub(crate) fn ruleset(plain: bool) -> impl Strategy<Value = Ruleset> {
    let rules = move |chains| rules(chains, plain);
    (rules(&["one", "two"]), rules(&["two"]), rules(&[])).prop_map(|(base, one, two)| {
        let hook =
            BaseChain { kind: ChainKind::Filter, hook: Hook::LocalOut, priority: 0, policy: Policy::Accept };
        let chain =
            |name: &str, base, rules| Chain { name: name.to_owned(), base, rules, ..Chain::default() };
        let chains = vec![chain(BASE, Some(hook), base), chain("one", None, one), chain("two", None, two)];
        Ruleset { tables: vec![Table { chains, ..Table::new(Family::Inet, "random") }] }
    })
}

/// The rules of a chain. They look at few things and do few things, so that many of them are alike.
fn rules(chains: &'static [&'static str], plain: bool) -> BoxedStrategy<Vec<Rule>> {
    // The mark twice: rules change it.
    let kinds = if plain { prop::sample::select(&KINDS[..10]) } else { prop::sample::select(&KINDS[..]) };
    let acts = prop::collection::vec(prop_oneof![3 => verdict(chains), 1 => effect(plain)], 1..4);
    (prop::collection::vec(kinds, 1..3), acts, 0..14_usize)
        .prop_flat_map(|(kinds, acts, count)| prop::collection::vec(rule(&kinds, acts), count))
        .boxed()
}

const KINDS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 7, 8, 9, 10];

fn rule(kinds: &[u8], acts: Vec<Rule>) -> impl Strategy<Value = Rule> + use<> {
    let looks: Vec<_> = kinds.iter().map(|&kind| look(kind)).collect();
    let looks = prop::collection::vec(prop::strategy::Union::new(looks), 0..3);
    (looks, prop::bool::weighted(0.2), prop::sample::select(acts), prop::bool::weighted(0.05)).prop_map(
        |(looks, counts, act, commented)| {
            let counter = counts.then(|| Rule::new().counter());
            let parts = looks.into_iter().chain(counter).chain([act]);
            let rule = Rule { statements: parts.flat_map(|part| part.statements).collect(), ..Rule::new() };
            if commented { rule.comment("told") } else { rule }
        },
    )
}

/// A match of this kind. The last two look at the connection.
fn look(kind: u8) -> BoxedStrategy<Rule> {
    let op = prop_oneof![6 => Just(Op::Eq), 1 => Just(Op::Ne)];
    let rule = Rule::new;
    let several = |ports: Vec<u16>| Operand::Set(ports.into_iter().map(Data::be16).collect());
    match kind {
        0 => (op, network()).prop_map(move |(op, to)| rule().daddr(op, to)).boxed(),
        1 => (op, network()).prop_map(move |(op, from)| rule().saddr(op, from)).boxed(),
        2 => (op, port()).prop_map(move |(op, port)| rule().port(UDP_DPORT, op, port)).boxed(),
        3 => (op, port()).prop_map(move |(op, port)| rule().port(TCP_DPORT, op, port)).boxed(),
        4 => (op, prop::collection::vec(port(), 1..4))
            .prop_map(move |(op, ports)| rule().compare(Selector::Payload(UDP_DPORT), op, several(ports)))
            .boxed(),
        5 => (op, id()).prop_map(move |(op, uid)| rule().skuid(op, uid)).boxed(),
        6 => (op, id()).prop_map(move |(op, gid)| rule().skgid(op, gid)).boxed(),
        7 => (op, mark()).prop_map(move |(op, mark)| rule().mark(op, mark)).boxed(),
        8 => prop_oneof![
            Just(rule().oifname("lo")),
            Just(rule().oifname("eth0")),
            Just(rule().matches(Selector::OIFNAME, Op::Eq, Data::new(b"l"))),
            Just(rule().tcp()),
            Just(rule().ipv6()),
        ]
        .boxed(),
        9 => Just(rule().ct_state(CtKey::STATE_NEW | CtKey::STATE_RELATED)).boxed(),
        _ => (op, mark())
            .prop_map(move |(op, mark)| rule().matches(Selector::CT_MARK, op, Data::ne32(mark)))
            .boxed(),
    }
}

fn verdict(chains: &'static [&'static str]) -> BoxedStrategy<Rule> {
    let plain =
        prop_oneof![Just(Rule::new().accept()), Just(Rule::new().drop()), Just(Rule::new().returns())];
    if chains.is_empty() {
        return plain.boxed();
    }
    let into = prop::sample::select(chains);
    let goto = |chain: &str| Rule::new().then(Statement::Verdict(Verdict::Goto(chain.to_owned())));
    prop_oneof![
        6 => plain,
        3 => into.clone().prop_map(|chain| Rule::new().jump(chain)),
        1 => into.prop_map(goto),
    ]
    .boxed()
}

/// What is no verdict.
fn effect(plain: bool) -> BoxedStrategy<Rule> {
    let set_mark = mark().prop_map(|mark| Rule::new().set(Target::MARK, Data::ne32(mark)));
    if plain {
        return set_mark.boxed();
    }
    let swap = || Rule::new().set(Target::CT_MARK, Selector::MARK);
    prop_oneof![
        4 => set_mark,
        1 => Just(swap()),
        1 => Just(Rule::new().set(Target::MARK, Selector::CT_MARK)),
        1 => Just(swap().set(Target::MARK, Data::ne32(1))),
        1 => Just(Rule::new().redirect(15001)),
        1 => Just(Rule::new()),
    ]
    .boxed()
}

/// Addresses of `lo`, so few that rules and packets meet.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        4 => (0..3u8, 0..6u8).prop_map(|(net, host)| IpAddr::from(Ipv4Addr::new(127, 0, net, host + 1))),
        1 => (1..6u16).prop_map(|host| IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host))),
    ]
}

fn network() -> impl Strategy<Value = IpNet> {
    let len = prop_oneof![6 => Just(0), 1 => 1..4u8, 1 => 6..10u8, 1 => 20..26u8];
    (address(), len).prop_map(|(address, short)| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address, most - short).unwrap().trunc()
    })
}

fn port() -> impl Strategy<Value = u16> {
    4000..4006u16
}

fn id() -> impl Strategy<Value = u32> {
    0..4u32
}

fn mark() -> impl Strategy<Value = u32> {
    0..3u32
}

/// A packet on its way out over `lo`.
pub(crate) fn packet() -> impl Strategy<Value = Packet> {
    let protocol = prop_oneof![3 => Just(17), 1 => Just(6)];
    let ct_state = prop_oneof![Just(CtKey::STATE_NEW), Just(CtKey::STATE_ESTABLISHED)];
    (address(), protocol, port(), [id(), id()], [mark(), mark()], ct_state).prop_map(
        |(destination, protocol, destination_port, [uid, gid], [mark, ct_mark], ct_state)| Packet {
            input: "",
            output: "lo",
            source: match destination {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => destination,
            },
            destination,
            protocol,
            source_port: 4999,
            destination_port,
            uid,
            gid,
            mark,
            ct_state,
            ct_mark,
            zone: 0,
        },
    )
}
