//! What a rule looks at, what it does, and what it may change.

use std::cell::RefCell;
use std::collections::BTreeMap;

use nftwire::expr::MetaKey;

use super::values::Values;
use crate::{Chain, Expression, Name, Op, Origin, Protocol, Rule, Selector, Statement, Table, Verdict};

/// A rule in two parts: first it only looks, then it only acts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'r> {
    /// What it looks at
    pub(super) matches: &'r [Statement],
    /// What it does where all matches pass
    pub(super) actions: &'r [Statement],
}

impl<'r> Parts<'r> {
    /// The parts of a rule that has no others, and whose statements say all.
    pub(super) fn of(rule: &'r Rule) -> Option<Self> {
        if rule.origin != Origin::Written {
            return None;
        }
        let is_match = |statement: &Statement| matches!(statement, Statement::Match { .. });
        let split = rule.statements.iter().take_while(|statement| is_match(statement)).count();
        let (matches, actions) = rule.statements.split_at(split);
        let known = |statement: &Statement| match statement {
            Statement::Counter(_) | Statement::Nat(_) => true,
            Statement::Set { value, .. } => {
                matches!(value, Expression::Constant(_) | Expression::Selector(_))
            }
            Statement::Verdict(verdict) => {
                !matches!(verdict, Verdict::Continue | Verdict::Break | Verdict::Other(_))
            }
            _ => false,
        };
        let readable = matches.iter().all(|statement| reads(statement).is_some());
        (readable && actions.iter().all(known)).then_some(Self { matches, actions })
    }

    /// Whether no rule of the chain after it sees a packet that passes its matches.
    pub(super) fn decides(&self) -> bool {
        self.actions.iter().any(|action| match action {
            Statement::Nat(_) => true,
            Statement::Verdict(verdict) => !matches!(verdict, Verdict::Jump(_)),
            _ => false,
        })
    }

    /// Whether the match with this number may come after all others. Those that ask for a protocol may contradict the header
    /// that it looks into: what is never true then, is left out of that order.
    pub(super) fn may_come_last(&self, index: usize) -> bool {
        let asks_for_protocol = |statement: &Statement| {
            let protocols = [MetaKey::NfProto, MetaKey::Protocol, MetaKey::L4Proto].map(Selector::Meta);
            reads(statement).is_some_and(|selector| protocols.contains(&selector))
        };
        !self.matches.iter().skip(index + 1).any(asks_for_protocol)
    }

    /// What its matches read.
    pub(super) fn reads(&self) -> impl Iterator<Item = Selector> {
        self.matches.iter().filter_map(reads)
    }

    /// What its own actions change, apart from the chains that they lead into.
    pub(super) fn sets(&self) -> impl Iterator<Item = Selector> {
        self.actions.iter().filter_map(|action| match action {
            Statement::Set { target, .. } => Some(*target),
            _ => None,
        })
    }

    /// Whether doing it twice is doing it once, as far as its own actions go: none builds upon what another one sets.
    pub(super) fn is_repeatable(&self) -> bool {
        self.actions.iter().all(|action| match action {
            Statement::Set { value: Expression::Selector(source), .. } => {
                self.sets().all(|set| set != *source)
            }
            _ => true,
        })
    }

    /// Whether no packet passes the matches of both: they want different values of the same, or different protocols.
    pub(super) fn excludes(&self, other: &Self, own: Option<(usize, &Values)>) -> bool {
        self.matches.iter().enumerate().any(|(index, one)| {
            other.matches.iter().any(|other| {
                let own = own.filter(|(hole, _)| *hole == index).map(|(_, values)| values);
                exclude(one, other, own)
            })
        })
    }
}

/// Whether no packet passes both matches; `own` are the values of the first one where it is a group's.
fn exclude(one: &Statement, other: &Statement, own: Option<&Values>) -> bool {
    let Statement::Match { left, op, right } = one else { return false };
    let Statement::Match { left: other_left, op: other_op, right: other_right } = other else { return false };
    if left != other_left {
        return match (protocol(left), protocol(other_left)) {
            (Some(one), Some(other)) => one != other && one.is_network() == other.is_network(),
            _ => false,
        };
    }
    if (*op, *other_op) != (Op::Eq, Op::Eq) {
        return false;
    }
    let Some(others) = Values::of(left, other_right) else { return false };
    match own {
        Some(own) => own.is_disjoint(&others),
        None => Values::of(left, right).is_some_and(|own| own.is_disjoint(&others)),
    }
}

impl Protocol {
    fn is_network(self) -> bool {
        matches!(self, Self::Ip | Self::Ip6)
    }
}

/// The protocol that a packet must have to be looked at, among those of which it has one of each layer.
fn protocol(expression: &Expression) -> Option<Protocol> {
    match expression {
        Expression::Selector(Selector::Payload(field)) => Some(field.protocol)
            .filter(|protocol| protocol.is_network() || matches!(protocol, Protocol::Tcp | Protocol::Udp)),
        _ => None,
    }
}

/// What a match reads.
fn reads(statement: &Statement) -> Option<Selector> {
    let Statement::Match { left, .. } = statement else { return None };
    let selector = match left {
        Expression::Selector(selector) => *selector,
        Expression::Binary(binary) => match binary.left {
            Expression::Selector(selector) => selector,
            _ => return None,
        },
        _ => return None,
    };
    // These are something else each time.
    let fickle = matches!(selector, Selector::Numgen(_) | Selector::Meta(MetaKey::Prandom | MetaKey::TimeNs));
    (!fickle).then_some(selector)
}

/// What the chains of a table may change.
#[derive(Debug)]
pub(super) struct Chains<'t> {
    chains: BTreeMap<&'t Name, &'t Chain>,
    /// The answer for each chain that was looked at: however many jumps lead to it, it is looked at once
    known: RefCell<BTreeMap<&'t Name, Option<Vec<Selector>>>>,
}

impl<'t> Chains<'t> {
    pub(super) fn of(table: &'t Table) -> Self {
        let chains = table.chains.iter().map(|chain| (&chain.name, chain)).collect();
        Self { chains, known: RefCell::default() }
    }

    /// What the chains that these actions lead into may change; `None` where they may do anything.
    pub(super) fn changes(&self, actions: &[Statement]) -> Option<Vec<Selector>> {
        let mut changes = Vec::new();
        self.add_targets(actions, &mut changes)?;
        Some(changes)
    }

    fn add_targets(&self, statements: &[Statement], changes: &mut Vec<Selector>) -> Option<()> {
        for name in statements.iter().flat_map(Statement::verdicts).filter_map(Verdict::chain) {
            for selector in self.of_chain(name)? {
                if !changes.contains(&selector) {
                    changes.push(selector);
                }
            }
        }
        Some(())
    }

    fn of_chain(&self, name: &Name) -> Option<Vec<Selector>> {
        let (&name, chain) = self.chains.get_key_value(name)?;
        if let Some(known) = self.known.borrow().get(name) {
            return known.clone();
        }
        // A chain that leads back to itself is not a ruleset; its answer is that it may do anything.
        self.known.borrow_mut().insert(name, None);
        let changes = self.of_rules(&chain.rules);
        self.known.borrow_mut().insert(name, changes.clone());
        changes
    }

    fn of_rules(&self, rules: &[Rule]) -> Option<Vec<Selector>> {
        let mut changes = Vec::new();
        for rule in rules {
            for statement in &rule.statements {
                match statement {
                    Statement::Match { .. } => drop(reads(statement)?),
                    Statement::Counter(_)
                    | Statement::Nat(_)
                    | Statement::Tproxy(_)
                    | Statement::Verdict(_)
                    | Statement::VerdictMap(_) => {}
                    Statement::Set { target, .. } => changes.push(*target),
                    _ => return None,
                }
            }
            self.add_targets(&rule.statements, &mut changes)?;
        }
        Some(changes)
    }
}
