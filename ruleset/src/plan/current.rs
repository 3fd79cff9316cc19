//! What a snapshot holds, as far as a plan looks at it.

use std::collections::{BTreeMap, HashMap, HashSet};

use nftwire::{DecodeError, ElementList, ObjectKind, TableFlags};

use super::Match;
use super::fingerprint::{Fingerprint, fingerprint, of_elements};
use crate::desired::Desired;
use crate::model::object::same_devices;
use crate::nft::decompile;
use crate::snapshot::{SetSnapshot, TableSnapshot};
use crate::{BaseChain, Chain, Family, Flowtable, Name, Object, Policy, Set, Table};

/// What the kernel holds of one table.
#[derive(Debug)]
pub(super) struct CurrentTable {
    pub(super) family: Family,
    pub(super) name: Name,
    /// `NFT_TABLE_F_*`
    pub(super) flags: u32,
    /// Whether its rules were not read because there are too many
    pub(super) is_crowded: bool,
    /// Its chains but those that belong to a rule and go with it
    pub(super) chains: Vec<CurrentChain>,
    /// The sets and maps that belong to no rule
    pub(super) named_sets: Vec<CurrentSet>,
    /// The counters, quotas and the like
    pub(super) objects: Vec<CurrentObject>,
    /// The flowtables
    pub(super) flowtables: Vec<CurrentFlowtable>,
}

/// What the kernel holds of a counter, a quota or the like.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CurrentObject {
    pub(super) kind: ObjectKind,
    pub(super) name: Name,
    /// Whether it is desired as it is
    pub(super) is_desired: bool,
}

/// What the kernel holds of a flowtable.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CurrentFlowtable {
    pub(super) name: Name,
    /// Whether it is desired as it is
    pub(super) is_desired: bool,
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
    /// The policy, if it is a base chain
    policy: Option<Policy>,
    /// The devices whose packets enter it
    devices: Vec<Name>,
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
            flags: table.table.flags,
            is_crowded: table.is_crowded,
            chains: Vec::new(),
            named_sets: named.map(|set| CurrentSet::new(&set.set, kept)).collect(),
            objects: Vec::new(),
            flowtables: Vec::new(),
            name,
        };
        let wanted = desired.ruleset().tables.iter().find(|wanted| current.is_same_table(wanted));
        for record in &table.objects {
            let message = record.message()?;
            let wire = nftwire::Object::decode(&message)?;
            let object = decompile::object(&wire);
            let is_desired =
                wanted.is_some_and(|table| table.objects.iter().any(|wanted| wanted.is_alike(&object)));
            current.objects.push(CurrentObject { kind: wire.data.kind(), name: object.name, is_desired });
        }
        for record in &table.flowtables {
            let message = record.message()?;
            let flowtable = decompile::flowtable(&nftwire::Flowtable::decode(&message)?);
            let is_desired =
                wanted.is_some_and(|table| table.flowtables.iter().any(|wanted| wanted.is_alike(&flowtable)));
            current.flowtables.push(CurrentFlowtable { name: flowtable.name, is_desired });
        }
        current.add_chains(table)?;
        // A reading without a proof may have something twice.
        let mut seen = HashSet::new();
        current.named_sets.retain(|set| seen.insert(set.name.clone()));
        current.objects.sort_unstable_by(|one, other| {
            (one.kind.number(), &one.name).cmp(&(other.kind.number(), &other.name))
        });
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
                policy: chain.base.map(|base| base.policy.unwrap_or(Policy::Accept)),
                devices: chain.devices.iter().map(decompile::device).collect(),
                handles: Vec::new(),
                fingerprints: Vec::new(),
            });
        }
        let sets = anonymous_sets(&table.sets)?;
        for rule in table.rules.decode(nftwire::Rule::decode) {
            let rule = rule?;
            let Some(&place) = places.get(rule.chain.as_bytes()) else { continue };
            let expressions: Vec<_> = rule.expressions().collect::<Result<_, _>>()?;
            let found = |name: &[u8], _| sets.get(name);
            let chain = &mut self.chains[place];
            chain.handles.push(rule.handle);
            chain.fingerprints.push(fingerprint(&expressions, rule.userdata, found));
        }
        Ok(())
    }

    pub(super) fn is_same_table(&self, desired: &Table) -> bool {
        self.family == desired.family && self.name == desired.name
    }

    /// Whether nothing differs from what is desired, for a table of nothing but chains and rules; for others this is false, and
    /// the long way says whether something does.
    pub(super) fn is_plainly(&self, desired: &Table, matches: &[Option<Match>]) -> bool {
        let Table { sets, objects, flowtables, anonymous, chains, flags, .. } = desired;
        let is_plain = sets.is_empty()
            && objects.is_empty()
            && flowtables.is_empty()
            && anonymous.is_empty()
            && self.named_sets.is_empty()
            && self.objects.is_empty()
            && self.flowtables.is_empty();
        let is_same = |(chain, matched): (&Chain, &Option<Match>)| {
            matched.as_ref().is_some_and(|matched| {
                let there = &self.chains[matched.current];
                let pairs = matched.pairs.len();
                there.is_same_chain(chain)
                    && there.policy == chain.base.as_ref().map(|base| base.policy)
                    && (pairs, pairs) == (there.handles.len(), chain.rules.len())
            })
        };
        is_plain
            && self.flags == *flags
            && self.chains.len() == chains.len()
            && chains.iter().zip(matches).all(is_same)
    }

    /// Whether there is a set of this name that stays.
    pub(super) fn keeps(&self, name: &Name) -> bool {
        self.named_sets.iter().any(|there| there.stays && there.name == *name)
    }

    /// Whether something that rules of this table can use has to go: rules that use it have to go before it.
    pub(super) fn replaces_used(&self, desired: &Table) -> bool {
        let Table { sets, objects, flowtables, .. } = desired;
        let set = |set: &Set| self.named_sets.iter().any(|there| !there.stays && there.name == set.name);
        let object = |object: &Object| {
            let kind = object.data.kind().number();
            let is_it = |there: &CurrentObject| there.kind.number() == kind && there.name == object.name;
            self.objects.iter().any(|there| !there.is_desired && is_it(there))
        };
        let flowtable = |flowtable: &Flowtable| {
            self.flowtables.iter().any(|there| !there.is_desired && there.name == flowtable.name)
        };
        sets.iter().any(set) || objects.iter().any(object) || flowtables.iter().any(flowtable)
    }

    /// Whether this table is active and is to be dormant, or the reverse.
    pub(super) fn changes_dormancy(&self, desired: &Table) -> bool {
        (self.flags ^ desired.flags) & TableFlags::DORMANT.0 != 0
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
    /// Whether this is the desired chain: the name, and for base chains what cannot be changed, or not on every kernel.
    pub(super) fn is_same_chain(&self, desired: &Chain) -> bool {
        let base = |base: &BaseChain| (base.kind.name().to_owned(), base.hook, base.priority);
        self.name == desired.name
            && self.base == desired.base.as_ref().map(base)
            && same_devices(&self.devices, &desired.devices)
    }
}

/// The elements of the anonymous sets, as far as they were read.
fn anonymous_sets(sets: &[SetSnapshot]) -> Result<BTreeMap<Name, Fingerprint>, DecodeError> {
    let mut prints = BTreeMap::new();
    for set in sets.iter().filter(|set| set.set.is_anonymous()) {
        let lists: Vec<_> = set.elements.decode(ElementList::decode).collect::<Result<_, _>>()?;
        let elements: Vec<_> = lists.iter().flat_map(ElementList::elements).collect::<Result<_, _>>()?;
        prints.insert(set.set.name.clone(), of_elements(elements.into_iter()));
    }
    Ok(prints)
}
