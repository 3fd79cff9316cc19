use super::*;
use crate::nft::compile::NotCompiled;
use crate::{BaseChain, DataType, Family, IP_DADDR, Op, Operand, Policy, Rule, Selector, Set};

fn base(name: &str, kind: ChainKind, hook: Hook, priority: i32, rules: &[Rule]) -> Chain {
    let base = BaseChain { kind, hook, priority, policy: Policy::Accept };
    Chain { base: Some(base), ..regular(name, rules) }
}

fn regular(name: &str, rules: &[Rule]) -> Chain {
    Chain { name: name.into(), rules: rules.to_vec(), ..Chain::default() }
}

fn jump(chain: &str) -> Rule {
    Rule::new().counter().jump(chain)
}

fn table(name: &str, chains: Vec<Chain>) -> Table {
    Table { chains, ..Table::new(Family::Inet, name) }
}

fn validated(chains: Vec<Chain>) -> Result<(), Invalid> {
    validate(&Ruleset { tables: vec![table("t", chains)] })
}

/// A table `t` with these chains is refused for this fault at this location.
#[track_caller]
fn refused(chains: Vec<Chain>, location: &str, fault: Fault) {
    assert_eq!(validated(chains), Err(Invalid { location: location.to_owned(), fault }));
}

#[test]
fn a_ruleset_that_the_kernel_takes() {
    let chains = vec![
        base("prerouting", ChainKind::Nat, Hook::PreRouting, -100, &[jump("a"), jump("b")]),
        base("output", ChainKind::Nat, Hook::LocalOut, -199, &[jump("b")]),
        base("mangle", ChainKind::Route, Hook::LocalOut, -150, &[Rule::new().counter()]),
        base("forward", ChainKind::Filter, Hook::Forward, 0, &[Rule::new().drop()]),
        regular("a", &[jump("b"), Rule::new().tcp().redirect(15006)]),
        regular("b", &[Rule::new().tcp().redirect(15001)]),
    ];
    assert_eq!(validated(chains), Ok(()));
    assert_eq!(validate(&Ruleset::default()), Ok(()));
}

#[test]
fn names_are_what_nft_takes() {
    let longest = "n".repeat(255);
    for good in ["t", "_", "istio-proxy-nat", "a.b/c_d-9", &longest] {
        assert_eq!(validate(&Ruleset { tables: vec![table(good, vec![])] }), Ok(()), "{good}");
    }
    let too_long = "n".repeat(256);
    for bad in ["", "1st", "-a", "a b", "a\\b", "a*", "\u{e9}", &too_long] {
        let invalid = Err(Invalid { location: format!("inet {bad}"), fault: Fault::Name(bad.into()) });
        assert_eq!(validate(&Ruleset { tables: vec![table(bad, vec![])] }), invalid);
    }
    refused(vec![regular("a b", &[])], "chain a b in inet t", Fault::Name("a b".into()));
}

#[test]
fn nothing_is_there_twice() {
    let twice = Ruleset { tables: vec![table("t", vec![]), table("t", vec![])] };
    let invalid = Invalid { location: "inet t".to_owned(), fault: Fault::Duplicate };
    assert_eq!(validate(&twice), Err(invalid));
    let other_family = Table { family: Family::Ipv4, ..table("t", vec![]) };
    assert_eq!(validate(&Ruleset { tables: vec![table("t", vec![]), other_family] }), Ok(()));
    refused(vec![regular("a", &[]), regular("a", &[])], "chain a in inet t", Fault::Duplicate);
}

#[test]
fn jumps_lead_to_regular_chains_of_the_table() {
    refused(
        vec![regular("a", &[Rule::new().counter(), jump("b")])],
        "rule 2 of a in inet t",
        Fault::MissingChain("b".into()),
    );
    refused(
        vec![regular("a", &[jump("out")]), base("out", ChainKind::Filter, Hook::LocalOut, 0, &[])],
        "rule 1 of a in inet t",
        Fault::JumpToBase("out".into()),
    );
}

#[test]
fn things_are_looked_up_in_sets_of_the_table() {
    let set = Operand::SetName("s".into());
    let rule = Rule::new().compare(Selector::Payload(IP_DADDR), Op::Eq, set).drop();
    let chains = vec![regular("a", &[rule])];
    refused(chains.clone(), "rule 1 of a in inet t", Fault::MissingSet("s".into()));
    let with = |sets: &[Set]| {
        let table = Table { sets: sets.to_vec(), ..table("t", chains.clone()) };
        validate(&Ruleset { tables: vec![table] })
    };
    let set = Set::new("s", DataType::Ipv4Addr);
    assert_eq!(with(std::slice::from_ref(&set)), Ok(()));
    let fault = |name: &str, fault| Err(Invalid { location: format!("set {name} in inet t"), fault });
    assert_eq!(with(&[set.clone(), set.clone()]), fault("s", Fault::Duplicate));
    assert_eq!(with(&[Set::new("a b", DataType::Mark)]), fault("a b", Fault::Name("a b".into())));
    let set = Set { comment: Some("c".repeat(300).into()), ..set };
    assert_eq!(with(&[set]), fault("s", Fault::NotCompiled(crate::nft::compile::SetFault::Userdata.into())));
}

#[test]
fn jumps_lead_in_no_circle() {
    refused(
        vec![regular("a", &[jump("b")]), regular("b", &[jump("c")]), regular("c", &[jump("b")])],
        "chain b in inet t",
        Fault::Loop("b -> c".to_owned()),
    );
    refused(vec![regular("a", &[jump("a")])], "chain a in inet t", Fault::Loop("a".to_owned()));
}

/// A base chain that jumps to `c1`, which jumps to `c2`, and so on, with so many jumps.
fn nested(jumps: usize) -> Vec<Chain> {
    let mut chains = vec![base("out", ChainKind::Filter, Hook::LocalOut, 0, &[jump("c1")])];
    chains.extend((1..jumps).map(|n| regular(&format!("c{n}"), &[jump(&format!("c{}", n + 1))])));
    chains.push(regular(&format!("c{jumps}"), &[Rule::new().counter()]));
    chains
}

/// Fourteen layers of ten chains, each of which jumps to all of the next layer: 10^14 paths, 1,300 jumps.
#[test]
fn time_grows_with_jumps_and_not_with_paths() {
    let started = std::time::Instant::now();
    let all = |layer: usize| (0..10).map(|n| jump(&format!("c{layer}-{n}"))).collect::<Vec<_>>();
    let mut chains = vec![base("out", ChainKind::Filter, Hook::LocalOut, 0, &all(1))];
    for layer in 1..14 {
        chains.extend((0..10).map(|n| regular(&format!("c{layer}-{n}"), &all(layer + 1))));
    }
    chains.extend((0..10).map(|n| regular(&format!("c14-{n}"), &[Rule::new().counter()])));
    let ruleset = Ruleset { tables: vec![table("t", chains)] };
    assert_eq!(validate(&ruleset), Ok(()));
    assert_eq!(
        crate::optimize::optimize(&ruleset, crate::optimize::Counting::ByRule).rule_count(),
        ruleset.rule_count()
    );
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

/// `nft` gets "Too many links" for the second one.
#[test]
fn fifteen_jumps_inside_each_other_are_the_most() {
    assert_eq!(validated(nested(15)), Ok(()));
    refused(nested(16), "chain c16 in inet t", Fault::Depth);
}

#[test]
fn redirect_needs_a_nat_chain_that_sees_the_destination() {
    let fault = |from: &str| Fault::Misplaced {
        statement: "redirect",
        allowed: "nat chains at prerouting and output",
        from: from.into(),
    };
    let redirect = Rule::new().tcp().redirect(15001);
    refused(
        vec![base("in", ChainKind::Nat, Hook::LocalIn, 0, std::slice::from_ref(&redirect))],
        "rule 1 of in in inet t",
        fault("in"),
    );
    // It is reached from both, and the second one is the wrong one.
    refused(
        vec![
            base("nat", ChainKind::Nat, Hook::PreRouting, -100, &[jump("a")]),
            base("filter", ChainKind::Filter, Hook::PreRouting, 0, &[jump("a")]),
            regular("a", &[redirect]),
        ],
        "rule 1 of a in inet t",
        fault("filter"),
    );
}

#[test]
fn tproxy_needs_prerouting() {
    let tproxy = Rule::new().tcp().tproxy(Family::Ipv4, 15006);
    refused(
        vec![
            base("output", ChainKind::Route, Hook::LocalOut, -150, &[jump("a")]),
            regular("a", &[Rule::new().counter(), tproxy]),
        ],
        "rule 2 of a in inet t",
        Fault::Misplaced { statement: "tproxy", allowed: "chains at prerouting", from: "output".into() },
    );
}

#[test]
fn a_rule_has_at_most_128_expressions() {
    let groups = |count| (0..count).fold(Rule::new(), |rule, group| rule.skgid(Op::Ne, group));
    let full = groups(63).counter().returns();
    assert_eq!(validated(vec![regular("a", &[full])]), Ok(()));
    let too_full = groups(64).counter().returns();
    refused(
        vec![regular("a", &[too_full])],
        "rule 1 of a in inet t",
        NotCompiled::TooManyExpressions(130).into(),
    );
}

#[test]
fn nat_comes_after_connection_tracking() {
    refused(
        vec![base("output", ChainKind::Nat, Hook::LocalOut, -200, &[])],
        "chain output in inet t",
        Fault::NatPriority(-200),
    );
    let filter = base("output", ChainKind::Filter, Hook::LocalOut, -300, &[]);
    assert_eq!(validated(vec![filter]), Ok(()));
}

#[test]
fn a_chain_type_has_its_hooks() {
    for (kind, hook, names) in [
        (ChainKind::Nat, Hook::Forward, ("nat", "forward")),
        (ChainKind::Route, Hook::PreRouting, ("route", "prerouting")),
    ] {
        let fault = Fault::Hook { kind: names.0, hook: names.1 };
        refused(vec![base("a", kind, hook, 0, &[])], "chain a in inet t", fault);
    }
}

#[test]
fn an_error_names_the_place_and_the_fault() {
    let invalid = validated(vec![regular("a", &[jump("b")])]).unwrap_err();
    assert_eq!(invalid.to_string(), "rule 1 of a in inet t: jumps to unknown chain b");
}

#[test]
fn a_table_that_goes_at_once_is_refused() {
    let owned = |flags| {
        let table = Table { flags, ..table("t", Vec::new()) };
        validate(&Ruleset { tables: vec![table] }).map_err(|invalid| invalid.fault)
    };
    assert_eq!(owned(uapi::NFT_TABLE_F_OWNER), Err(Fault::Owned));
    assert_eq!(owned(uapi::NFT_TABLE_F_OWNER | uapi::NFT_TABLE_F_PERSIST), Ok(()));
}

#[test]
fn one_rule_leads_to_a_chain_of_its_own() {
    let fault = |rules: &[Rule], own: &[Rule]| {
        let table =
            Table { anonymous: vec![regular("__chain0", own)], ..table("t", vec![regular("a", rules)]) };
        validate(&Ruleset { tables: vec![table] }).map_err(|invalid| invalid.fault)
    };
    let number = |rules| Err(Fault::AnonymousChain { name: "__chain0".into(), rules });
    assert_eq!(fault(&[jump("__chain0")], &[]), Ok(()));
    assert_eq!(fault(&[], &[]), number(0));
    assert_eq!(fault(&[jump("__chain0"), jump("__chain0")], &[]), number(2));
    // What it holds is looked at as in all other chains.
    assert_eq!(fault(&[jump("__chain0")], &[jump("a")]), Err(Fault::Loop("a -> __chain0".to_owned())));
    assert_eq!(fault(&[jump("__chain0")], &[jump("b")]), Err(Fault::MissingChain("b".into())));
}
