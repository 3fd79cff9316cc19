//! What a snapshot holds, as far as a plan looks at it.

use std::collections::{BTreeMap, HashMap, HashSet};

use nftwire::{DecodeError, ElementList, ObjectKind, SetFlags, TableFlags};

use super::fingerprint::{Fingerprint, fingerprint, key};
use crate::desired::Desired;
use crate::nft::compile::SetKey;
use crate::snapshot::{SetSnapshot, TableSnapshot};
use crate::{BaseChain, Chain, Family, Name, Set, Table};

/// What the kernel holds of one table.
#[derive(Debug)]
pub(super) struct CurrentTable {
    pub(super) family: Family,
    pub(super) name: Name,
    /// Its base chains see no packets
    pub(super) dormant: bool,
    /// Its chains but those that belong to a rule and go with it
    pub(super) chains: Vec<CurrentChain>,
    /// The sets and maps that belong to no rule
    pub(super) named_sets: Vec<CurrentSet>,
    /// Kinds and names of the counters, quotas and the like
    pub(super) objects: Vec<(ObjectKind, Name)>,
    /// Names of the flowtables
    pub(super) flowtables: Vec<Name>,
}

/// What the kernel holds of one set or map that belongs to no rule.
#[derive(Debug)]
pub(super) struct CurrentSet {
    pub(super) name: Name,
    /// Whether it is one of those that others fill, of the same kind, and stays with its elements
    pub(super) stays: bool,
}

/// What the kernel holds of one chain.
#[derive(Debug)]
pub(super) struct CurrentChain {
    pub(super) name: Name,
    /// Its type, hook and priority, if it is a base chain
    base: Option<(String, nftwire::Hook, i32)>,
    pub(super) handles: Vec<u64>,
    /// Of the rules, in the same order
    pub(super) fingerprints: Vec<Fingerprint>,
}

impl CurrentTable {
    pub(super) fn new(table: &TableSnapshot, desired: Desired<'_>) -> Result<Self, DecodeError> {
        let (family, name) = (table.table.family, table.table.name.clone());
        let kept = desired.kept_sets(family, name.as_text());
        let named = table.sets.iter().filter(|set| !set.set.is_anonymous());
        let mut current = Self {
            family,
            dormant: table.table.flags & TableFlags::DORMANT.0 != 0,
            chains: Vec::new(),
            named_sets: named.map(|set| CurrentSet::new(&set.set, kept)).collect(),
            objects: Vec::new(),
            flowtables: Vec::new(),
            name,
        };
        for record in &table.objects {
            let message = record.message()?;
            let object = nftwire::Object::decode(&message)?;
            current.objects.push((object.data.kind(), object.name.to_name()));
        }
        for record in &table.flowtables {
            let message = record.message()?;
            current.flowtables.push(nftwire::Flowtable::decode(&message)?.name.to_name());
        }
        current.add_chains(table)?;
        // A reading without a proof may have something twice.
        let mut seen = HashSet::new();
        current.named_sets.retain(|set| seen.insert(set.name.clone()));
        current
            .objects
            .sort_unstable_by(|one, other| (one.0.number(), &one.1).cmp(&(other.0.number(), &other.1)));
        current.objects.dedup();
        current.flowtables.dedup();
        Ok(current)
    }

    fn add_chains(&mut self, table: &TableSnapshot) -> Result<(), DecodeError> {
        let mut places = HashMap::new();
        for record in &table.chains {
            let message = record.message()?;
            let chain = nftwire::Chain::decode(&message)?;
            if chain.flags.contains(nftwire::ChainFlags::BINDING)
                || places.contains_key(&chain.name.to_name())
            {
                continue;
            }
            places.insert(chain.name.to_name(), self.chains.len());
            self.chains.push(CurrentChain {
                name: chain.name.to_name(),
                base: chain.base.map(|base| (base.kind.to_owned(), base.hook, base.priority)),
                handles: Vec::new(),
                fingerprints: Vec::new(),
            });
        }
        let sets = keys_of_profiles(&table.sets)?;
        for rule in table.rules.decode(nftwire::Rule::decode) {
            let rule = rule?;
            let Some(&place) = places.get(rule.chain.as_bytes()) else { continue };
            let expressions: Vec<_> = rule.expressions().collect::<Result<_, _>>()?;
            let found = |lookup: &nftwire::expr::Lookup<'_>| sets.get(lookup.set.as_bytes());
            let chain = &mut self.chains[place];
            chain.handles.push(rule.handle);
            chain.fingerprints.push(fingerprint(&expressions, rule.userdata, found));
        }
        Ok(())
    }

    pub(super) fn is_same_table(&self, desired: &Table) -> bool {
        self.family == desired.family && self.name == desired.name
    }

    /// Whether there is a set of this name that stays.
    pub(super) fn keeps(&self, name: &Name) -> bool {
        self.named_sets.iter().any(|there| there.stays && there.name == *name)
    }

    /// Whether there is a set of this one's name, and it does not stay.
    pub(super) fn has_other(&self, set: &Set) -> bool {
        self.named_sets.iter().any(|there| !there.stays && there.name == set.name)
    }

    /// The chains that are none of these.
    pub(super) fn chains_but(&self, desired: &[Chain]) -> impl Iterator<Item = &CurrentChain> {
        let desired: HashMap<_, _> = desired.iter().map(|chain| (chain.name.as_text(), chain)).collect();
        self.chains.iter().filter(move |there| {
            desired.get(&there.name.as_text()).is_none_or(|desired| !there.is_same_chain(desired))
        })
    }

    /// Whether it is what a removal leaves.
    pub(super) fn has_only_sets_that_stay(&self) -> bool {
        let nothing_else = self.chains.is_empty() && self.objects.is_empty() && self.flowtables.is_empty();
        nothing_else && !self.named_sets.is_empty() && self.named_sets.iter().all(|set| set.stays)
    }
}

impl CurrentSet {
    fn new(set: &Set, kept: &[Set]) -> Self {
        let stays = kept.iter().any(|kept| kept.name == set.name && kept.is_alike(set));
        Self { name: set.name.clone(), stays }
    }
}

impl CurrentChain {
    /// Whether this is the desired chain: the name, and for base chains what cannot be changed.
    pub(super) fn is_same_chain(&self, desired: &Chain) -> bool {
        let base = |base: &BaseChain| (base.kind.name().to_owned(), base.hook, base.priority);
        self.name == desired.name && self.base == desired.base.as_ref().map(base)
    }
}

/// The elements, ascending, of the anonymous sets that profiles make, as far as they were read.
fn keys_of_profiles(sets: &[SetSnapshot]) -> Result<BTreeMap<Name, Vec<SetKey>>, DecodeError> {
    let kinds = [SetFlags::default(), SetFlags::INTERVAL, SetFlags::MAP, SetFlags::INTERVAL | SetFlags::MAP];
    let of_profiles = kinds.map(|kind| (SetFlags::ANONYMOUS | SetFlags::CONSTANT | kind).0);
    let mut keys = BTreeMap::new();
    for set in sets.iter().filter(|set| of_profiles.contains(&set.set.flags)) {
        let mut elements = Vec::new();
        for list in set.elements.decode(ElementList::decode) {
            for element in list?.elements() {
                elements.push(key(element?));
            }
        }
        elements.sort_by(|one, other| one.place().cmp(&other.place()));
        keys.insert(set.set.name.clone(), elements);
    }
    Ok(keys)
}
