//! What differs between the ruleset that is desired and the one that the kernel holds.
//!
//! Rules are compared by the kernel's own expressions, without counters' values and the names of anonymous sets. Handles
//! do not count. Sets with a name that others fill are compared by their kind alone: what is in them is for those to say.

use std::collections::HashMap;

use nftwire::DecodeError;

use super::current::{CurrentChain, CurrentTable, Same};
use super::listed::as_listed;
use super::matching::matching;
use super::{Match, Plan, PlanError};
use crate::model::object::same_devices;
use crate::snapshot::TableSnapshot;
use crate::{BaseChain, Chain, Family, Flowtable, Name, Object, Rule, Set, Table, Userdata};

/// How a table differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableDifference {
    /// It is desired, but missing
    Missing(Table),
    /// It exists, but is not desired
    Extra(Table),
    /// It exists, but differs from what is desired
    Changed(ChangedTable),
}

/// What differs in a table that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedTable {
    /// Its family
    pub family: Family,
    /// Its name
    pub name: Name,
    /// Its flags (`NFT_TABLE_F_*`) as they are desired and as they are, where they differ
    pub flags: Option<[u32; 2]>,
    /// What programs keep with it, where that differs
    pub kept: Option<KeptDifference>,
    /// Sets, maps, objects and flowtables that are not desired: nft's word for the kind, and the name
    pub extra: Vec<(String, Name)>,
    /// Objects and flowtables that are desired, but missing
    pub missing: Vec<(String, Name)>,
    /// Objects and flowtables that exist, but not as they are desired
    pub changed: Vec<(String, Name)>,
    /// Its sets that are desired, in their order
    pub sets: Vec<SetDifference>,
    /// Its chains: first those that are desired, in their order
    pub chains: Vec<ChainDifference>,
}

/// What programs keep with a table or a chain, as it is desired and as it is: comments, and what else there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptDifference {
    /// The comments
    pub comments: [Option<Name>; 2],
    /// What is more than a comment
    pub userdata: [Userdata; 2],
}

impl KeptDifference {
    fn of(comments: [&Option<Name>; 2], userdata: [&Userdata; 2]) -> Option<Self> {
        let differs = comments[0] != comments[1] || userdata[0] != userdata[1];
        differs.then(|| Self { comments: comments.map(Clone::clone), userdata: userdata.map(Clone::clone) })
    }
}

/// How a set with a name differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetDifference {
    /// It is desired, but missing
    Missing(Box<Set>),
    /// It exists as another kind: as desired, and as it is
    Changed(Box<[Set; 2]>),
    /// It exists with other elements, and no other program fills it: as desired, and as it is
    Elements(Box<[Set; 2]>),
}

/// How a chain differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainDifference {
    /// It is desired, but missing
    Missing(Chain),
    /// It exists, but is not desired
    Extra(Chain),
    /// It exists, but differs from what is desired
    Changed(ChangedChain),
}

/// What differs in a chain that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedChain {
    /// Its name
    pub name: Name,
    /// What makes it a base chain, as it is desired and as it is, where they differ
    pub base: Option<[Option<BaseChain>; 2]>,
    /// The devices whose packets enter it, as they are desired and as they are, where they differ
    pub devices: Option<[Vec<Name>; 2]>,
    /// Its flags (`NFT_CHAIN_*`), as they are desired and as they are, where they differ
    pub flags: Option<[u32; 2]>,
    /// What programs keep with it, where that differs
    pub kept: Option<KeptDifference>,
    /// Its rules, in the order of evaluation as far as there is one
    pub rules: Vec<RuleDifference>,
}

/// How a rule differs. Its numbers count from 1: its number among the desired rules, and among the current ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleDifference {
    /// It is desired, but missing
    Missing {
        /// Its number among the desired
        number: usize,
        /// The rule
        rule: Rule,
    },
    /// It exists, but is not desired
    Extra {
        /// Its number in the kernel's chain
        number: usize,
        /// The rule
        rule: Rule,
    },
    /// A similar rule is in its position
    Changed {
        /// Its number among the desired
        number: usize,
        /// The rule as it is desired
        desired: Rule,
        /// The number of the current rule
        found_number: usize,
        /// The current rule
        found: Rule,
    },
    /// It exists, but out of order
    Moved {
        /// Its number among the desired
        number: usize,
        /// Its number in the kernel's chain
        found_number: usize,
        /// The rule
        rule: Rule,
    },
}

impl Plan<'_> {
    /// What differs; nothing where the kernel holds what is desired.
    ///
    /// # Errors
    /// A record is not what the protocol says, or a desired rule has something that cannot be compiled.
    pub fn differences(&self) -> Result<Vec<TableDifference>, PlanError> {
        let there: Vec<_> = self
            .snapshot
            .tables()
            .iter()
            .zip(&self.current)
            .map(|(snapshot, current)| Ok((current, shown(snapshot, current)?)))
            .collect::<Result<_, DecodeError>>()?;
        let mut differences = Vec::new();
        for (table, matches) in self.desired.ruleset().tables.iter().zip(&self.matches) {
            match there.iter().find(|(current, _)| current.is_same_table(table)) {
                None => differences.push(TableDifference::Missing(table.clone())),
                Some((current, there)) => {
                    let changed = compare_table(table, matches, current, there)?;
                    differences.extend(changed.map(TableDifference::Changed));
                }
            }
        }
        let extra = there.into_iter().filter(|(current, _)| self.desired_table(current).is_none());
        let extra = extra.filter(|(current, _)| !current.has_only_sets_that_stay());
        differences.extend(extra.map(|(_, there)| TableDifference::Extra(there)));
        Ok(differences)
    }

    /// Whether the kernel holds what is desired: [`Plan::differences`] has none. Nothing is decompiled for it. A plan that was
    /// read without rules does not know, and neither does one of a crowded table: for both it is false.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let desired = &self.desired.ruleset().tables;
        let is_held = |(table, matches): (&Table, &Vec<Option<Match<'_>>>)| {
            let there = self.current.iter().find(|current| current.is_same_table(table));
            there.is_some_and(|there| there.holds(table, matches))
        };
        !self.has_undesired() && desired.iter().zip(&self.matches).all(is_held)
    }
}

/// A table as the kernel holds it, decompiled; its chains are those of `current`, in that order.
fn shown(snapshot: &TableSnapshot, current: &CurrentTable) -> Result<Table, DecodeError> {
    let keep = |_: &Table, _: &Chain, rule, rules: &mut Vec<Rule>| rules.push(rule);
    let (mut table, rules) = snapshot.decompile(keep)?;
    let chains = std::mem::take(&mut table.chains).into_iter().zip(rules);
    let mut chains: HashMap<_, _> =
        chains.map(|(chain, rules)| (chain.name.clone(), Chain { rules, ..chain })).collect();
    table.chains = current.chains.iter().filter_map(|chain| chains.remove(&chain.name)).collect();
    Ok(table)
}

fn compare_table(
    desired: &Table,
    matches: &[Option<Match<'_>>],
    current: &CurrentTable,
    there: &Table,
) -> Result<Option<ChangedTable>, PlanError> {
    let mut chains = Vec::new();
    for (chain, matched) in desired.chains.iter().zip(matches) {
        let Some(matched) = matched else {
            chains.push(ChainDifference::Missing(chain.clone()));
            continue;
        };
        let found = &there.chains[matched.current];
        let rules = compare_rules(desired, chain, found, &current.chains[matched.current], matched)?;
        let bases = [chain.base, found.base];
        let base = (bases[0] != bases[1]).then_some(bases);
        let devices = (!same_devices(&chain.devices, &found.devices))
            .then(|| [chain.devices.clone(), found.devices.clone()]);
        let flags = (chain.flags != found.flags).then_some([chain.flags, found.flags]);
        let kept = KeptDifference::of([&chain.comment, &found.comment], [&chain.userdata, &found.userdata]);
        let changed = ChangedChain { name: chain.name.clone(), base, devices, flags, kept, rules };
        if !changed.is_same() {
            chains.push(ChainDifference::Changed(changed));
        }
    }
    let unwanted = |there: &&Chain| !desired.chains.iter().any(|chain| chain.name == there.name);
    chains.extend(there.chains.iter().filter(unwanted).cloned().map(ChainDifference::Extra));
    let sets: Vec<_> = desired.sets.iter().filter_map(|set| compare_set(set, there, current)).collect();
    let mut parts = NamedParts::default();
    parts.compare_sets(desired, current, there);
    parts.compare(&desired.objects, &there.objects, Object::is_alike, |object| {
        (object.data.kind().name(), &object.name)
    });
    parts.compare(&desired.flowtables, &there.flowtables, Flowtable::is_alike, |flowtable| {
        ("flowtable", &flowtable.name)
    });
    let (family, name) = (desired.family, desired.name.clone());
    let flags = (desired.flags != current.flags).then_some([desired.flags, current.flags]);
    let kept = KeptDifference::of([&desired.comment, &there.comment], [&desired.userdata, &there.userdata]);
    let is_same = chains.is_empty() && sets.is_empty() && parts == NamedParts::default();
    let is_same = is_same && flags.is_none() && kept.is_none();
    let NamedParts { extra, missing, changed } = parts;
    Ok((!is_same).then_some(ChangedTable {
        family,
        name,
        flags,
        kept,
        extra,
        missing,
        changed,
        sets,
        chains,
    }))
}

impl ChangedChain {
    fn is_same(&self) -> bool {
        let Self { name: _, base, devices, flags, kept, rules } = self;
        base.is_none() && devices.is_none() && flags.is_none() && kept.is_none() && rules.is_empty()
    }
}

/// How a table differs in what it has besides chains and desired sets: nft's words for the kinds, and the names.
#[derive(Debug, Default, PartialEq, Eq)]
struct NamedParts {
    extra: Vec<(String, Name)>,
    missing: Vec<(String, Name)>,
    changed: Vec<(String, Name)>,
}

impl NamedParts {
    /// Sets that are neither desired nor stay anyway.
    fn compare_sets(&mut self, desired: &Table, current: &CurrentTable, there: &Table) {
        let expected =
            |name: &Name| current.keeps(name) || desired.sets.iter().any(|desired| desired.name == *name);
        self.extra.extend(there.sets.iter().filter(|set| !expected(&set.name)).map(|set| {
            let kind = if set.value.is_some() { "map" } else { "set" };
            (kind.to_owned(), set.name.clone())
        }));
    }

    fn compare<T>(
        &mut self,
        desired: &[T],
        there: &[T],
        is_alike: impl Fn(&T, &T) -> bool,
        identity: impl Fn(&T) -> (&'static str, &Name),
    ) {
        let named = |item: &T| {
            let (kind, name) = identity(item);
            (kind.to_owned(), name.clone())
        };
        for item in desired {
            match there.iter().find(|there| identity(there) == identity(item)) {
                None => self.missing.push(named(item)),
                Some(there) if !is_alike(item, there) => self.changed.push(named(item)),
                Some(_) => {}
            }
        }
        let unwanted = |there: &&T| !desired.iter().any(|item| identity(item) == identity(there));
        self.extra.extend(there.iter().filter(unwanted).map(named));
    }
}

fn compare_set(desired: &Set, there: &Table, current: &CurrentTable) -> Option<SetDifference> {
    let without_elements = |set: &Set| Set { elements: Vec::new(), ..set.clone() };
    let Some(found) = there.sets.iter().find(|set| set.name == desired.name) else {
        return Some(SetDifference::Missing(Box::new(without_elements(desired))));
    };
    if current.keeps(&desired.name) {
        return None;
    }
    match current.same_of_set(&desired.name) {
        Same::All => None,
        Same::Kind => Some(SetDifference::Elements(Box::new([desired, found].map(Clone::clone)))),
        Same::Nothing => Some(SetDifference::Changed(Box::new([desired, found].map(without_elements)))),
    }
}

/// A rule that has no equal in its place: the gap between equal rules that it is in, and its number from 0.
type Single = (usize, usize);

fn compare_rules(
    table: &Table,
    desired: &Chain,
    there: &Chain,
    current: &CurrentChain,
    matched: &Match<'_>,
) -> Result<Vec<RuleDifference>, PlanError> {
    let (mut missing, mut extra): (Vec<Single>, Vec<Single>) = (Vec::new(), Vec::new());
    let (mut old, mut new) = (0, 0);
    let end = (there.rules.len(), desired.rules.len());
    for (gap, &(old_stays, new_stays)) in matched.pairs.iter().chain([&end]).enumerate() {
        extra.extend((old..old_stays).map(|rule| (gap, rule)));
        missing.extend((new..new_stays).map(|rule| (gap, rule)));
        (old, new) = (old_stays + 1, new_stays + 1);
    }
    let mut differences = Vec::new();
    missing.retain(|&(_, rule)| {
        let is_it = |&(_, other): &Single| current.fingerprints[other] == matched.desired[rule];
        let Some(at) = extra.iter().position(is_it) else { return true };
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
    let words = |rule: &Rule| rule.to_string().split(' ').map(|word| word.as_bytes().to_vec()).collect();
    let (one, other): (Vec<_>, Vec<_>) = (words(one), words(other));
    2 * matching(&one, &other).len() > one.len().max(other.len())
}
