//! Random rulesets in which much is nearly alike: runs of rules that could become one, but for one or the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nft_ruleset::IpPrefix;
use nft_ruleset::nft::compile::compile;
use nft_ruleset::{BaseChain, Chain, ChainKind, Data, Element, Expression, Family, Hook, IP_DADDR};
use nft_ruleset::{Op, Operand, Policy, Rule, Ruleset, Selector, Statement, TCP_DPORT, Table};
use nft_ruleset::{Target, UDP_DPORT, Verdict};
use nftwire::expr::CtKey;
use proptest::prelude::*;

/// The base chain of a random ruleset.
pub(crate) const BASE: &str = "output";

/// A table with a base chain at the output hook and chains that it jumps into. Only what the kernel of a real machine
/// can be asked about with a datagram, where `plain`.
pub(crate) fn ruleset(plain: bool) -> impl Strategy<Value = Ruleset> {
    let rules = move |chains| rules(chains, plain);
    (rules(&["one", "two"]), rules(&["two"]), rules(&[])).prop_map(|(base, one, two)| {
        let hook =
            BaseChain { kind: ChainKind::Filter, hook: Hook::LocalOut, priority: 0, policy: Policy::Accept };
        // No packet has both headers that some match, as in `ip6 daddr … ip daddr …`: nft refuses such rules.
        let rules = |rules: Vec<Rule>| {
            rules.into_iter().filter(|rule| compile(Family::Inet, rule, 1).is_ok()).collect::<Vec<_>>()
        };
        let chain =
            |name: &str, base, all| Chain { name: name.into(), base, rules: rules(all), ..Chain::default() };
        let chains = vec![chain(BASE, Some(hook), base), chain("one", None, one), chain("two", None, two)];
        Ruleset { tables: vec![Table { chains, ..Table::new(Family::Inet, "random") }] }
    })
}

/// The rules of a chain: runs that look at the same few things, one after the other or woven into one another.
fn rules(chains: &'static [&'static str], plain: bool) -> BoxedStrategy<Vec<Rule>> {
    let kinds = if plain { &KINDS[..14] } else { &KINDS[..] };
    prop::collection::vec(prop::sample::select(kinds), 1..4)
        .prop_flat_map(move |kinds| prop::collection::vec((run(&kinds, chains, plain), any::<bool>()), 0..4))
        .prop_map(|runs| {
            runs.into_iter().fold(
                Vec::new(),
                |rules: Vec<Rule>, (run, woven)| {
                    if woven { weave(rules, run) } else { [rules, run].concat() }
                },
            )
        })
        .boxed()
}

/// One of each in turn.
fn weave(one: Vec<Rule>, other: Vec<Rule>) -> Vec<Rule> {
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut woven = Vec::new();
    loop {
        let pair = [one.next(), other.next()];
        if pair.iter().all(Option::is_none) {
            return woven;
        }
        woven.extend(pair.into_iter().flatten());
    }
}

/// In what a rule differs from the others of its run, apart from its one value.
#[derive(Clone, Copy, Debug)]
enum Twist {
    None,
    /// It does something else
    OtherAct(usize),
    /// One of the other matches has another value, too
    OtherValue,
    /// It lacks one of the other matches
    Wider,
    /// It counts where the others do not, or the other way round
    Counts,
    /// It is known of
    Comment,
    /// A rule about something else comes before it
    Stranger,
}

fn twist() -> impl Strategy<Value = Twist> {
    prop_oneof![
        10 => Just(Twist::None),
        5 => (1..3_usize).prop_map(Twist::OtherAct),
        1 => Just(Twist::OtherValue),
        1 => Just(Twist::Wider),
        1 => Just(Twist::Counts),
        1 => Just(Twist::Comment),
        1 => Just(Twist::Stranger),
    ]
}

/// Rules that look at the same and of which each has its own value at one place.
fn run(kinds: &[u8], chains: &'static [&'static str], plain: bool) -> BoxedStrategy<Vec<Rule>> {
    let kind = prop::sample::select(kinds.to_vec());
    let acts = prop::collection::vec(act(chains, plain), 3);
    (prop::collection::vec(kind.clone(), 1..4), acts, prop::bool::weighted(0.3))
        .prop_flat_map(move |(kinds, acts, counts)| {
            // They differ in the first of these; which one that is comes out of the shuffling.
            let alike: Vec<_> = kinds.iter().map(|&kind| look(kind)).collect();
            let stranger = (kind.clone().prop_flat_map(look), act(chains, plain));
            let rule = (twist(), look(kinds[0]), look(kinds[kinds.len() - 1]), stranger);
            let order = Just((0..kinds.len()).collect::<Vec<_>>()).prop_shuffle();
            (alike, order, prop::collection::vec(rule, 1..7)).prop_map(move |(alike, order, rules)| {
                let mut run = Vec::new();
                for (twist, own, other, (look, act)) in rules {
                    if matches!(twist, Twist::Stranger) {
                        run.push(joined([look, act]));
                    }
                    let mut looks = alike.clone();
                    let last = looks.len() - 1;
                    looks[0] = own;
                    if matches!(twist, Twist::OtherValue) {
                        looks[last] = other;
                    }
                    let mut looks: Vec<_> = order.iter().map(|&index| looks[index].clone()).collect();
                    if matches!(twist, Twist::Wider) {
                        looks.pop();
                    }
                    let counts = counts != matches!(twist, Twist::Counts);
                    let counter = counts.then(|| Rule::new().counter());
                    let act = if let Twist::OtherAct(number) = twist { &acts[number] } else { &acts[0] };
                    let rule = joined(looks.into_iter().chain(counter).chain([act.clone()]));
                    run.push(if matches!(twist, Twist::Comment) { rule.comment("other") } else { rule });
                }
                run
            })
        })
        .boxed()
}

fn joined(parts: impl IntoIterator<Item = Rule>) -> Rule {
    Rule { statements: parts.into_iter().flat_map(|part| part.statements).collect(), ..Rule::new() }
}

/// What [`look`] knows. The mark often: rules change it. Those after the fourteenth look at the connection.
const KINDS: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 8, 9, 10, 11, 12, 13];

/// Matches of this kind.
fn look(kind: u8) -> BoxedStrategy<Rule> {
    let op = || prop_oneof![6 => Just(Op::Eq), 1 => Just(Op::Ne)];
    let rule = Rule::new;
    match kind {
        0 => (op(), network()).prop_map(move |(op, to)| rule().daddr(op, to)).boxed(),
        1 => (op(), network()).prop_map(move |(op, from)| rule().saddr(op, from)).boxed(),
        2 => (op(), port()).prop_map(move |(op, port)| rule().port(UDP_DPORT, op, port)).boxed(),
        3 => (op(), port()).prop_map(move |(op, port)| rule().port(TCP_DPORT, op, port)).boxed(),
        // A range, or a set of some.
        4 => (
            prop::sample::select(&[UDP_DPORT, TCP_DPORT][..]),
            prop::collection::vec((port(), 0..3_u16), 1..3),
        )
            .prop_map(move |(field, ports)| {
                let range = |(port, more): (u16, u16)| port..=port.saturating_add(more);
                rule().ports(field, &ports.into_iter().map(range).collect::<Vec<_>>())
            })
            .boxed(),
        5 => (op(), id()).prop_map(move |(op, uid)| rule().skuid(op, uid)).boxed(),
        6 => (op(), id()).prop_map(move |(op, gid)| rule().skgid(op, gid)).boxed(),
        7 => (op(), mark()).prop_map(move |(op, mark)| rule().mark(op, mark)).boxed(),
        8 => prop_oneof![
            Just(rule().oifname("lo")),
            Just(rule().oifname("eth0")),
            Just(rule().oifname("l")),
            Just(rule().matches(Selector::OIFNAME, Op::Eq, Data::new(b"l"))),
        ]
        .boxed(),
        9 => prop_oneof![Just(rule().tcp()), Just(rule().ipv6())].boxed(),
        10 => (op(), prop::collection::vec(network_of(v4()), 1..4))
            .prop_map(move |(op, networks)| {
                let element = |network: IpPrefix| Element::new(Expression::network(network));
                let elements = Expression::Set(networks.into_iter().map(element).collect());
                rule().compare(Selector::Payload(IP_DADDR), op, Operand::Expression(elements))
            })
            .boxed(),
        11 => prop::collection::vec(id(), 2..4)
            .prop_map(move |gids| gids.into_iter().fold(rule(), |rule, gid| rule.skgid(Op::Ne, gid)))
            .boxed(),
        12 => Just(rule().ct_state(CtKey::STATE_NEW | CtKey::STATE_RELATED)).boxed(),
        _ => (op(), mark())
            .prop_map(move |(op, mark)| rule().matches(Selector::CT_MARK, op, Data::ne32(mark)))
            .boxed(),
    }
}

/// What rules do: something to the packet, and what becomes of it, or either.
fn act(chains: &'static [&'static str], plain: bool) -> BoxedStrategy<Rule> {
    prop_oneof![
        6 => verdict(chains),
        4 => effect(plain),
        1 => (effect(plain), verdict(chains)).prop_map(|(effect, verdict)| joined([effect, verdict])),
    ]
    .boxed()
}

fn verdict(chains: &'static [&'static str]) -> BoxedStrategy<Rule> {
    let plain = prop_oneof![1 => Just(Rule::new().accept()), 2 => Just(Rule::new().drop()), 1 => Just(Rule::new().returns())];
    if chains.is_empty() {
        return plain.boxed();
    }
    let into = prop::sample::select(chains);
    let goto = |chain: &str| Rule::new().then(Statement::Verdict(Verdict::Goto(chain.into())));
    prop_oneof![
        5 => plain,
        4 => into.clone().prop_map(|chain| Rule::new().jump(chain)),
        1 => into.prop_map(goto),
    ]
    .boxed()
}

/// What is not a verdict.
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
        1 => prop::sample::select(&[15001, 15006][..]).prop_map(|port| Rule::new().redirect(port)),
        1 => Just(Rule::new()),
    ]
    .boxed()
}

/// Addresses of `lo`, so few that rules meet.
pub(super) fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        6 => v4(),
        1 => (1..6u16).prop_map(|host| IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host))),
    ]
}

fn v4() -> impl Strategy<Value = IpAddr> {
    (0..3u8, 1..7u8).prop_map(|(net, host)| IpAddr::from(Ipv4Addr::new(127, 0, net, host)))
}

fn network() -> impl Strategy<Value = IpPrefix> {
    network_of(address())
}

fn network_of(address: impl Strategy<Value = IpAddr>) -> impl Strategy<Value = IpPrefix> {
    let len = prop_oneof![4 => Just(0), 3 => 1..4u8, 1 => 6..10u8, 1 => 20..26u8, 1 => Just(32)];
    (address, len).prop_map(|(address, short)| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        IpPrefix::new(address, most - short).unwrap().truncated()
    })
}

pub(super) fn port() -> impl Strategy<Value = u16> {
    prop_oneof![6 => 4000..4006u16, 1 => 65533..=65535u16]
}

pub(super) fn id() -> impl Strategy<Value = u32> {
    0..4u32
}

pub(super) fn mark() -> impl Strategy<Value = u32> {
    0..3u32
}
