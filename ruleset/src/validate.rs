//! What a ruleset must be, beyond what the types say.
//!
//! The kernel does not look at all of this: since per-table validation (6.12) an uncommitted batch is not searched
//! for loops, nor are statements compared with the hooks from which they can be reached, in tables that are new.
//! And where it does look, its answer names no rule. So every ruleset is looked at here before it is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use nftwire::uapi;

use crate::model::statement::{NatKind, ObjectKind};
use crate::nft::compile::table::object as compile_object;
use crate::nft::compile::{NotCompiled, comment, compile_in, named_set};
use crate::{
    Chain, ChainKind, Element, Expression, Family, Hook, Name, Object, Rule, Ruleset, Set, SetValue,
    Statement, Table, Verdict,
};

/// Where nat chains can be (`hook_mask` in net/netfilter/nft_chain_nat.c, Linux 6.12).
const NAT_HOOKS: [Hook; 4] = [Hook::PreRouting, Hook::LocalIn, Hook::LocalOut, Hook::PostRouting];

/// What is wrong with a ruleset, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct Invalid {
    /// Where: `inet TABLE`, `chain NAME in inet TABLE`, or with `rule NUMBER of` before it
    pub place: String,
    /// What
    pub fault: Fault,
}

/// What can be wrong with a ruleset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A name is empty, longer than 255 bytes, or has a character that nft's grammar does not take in a name.
    #[error(
        "{0:?} is not a name (1 to 255 of letters, digits and / _ . -, the first one a letter or an underscore)"
    )]
    Name(Name),
    /// Two tables of a family, or two chains or two sets of a table, have the same name.
    #[error("duplicate name")]
    Duplicate,
    /// A jump to a chain that the table does not have.
    #[error("jumps to unknown chain {0}")]
    MissingChain(Name),
    /// A look-up in a set that the table does not have.
    #[error("refers to unknown set {0}")]
    MissingSet(Name),
    /// The use of an object or a flowtable that the table does not have.
    #[error("refers to unknown {kind} {name}")]
    MissingObject {
        /// nft's word for the kind
        kind: &'static str,
        /// The name
        name: Name,
    },
    /// A chain that belongs to one rule: the kernel names it.
    #[error("chain {0} belongs to a rule, and only the language of nft can add such a chain")]
    AnonymousChain(Name),
    /// A jump to a base chain.
    #[error("jumps to chain {0}, which is a base chain")]
    JumpToBase(Name),
    /// A chain can be reached from itself.
    #[error("jump loop: {0}")]
    Loop(String),
    /// As many jumps inside each other as the kernel's stack has places, or more.
    #[error("jumps are nested {max} deep; the kernel allows at most {}", uapi::NFT_JUMP_STACK_SIZE - 1, max = uapi::NFT_JUMP_STACK_SIZE)]
    Depth,
    /// A statement that this chain type or hook does not allow.
    #[error("{statement} is only allowed in {allowed}, but the rule is reached from chain {from}")]
    Misplaced {
        /// The statement's name
        statement: &'static str,
        /// Where it is allowed
        allowed: &'static str,
        /// The base chain from which it is reached
        from: Name,
    },
    /// A rule has more expressions than the kernel takes.
    #[error("the rule needs {0} expressions, the kernel takes {max}", max = uapi::NFT_RULE_MAXEXPRS)]
    TooManyExpressions(usize),
    /// A rule has something that only can be shown.
    #[error(transparent)]
    NotCompiled(#[from] NotCompiled),
    /// A priority at which connection tracking does not know the packet yet.
    #[error("a nat chain needs a priority above -200, it has {0}")]
    NatPriority(i32),
    /// A hook that a chain type does not have.
    #[error("a {kind} chain cannot be at hook {hook}")]
    Hook {
        /// The chain type
        kind: &'static str,
        /// nft's name for the hook
        hook: &'static str,
    },
}

/// Looks at the whole ruleset.
///
/// # Errors
/// The first thing that is wrong.
pub fn validate(ruleset: &Ruleset) -> Result<(), Invalid> {
    let mut names = BTreeSet::new();
    for table in &ruleset.tables {
        let fail = |fault| Err(Invalid { place: table.to_string(), fault });
        if !is_name(&table.name) {
            return fail(Fault::Name(table.name.clone()));
        }
        if !names.insert((table.family, &table.name)) {
            return fail(Fault::Duplicate);
        }
        validate_table(table)?;
    }
    Ok(())
}

fn validate_table(table: &Table) -> Result<(), Invalid> {
    comment(table.comment.as_ref())
        .map_err(|error| Invalid { place: table.to_string(), fault: error.into() })?;
    if let Some(chain) = table.anonymous.first() {
        let fault = Fault::AnonymousChain(chain.name.clone());
        return Err(Invalid { place: table.to_string(), fault });
    }
    validate_sets(table)?;
    validate_objects(table)?;
    let mut chains = BTreeMap::new();
    for chain in &table.chains {
        let fail = |fault| Err(Invalid { place: place(table, chain, None), fault });
        if !is_name(&chain.name) {
            return fail(Fault::Name(chain.name.clone()));
        }
        if chains.insert(&chain.name, chain).is_some() {
            return fail(Fault::Duplicate);
        }
        if let Err(error) = comment(chain.comment.as_ref()) {
            return fail(error.into());
        }
        if let Some(base) = &chain.base {
            // NF_IP_PRI_CONNTRACK (nf_tables_api.c, nft_chain_parse_hook)
            if base.kind == ChainKind::Nat && base.priority <= -200 {
                return fail(Fault::NatPriority(base.priority));
            }
            let wrong = match base.kind {
                ChainKind::Filter => false,
                ChainKind::Nat => !NAT_HOOKS.contains(&base.hook),
                ChainKind::Route => base.hook != Hook::LocalOut,
            };
            if wrong {
                return fail(Fault::Hook {
                    kind: base.kind.name(),
                    hook: crate::nft::print::hook_name(table.family, base.hook),
                });
            }
        }
    }
    let sets = table.sets.iter().map(|set| &set.name).collect();
    let walk = Walk { table, chains, sets };
    walk.maps()?;
    for chain in &table.chains {
        walk.rules(chain)?;
    }
    walk.nesting()?;
    walk.statements()
}

fn validate_sets(table: &Table) -> Result<(), Invalid> {
    let mut names = BTreeSet::new();
    for set in &table.sets {
        let fail = |fault| Err(Invalid { place: format!("set {} in {table}", set.name), fault });
        if !is_name(&set.name) {
            return fail(Fault::Name(set.name.clone()));
        }
        if !names.insert(&set.name) {
            return fail(Fault::Duplicate);
        }
        if let Err(error) = named_set(set) {
            return fail(error.into());
        }
    }
    Ok(())
}

/// Objects, of which each kind has names of its own, and flowtables.
fn validate_objects(table: &Table) -> Result<(), Invalid> {
    let mut names = BTreeSet::new();
    for object in &table.objects {
        let kind = object.data.kind();
        let fail = |fault| {
            let place = format!("{} {} in {table}", kind.name(), object.name);
            Err(Invalid { place, fault })
        };
        if !is_name(&object.name) {
            return fail(Fault::Name(object.name.clone()));
        }
        if !names.insert((kind.number(), &object.name)) {
            return fail(Fault::Duplicate);
        }
        let userdata = comment(object.comment.as_ref());
        let compiled = userdata.and_then(|userdata| {
            compile_object(table.family, table.name.as_text(), object, &userdata).map(drop)
        });
        if let Err(error) = compiled {
            return fail(error.into());
        }
    }
    let mut names = BTreeSet::new();
    for flowtable in &table.flowtables {
        let fail = |fault| Err(Invalid { place: format!("flowtable {} in {table}", flowtable.name), fault });
        if !is_name(&flowtable.name) {
            return fail(Fault::Name(flowtable.name.clone()));
        }
        if !names.insert(&flowtable.name) {
            return fail(Fault::Duplicate);
        }
    }
    Ok(())
}

struct Walk<'a> {
    table: &'a Table,
    chains: BTreeMap<&'a Name, &'a Chain>,
    sets: BTreeSet<&'a Name>,
}

impl<'a> Walk<'a> {
    /// Looks at each rule by itself.
    fn rules(&self, chain: &Chain) -> Result<(), Invalid> {
        for (index, rule) in chain.rules.iter().enumerate() {
            let fail = |fault| Err(Invalid { place: place(self.table, chain, Some(index)), fault });
            let expressions = match compile_in(self.table, rule, 1) {
                Ok(compiled) => compiled.expressions.len(),
                Err(error) => return fail(error.into()),
            };
            if expressions > uapi::NFT_RULE_MAXEXPRS {
                return fail(Fault::TooManyExpressions(expressions));
            }
            let mut unknown = None;
            for statement in &rule.statements {
                statement.each_set_name(&mut |name| {
                    if !self.sets.contains(name) {
                        unknown.get_or_insert_with(|| name.clone());
                    }
                });
            }
            if let Some(name) = unknown {
                return fail(Fault::MissingSet(name));
            }
            let missing = rule.statements.iter().find_map(|statement| self.missing_object(statement));
            if let Some(fault) = missing.or_else(|| jumps(rule).find_map(|name| self.wrong_target(name))) {
                return fail(fault);
            }
        }
        Ok(())
    }

    /// What the elements of maps with a name lead to.
    fn maps(&self) -> Result<(), Invalid> {
        for set in &self.table.sets {
            let fault = targets_of(set).find_map(|name| self.wrong_target(name));
            let object = |element: &Element| match (&set.value, &element.value) {
                (Some(SetValue::Object(kind)), Some(Expression::Name(name))) => self.unknown(*kind, name),
                _ => None,
            };
            if let Some(fault) = fault.or_else(|| set.elements.iter().find_map(object)) {
                return Err(Invalid { place: format!("set {} in {}", set.name, self.table), fault });
            }
        }
        Ok(())
    }

    fn wrong_target(&self, name: &Name) -> Option<Fault> {
        match self.chains.get(name) {
            None => Some(Fault::MissingChain(name.clone())),
            Some(target) if target.base.is_some() => Some(Fault::JumpToBase(name.clone())),
            Some(_) => None,
        }
    }

    fn missing_object(&self, statement: &Statement) -> Option<Fault> {
        match statement {
            Statement::Object { kind, name: Expression::Name(name) } => self.unknown(*kind, name),
            Statement::FlowAdd(name) if !self.table.flowtables.iter().any(|known| known.name == *name) => {
                Some(Fault::MissingObject { kind: "flowtable", name: name.clone() })
            }
            _ => None,
        }
    }

    fn unknown(&self, kind: ObjectKind, name: &Name) -> Option<Fault> {
        let is_it = |object: &Object| object.data.kind() == kind && object.name == *name;
        let known = self.table.objects.iter().any(is_it);
        (!known).then(|| Fault::MissingObject { kind: kind.name(), name: name.clone() })
    }

    /// The chains that `chain` jumps to, also by maps.
    fn targets(&self, chain: &'a Chain) -> impl Iterator<Item = &'a Chain> {
        let mut maps = Vec::new();
        for statement in chain.rules.iter().flat_map(|rule| &rule.statements) {
            statement.each_set_name(&mut |name| {
                maps.extend(self.table.sets.iter().filter(|set| set.name == *name));
            });
        }
        let names = chain.rules.iter().flat_map(jumps).chain(maps.into_iter().flat_map(targets_of));
        names.filter_map(|name| self.chains.get(name).copied())
    }

    /// Looks for loops, and for jumps nested deeper than the kernel's stack. Each chain's depth is computed once, so
    /// that the time grows with the number of jumps and not with the number of paths.
    fn nesting(&self) -> Result<(), Invalid> {
        let mut depths = BTreeMap::new();
        for chain in &self.table.chains {
            let fail = |chain, fault| Err(Invalid { place: place(self.table, chain, None), fault });
            if let Err((chain, fault)) = self.depth(chain, &mut Vec::new(), &mut depths) {
                return fail(chain, fault);
            }
            if depths.get(&chain.name).is_some_and(|depth| *depth > uapi::NFT_JUMP_STACK_SIZE) {
                let mut deepest = chain;
                for _ in 0..uapi::NFT_JUMP_STACK_SIZE {
                    let depth = |chain: &&'a Chain| depths.get(&chain.name).copied().unwrap_or(0);
                    deepest = self.targets(deepest).max_by_key(depth).unwrap_or(deepest);
                }
                return fail(deepest, Fault::Depth);
            }
        }
        Ok(())
    }

    /// How many chains a packet can be in at once that enters `chain`, which was reached over those in `path`.
    fn depth(
        &self,
        chain: &'a Chain,
        path: &mut Vec<&'a Chain>,
        depths: &mut BTreeMap<&'a Name, usize>,
    ) -> Result<usize, (&'a Chain, Fault)> {
        if let Some(depth) = depths.get(&chain.name) {
            return Ok(*depth);
        }
        if let Some(start) = path.iter().position(|before| std::ptr::eq(*before, chain)) {
            let names: Vec<_> = path[start..].iter().map(|chain| chain.name.to_string()).collect();
            return Err((chain, Fault::Loop(names.join(" -> "))));
        }
        // Nothing deeper is loaded, so nothing deeper needs to be followed.
        if path.len() > 2 * uapi::NFT_JUMP_STACK_SIZE {
            return Err((chain, Fault::Depth));
        }
        path.push(chain);
        let mut depth = 0;
        for target in self.targets(chain) {
            depth = depth.max(self.depth(target, path, depths)?);
        }
        path.pop();
        depths.insert(&chain.name, depth + 1);
        Ok(depth + 1)
    }

    /// Compares the statements that can be reached with what the base chains' types and hooks allow. Base chains of the
    /// same type and hook allow the same, so that a chain is looked at once for each of these.
    fn statements(&self) -> Result<(), Invalid> {
        let mut reached = BTreeSet::new();
        for from in &self.table.chains {
            let Some(base) = from.base else { continue };
            let mut rest = vec![from];
            while let Some(chain) = rest.pop() {
                if !reached.insert((base.kind.name(), base.hook, &chain.name)) {
                    continue;
                }
                for (index, rule) in chain.rules.iter().enumerate() {
                    if let Some(fault) = misplaced(rule, from) {
                        return Err(Invalid { place: place(self.table, chain, Some(index)), fault });
                    }
                }
                rest.extend(self.targets(chain));
            }
        }
        Ok(())
    }
}

/// A statement of the rule that is not allowed where packets come from the chain `from`.
fn misplaced(rule: &Rule, from: &Chain) -> Option<Fault> {
    let base = from.base.as_ref()?;
    rule.statements.iter().find_map(|statement| {
        let nat_at = |hooks: [Hook; 2]| base.kind == ChainKind::Nat && hooks.contains(&base.hook);
        let (statement, allowed, here) = match statement {
            Statement::Nat(nat) => match nat.kind {
                NatKind::Destination | NatKind::Redirect => (
                    nat.kind.name(),
                    "nat chains at prerouting and output",
                    nat_at([Hook::PreRouting, Hook::LocalOut]),
                ),
                NatKind::Source => (
                    nat.kind.name(),
                    "nat chains at postrouting and input",
                    nat_at([Hook::PostRouting, Hook::LocalIn]),
                ),
                NatKind::Masquerade => {
                    (nat.kind.name(), "nat chains at postrouting", nat_at([Hook::PostRouting; 2]))
                }
            },
            Statement::Tproxy(_) => ("tproxy", "chains at prerouting", base.hook == Hook::PreRouting),
            _ => return None,
        };
        (!here).then(|| Fault::Misplaced { statement, allowed, from: from.name.clone() })
    })
}

fn jumps(rule: &Rule) -> impl Iterator<Item = &Name> {
    rule.statements.iter().flat_map(Statement::verdicts).filter_map(Verdict::chain)
}

/// The chains that a map with a name leads to.
fn targets_of(set: &Set) -> impl Iterator<Item = &Name> {
    set.elements.iter().filter_map(|element| match &element.value {
        Some(Expression::Verdict(verdict)) => verdict.chain(),
        _ => None,
    })
}

/// What nft's grammar takes as a name (nftables, src/scanner.l, `string`), and no longer than the kernel takes.
fn is_name(name: &Name) -> bool {
    let start = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    let bytes = name.as_bytes();
    bytes.len() < uapi::NFT_NAME_MAXLEN
        && bytes.first().is_some_and(start)
        && bytes.iter().all(|byte| start(byte) || byte.is_ascii_digit() || b"/.-".contains(byte))
}

fn place(table: &Table, chain: &Chain, rule: Option<usize>) -> String {
    RulePlace { family: table.family, table: &table.name, chain: &chain.name, rule }.to_string()
}

/// Where something is in a ruleset, for a message: `rule 7 of istio-output in inet istio-proxy-nat`.
#[derive(Clone, Copy, Debug)]
pub struct RulePlace<'a> {
    /// The family of the table
    pub family: Family,
    /// The name of the table
    pub table: &'a Name,
    /// The name of the chain
    pub chain: &'a Name,
    /// The rule's number in the chain, from 0; `None` for the chain itself
    pub rule: Option<usize>,
}

impl fmt::Display for RulePlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Some(index) => write!(f, "rule {} of {}", index + 1, self.chain)?,
            None => write!(f, "chain {}", self.chain)?,
        }
        write!(f, " in {} {}", self.family, self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BaseChain, DataType, IP_DADDR, Op, Operand, Policy, Selector};

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

    /// A table `t` with these chains is refused for this fault at this place.
    #[track_caller]
    fn refused(chains: Vec<Chain>, place: &str, fault: Fault) {
        assert_eq!(validated(chains), Err(Invalid { place: place.to_owned(), fault }));
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
            let invalid = Err(Invalid { place: format!("inet {bad}"), fault: Fault::Name(bad.into()) });
            assert_eq!(validate(&Ruleset { tables: vec![table(bad, vec![])] }), invalid);
        }
        refused(vec![regular("a b", &[])], "chain a b in inet t", Fault::Name("a b".into()));
    }

    #[test]
    fn nothing_is_there_twice() {
        let twice = Ruleset { tables: vec![table("t", vec![]), table("t", vec![])] };
        let invalid = Invalid { place: "inet t".to_owned(), fault: Fault::Duplicate };
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
        let fault = |name: &str, fault| Err(Invalid { place: format!("set {name} in inet t"), fault });
        assert_eq!(with(&[set.clone(), set.clone()]), fault("s", Fault::Duplicate));
        assert_eq!(with(&[Set::new("a b", DataType::Mark)]), fault("a b", Fault::Name("a b".into())));
        let set = Set { comment: Some("c".repeat(300).into()), ..set };
        assert_eq!(
            with(&[set]),
            fault("s", Fault::NotCompiled(crate::nft::compile::SetFault::Userdata.into()))
        );
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
        assert!(started.elapsed().as_secs() < 2, "{:?}", started.elapsed());
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
        refused(vec![regular("a", &[too_full])], "rule 1 of a in inet t", Fault::TooManyExpressions(130));
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
}
