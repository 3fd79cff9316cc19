//! Where the rules of a table lead, and what they may do there.

use std::collections::{BTreeMap, BTreeSet};

use nftwire::uapi;

use super::fault::{Fault, Invalid};
use super::location;
use crate::model::statement::{NatKind, ObjectKind};
use crate::{
    Chain, ChainKind, Element, Expression, Hook, Name, Object, Rule, Set, SetValue, Statement, Table, Verdict,
};

pub(super) struct Walk<'a> {
    table: &'a Table,
    /// Those with a name, and those that belong to rules
    chains: Vec<&'a Chain>,
    /// Their numbers in this list
    numbers: BTreeMap<&'a Name, usize>,
    sets: BTreeSet<&'a Name>,
}

impl<'a> Walk<'a> {
    /// Of a table whose sets have these names.
    ///
    /// # Errors
    /// Two chains have the same name.
    pub(super) fn new(table: &'a Table, sets: BTreeSet<&'a Name>) -> Result<Self, Invalid> {
        let chains: Vec<_> = table.chains.iter().chain(&table.anonymous).collect();
        let mut numbers = BTreeMap::new();
        for (number, chain) in chains.iter().enumerate() {
            if numbers.insert(&chain.name, number).is_some() {
                return Err(Invalid { location: location(table, chain, None), fault: Fault::Duplicate });
            }
        }
        Ok(Self { table, chains, numbers, sets })
    }

    /// Looks at all of it.
    pub(super) fn all(&self) -> Result<(), Invalid> {
        self.maps()?;
        self.chains.iter().try_for_each(|chain| self.references(chain))?;
        self.anonymous()?;
        let targets: Vec<_> = self.chains.iter().map(|chain| self.targets(chain)).collect();
        self.nesting(&targets)?;
        self.statements(&targets)
    }

    /// Looks at what each rule refers to.
    fn references(&self, chain: &Chain) -> Result<(), Invalid> {
        for (index, rule) in chain.rules.iter().enumerate() {
            let fail = |fault| Err(Invalid { location: location(self.table, chain, Some(index)), fault });
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

    /// Whether one rule leads to each of the chains that belong to rules.
    fn anonymous(&self) -> Result<(), Invalid> {
        if self.table.anonymous.is_empty() {
            return Ok(());
        }
        let jumps: Vec<_> = self.chains.iter().flat_map(|chain| &chain.rules).flat_map(jumps).collect();
        for chain in &self.table.anonymous {
            let rules = jumps.iter().filter(|name| ***name == chain.name).count();
            if rules != 1 {
                let fault = Fault::AnonymousChain { name: chain.name.clone(), rules };
                return Err(Invalid { location: self.table.to_string(), fault });
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
                return Err(Invalid { location: format!("set {} in {}", set.name, self.table), fault });
            }
        }
        Ok(())
    }

    fn wrong_target(&self, name: &Name) -> Option<Fault> {
        match self.numbers.get(name) {
            None => Some(Fault::MissingChain(name.clone())),
            Some(&target) if self.chains[target].base.is_some() => Some(Fault::JumpToBase(name.clone())),
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

    /// The numbers of the chains that `chain` jumps to, also by maps.
    fn targets(&self, chain: &Chain) -> Vec<usize> {
        let mut targets = Vec::new();
        for rule in &chain.rules {
            targets.extend(jumps(rule).filter_map(|name| self.numbers.get(name)));
            for statement in &rule.statements {
                statement.each_set_name(&mut |name| {
                    let map = self.table.sets.iter().filter(|set| set.name == *name);
                    targets.extend(map.flat_map(targets_of).filter_map(|name| self.numbers.get(name)));
                });
            }
        }
        targets
    }

    /// Looks for loops, and for jumps nested deeper than the kernel's stack. Each chain's depth is computed once, so
    /// that the time grows with the number of jumps and not with the number of paths.
    fn nesting(&self, targets: &[Vec<usize>]) -> Result<(), Invalid> {
        let mut depths = vec![0; targets.len()];
        for chain in 0..targets.len() {
            let fail = |chain: usize, fault| {
                Err(Invalid { location: location(self.table, self.chains[chain], None), fault })
            };
            match self.depth(chain, targets, &mut Vec::new(), &mut depths) {
                Err((chain, fault)) => return fail(chain, fault),
                Ok(depth) if depth > uapi::NFT_JUMP_STACK_SIZE => {
                    let mut deepest = chain;
                    for _ in 0..uapi::NFT_JUMP_STACK_SIZE {
                        let next = targets[deepest].iter().copied();
                        deepest = next.max_by_key(|target| depths[*target]).unwrap_or(deepest);
                    }
                    return fail(deepest, Fault::Depth);
                }
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// How many chains a packet can be in at once that enters `chain`, which was reached over those in `path`; 0 in `depths` is
    /// not known yet.
    fn depth(
        &self,
        chain: usize,
        targets: &[Vec<usize>],
        path: &mut Vec<usize>,
        depths: &mut [usize],
    ) -> Result<usize, (usize, Fault)> {
        if depths[chain] > 0 {
            return Ok(depths[chain]);
        }
        if let Some(start) = path.iter().position(|before| *before == chain) {
            let names: Vec<_> =
                path[start..].iter().map(|chain| self.chains[*chain].name.to_string()).collect();
            return Err((chain, Fault::Loop(names.join(" -> "))));
        }
        // Nothing deeper is loaded, so nothing deeper needs to be followed.
        if path.len() > 2 * uapi::NFT_JUMP_STACK_SIZE {
            return Err((chain, Fault::Depth));
        }
        path.push(chain);
        let mut depth = 0;
        for target in &targets[chain] {
            depth = depth.max(self.depth(*target, targets, path, depths)?);
        }
        path.pop();
        depths[chain] = depth + 1;
        Ok(depth + 1)
    }

    /// Compares the statements that can be reached with what the base chains' types and hooks allow. Base chains of the
    /// same type and hook allow the same, so that a chain is looked at once for each of these.
    fn statements(&self, targets: &[Vec<usize>]) -> Result<(), Invalid> {
        let mut reached = BTreeSet::new();
        for (number, from) in self.table.chains.iter().enumerate() {
            let Some(base) = from.base else { continue };
            let mut rest = vec![number];
            while let Some(number) = rest.pop() {
                if !reached.insert((base.kind.name(), base.hook, number)) {
                    continue;
                }
                let chain = self.chains[number];
                for (index, rule) in chain.rules.iter().enumerate() {
                    if let Some(fault) = misplaced(rule, from) {
                        return Err(Invalid { location: location(self.table, chain, Some(index)), fault });
                    }
                }
                rest.extend(&targets[number]);
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
