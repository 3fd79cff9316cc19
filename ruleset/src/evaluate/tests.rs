use nftwire::expr::{CtKey, MetaKey};

use super::*;
use crate::selector::{HashRange, Numgen};
use crate::statement::{Limit, Nat};
use crate::{Constant, Data, DataType, Element, Expression, Family, Map, Op, Range, Selector};
use crate::{Set, SetType, Statement, TCP_DPORT, Verdict};

const ADDRESS: [u8; 4] = [10, 0, 0, 5];

fn packet() -> Packet {
    Packet {
        input: Interface::NONE,
        output: Interface::named("eth0"),
        source: [10, 0, 0, 2].into(),
        destination: ADDRESS.into(),
        protocol: 6,
        source_port: None,
        destination_port: Some(443),
        owner: Owner::Socket { uid: 1000, gid: 1000 },
        mark: Some(0),
        tracking: Tracking::State(CtKey::STATE_NEW),
        ct_mark: Some(0),
        ct_status: Some(0),
        tcp_flags: Some(2),
        zone: Some(0),
        socket: None,
    }
}

fn rule(statements: impl IntoIterator<Item = Statement>) -> Rule {
    Rule { statements: statements.into_iter().collect(), ..Rule::default() }
}

fn table(chains: impl IntoIterator<Item = (&'static str, Vec<Rule>)>) -> Table {
    let chain = |(name, rules): (&str, _)| Chain { name: name.into(), rules, ..Chain::default() };
    Table { chains: chains.into_iter().map(chain).collect(), ..Table::new(Family::Inet, "t") }
}

fn fates(table: &Table, packet: &Packet) -> Vec<Fate> {
    evaluate(table, "base", packet, &()).into_iter().map(|outcome| outcome.fate).collect()
}

fn verdict(verdict: Verdict) -> Statement {
    Statement::Verdict(verdict)
}

fn is(selector: Selector, op: Op, right: impl Into<Expression>) -> Statement {
    Statement::Match { left: selector.into(), op, right: right.into() }
}

fn uid(uid: u32) -> Constant {
    Constant::new(DataType::Uid, Data::ne32(uid))
}

fn limit() -> Statement {
    Statement::Limit(Limit { rate: 1, unit: 1, burst: 5, bytes: false, over: false })
}

#[test]
fn verdicts_lead_through_the_chains_and_back() {
    let jump = |name: &str| verdict(Verdict::Jump(name.into()));
    let goto = |name: &str| verdict(Verdict::Goto(name.into()));
    for (chains, fate) in [
        (vec![("base", vec![])], Fate::Policy),
        (
            vec![("base", vec![rule([jump("a")]), rule([verdict(Verdict::Drop)])]), ("a", vec![])],
            Fate::Dropped,
        ),
        (
            vec![("base", vec![rule([goto("a")]), rule([verdict(Verdict::Drop)])]), ("a", vec![])],
            Fate::Policy,
        ),
        (
            vec![
                ("base", vec![rule([jump("a")]), rule([verdict(Verdict::Drop)])]),
                ("a", vec![rule([verdict(Verdict::Return)]), rule([verdict(Verdict::Accept)])]),
            ],
            Fate::Dropped,
        ),
        // After a goto a return goes back to the chain that jumped, not to the one that went.
        (
            vec![
                ("base", vec![rule([jump("a")]), rule([verdict(Verdict::Accept)])]),
                ("a", vec![rule([goto("b")]), rule([verdict(Verdict::Drop)])]),
                ("b", vec![rule([verdict(Verdict::Return)])]),
            ],
            Fate::Accepted,
        ),
        (vec![("base", vec![rule([jump("nowhere")])])], Fate::Unknown),
    ] {
        assert_eq!(fates(&table(chains), &packet()), [fate]);
    }
}

/// `meta skuid < 3000`: the smaller number, not the one whose bytes come first.
#[test]
fn numbers_in_host_order_compare_as_numbers() {
    let range = |from, to| Expression::Range(Box::new(Range { from: uid(from).into(), to: uid(to).into() }));
    for (user, op, right, passes) in [
        (255, Op::Gt, uid(3000).into(), false),
        (65280, Op::Gt, uid(3000).into(), true),
        (3000, Op::Ge, uid(3000).into(), true),
        (2999, Op::Lt, uid(3000).into(), true),
        (256, Op::Eq, range(255, 257), true),
        (1, Op::Eq, range(255, 257), false),
        (512, Op::Ne, range(255, 257), true),
    ] {
        let table = table([("base", vec![rule([is(Selector::SKUID, op, right), verdict(Verdict::Drop)])])]);
        let packet = Packet { owner: Owner::Socket { uid: user, gid: 0 }, ..packet() };
        let expected = if passes { Fate::Dropped } else { Fate::Policy };
        assert_eq!(fates(&table, &packet), [expected], "{user} {op:?}");
    }
}

#[test]
fn what_a_packet_does_not_have_ends_the_rule_even_where_it_is_to_differ() {
    let differs = [is(Selector::SKUID, Op::Ne, uid(5)), verdict(Verdict::Drop)];
    let table = table([("base", vec![rule(differs)])]);
    let from_outside = Packet { owner: Owner::None, ..packet() };
    assert_eq!(fates(&table, &from_outside), [Fate::Policy]);
    assert_eq!(fates(&table, &packet()), [Fate::Dropped]);
}

#[test]
fn both_branches_of_what_is_not_known_are_followed() {
    let table = table([("base", vec![rule([limit(), verdict(Verdict::Drop)])])]);
    let outcomes = evaluate(&table, "base", &packet(), &());
    let found: Vec<_> =
        outcomes.iter().map(|outcome| (&outcome.fate, outcome.assumptions[0].passes)).collect();
    assert_eq!(found, [(&Fate::Dropped, true), (&Fate::Policy, false)]);
    let unknown = Packet { owner: Owner::Unknown, ..packet() };
    let root = [is(Selector::SKUID, Op::Eq, uid(0)), verdict(Verdict::Accept)];
    assert_eq!(fates(&self::table([("base", vec![rule(root)])]), &unknown), [Fate::Accepted, Fate::Policy]);
}

#[test]
fn outcomes_are_bounded() {
    let table = table([("base", vec![rule([limit()]); 40])]);
    let outcomes = evaluate(&table, "base", &packet(), &());
    assert!(outcomes.len() <= 300, "{}", outcomes.len());
    assert!(outcomes.iter().any(|outcome| outcome.fate == Fate::Unknown));
}

/// As kube-proxy spreads a service over its endpoints: one of them, and never none.
#[test]
fn a_random_number_leads_to_each_alternative() {
    let numgen = Selector::Numgen(Numgen { random: true, range: HashRange { modulus: 2, offset: 0 } });
    let element = |number, name: &str| Element {
        value: Some(Expression::Verdict(Verdict::Goto(name.into()))),
        ..Element::new(Expression::constant(DataType::Integer, Data::ne32(number)))
    };
    let map = Map {
        key: numgen.into(),
        map: Expression::Set(vec![element(0, "one"), element(1, "two")]),
        verdicts: true,
    };
    let table = table([
        ("base", vec![rule([Statement::VerdictMap(Expression::Map(Box::new(map)))])]),
        ("one", vec![rule([verdict(Verdict::Drop)])]),
        ("two", vec![rule([verdict(Verdict::Accept)])]),
    ]);
    let mut fates = fates(&table, &packet());
    fates.sort_by_key(|fate| format!("{fate:?}"));
    assert_eq!(fates, [Fate::Accepted, Fate::Dropped]);
}

/// `dnat to ip daddr . tcp dport map @services`
#[test]
fn a_map_gives_an_address_and_a_port() {
    let service = |address: [u8; 4], port| {
        Expression::Concat(vec![
            Expression::constant(DataType::Ipv4Addr, Data::new(&address)),
            Expression::constant(DataType::InetService, Data::be16(port)),
        ])
    };
    let key = Expression::Concat(vec![
        Selector::Payload(crate::IP_DADDR).into(),
        Selector::Payload(TCP_DPORT).into(),
    ]);
    let element =
        Element { value: Some(service([10, 1, 1, 1], 8443)), ..Element::new(service(ADDRESS, 443)) };
    let set = Set {
        name: "services".into(),
        handle: 0,
        key: SetType { types: Vec::new(), expression: None },
        value: None,
        flags: 0,
        size: 0,
        timeout: 0,
        gc_interval: 0,
        memory_policy: false,
        auto_merge: false,
        comment: None,
        statements: Vec::new(),
        elements: vec![element],
        origin: crate::SetOrigin::default(),
    };
    let map = Map { key, map: Expression::SetName("services".into()), verdicts: false };
    let nat = Nat { address: Some(Expression::Map(Box::new(map))), ..Nat::new(NatKind::Destination) };
    let mut table =
        table([("base", vec![rule([Statement::Nat(Box::new(nat))]), rule([verdict(Verdict::Drop)])])]);
    table.sets.push(set);
    let translation = Translation {
        kind: NatKind::Destination,
        address: Some([10, 1, 1, 1].into()),
        port: Some(8443),
        is_open: false,
    };
    assert_eq!(fates(&table, &packet()), [Fate::Nat(translation)]);
    // What the map does not have ends the rule.
    let other = Packet { destination_port: Some(80), ..packet() };
    assert_eq!(fates(&table, &other), [Fate::Dropped]);
}

#[test]
fn connection_tracking_says_only_what_it_knows() {
    let state = |flags| Expression::constant(DataType::CtState, Data::ne32(flags));
    let invalid = [is(Selector::CT_STATE, Op::In, state(1)), verdict(Verdict::Drop)];
    let zone =
        [is(Selector::CT_MARK, Op::Ne, Constant::new(DataType::Mark, Data::ne32(1))), verdict(Verdict::Drop)];
    for (tracking, statements, fate) in [
        (Tracking::None, &invalid, Fate::Dropped),
        (Tracking::Untracked, &invalid, Fate::Policy),
        (Tracking::State(CtKey::STATE_NEW), &invalid, Fate::Policy),
        (Tracking::None, &zone, Fate::Policy),
        (Tracking::State(CtKey::STATE_NEW), &zone, Fate::Dropped),
    ] {
        let table = table([("base", vec![rule(statements.clone())])]);
        assert_eq!(fates(&table, &Packet { tracking, ..packet() }), [fate], "{tracking:?}");
    }
}

#[test]
fn marks_that_a_rule_sets_are_seen_by_the_next_one() {
    let mark = |mark| Constant::new(DataType::Mark, Data::ne32(mark));
    let set = Statement::Set { target: Selector::MARK, value: mark(7).into() };
    let seen = [is(Selector::Meta(MetaKey::Mark), Op::Eq, mark(7)), verdict(Verdict::Accept)];
    let table = table([("base", vec![rule([set]), rule(seen)])]);
    let outcome = evaluate(&table, "base", &packet(), &()).remove(0);
    assert_eq!((outcome.fate, outcome.packet.mark), (Fate::Accepted, Some(7)));
    assert_eq!(outcome.steps.iter().map(|step| step.number).collect::<Vec<_>>(), [0, 1]);
}

struct Listens(bool);

impl Host for Listens {
    fn has_transparent_socket(&self, _: u8, _: Option<IpAddr>, port: u16) -> Option<bool> {
        Some(self.0 && port == 15006)
    }
}

#[test]
fn tproxy_goes_on_only_with_a_socket() {
    let port = Expression::constant(DataType::InetService, Data::be16(15006));
    let tproxy = Statement::Tproxy(Box::new(crate::statement::Tproxy {
        family: None,
        address: None,
        port: Some(port),
    }));
    let table = table([("base", vec![rule([tproxy, verdict(Verdict::Accept)])])]);
    for (listens, fate) in [(true, Fate::Accepted), (false, Fate::Policy)] {
        let outcomes = evaluate(&table, "base", &packet(), &Listens(listens));
        assert_eq!(outcomes.len(), 1);
        assert_eq!(outcomes[0].fate, fate);
    }
    assert_eq!(fates(&table, &packet()), [Fate::Accepted, Fate::Policy]);
}

#[test]
fn what_xtables_says_in_nfts_words_is_done() {
    let xtables = |target, name: &str, text: Option<&str>, parameters: &[u8]| {
        let (name, text, parameters) = (name.into(), text.map(str::to_owned), parameters.into());
        Statement::Xtables(Box::new(crate::statement::Xtables {
            target,
            name,
            text,
            revision: 1,
            parameters,
        }))
    };
    let matches = |name, text| xtables(false, name, Some(text), &[]);
    let target = |name, text| xtables(true, name, text, &[]);
    let nat = |address: Option<[u8; 4]>, port, kind| {
        Fate::Nat(Translation { kind, address: address.map(IpAddr::from), port, is_open: false })
    };
    // struct xt_tproxy_target_info_v1
    let mut tproxy = [&0xff_u32.to_ne_bytes()[..], &0x11_u32.to_ne_bytes(), &[0; 16]].concat();
    tproxy.extend(15006_u16.to_be_bytes());
    tproxy.extend([0; 6]);
    for (statements, fate) in [
        (vec![matches("comment", ""), verdict(Verdict::Drop)], Fate::Dropped),
        (vec![matches("tcp", "tcp dport 443"), verdict(Verdict::Drop)], Fate::Dropped),
        (vec![matches("tcp", "tcp dport != 443"), verdict(Verdict::Drop)], Fate::Policy),
        (vec![matches("udp", "udp dport 443"), verdict(Verdict::Drop)], Fate::Policy),
        (vec![matches("owner", "skuid != 1000"), verdict(Verdict::Drop)], Fate::Policy),
        (vec![matches("conntrack", "ct state new"), verdict(Verdict::Drop)], Fate::Dropped),
        (
            vec![target("DNAT", Some("dnat to 10.1.1.1:80"))],
            nat(Some([10, 1, 1, 1]), Some(80), NatKind::Destination),
        ),
        (vec![target("REDIRECT", Some("redirect to :15001"))], nat(None, Some(15001), NatKind::Redirect)),
        (vec![target("MASQUERADE", Some("masquerade fully-random"))], nat(None, None, NatKind::Masquerade)),
        (vec![target("TCPMSS", None), verdict(Verdict::Drop)], Fate::Dropped),
        (vec![target("DNAT", None)], Fate::Unknown),
        (vec![xtables(true, "TPROXY", None, &tproxy), verdict(Verdict::Drop)], Fate::Accepted),
        (vec![target("TPROXY", None)], Fate::Unknown),
    ] {
        let table = Table { family: Family::Ipv4, ..table([("base", vec![rule(statements.clone())])]) };
        let outcomes = evaluate(&table, "base", &packet(), &Listens(true));
        assert_eq!((outcomes.len(), &outcomes[0].fate), (1, &fate), "{statements:?}");
        let socket = (fate == Fate::Accepted).then_some((None, Some(15006)));
        assert_eq!(outcomes[0].packet.socket, socket);
        assert_eq!(outcomes[0].packet.mark, Some(if socket.is_some() { 0x11 } else { 0 }));
    }
    // What iptables-translate leaves out may have decided.
    let lossy = vec![rule([matches("conntrack", "ct status dnat"), verdict(Verdict::Drop)])];
    assert_eq!(fates(&table([("base", lossy)]), &packet()), [Fate::Dropped, Fate::Policy]);
}

/// An address or a port that the kernel chooses is not taken for none.
#[test]
fn what_nat_leaves_to_the_kernel_is_open() {
    let ports = Range {
        from: Expression::constant(DataType::InetService, Data::be16(1000)),
        to: Expression::constant(DataType::InetService, Data::be16(2000)),
    };
    let redirect = Nat { port: Some(Expression::Range(Box::new(ports))), ..Nat::new(NatKind::Redirect) };
    let table_of = |nat: Nat| table([("base", vec![rule([Statement::Nat(Box::new(nat))])])]);
    let open = Translation { kind: NatKind::Redirect, address: None, port: None, is_open: true };
    assert_eq!(fates(&table_of(redirect), &packet()), [Fate::Nat(open)]);

    let element = |key: u32, last: u8| {
        let address = Expression::constant(DataType::Ipv4Addr, Data::new(&[10, 0, 0, last]));
        let key = Expression::constant(DataType::Integer, Data::ne32(key));
        Element { value: Some(address), ..Element::new(key) }
    };
    let numgen = Numgen { range: HashRange { modulus: 2, offset: 0 }, random: true };
    let map = Map {
        key: Selector::Numgen(numgen).into(),
        map: Expression::Set(vec![element(0, 1), element(1, 2)]),
        verdicts: false,
    };
    let dnat = Nat { address: Some(Expression::Map(Box::new(map))), ..Nat::new(NatKind::Destination) };
    let to = |last| Translation {
        kind: NatKind::Destination,
        address: Some([10, 0, 0, last].into()),
        port: None,
        is_open: false,
    };
    assert_eq!(fates(&table_of(dnat), &packet()), [Fate::Nat(to(2)), Fate::Nat(to(1))]);
}
