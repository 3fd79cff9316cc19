//! Making the kernel hold exactly a ruleset, whatever it holds of the same tables now.
//!
//! What is there is read first, so that what is foreign inside the tables goes, too, and rules that do not change can
//! stay where they are with their counters. The batch requires the generation that was read; the caller starts over
//! when somebody else was faster.
//!
//! Base chains stay. A packet reads the ruleset's generation once for each base chain that it crosses, so with kept base
//! chains it sees each one all old or all new. A base chain that is deleted and added again in one batch is registered
//! twice for a moment: a packet passes the new one while that is still empty, and then finds that the old one accepts
//! everything (`nf_remove_net_hook` in net/netfilter/core.c). So a base chain goes only where its type, hook or priority
//! is another.
//!
//! Some sets are not the ruleset's own: others put elements into them and take them out. A profile names those in its
//! owned, and they stay, with what they hold, whether the rules that use them are desired or not.
//!
//! Where nothing is there nothing is deleted, and that makes a new pod's first commit fast: after a deletion the kernel
//! lets the socket's close wait for a grace period of RCU (`nft_rcv_nl_event` in net/netfilter/nf_tables_api.c).

use std::collections::BTreeMap;
use std::time::Duration;

use nftwire::expr::{Counter, Immediate, Lookup};
use nftwire::{
    AttrWriter, ElementData, Error, Expr, ObjectKind, Position, Query, Reader, SetFlags, Socket, uapi,
};
use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::transaction::{Subject, Transaction};
use crate::nft::compile::{AnonymousSet, NotCompiled, SetKey, compile};
use crate::nft::decompile;
use crate::{BaseChain, Chain, Family, Name, Rule, Ruleset, Set, Table};

/// How long a moment is sought in which nobody else changes anything.
const SETTLED: Duration = Duration::from_secs(2);

/// What the kernel holds of one table.
#[derive(Debug)]
pub(super) struct ExistingTable {
    pub(super) family: Family,
    pub(super) name: Name,
    /// Its base chains see no packets
    dormant: bool,
    pub(super) chains: Vec<ExistingChain>,
    /// The sets and maps that belong to no rule
    pub(super) named_sets: Vec<ExistingSet>,
    /// Kinds and names of the counters, quotas and the like
    objects: Vec<(ObjectKind, Name)>,
    /// Names of the flowtables
    flowtables: Vec<Name>,
}

/// What the kernel holds of one set or map that belongs to no rule.
#[derive(Debug)]
pub(super) struct ExistingSet {
    pub(super) name: Name,
    /// Whether it is one of the owned's, of the same kind, and stays with its elements
    pub(super) stays: bool,
}

/// What the kernel holds of one chain.
#[derive(Debug)]
pub(super) struct ExistingChain {
    pub(super) name: Name,
    /// Its type, hook and priority, if it is a base chain
    base: Option<(String, nftwire::Hook, i32)>,
    pub(super) rules: Vec<ExistingRule>,
}

/// What the kernel holds of one rule.
#[derive(Debug)]
pub(super) struct ExistingRule {
    pub(super) handle: u64,
    pub(super) fingerprint: Fingerprint,
}

/// What a rule does, as bytes: equal for two rules that differ only in counter values and in the names of their
/// anonymous sets.
pub(super) type Fingerprint = Vec<u8>;

/// Why there is no transaction.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// What is there cannot be read
    #[error(transparent)]
    Read(#[from] Error),
    /// A rule has something that only can be shown
    #[error(transparent)]
    NotCompiled(#[from] NotCompiled),
}

/// A transaction, and what it starts from.
#[derive(Debug)]
pub struct Update<'a> {
    /// What brings the kernel there
    pub transaction: Transaction<'a>,
    /// Whether any table of the owned is there now
    pub replaces: bool,
}

/// The transaction after which the tables of `owned` hold exactly what `desired` says.
///
/// `owned` has every table that some settings of the profile need, and of their sets those that others fill: where one
/// is there, and of the same kind, it stays with its elements. With `keep_counters`, rules that do not change
/// stay; otherwise all rules are new and count from zero.
///
/// # Errors
/// Those of reading, with [`Error::GenerationChanged`] if the ruleset does not stand still; or a rule has something
/// that only can be shown.
pub fn update<'a>(
    socket: &mut Socket,
    owned: &Ruleset,
    desired: &'a Ruleset,
    keep_counters: bool,
) -> Result<Update<'a>, UpdateError> {
    let (generation, existing) =
        socket.consistent_within(SETTLED, |reader| read(reader, owned, keep_counters))?;
    Ok(from(&existing, desired, generation, keep_counters)?)
}

/// All of `desired` for any generation, if no table of `owned` is there: what most pods need, for less than the way over
/// the generation that was read. Nobody else may make another table of the owned until the commit.
///
/// # Errors
/// As [`update`].
pub fn initial_transaction<'a>(
    socket: &mut Socket,
    owned: &Ruleset,
    desired: &'a Ruleset,
) -> Result<Option<Transaction<'a>>, UpdateError> {
    // A table that it misses is refused with EEXIST.
    let mut tables = Vec::new();
    let read = socket.dump(Family::Unspec, Query::Tables, |received| {
        for message in received.messages() {
            note_table(&nftwire::Table::decode(&message?)?, owned, &mut tables);
        }
        Ok(received.into_buffer())
    });
    match read {
        Ok(()) if tables.is_empty() => Ok(Some(Transaction::from_nothing(desired)?)),
        Ok(_) | Err(Error::GenerationChanged) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// As [`update`] with all rules new, but for any generation: for where others commit so often that none lasts until a
/// commit.
///
/// What others change between this reading and the commit, and this transaction does not touch, stays as if they had
/// done it after the commit. Where they took away what this transaction takes away, or what it adds a rule beside, the
/// kernel refuses it with ENOENT.
///
/// # Errors
/// As [`update`].
pub fn update_any<'a>(
    socket: &mut Socket,
    owned: &Ruleset,
    desired: &'a Ruleset,
) -> Result<Update<'a>, UpdateError> {
    // The kernel takes 0 for any.
    let (_, existing) = socket.consistent(|reader| read(reader, owned, false))?;
    Ok(from(&existing, desired, 0, false)?)
}

fn from<'a>(
    existing: &[ExistingTable],
    desired: &'a Ruleset,
    generation: u32,
    keep_counters: bool,
) -> Result<Update<'a>, NotCompiled> {
    let mut transaction = Transaction::new(desired, generation);
    // The kernel does not wake a table and give it a base chain in one transaction; as no packet sees a dormant
    // table, it may as well go and come back.
    let (gone, kept): (Vec<_>, Vec<_>) = existing
        .iter()
        .partition(|there| there.dormant || !desired.tables.iter().any(|table| there.is_same_table(table)));
    for table in gone {
        if table.dormant || !table.named_sets.iter().any(|set| set.stays) {
            let subject = Subject::table(table.family, &table.name);
            transaction.remove(subject, |batch| batch.del_table(table.family, &table.name));
        } else {
            let subject = Subject::table(table.family, &table.name);
            transaction.remove(subject, |batch| batch.flush_table(table.family, &table.name));
            remove_all_but(&mut transaction, table, &[]);
        }
    }
    for (index, table) in desired.tables.iter().enumerate() {
        let there = kept.iter().find(|there| there.is_same_table(table)).copied();
        transaction.add_table(index);
        update_table(&mut transaction, desired, index, there, keep_counters)?;
    }
    Ok(Update { transaction, replaces: !existing.is_empty() })
}

fn update_table(
    transaction: &mut Transaction<'_>,
    desired: &Ruleset,
    table_index: usize,
    there: Option<&ExistingTable>,
    keep_counters: bool,
) -> Result<(), NotCompiled> {
    let table = &desired.tables[table_index];
    let existing = there.map_or(&[][..], |there| &there.chains);
    let (family, name) = (table.family, &table.name);
    // Rules that look things up in a set that goes have to go before it.
    let replaces_set = table.sets.iter().any(|set| there.is_some_and(|there| there.has_other(set)));
    let keep_rules = keep_counters && !replaces_set;
    if there.is_some() && !keep_rules {
        transaction.remove(Subject::table(family, name), |batch| batch.flush_table(family, name));
    }
    let steps: Vec<_> = table
        .chains
        .iter()
        .map(|chain| match existing.iter().find(|there| there.is_same_chain(chain)) {
            Some(there) if keep_rules => steps(family, chain, &there.rules),
            _ => Ok(Steps::all_new(chain.rules.len())),
        })
        .collect::<Result<_, _>>()?;

    // Rules go before the chains that they jump to.
    for (chain, steps) in table.chains.iter().zip(&steps) {
        for &handle in &steps.deleted {
            let subject = Subject::table(family, name).chain(&chain.name);
            transaction.remove(subject, |batch| batch.del_rule(family, name, &chain.name, handle));
        }
    }
    if let Some(there) = there {
        if keep_rules {
            for chain in there.chains_but(&table.chains) {
                for rule in &chain.rules {
                    let subject = Subject::table(family, name).chain(&chain.name);
                    transaction
                        .remove(subject, |batch| batch.del_rule(family, name, &chain.name, rule.handle));
                }
            }
        }
        remove_all_but(transaction, there, &table.chains);
    }
    for (index, set) in table.sets.iter().enumerate() {
        if !there.is_some_and(|there| there.keeps(&set.name)) {
            transaction.add_set(table_index, index)?;
        }
    }
    for chain in 0..table.chains.len() {
        transaction.add_chain(table_index, chain);
    }
    for (chain, steps) in steps.iter().enumerate() {
        for &(rule, place) in &steps.added {
            transaction.add_rule(table_index, chain, rule, place)?;
        }
    }
    Ok(())
}

/// Takes away what is there of a table but these chains and the sets that stay. No rule uses any of it any more, and a
/// map's elements, which may jump to a chain, go before that.
fn remove_all_but(transaction: &mut Transaction<'_>, there: &ExistingTable, chains: &[Chain]) {
    let (family, name) = (there.family, &there.name);
    for set in there.named_sets.iter().filter(|set| !set.stays) {
        let subject = Subject::table(family, name).set(&set.name);
        transaction.remove(subject, |batch| batch.del_set(family, name, &set.name));
    }
    for (kind, object) in &there.objects {
        let subject = Subject::table(family, name);
        transaction.remove(subject, |batch| batch.del_object(family, name, *kind, object));
    }
    for flowtable in &there.flowtables {
        let subject = Subject::table(family, name);
        transaction.remove(subject, |batch| batch.del_flowtable(family, name, flowtable));
    }
    for chain in there.chains_but(chains) {
        let subject = Subject::table(family, name).chain(&chain.name);
        transaction.remove(subject, |batch| batch.del_chain(family, name, &chain.name));
    }
}

/// How the rules of one chain become those that are desired.
struct Steps {
    /// Handles of the rules that go
    deleted: Vec<u64>,
    /// Numbers of the desired rules that are new, and where they go
    added: Vec<(usize, Position)>,
}

impl Steps {
    fn all_new(rules: usize) -> Self {
        Self { deleted: Vec::new(), added: (0..rules).map(|rule| (rule, Position::Append)).collect() }
    }
}

fn steps(family: Family, chain: &Chain, existing: &[ExistingRule]) -> Result<Steps, NotCompiled> {
    let old: Vec<_> = existing.iter().map(|rule| &rule.fingerprint).collect();
    let new: Vec<Fingerprint> =
        chain.rules.iter().map(|rule| desired_fingerprint(family, rule)).collect::<Result<_, _>>()?;
    let new: Vec<_> = new.iter().collect();
    let mut steps = Steps { deleted: Vec::new(), added: Vec::new() };
    for op in capture_diff_slices(Algorithm::Myers, &old, &new) {
        if matches!(op, DiffOp::Equal { .. }) {
            continue;
        }
        steps.deleted.extend(existing[op.old_range()].iter().map(|rule| rule.handle));
        // What stands behind a change stays, so new rules go before it; at the end they go to the end.
        let place =
            existing.get(op.old_range().end).map_or(Position::Append, |next| Position::Before(next.handle));
        steps.added.extend(op.new_range().map(|rule| (rule, place)));
    }
    Ok(steps)
}

impl ExistingTable {
    fn is_same_table(&self, desired: &Table) -> bool {
        self.family == desired.family && self.name == desired.name
    }

    /// Whether there is a set of this name that stays.
    fn keeps(&self, name: &Name) -> bool {
        self.named_sets.iter().any(|there| there.stays && there.name == *name)
    }

    /// Whether there is a set of this one's name, and it does not stay.
    fn has_other(&self, set: &Set) -> bool {
        self.named_sets.iter().any(|there| !there.stays && there.name == set.name)
    }

    /// The chains that are none of these.
    fn chains_but(&self, desired: &[Chain]) -> impl Iterator<Item = &ExistingChain> {
        self.chains.iter().filter(|there| !desired.iter().any(|chain| there.is_same_chain(chain)))
    }
}

impl ExistingChain {
    /// Whether this is the desired chain: the name, and for base chains what cannot be changed.
    fn is_same_chain(&self, desired: &Chain) -> bool {
        let base = |base: &BaseChain| (base.kind.name().to_owned(), base.hook, base.priority);
        self.name == desired.name && self.base == desired.base.as_ref().map(base)
    }
}

/// The tables of `owned` that are there, and nothing of what they hold.
fn read_tables(reader: &mut Reader<'_>, owned: &Ruleset) -> Result<Vec<ExistingTable>, Error> {
    let mut tables = Vec::new();
    reader.tables(Family::Unspec, |table| {
        note_table(&table, owned, &mut tables);
        Ok(())
    })?;
    Ok(tables)
}

fn note_table(table: &nftwire::Table<'_>, owned: &Ruleset, tables: &mut Vec<ExistingTable>) {
    if owned.tables.iter().any(|owned| owned.family == table.family && owned.name == table.name) {
        tables.push(ExistingTable {
            family: table.family,
            name: table.name.to_owned().into(),
            dormant: table.flags.0 & nftwire::TableFlags::DORMANT.0 != 0,
            chains: Vec::new(),
            named_sets: Vec::new(),
            objects: Vec::new(),
            flowtables: Vec::new(),
        });
    }
}

/// What the kernel holds of the tables of `owned`. It is of one generation inside [`Socket::consistent`] only.
pub(super) fn read(
    socket: &mut Reader<'_>,
    owned: &Ruleset,
    with_rules: bool,
) -> Result<Vec<ExistingTable>, Error> {
    let mut tables = read_tables(socket, owned)?;
    if tables.is_empty() {
        return Ok(tables);
    }
    socket.chains(Family::Unspec, |chain| {
        let table = tables.iter_mut().find(|table| table.family == chain.family && table.name == chain.table);
        // A chain that belongs to a rule goes with it.
        if let Some(table) = table.filter(|_| !chain.flags.contains(nftwire::ChainFlags::BINDING)) {
            table.chains.push(ExistingChain {
                name: chain.name.to_name(),
                base: chain.base.map(|base| (base.kind.to_owned(), base.hook, base.priority)),
                rules: Vec::new(),
            });
        }
        Ok(())
    })?;
    for table in &mut tables {
        let anonymous = read_names(socket, owned, table)?;
        if with_rules {
            let sets = read_elements(socket, table, anonymous)?;
            read_rules(socket, table, &sets)?;
        }
    }
    Ok(tables)
}

fn read_rules(
    socket: &mut Reader<'_>,
    table: &mut ExistingTable,
    sets: &BTreeMap<Name, Vec<SetKey>>,
) -> Result<(), Error> {
    socket.rules(table.family, &table.name, |rule| {
        let expressions: Vec<_> = rule.expressions().collect::<Result<_, _>>()?;
        let fingerprint = fingerprint(&expressions, rule.userdata, |lookup| sets.get(lookup.set.as_bytes()));
        let handle = rule.handle;
        if let Some(chain) = table.chains.iter_mut().find(|chain| chain.name == rule.chain) {
            chain.rules.push(ExistingRule { handle, fingerprint });
        }
        Ok(())
    })
}

/// Notes what of the table has a name of its own; returns the names of the anonymous sets that profiles make.
fn read_names(
    socket: &mut Reader<'_>,
    owned: &Ruleset,
    table: &mut ExistingTable,
) -> Result<Vec<Name>, Error> {
    let filled_by_others: Vec<_> = owned
        .tables
        .iter()
        .filter(|owned| table.is_same_table(owned))
        .flat_map(|owned| &owned.sets)
        .collect();
    let kinds = [SetFlags::default(), SetFlags::INTERVAL, SetFlags::MAP, SetFlags::INTERVAL | SetFlags::MAP];
    let of_profiles = kinds.map(|kind| SetFlags::ANONYMOUS | SetFlags::CONSTANT | kind);
    let mut anonymous = Vec::new();
    socket.sets(table.family, &table.name, |set| {
        if of_profiles.contains(&set.flags) {
            anonymous.push(set.name.to_name());
        } else if !set.flags.contains(SetFlags::ANONYMOUS) {
            let stays = filled_by_others
                .iter()
                .any(|kept| kept.name == set.name && kept.is_alike(&decompile::set(&set)));
            table.named_sets.push(ExistingSet { name: set.name.to_name(), stays });
        }
        Ok(())
    })?;
    socket.objects(table.family, Some((&table.name).into()), None, |object| {
        table.objects.push((object.data.kind(), object.name.to_name()));
        Ok(())
    })?;
    socket.flowtables(table.family, Some((&table.name).into()), |flowtable| {
        table.flowtables.push(flowtable.name.to_name());
        Ok(())
    })?;
    Ok(anonymous)
}

/// The elements of these sets, ascending.
fn read_elements(
    socket: &mut Reader<'_>,
    table: &ExistingTable,
    names: Vec<Name>,
) -> Result<BTreeMap<Name, Vec<SetKey>>, Error> {
    let mut sets = BTreeMap::new();
    for name in names {
        let mut elements = Vec::new();
        socket.elements(table.family, &table.name, &name, |list| {
            for element in list.elements() {
                elements.push(key(element?));
            }
            Ok(())
        })?;
        elements.sort_by(|one, other| one.place().cmp(&other.place()));
        sets.insert(name, elements);
    }
    Ok(sets)
}

/// What counts of an element of a set or a map of verdicts. What no profile makes is of no account: it is in no set that
/// a desired rule looks things up in.
fn key(element: nftwire::Element<'_>) -> SetKey {
    let verdict = match element.data {
        Some(ElementData::Verdict(verdict)) => Some(verdict.into()),
        Some(ElementData::Value(_)) | None => None,
    };
    let counter = element.expressions.iter().any(|expression| matches!(expression, Expr::Counter(_)));
    SetKey { verdict, counter, ..SetKey::new(element.key, element.interval_end) }
}

/// The fingerprint that the kernel's rule has after this one was added.
pub(super) fn desired_fingerprint(family: Family, rule: &Rule) -> Result<Fingerprint, NotCompiled> {
    let first_set_id = 1;
    let compiled = compile(family, rule, first_set_id)?;
    let set = |lookup: &Lookup<'_>| -> Option<&AnonymousSet> {
        compiled.sets.get(usize::try_from(lookup.set_id.checked_sub(first_set_id)?).ok()?)
    };
    let keys = |lookup: &Lookup<'_>| set(lookup).map(|set| &set.keys);
    Ok(fingerprint(&compiled.expressions, &compiled.userdata, keys))
}

fn fingerprint<'s>(
    expressions: &[Expr<'_>],
    userdata: &[u8],
    elements: impl Fn(&Lookup<'_>) -> Option<&'s Vec<SetKey>>,
) -> Fingerprint {
    let mut writer = AttrWriter::default();
    for expression in expressions {
        match expression {
            Expr::Counter(_) => Expr::from(Counter::default()).encode(&mut writer),
            Expr::Lookup(lookup) => match elements(lookup) {
                Some(elements) => {
                    Expr::from(Lookup { set: "".into(), set_id: 0, ..*lookup }).encode(&mut writer);
                    for SetKey { key, end, verdict, counter } in elements {
                        writer.put(uapi::NFTA_SET_ELEM_KEY, key.as_bytes());
                        writer.put_u8(uapi::NFTA_SET_ELEM_FLAGS, u8::from(*end));
                        if let Some(verdict) = verdict {
                            Expr::from(Immediate::Verdict(verdict.into())).encode(&mut writer);
                        }
                        if *counter {
                            Expr::from(Counter::default()).encode(&mut writer);
                        }
                    }
                }
                None => expression.encode(&mut writer),
            },
            expression => expression.encode(&mut writer),
        }
    }
    writer.put(uapi::NFTA_RULE_USERDATA, userdata);
    writer.into_buffer()
}
