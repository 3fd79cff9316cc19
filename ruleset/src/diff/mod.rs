//! What differs between the ruleset that is desired and the one that the kernel holds.
//!
//! Rules are compared by what [`update`] compares them by: the kernel's own expressions, without
//! counters' values and the names of anonymous sets. Handles and comments of tables and chains do not count. Sets with a
//! name are compared by their kind alone: what is in them is for those to say who fill them.

mod listed;

use std::collections::HashMap;

use nftwire::{Error, Reader, Socket};
use similar::{Algorithm, DiffOp, capture_diff_slices};

use self::listed::as_listed;
use super::update::{self, ExistingTable, Fingerprint, desired_fingerprint};
use crate::nft::compile::NotCompiled;
use crate::nft::decompile::{self, Decompiler};
use crate::{BaseChain, Chain, Family, Name, Rule, Ruleset, Set, Table, listing};

/// What the kernel holds of a profile's tables.
#[derive(Debug, Default)]
pub struct Held {
    tables: Vec<HeldTable>,
}

/// A table as the kernel holds it.
#[derive(Debug)]
struct HeldTable {
    /// All of it, decompiled; its chains in the order of `rules`
    table: Table,
    /// The fingerprints of the rules, chain by chain
    fingerprints: Vec<Vec<Fingerprint>>,
    /// The names of the sets that stay whether they are desired or not
    sets_that_stay: Vec<Name>,
}

/// How a table differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableDifference {
    /// It is desired, and not there
    Missing(Table),
    /// It is there, and not desired
    Extra(Table),
    /// It is there and not as it is desired
    Changed(ChangedTable),
}

/// What differs in a table that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedTable {
    /// Its family
    pub family: Family,
    /// Its name
    pub name: Name,
    /// Whether its base chains see no packets
    pub dormant: bool,
    /// Sets, maps, objects and flowtables that are not desired: nft's word for the kind, and the name
    pub extra: Vec<(String, Name)>,
    /// Its sets that are desired, in their order
    pub sets: Vec<SetDifference>,
    /// Its chains: first those that are desired, in their order
    pub chains: Vec<ChainDifference>,
}

/// How a set with a name differs. The elements are not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetDifference {
    /// It is desired, and not there
    Missing(Box<Set>),
    /// It is there and of another kind: as it is desired, and as it is
    Changed(Box<[Set; 2]>),
}

/// How a chain differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainDifference {
    /// It is desired, and not there
    Missing(Chain),
    /// It is there, and not desired
    Extra(Chain),
    /// It is there and not as it is desired
    Changed(ChangedChain),
}

/// What differs in a chain that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedChain {
    /// Its name
    pub name: Name,
    /// What makes it a base chain, as it is desired and as it is, where they differ
    pub base: Option<[Option<BaseChain>; 2]>,
    /// Its rules, in the order of evaluation as far as there is one
    pub rules: Vec<RuleDifference>,
}

/// How a rule differs. Its numbers count from 1: that among the desired rules and that among those that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleDifference {
    /// It is desired, and not there
    Missing {
        /// Its number among the desired
        number: usize,
        /// The rule
        rule: Rule,
    },
    /// It is there, and not desired
    Extra {
        /// Its number in the kernel's chain
        number: usize,
        /// The rule
        rule: Rule,
    },
    /// Something like it is there in its place
    Changed {
        /// Its number among the desired
        number: usize,
        /// The rule as it is desired
        desired: Rule,
        /// The number of the one that is there
        found_number: usize,
        /// The one that is there
        found: Rule,
    },
    /// It is there, out of order
    Moved {
        /// Its number among the desired
        number: usize,
        /// Its number in the kernel's chain
        found_number: usize,
        /// The rule
        rule: Rule,
    },
}

/// Reads the tables of `owned`, of one generation.
///
/// # Errors
/// Those of reading; [`Error::GenerationChanged`] if the ruleset does not stand still for 10 seconds.
pub fn read(socket: &mut Socket, owned: &Ruleset) -> Result<Held, Error> {
    let read = |reader: &mut Reader<'_>| {
        let existing = update::read(reader, owned, true)?;
        existing.into_iter().map(|table| read_table(reader, table)).collect::<Result<_, _>>()
    };
    socket.consistent(read).map(|(_, tables)| Held { tables })
}

/// What the fingerprints do not tell of a table: its rules as statements, its base chains' policies, and what it has
/// beside chains.
fn read_table(socket: &mut Reader<'_>, existing: ExistingTable) -> Result<HeldTable, Error> {
    let (family, name) = (existing.family, existing.name);
    let mut table = Table::new(family, &name);
    socket.tables(family, |found| {
        if found.name == name {
            table = listing::table(&found);
        }
        Ok(())
    })?;
    let (mut sets, named) = listing::read_sets(socket, family, &name)?;
    let mut rules = HashMap::new();
    let mut decompiler = Decompiler::new(family, &sets);
    socket.rules(family, &name, |rule| {
        rules.insert(rule.handle, decompiler.rule(&rule)?);
        Ok(())
    })?;
    let mut chains = HashMap::new();
    socket.chains(family, |chain| {
        if chain.table == name {
            chains.insert(chain.name.to_name(), listing::chain(&chain));
        }
        Ok(())
    })?;
    socket.objects(family, Some(name.as_text()), None, |object| {
        table.objects.push(decompile::object(&object));
        Ok(())
    })?;
    socket.flowtables(family, Some(name.as_text()), |flowtable| {
        table.flowtables.push(decompile::flowtable(&flowtable));
        Ok(())
    })?;
    table.sets = named.iter().filter_map(|name| sets.remove(name)).collect();

    let staying = existing.named_sets.into_iter().filter(|set| set.stays);
    let sets_that_stay = staying.map(|set| set.name).collect();
    let mut fingerprints = Vec::new();
    for existing in existing.chains {
        let mut chain = chains.remove(&existing.name).unwrap_or_default();
        chain.rules = existing.rules.iter().filter_map(|rule| rules.remove(&rule.handle)).collect();
        table.chains.push(chain);
        fingerprints.push(existing.rules.into_iter().map(|rule| rule.fingerprint).collect());
    }
    Ok(HeldTable { table, fingerprints, sets_that_stay })
}

/// What differs; nothing where the kernel holds what is desired.
///
/// # Errors
/// A desired rule has something that only can be shown.
pub fn compare(desired: &Ruleset, held: &Held) -> Result<Vec<TableDifference>, NotCompiled> {
    let mut differences = Vec::new();
    for table in &desired.tables {
        match held.tables.iter().find(|there| there.table.is_same_table(table)) {
            None => differences.push(TableDifference::Missing(table.clone())),
            Some(there) => differences.extend(compare_table(table, there)?.map(TableDifference::Changed)),
        }
    }
    let unwanted = |there: &&HeldTable| !desired.tables.iter().any(|table| there.table.is_same_table(table));
    let extra = held.tables.iter().filter(unwanted).filter(|there| !there.has_only_sets_that_stay());
    differences.extend(extra.map(|there| TableDifference::Extra(there.table.clone())));
    Ok(differences)
}

fn compare_table(desired: &Table, held: &HeldTable) -> Result<Option<ChangedTable>, NotCompiled> {
    let there = &held.table;
    let mut chains = Vec::new();
    for chain in &desired.chains {
        match there.chains.iter().position(|there| there.name == chain.name) {
            None => chains.push(ChainDifference::Missing(chain.clone())),
            Some(index) => {
                let rules = compare_rules(desired, chain, &there.chains[index], &held.fingerprints[index])?;
                let bases = [chain.base, there.chains[index].base];
                let base = (bases[0] != bases[1]).then_some(bases);
                if base.is_some() || !rules.is_empty() {
                    let name = chain.name.clone();
                    chains.push(ChainDifference::Changed(ChangedChain { name, base, rules }));
                }
            }
        }
    }
    let unwanted = |there: &&Chain| !desired.chains.iter().any(|chain| chain.name == there.name);
    chains.extend(there.chains.iter().filter(unwanted).cloned().map(ChainDifference::Extra));
    let dormant = there.flags & nftwire::TableFlags::DORMANT.0 != 0;
    let sets: Vec<_> = desired.sets.iter().filter_map(|set| compare_set(set, there)).collect();
    let extra = extra_beside_chains(desired, held);
    let (family, name) = (desired.family, desired.name.clone());
    let same = chains.is_empty() && sets.is_empty() && extra.is_empty() && !dormant;
    Ok((!same).then_some(ChangedTable { family, name, dormant, extra, sets, chains }))
}

impl HeldTable {
    /// Whether it is what a removal leaves.
    fn has_only_sets_that_stay(&self) -> bool {
        let table = &self.table;
        let stays = |set: &Set| self.sets_that_stay.contains(&set.name);
        let nothing_else = table.chains.is_empty() && table.objects.is_empty() && table.flowtables.is_empty();
        nothing_else && !table.sets.is_empty() && table.sets.iter().all(stays)
    }
}

fn compare_set(desired: &Set, there: &Table) -> Option<SetDifference> {
    let without_elements = |set: &Set| Set { elements: Vec::new(), ..set.clone() };
    match there.sets.iter().find(|set| set.name == desired.name) {
        None => Some(SetDifference::Missing(Box::new(without_elements(desired)))),
        Some(found) if found.is_alike(desired) => None,
        Some(found) => Some(SetDifference::Changed(Box::new([desired, found].map(without_elements)))),
    }
}

/// What a table has beside chains that is neither desired nor stays anyway.
fn extra_beside_chains(desired: &Table, held: &HeldTable) -> Vec<(String, Name)> {
    let table = &held.table;
    let expected = |name: &Name| {
        held.sets_that_stay.contains(name) || desired.sets.iter().any(|desired| desired.name == *name)
    };
    let sets = table.sets.iter().filter(|set| !expected(&set.name)).map(|set| {
        let kind = if set.value.is_some() { "map" } else { "set" };
        (kind.to_owned(), set.name.clone())
    });
    let objects =
        table.objects.iter().map(|object| (object.data.kind().name().to_owned(), object.name.clone()));
    let flowtables = table.flowtables.iter().map(|table| ("flowtable".to_owned(), table.name.clone()));
    sets.chain(objects).chain(flowtables).collect()
}

/// A rule that has no equal in its place: the gap between equal rules that it stands in, and its number from 0.
type Single = (usize, usize);

fn compare_rules(
    table: &Table,
    desired: &Chain,
    there: &Chain,
    held: &[Fingerprint],
) -> Result<Vec<RuleDifference>, NotCompiled> {
    let wanted_prints: Vec<Fingerprint> =
        desired.rules.iter().map(|rule| desired_fingerprint(table.family, rule)).collect::<Result<_, _>>()?;
    let (mut missing, mut extra): (Vec<Single>, Vec<Single>) = (Vec::new(), Vec::new());
    for (gap, op) in capture_diff_slices(Algorithm::Myers, held, &wanted_prints).iter().enumerate() {
        if !matches!(op, DiffOp::Equal { .. }) {
            extra.extend(op.old_range().map(|rule| (gap, rule)));
            missing.extend(op.new_range().map(|rule| (gap, rule)));
        }
    }
    let mut differences = Vec::new();
    missing.retain(|&(_, rule)| {
        let Some(at) = extra.iter().position(|&(_, other)| held[other] == wanted_prints[rule]) else {
            return true;
        };
        let (_, found) = extra.remove(at);
        let (number, rule) = (rule + 1, there.rules[found].clone());
        differences.push((number, RuleDifference::Moved { number, found_number: found + 1, rule }));
        false
    });
    for (gap, index) in missing {
        let (number, rule) = (index + 1, as_listed(table, &desired.rules[index])?);
        let like = extra.iter().position(|&(other, found)| other == gap && alike(&rule, &there.rules[found]));
        let difference = match like.map(|at| extra.remove(at)) {
            Some((_, found)) => RuleDifference::Changed {
                number,
                desired: rule,
                found_number: found + 1,
                found: there.rules[found].clone(),
            },
            None => RuleDifference::Missing { number, rule },
        };
        differences.push((number, difference));
    }
    for (_, found) in extra {
        let (number, rule) = (found + 1, there.rules[found].clone());
        differences.push((number, RuleDifference::Extra { number, rule }));
    }
    differences.sort_by_key(|(number, _)| *number);
    Ok(differences.into_iter().map(|(_, difference)| difference).collect())
}

/// Whether a person would call one a changed form of the other: most of their words are the same.
fn alike(one: &Rule, other: &Rule) -> bool {
    let (one, other) = (one.to_string(), other.to_string());
    let (one, other): (Vec<_>, Vec<_>) = (one.split(' ').collect(), other.split(' ').collect());
    let ops = capture_diff_slices(Algorithm::Myers, &one, &other);
    let equal: usize =
        ops.iter().filter(|op| matches!(op, DiffOp::Equal { .. })).map(|op| op.old_range().len()).sum();
    2 * equal > one.len().max(other.len())
}
