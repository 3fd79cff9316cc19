//! Snapshots as values: rules as statements, sets with their elements.

use std::collections::HashMap;
use std::thread;

use nftwire::{DecodeError, Dump};

use super::{SetSnapshot, TableSnapshot, chain};
use crate::nft::compile::compile_in;
use crate::nft::compile::original::OwnSets;
use crate::nft::decompile::{self, Decompiler, SetReader, Sets};
use crate::{Chain, Origin, Original, Rule, Set, SetOrigin, Table};

/// From how many datagrams of rules on a second thread saves more time than it costs, and how many are of use.
const DATAGRAMS_FOR_TWO: usize = 16;
const MOST_THREADS: usize = 4;

impl TableSnapshot {
    /// Its sets with those elements that were read, by their names.
    ///
    /// # Errors
    /// A record is not what the protocol says.
    pub fn decompiled_sets(&self) -> Result<Sets, DecodeError> {
        self.sets.iter().map(|set| Ok((set.set.name.clone(), set.decompile()?))).collect()
    }

    /// The table with all it holds but rules, and for each of its chains what `each` makes of the rules.
    ///
    /// # Errors
    /// A record is not what the protocol says.
    pub fn decompile<T: Default>(
        &self,
        each: impl Fn(&Table, &Chain, Rule, &mut T),
    ) -> Result<(Table, Vec<T>), DecodeError> {
        self.decompile_by(|table, sets| decompile_rules(table, sets, self.rules.messages(), &each))
    }

    /// As [`TableSnapshot::decompile`], on several threads where there are many rules; `join` adds to what was made of a chain's
    /// first rules what was made of those after them.
    ///
    /// # Errors
    /// As [`TableSnapshot::decompile`].
    pub(crate) fn decompile_in_pieces<T: Default + Send>(
        &self,
        each: impl Fn(&Table, &Chain, Rule, &mut T) + Sync,
        join: impl Fn(&mut T, T),
    ) -> Result<(Table, Vec<T>), DecodeError> {
        self.decompile_by(|table, sets| {
            let threads = match self.rules.datagrams() {
                0..DATAGRAMS_FOR_TWO => 1,
                _ => thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS),
            };
            let pieces = self.rules.split(threads);
            let Some((first, others)) = pieces.split_first() else {
                return decompile_rules(table, sets, self.rules.messages(), &each);
            };
            let make = &|piece: &Dump| decompile_rules(table, sets, piece.messages(), &each);
            thread::scope(|scope| {
                let start = |piece| thread::Builder::new().spawn_scoped(scope, move || make(piece)).ok();
                let others: Vec<_> = others.iter().map(|piece| (piece, start(piece))).collect();
                let mut made = make(first)?;
                for (piece, thread) in others {
                    let more = match thread.map(thread::ScopedJoinHandle::join) {
                        Some(Ok(more)) => more,
                        Some(Err(panic)) => std::panic::resume_unwind(panic),
                        // No more threads can be had.
                        None => make(piece),
                    };
                    made.iter_mut().zip(more?).for_each(|(made, more)| join(made, more));
                }
                Ok(made)
            })
        })
    }

    fn decompile_by<T>(
        &self,
        rules: impl FnOnce(&Table, &Sets) -> Result<Vec<T>, DecodeError>,
    ) -> Result<(Table, Vec<T>), DecodeError> {
        let mut table = self.without_sets_and_rules()?;
        let mut sets = self.decompiled_sets()?;
        if !table.anonymous.is_empty() {
            table.anonymous = self.anonymous_chains(&table, &sets)?;
        }
        let rules = rules(&table, &sets)?;
        table.sets = self.named(&mut sets);
        Ok((table, rules))
    }

    /// The table with all it holds, its rules and sets as they can be compiled.
    pub(super) fn loadable(&self) -> Result<Table, DecodeError> {
        let mut table = self.without_sets_and_rules()?;
        let mut sets = self.decompiled_sets()?;
        // The chains that belong to rules come last.
        let named = table.chains.len();
        let mut anonymous = std::mem::take(&mut table.anonymous);
        table.chains.append(&mut anonymous);
        let mut rules = Vec::new();
        each_rule(&table, &sets, self.rules.messages(), |place, wire, rule| {
            rules.push((place, *wire, rule));
        })?;
        table.sets = self.named(&mut sets);
        let own = OwnSets::new(&self.sets);
        for (place, wire, mut rule) in rules {
            rule.origin = origin(&table, &wire, &mut rule, &own)?;
            table.chains[place].rules.push(rule);
        }
        table.anonymous = table.chains.split_off(named);
        let snapshots: HashMap<_, _> = self.sets.iter().map(|set| (&set.set.name, set)).collect();
        for set in &mut table.sets {
            if let Some(snapshot) = snapshots.get(&set.name) {
                set.origin = SetOrigin::of(set, snapshot)?;
            }
        }
        Ok(table)
    }

    fn without_sets_and_rules(&self) -> Result<Table, DecodeError> {
        let mut table = self.table.clone();
        for record in &self.chains {
            let message = record.message()?;
            let wire = nftwire::Chain::decode(&message)?;
            let anonymous = wire.flags.contains(nftwire::ChainFlags::BINDING);
            if anonymous { &mut table.anonymous } else { &mut table.chains }.push(chain(&wire));
        }
        for record in &self.objects {
            table.objects.push(decompile::object(&nftwire::Object::decode(&record.message()?)?));
        }
        for record in &self.flowtables {
            table.flowtables.push(decompile::flowtable(&nftwire::Flowtable::decode(&record.message()?)?));
        }
        Ok(table)
    }

    /// Those of the sets that have a name, in the kernel's order.
    fn named(&self, sets: &mut Sets) -> Vec<Set> {
        let named = self.sets.iter().filter(|set| !set.set.is_anonymous());
        named.filter_map(|set| sets.remove(&set.set.name)).collect()
    }
}

/// How the rule is to be compiled so that the kernel holds the same again.
fn origin(
    table: &Table,
    wire: &nftwire::Rule<'_>,
    rule: &mut Rule,
    sets: &OwnSets<'_>,
) -> Result<Origin, DecodeError> {
    let first_set_id = 1;
    rule.origin = Origin::Written;
    let compiled = compile_in(table, rule, first_set_id);
    if let Ok(compiled) = &compiled
        && sets.are_same(wire, compiled, first_set_id)?
    {
        return Ok(Origin::Written);
    }
    Ok(match Original::keep(wire, &rule.statements, sets)? {
        Some(original) => Origin::Kernel(Box::new(original)),
        // Compiling it says why.
        None if compiled.is_err() => Origin::Written,
        None => Origin::Inexact,
    })
}

impl TableSnapshot {
    /// The chains that belong to one rule each, with their rules.
    fn anonymous_chains(&self, table: &Table, sets: &Sets) -> Result<Vec<Chain>, DecodeError> {
        let alone = Table { chains: table.anonymous.clone(), ..Table::new(table.family, table.name.clone()) };
        let keep = |_: &Table, _: &Chain, rule, rules: &mut Vec<Rule>| rules.push(rule);
        let rules = decompile_rules(&alone, sets, self.rules.messages(), &keep)?;
        let chains = alone.chains.into_iter().zip(rules);
        Ok(chains.map(|(chain, rules)| Chain { rules, ..chain }).collect())
    }
}

impl SetSnapshot {
    pub(super) fn decompile(&self) -> Result<Set, DecodeError> {
        let mut reader = SetReader::new(self.set.clone());
        for list in self.elements.decode(nftwire::ElementList::decode) {
            for element in list?.elements() {
                reader.add(&element?);
            }
        }
        Ok(reader.finish())
    }
}

/// What `each` makes of the rules in these messages, for each of a table's chains.
///
/// # Errors
/// A message is not what the protocol says.
pub fn decompile_rules<'m, T: Default>(
    table: &Table,
    sets: &Sets,
    messages: impl Iterator<Item = Result<nftwire::Message<'m>, DecodeError>>,
    each: &impl Fn(&Table, &Chain, Rule, &mut T),
) -> Result<Vec<T>, DecodeError> {
    let mut made: Vec<_> = table.chains.iter().map(|_| T::default()).collect();
    each_rule(table, sets, messages, |place, _, rule| {
        each(table, &table.chains[place], rule, &mut made[place]);
    })?;
    Ok(made)
}

/// Calls `each` with the number of each rule's chain, the rule as it was received and what it was decompiled to.
fn each_rule<'m>(
    table: &Table,
    sets: &Sets,
    messages: impl Iterator<Item = Result<nftwire::Message<'m>, DecodeError>>,
    mut each: impl FnMut(usize, &nftwire::Rule<'m>, Rule),
) -> Result<(), DecodeError> {
    let places: HashMap<_, _> =
        table.chains.iter().enumerate().map(|(index, chain)| (chain.name.as_text(), index)).collect();
    let mut decompiler = Decompiler::new(table.family, sets);
    let mut place = 0;
    for message in messages {
        let rule = nftwire::Rule::decode(&message?)?;
        if table.chains.get(place).is_none_or(|chain| chain.name.as_text() != rule.chain) {
            let Some(&index) = places.get(&rule.chain) else { continue };
            place = index;
        }
        each(place, &rule, decompiler.rule(&rule)?);
    }
    Ok(())
}
