//! What rules become, as nft shows it.

use nft_ruleset::optimize::{Counting, optimize};
use nft_ruleset::statement::Statement;
use nft_ruleset::{
    BaseChain, Chain, ChainKind, Data, Family, Hook, Op, Operand, Policy, Rule, Ruleset, Selector, TCP_DPORT,
    Table, Target, UDP_DPORT,
};

/// What a chain of these rules becomes next to a chain `other`, which accepts all, and one `marks`.
#[track_caller]
fn becomes(rules: &[Rule], expected: &[&str]) {
    assert_eq!(optimized(rules, Counting::ByRule), expected);
}

#[track_caller]
fn becomes_by_element(rules: &[Rule], expected: &[&str]) {
    assert_eq!(optimized(rules, Counting::ByElement), expected);
}

fn optimized(rules: &[Rule], counting: Counting) -> Vec<String> {
    let hook = BaseChain { kind: ChainKind::Nat, hook: Hook::LocalOut, priority: 0, policy: Policy::Accept };
    let chain = |name: &str, base, rules| Chain { name: name.into(), base, rules, ..Chain::default() };
    let chains = vec![
        chain("base", Some(hook), rules.to_vec()),
        chain("other", None, vec![Rule::new().tcp().accept()]),
        chain(
            "marks",
            None,
            vec![Rule::new().mark(Op::Eq, 1).drop(), Rule::new().set(Target::MARK, Data::ne32(1))],
        ),
    ];
    let ruleset = Ruleset { tables: vec![Table { chains, ..Table::new(Family::Inet, "t") }] };
    optimize(&ruleset, counting).tables[0].chains[0].rules.iter().map(Rule::to_string).collect()
}

fn to(network: &str) -> Rule {
    Rule::new().daddr(Op::Eq, network.parse::<nft_ruleset::IpPrefix>().unwrap())
}

fn tcp(port: u16) -> Rule {
    Rule::new().port(TCP_DPORT, Op::Eq, port)
}

fn udp(port: u16) -> Rule {
    Rule::new().port(UDP_DPORT, Op::Eq, port)
}

#[test]
fn values_become_a_set() {
    becomes(
        &[tcp(80), tcp(443), tcp(81)].map(|rule| rule.counter().returns()),
        &["tcp dport { 80, 81, 443 } counter return"],
    );
    becomes(
        &["eth0", "eth1"].map(|name| Rule::new().iifname(name).returns()),
        &["iifname { \"eth0\", \"eth1\" } return"],
    );
    becomes(&[5, 4].map(|uid| Rule::new().skuid(Op::Eq, uid).accept()), &["meta skuid { 4, 5 } accept"]);
    becomes(&[5, 4].map(|gid| Rule::new().skgid(Op::Eq, gid).accept()), &["meta skgid { 4, 5 } accept"]);
}

#[test]
fn networks_that_overlap_or_touch_become_one() {
    becomes(
        &["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16"].map(|network| to(network).returns()),
        &["ip daddr 10.0.0.0/8 return"],
    );
    becomes(
        &["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "fd00::/8", "192.168.0.1/32", "fd01::1/128"]
            .map(|network| to(network).returns()),
        &["ip daddr { 10.0.0.0-10.0.2.255, 192.168.0.1 } return", "ip6 daddr fd00::/8 return"],
    );
    becomes(&["0.0.0.0/0", "10.0.0.0/8"].map(|network| to(network).drop()), &["ip daddr 0.0.0.0/0 drop"]);
}

#[test]
fn elements_count_for_themselves_if_that_is_asked_for() {
    becomes_by_element(
        &["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16"].map(|network| to(network).counter().returns()),
        &["ip daddr { 10.0.0.0/9 counter, 10.128.0.0/9 counter } return"],
    );
    becomes_by_element(&[tcp(1), tcp(2)].map(Rule::accept), &["tcp dport { 1, 2 } accept"]);
    // None counts what another match does not let pass.
    becomes_by_element(
        &[tcp(1), tcp(2)].map(|rule| rule.skuid(Op::Eq, 5).counter().accept()),
        &["meta skuid 5 tcp dport { 1 counter, 2 counter } accept"],
    );
    becomes_by_element(
        &[tcp(1), tcp(1)].map(|rule| rule.counter().accept()),
        &["tcp dport 1 counter accept"],
    );
}

#[test]
fn rules_move_up_past_those_that_no_packet_meets_as_well() {
    becomes(
        &[tcp(1), udp(1), tcp(2), udp(2)].map(|rule| rule.counter().returns()),
        &["tcp dport { 1, 2 } counter return", "udp dport { 1, 2 } counter return"],
    );
    let marked = |port| Rule::new().mark(Op::Eq, 7).port(TCP_DPORT, Op::Eq, port);
    becomes(
        &[marked(1).jump("other"), tcp(1).drop(), marked(2).jump("other"), tcp(2).drop()],
        &["meta mark 0x00000007 tcp dport { 1, 2 } jump other", "tcp dport { 1, 2 } drop"],
    );
}

#[test]
fn rules_stay_after_those_that_a_packet_may_meet_first() {
    let rules = [tcp(1).drop(), Rule::new().skuid(Op::Eq, 5).accept(), tcp(2).drop()];
    becomes(&rules, &["tcp dport 1 drop", "meta skuid 5 accept", "tcp dport 2 drop"]);
    let limited = Rule::new().then(Statement::NoTrack);
    becomes(&[tcp(1).drop(), limited, tcp(2).drop()], &["tcp dport 1 drop", "notrack", "tcp dport 2 drop"]);
}

#[test]
fn rules_stay_after_those_that_change_what_they_match() {
    let marked = |mark| Rule::new().mark(Op::Eq, mark);
    let rules = [marked(0).drop(), marked(1).set(Target::MARK, Data::ne32(2)), marked(2).drop()];
    let shown = rules.clone().map(|rule| rule.to_string());
    assert_eq!(optimized(&rules, Counting::ByRule), shown);
}

#[test]
fn what_comes_back_changed_is_not_taken_for_the_same() {
    let marked = |mark| Rule::new().mark(Op::Eq, mark);
    // A packet with the mark 0 has the mark 1 when it comes back.
    let rules = [marked(0).jump("marks"), marked(1).jump("marks")];
    becomes(&rules, &["meta mark 0x00000000 jump marks", "meta mark 0x00000001 jump marks"]);
    // One to 10.1.0.0/16 goes there twice, and is dropped the second time.
    let rules = ["10.0.0.0/8", "10.1.0.0/16"].map(|network| to(network).jump("marks"));
    becomes(&rules, &["ip daddr 10.0.0.0/8 jump marks", "ip daddr 10.1.0.0/16 jump marks"]);
    let rules = ["10.0.0.0/8", "11.0.0.0/8"].map(|network| to(network).jump("marks"));
    becomes(&rules, &["ip daddr 10.0.0.0/7 jump marks"]);
}

#[test]
fn verdicts_that_differ_become_a_map() {
    becomes(
        &[tcp(1).accept(), tcp(2).drop(), tcp(3).jump("other")],
        &["tcp dport vmap { 1 : accept, 2 : drop, 3 : jump other }"],
    );
    // The first one wins.
    becomes(
        &[to("10.1.0.0/16").counter().returns(), to("10.0.0.0/8").counter().jump("other")],
        &["ip daddr vmap { 10.0.0.0/16 counter : jump other, \
           10.1.0.0/16 counter : return, \
           10.2.0.0-10.255.255.255 counter : jump other }"],
    );
    // A packet to 10.1.0.0/16 comes back from the chain to the second rule.
    becomes(
        &[to("10.0.0.0/8").jump("other"), to("10.1.0.0/16").drop()],
        &["ip daddr 10.0.0.0/8 jump other", "ip daddr 10.1.0.0/16 drop"],
    );
}

#[test]
fn values_that_must_not_be_are_looked_up_at_once() {
    let rule = [3, 1, 2].into_iter().fold(Rule::new(), |rule, gid| rule.skgid(Op::Ne, gid));
    becomes(&[rule.counter().returns()], &["meta skgid != { 1, 2, 3 } counter return"]);
}

#[test]
fn what_a_set_cannot_hold_stays() {
    let names =
        [&b"eth"[..], b"wlan"].map(|name| Rule::new().matches(Selector::IIFNAME, Op::Eq, Data::new(name)));
    becomes(&names.map(Rule::accept), &["iifname \"eth*\" accept", "iifname \"wlan*\" accept"]);
    let unequal = [tcp(1).tcp(), Rule::new().port(TCP_DPORT, Op::Ne, 2).tcp()].map(Rule::accept);
    assert_eq!(optimized(&unequal, Counting::ByRule).len(), 2);
    let commented = [tcp(1).accept().comment("one"), tcp(2).accept().comment("two")];
    assert_eq!(optimized(&commented, Counting::ByRule).len(), 2);
}

#[test]
fn sets_grow() {
    let set = Rule::new().compare(
        Selector::Payload(TCP_DPORT),
        Op::Eq,
        Operand::Set(vec![Data::be16(1), Data::be16(2)]),
    );
    becomes(&[set.accept(), tcp(7).accept()], &["tcp dport { 1, 2, 7 } accept"]);
}
