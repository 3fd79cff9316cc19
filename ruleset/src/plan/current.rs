//! What a snapshot holds, as far as a plan looks at it.

use std::collections::{BTreeMap, HashMap, HashSet};

use nftwire::{DecodeError, ElementList, ObjectKind, TableFlags, uapi};

use super::Match;
use super::fingerprint::{
    Fingerprint, fingerprint, of_elements, of_expressions, of_rules, of_volatile_element,
};
use crate::desired::Desired;
use crate::model::object::same_devices;
use crate::nft::compile::{NamedSet, SetKey};
use crate::nft::decompile;
use crate::snapshot::{SetSnapshot, TableSnapshot};
use crate::{BaseChain, Chain, Family, Flowtable, Name, Object, Policy, Set, Table, Text, Userdata};

/// What the kernel holds of one table.
#[derive(Debug)]
pub(super) struct CurrentTable {
    pub(super) family: Family,
    pub(super) name: Name,
    /// `NFT_TABLE_F_*`
    pub(super) flags: u32,
    /// What programs keep with it
    kept: Kept,
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
    /// What it has of the desired set of its name, where it was compared
    pub(super) same: Same,
}

/// What two sets have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Same {
    /// Nothing that is known
    Nothing,
    /// All but the elements
    Kind,
    /// All; elements that come and go by themselves do not count
    All,
}

/// What programs keep with a table or a chain, which the kernel never changes (`nf_tables_updtable` and
/// `nf_tables_updchain` in net/netfilter/nf_tables_api.c, Linux 6.18).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    comment: Option<Name>,
    userdata: Userdata,
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
    /// `NFT_CHAIN_*`
    flags: u32,
    /// What programs keep with it
    kept: Kept,
    pub(super) handles: Vec<u64>,
    /// Of the rules, in the same order
    pub(super) fingerprints: Vec<Fingerprint>,
}

impl CurrentTable {
    /// `compared` says whether the elements of sets were read. By itself, since a first run finds no table, and has no use for the
    /// six KiB of stack that reading one takes.
    #[inline(never)]
    pub(super) fn new(
        table: &TableSnapshot,
        desired: Desired<'_>,
        compared: bool,
    ) -> Result<Self, DecodeError> {
        let (family, name) = (table.table.family, table.table.name.clone());
        let kept = desired.kept_sets(family, name.as_text());
        let named = table.sets.iter().filter(|set| !set.set.is_anonymous());
        let wanted = desired.ruleset().tables.iter().find(|wanted| wanted.is_same_table(&table.table));
        let compared = wanted.filter(|_| compared && !table.is_crowded);
        let mut current = Self {
            family,
            flags: table.table.flags,
            is_crowded: table.is_crowded,
            chains: Vec::new(),
            kept: Kept::of(&table.table.comment, &table.table.userdata),
            named_sets: named.map(|set| CurrentSet::new(set, kept, compared)).collect::<Result<_, _>>()?,
            objects: Vec::new(),
            flowtables: Vec::new(),
            name,
        };
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
        let mut own = OwnChains::default();
        for record in &table.chains {
            let message = record.message()?;
            let chain = nftwire::Chain::decode(&message)?;
            if chain.flags.contains(nftwire::ChainFlags::BINDING) {
                own.0.insert(chain.name.to_name(), Vec::new());
                continue;
            }
            if places.contains_key(&chain.name.to_name()) {
                continue;
            }
            places.insert(chain.name.to_name(), self.chains.len());
            let model = crate::snapshot::chain(&chain);
            self.chains.push(CurrentChain {
                base: chain.base.map(|base| (base.kind.to_owned(), base.hook, base.priority)),
                policy: chain.base.map(|base| base.policy.unwrap_or(Policy::Accept)),
                flags: model.flags,
                kept: Kept::of(&model.comment, &model.userdata),
                name: model.name,
                devices: model.devices,
                handles: Vec::new(),
                fingerprints: Vec::new(),
            });
        }
        if !own.0.is_empty() {
            for rule in table.rules.decode(nftwire::Rule::decode) {
                let rule = rule?;
                own.0.get_mut(rule.chain.as_bytes()).into_iter().for_each(|rules| rules.push(rule));
            }
        }
        let sets = anonymous_sets(&table.sets)?;
        for rule in table.rules.decode(nftwire::Rule::decode) {
            let rule = rule?;
            let Some(&place) = places.get(rule.chain.as_bytes()) else { continue };
            let chain = &mut self.chains[place];
            chain.handles.push(rule.handle);
            chain.fingerprints.push(own.fingerprint(&rule, &sets, 0)?);
        }
        Ok(())
    }

    pub(super) fn is_same_table(&self, desired: &Table) -> bool {
        self.family == desired.family && self.name == desired.name
    }

    /// Whether nothing differs from what is desired, if nothing [has to go](Self::has_undesired): of the rules, the comparison in
    /// `matches` says so, and of all else what was noted when it was read.
    pub(super) fn holds(&self, desired: &Table, matches: &[Option<Match<'_>>]) -> bool {
        // Chains that belong to rules are part of the rules' fingerprints.
        let Table { flags, objects, sets, flowtables, chains, .. } = desired;
        let is_same_chain = |(chain, matched): (&Chain, &Option<Match<'_>>)| {
            matched.as_ref().is_some_and(|matched| {
                let there = &self.chains[matched.current];
                let pairs = matched.pairs.len();
                there.is_same_chain(chain)
                    && there.policy == chain.base.as_ref().map(|base| base.policy)
                    && (pairs, pairs) == (there.handles.len(), chain.rules.len())
            })
        };
        let is_same_set = |set: &Set| self.keeps(&set.name) || self.same_of_set(&set.name) == Same::All;
        self.flags == *flags
            && chains.iter().zip(matches).all(is_same_chain)
            && sets.iter().all(is_same_set)
            && self.objects.len() == objects.len()
            && self.flowtables.len() == flowtables.len()
    }

    /// Whether it has something that has to go, whatever its rules and the elements of its sets are.
    pub(super) fn has_undesired(&self, desired: &Table) -> bool {
        let is_expected =
            |there: &CurrentSet| there.stays || desired.sets.iter().any(|set| set.name == there.name);
        self.comes_anew(desired)
            || self.chains_but(&desired.chains).next().is_some()
            || !self.named_sets.iter().all(is_expected)
            || !self.objects.iter().all(|there| there.is_desired)
            || !self.flowtables.iter().all(|there| there.is_desired)
    }

    /// Whether there is a set of this name that stays with its elements, whatever is desired.
    pub(super) fn keeps(&self, name: &Name) -> bool {
        self.named_sets.iter().any(|there| there.stays && there.name == *name)
    }

    /// What the set of this name has of the desired one.
    pub(super) fn same_of_set(&self, name: &Name) -> Same {
        let there = self.named_sets.iter().find(|there| there.name == *name);
        there.map_or(Same::Nothing, |there| there.same)
    }

    /// Whether something that rules of this table can use has to go: rules that use it have to go before it.
    pub(super) fn replaces_used(&self, desired: &Table) -> bool {
        let Table { sets, objects, flowtables, chains, .. } = desired;
        let set = |set: &Set| {
            let goes = |there: &&CurrentSet| !there.stays && there.same == Same::Nothing;
            self.named_sets.iter().filter(goes).any(|there| there.name == set.name)
        };
        // Nothing leads to base chains.
        let chain = |chain: &Chain| {
            let goes = |there: &&CurrentChain| there.base.is_none() && !there.is_same_chain(chain);
            self.chains.iter().filter(goes).any(|there| there.name == chain.name)
        };
        let object = |object: &Object| {
            let kind = object.data.kind().number();
            let is_it = |there: &CurrentObject| there.kind.number() == kind && there.name == object.name;
            self.objects.iter().any(|there| !there.is_desired && is_it(there))
        };
        let flowtable = |flowtable: &Flowtable| {
            self.flowtables.iter().any(|there| !there.is_desired && there.name == flowtable.name)
        };
        sets.iter().any(set)
            || chains.iter().any(chain)
            || objects.iter().any(object)
            || flowtables.iter().any(flowtable)
    }

    /// Whether it has to go and come back: only flags of an existing table change. The kernel does not wake a table and give
    /// it a base chain in one transaction; as no packet sees a dormant table, it may as well go. A comment that changes costs
    /// what a changed hook costs: for a moment packets pass.
    pub(super) fn comes_anew(&self, desired: &Table) -> bool {
        (self.flags ^ desired.flags) & TableFlags::DORMANT.0 != 0
            || !self.kept.is_of(&desired.comment, &desired.userdata)
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

impl Kept {
    fn of(comment: &Option<Name>, userdata: &Userdata) -> Self {
        Self { comment: comment.clone(), userdata: userdata.clone() }
    }

    fn is_of(&self, comment: &Option<Name>, userdata: &Userdata) -> bool {
        (&self.comment, &self.userdata) == (comment, userdata)
    }
}

impl CurrentSet {
    fn new(set: &SetSnapshot, kept: &[Set], table: Option<&Table>) -> Result<Self, DecodeError> {
        let name = &set.set.name;
        let stays = kept.iter().any(|kept| kept.name == *name && kept.is_alike(&set.set));
        let desired = table.filter(|_| !stays).and_then(|table| {
            let desired = table.sets.iter().find(|desired| desired.name == *name)?;
            Some(NamedSet::listed(table, desired))
        });
        let same = match desired {
            Some(Ok(desired)) => NamedSet::read(set)?.map_or(Same::Nothing, |there| same(&there, &desired)),
            _ => Same::Nothing,
        };
        Ok(Self { name: name.clone(), stays, same })
    }
}

fn same(there: &NamedSet, desired: &NamedSet) -> Same {
    let kind = |set: &NamedSet| NamedSet { keys: Vec::new(), expressions: Vec::new(), ..set.clone() };
    let elements = |set: &NamedSet| of_elements(set.keys.iter().map(SetKey::element));
    if kind(there) != kind(desired)
        || of_expressions(&there.expressions) != of_expressions(&desired.expressions)
    {
        return Same::Nothing;
    }
    let is_same = match there.flags.is_volatile() {
        true => {
            let there: HashSet<_> = there.keys.iter().map(|key| of_volatile_element(key.element())).collect();
            desired.keys.iter().all(|key| there.contains(&of_volatile_element(key.element())))
        }
        false => elements(there) == elements(desired),
    };
    if is_same { Same::All } else { Same::Kind }
}

impl CurrentChain {
    /// Whether this is the desired chain: the name, and what cannot be changed, or not on every kernel.
    pub(super) fn is_same_chain(&self, desired: &Chain) -> bool {
        let base = |base: &BaseChain| (base.kind.name().to_owned(), base.hook, base.priority);
        self.name == desired.name
            && self.base == desired.base.as_ref().map(base)
            && self.flags == desired.flags
            && self.kept.is_of(&desired.comment, &desired.userdata)
            && same_devices(&self.devices, &desired.devices)
    }
}

/// The rules of the chains that belong to rules, by the chains' names.
#[derive(Default)]
struct OwnChains<'d>(BTreeMap<Name, Vec<nftwire::Rule<'d>>>);

impl OwnChains<'_> {
    /// Of a rule that is in so many of these chains.
    fn fingerprint(
        &self,
        rule: &nftwire::Rule<'_>,
        sets: &BTreeMap<Name, Fingerprint>,
        depth: usize,
    ) -> Result<Fingerprint, DecodeError> {
        let mut expressions = Vec::with_capacity(8);
        for expression in rule.expressions() {
            expressions.push(expression?);
        }
        let chain = |name: Text<'_>| {
            let rules = self.0.get(name.as_bytes()).filter(|_| depth < uapi::NFT_JUMP_STACK_SIZE)?;
            Some(of_rules(rules.iter().map(|rule| self.fingerprint(rule, sets, depth + 1))))
        };
        fingerprint(&expressions, rule.userdata, |name, _| sets.get(name), chain)
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
