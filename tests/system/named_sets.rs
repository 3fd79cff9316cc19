//! Sets with a name in a ruleset of one's own, by the library. `nft` is the judge.

use meshwire::apply::Counters;
use meshwire::interception::Interception;
use nft_ruleset::desired::Owned;
use nft_ruleset::{
    Chain, ChainKind, DataType, Element, Expression, Family, Hook, IP_DADDR, Op, Operand, Rule, Ruleset,
    Selector, Set, Table,
};
use nftwire::{SetFlags, Socket};

use crate::harness::nft::objects;
use crate::harness::{Namespace, oracle, privileged};

/// One rule that looks addresses up in a set with these elements.
fn interception(flags: SetFlags, elements: &[&str]) -> Interception {
    let element = |text: &&str| Element::new(Expression::network(text.parse().unwrap()));
    let set = Set {
        flags: flags.0,
        elements: elements.iter().map(element).collect(),
        ..Set::new("s", DataType::Ipv4Addr)
    };
    let look_up = Operand::SetName("s".into());
    let rule = Rule::new().compare(Selector::Payload(IP_DADDR), Op::Eq, look_up).counter().drop();
    let other = Rule::new().tcp().counter();
    let chain = Chain::at_hook("output", ChainKind::Filter, Hook::LocalOut, 0, vec![rule, other]);
    let table = Table::with_chains(Family::Inet, "mine", [chain]);
    let owned = Owned::with_kept_sets(&Ruleset { tables: vec![table.clone()] });
    let ruleset = Ruleset { tables: vec![Table { sets: vec![set], ..table }] };
    Interception { ruleset, owned, ..Interception::default() }
}

fn apply(namespace: &Namespace, interception: &Interception, counters: Counters) {
    namespace.run(|| {
        let mut routes = meshwire::network::RouteSocket::open().unwrap();
        interception.apply(&mut Socket::open().unwrap(), &mut routes, counters).unwrap();
    });
}

fn set(namespace: &Namespace) -> String {
    let listing = namespace.command(&["nft", "list", "set", "inet", "mine", "s"]);
    listing.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_set_is_loaded_with_its_elements_and_replaced_with_them() {
    if !(privileged() && oracle("nft")) {
        return;
    }
    let namespace = Namespace::new();
    let single = interception(SetFlags::default(), &["10.0.0.2/32", "10.0.0.1/32"]);
    let ranges = interception(SetFlags::INTERVAL, &["10.0.0.0/8", "192.168.1.0/24"]);
    for counters in [Counters::Reset, Counters::Keep, Counters::Keep] {
        apply(&namespace, &single, counters);
        assert_eq!(
            set(&namespace),
            "table inet mine { set s { type ipv4_addr elements = { 10.0.0.1, 10.0.0.2 } } }"
        );
        apply(&namespace, &ranges, counters);
        assert_eq!(
            set(&namespace),
            "table inet mine { set s { type ipv4_addr flags interval elements = { 10.0.0.0/8, 192.168.1.0/24 } } }"
        );
    }
    // Loaded by nft, what is printed is the same.
    let before = crate::harness::nft::meaning(&namespace);
    let theirs = Namespace::new();
    theirs.feed(&["nft", "-f", "-"], &ranges.ruleset.to_string());
    crate::harness::nft::assert_same("", &before, &crate::harness::nft::meaning(&theirs));
    namespace.run(|| {
        let mut routes = meshwire::network::RouteSocket::open().unwrap();
        ranges.remove(&mut Socket::open().unwrap(), &mut routes).unwrap();
    });
    assert!(objects(&namespace).is_empty());
}
