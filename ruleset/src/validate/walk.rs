//! Where the rules of a table lead, and what they may do there.

use std::collections::{BTreeMap, BTreeSet};

use nftwire::uapi;

use super::fault::{Fault, Invalid};
use super::location;
use crate::model::statement::{NatKind, ObjectKind};
use crate::nft::compile::compile_in;
use crate::{
    Chain, ChainKind, Element, Expression, Hook, Name, Object, Rule, Set, SetValue, Statement, Table, Verdict,
};

pub(super) struct Walk<'a> {
    pub(super) table: &'a Table,
    pub(super) chains: BTreeMap<&'a Name, &'a Chain>,
    pub(super) sets: BTreeSet<&'a Name>,
}

impl<'a> Walk<'a> {
    /// Looks at each rule by itself.
    pub(super) fn rules(&self, chain: &Chain) -> Result<(), Invalid> {
        for (index, rule) in chain.rules.iter().enumerate() {
            let fail = |fault| Err(Invalid { location: location(self.table, chain, Some(index)), fault });
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

    /// Whether one rule leads to each of the chains that belong to rules.
    pub(super) fn anonymous(&self) -> Result<(), Invalid> {
        let all = self.table.chains.iter().chain(&self.table.anonymous);
        let jumps: Vec<_> = all.flat_map(|chain| &chain.rules).flat_map(jumps).collect();
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
    pub(super) fn maps(&self) -> Result<(), Invalid> {
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
    pub(super) fn nesting(&self) -> Result<(), Invalid> {
        let mut depths = BTreeMap::new();
        for chain in self.table.chains.iter().chain(&self.table.anonymous) {
            let fail = |chain, fault| Err(Invalid { location: location(self.table, chain, None), fault });
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
    pub(super) fn statements(&self) -> Result<(), Invalid> {
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
                        return Err(Invalid { location: location(self.table, chain, Some(index)), fault });
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
