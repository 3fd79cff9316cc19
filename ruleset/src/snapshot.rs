//! What the kernel holds: one generation, complete, and undecoded until it is looked at.
//!
//! The records of rules, sets and elements share the memory of the dumps that they came in.

use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::Duration;

use nftwire::expr::{Immediate, Objref};
use nftwire::{DecodeError, Dump, Error, Expr, Query, Reader, Record, Refusal, Socket, Verdict, userdata};

use crate::desired::Desired;
use crate::nft::compile::compile_in;
use crate::nft::compile::original::OwnSets;
use crate::nft::decompile::{self, Decompiler, SetReader, Sets};
use crate::{
    BaseChain, Chain, ChainKind, Family, Name, Origin, Original, Policy, Rule, Ruleset, Set, Table, Text,
};

/// ENOENT.
const NO_ENTRY: i32 = 2;

/// How many references to its chains a table may have besides those of desired rules before it is crowded: more than anybody
/// prepares at the same moment, whose rules the kernel counts, too, and few enough to be read within milliseconds.
const CROWD: usize = 8_192;

/// From how many datagrams of rules on a second thread saves more time than it costs, and how many are of use.
const DATAGRAMS_FOR_TWO: usize = 16;
const MOST_THREADS: usize = 4;

/// Which tables are read.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// Every table of a family, or of all with [`Family::Unspec`]
    Family(Family),
    /// The tables of which this is true
    Where(fn(&Table) -> bool),
    /// The tables that are desired or owned
    Desired(Desired<'a>),
    /// The table with this name
    Table(Family, Text<'a>),
    /// Of a table, the chain with this name
    Chain(Family, Text<'a>, Text<'a>),
    /// Of a table, the set or map with this name
    Set(Family, Text<'a>, Text<'a>),
}

impl<'a> Scope<'a> {
    fn family(self) -> Family {
        match self {
            Self::Where(_) | Self::Desired(_) => Family::Unspec,
            Self::Family(family)
            | Self::Table(family, _)
            | Self::Chain(family, ..)
            | Self::Set(family, ..) => family,
        }
    }

    fn has(self, table: &Table) -> bool {
        match self {
            Self::Family(_) => true,
            Self::Where(desired) => desired(table),
            Self::Desired(desired) => desired.owns(table.family, table.name.as_text()),
            Self::Table(_, name) | Self::Chain(_, name, _) | Self::Set(_, name, _) => {
                table.name.as_text() == name
            }
        }
    }

    /// The only table that is read.
    fn table(self) -> Option<Text<'a>> {
        match self {
            Self::Family(_) | Self::Where(_) | Self::Desired(_) => None,
            Self::Table(_, name) | Self::Chain(_, name, _) | Self::Set(_, name, _) => Some(name),
        }
    }

    /// Whether only a part of a table is read.
    pub(crate) fn is_part(self) -> bool {
        matches!(self, Self::Chain(..) | Self::Set(..))
    }
}

/// What is read of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// The tables alone
    Tables,
    /// Their chains, too
    Chains,
    /// Sets, objects and flowtables, too, without elements
    Objects,
    /// The elements of sets with a name, too
    NamedElements,
    /// As [`Depth::Rules`], but of a [crowded](TableSnapshot::is_crowded) table neither rules nor elements
    KeptRules,
    /// Rules, too, and the elements of anonymous sets, but not of sets with a name
    Rules,
    /// Everything
    All,
}

impl Depth {
    fn has_rules(self) -> bool {
        self >= Self::KeptRules
    }

    fn has_elements(self, set: &Set) -> bool {
        match self {
            Self::Tables | Self::Chains | Self::Objects => false,
            Self::NamedElements => !set.is_anonymous(),
            Self::KeptRules | Self::Rules => set.is_anonymous(),
            Self::All => true,
        }
    }
}

/// Tables as the kernel holds them.
#[derive(Clone, Debug)]
pub struct Snapshot {
    generation: u32,
    tables: Vec<TableSnapshot>,
    /// Chains of other tables, where those of all were read
    chains_of_others: Option<Vec<Record>>,
}

/// A table as the kernel holds it.
#[derive(Clone, Debug)]
pub struct TableSnapshot {
    /// The table without what it holds
    pub(crate) table: Table,
    pub(crate) chains: Vec<Record>,
    pub(crate) sets: Vec<SetSnapshot>,
    pub(crate) objects: Vec<Record>,
    pub(crate) flowtables: Vec<Record>,
    /// Chain by chain, in the order of evaluation
    pub(crate) rules: Dump,
    pub(crate) is_crowded: bool,
}

/// A set as the kernel holds it.
#[derive(Clone, Debug)]
pub struct SetSnapshot {
    /// The set without its elements
    pub(crate) set: Set,
    pub(crate) record: Record,
    /// Empty where they were not asked for
    pub(crate) elements: Dump,
}

impl Snapshot {
    /// Reads the tables of a scope. A table, chain or set that does not exist is left out.
    ///
    /// # Errors
    /// Those of reading; [`Error::GenerationChanged`] if no reading could be proven for 10 seconds.
    pub fn read(socket: &mut Socket, scope: Scope<'_>, depth: Depth) -> Result<Self, Error> {
        let (generation, read) = socket.consistent(|reader| read(reader, scope, depth))?;
        Ok(Self { generation, ..read })
    }

    /// As [`Snapshot::read`], trying for this long and not for 10 seconds.
    ///
    /// # Errors
    /// As [`Snapshot::read`].
    pub fn read_within(
        socket: &mut Socket,
        scope: Scope<'_>,
        depth: Depth,
        limit: Duration,
    ) -> Result<Self, Error> {
        let (generation, read) = socket.consistent_within(limit, |reader| read(reader, scope, depth))?;
        Ok(Self { generation, ..read })
    }

    /// As [`Snapshot::read`] without a proof, for where others disturb every reading: it may lack something. Of any
    /// generation.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read_unproven(socket: &mut Socket, scope: Scope<'_>, depth: Depth) -> Result<Self, Error> {
        read(socket, scope, depth)
    }

    /// That nothing is there, of any generation.
    #[must_use]
    pub fn nothing() -> Self {
        Self::of(Vec::new())
    }

    fn of(tables: Vec<TableSnapshot>) -> Self {
        Self { generation: 0, tables, chains_of_others: None }
    }

    /// The chains of other tables of the families that were read; `None` where they were not read.
    #[must_use]
    pub fn chains_of_others(&self) -> Option<&[Record]> {
        self.chains_of_others.as_deref()
    }

    /// The generation that was read; 0, which the kernel takes for any, where it is not known.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The tables, in the kernel's order.
    #[must_use]
    pub fn tables(&self) -> &[TableSnapshot] {
        &self.tables
    }

    /// All of it, decompiled to be shown: its rules are not compiled ([`Origin::Listed`]).
    ///
    /// # Errors
    /// A record is not what the protocol says.
    pub fn listed(&self) -> Result<Ruleset, Error> {
        let tables = self.tables.iter().map(|table| {
            let keep = |_: &Table, _: &Chain, rule, rules: &mut Vec<Rule>| rules.push(rule);
            let (mut table, rules) = table.decompile(keep)?;
            for (chain, rules) in table.chains.iter_mut().zip(rules) {
                chain.rules = rules;
            }
            Ok(table)
        });
        Ok(Ruleset { tables: tables.collect::<Result<_, DecodeError>>()? })
    }

    /// All of it, decompiled: each rule compiles to the expressions that the kernel holds, or says that it does not
    /// ([`Origin`]). That takes about twice as long as [`Snapshot::listed`].
    ///
    /// # Errors
    /// A record is not what the protocol says.
    pub fn ruleset(&self) -> Result<Ruleset, Error> {
        let tables = self.tables.iter().map(TableSnapshot::loadable);
        Ok(Ruleset { tables: tables.collect::<Result<_, DecodeError>>()? })
    }
}

impl TableSnapshot {
    /// The table without what it holds.
    #[must_use]
    pub fn head(&self) -> &Table {
        &self.table
    }

    /// The names of its chains.
    ///
    /// # Errors
    /// A record is not what the protocol says.
    pub fn chain_names(&self) -> Result<Vec<Name>, DecodeError> {
        self.chains
            .iter()
            .map(|chain| Ok(nftwire::Chain::decode(&chain.message()?)?.name.to_name()))
            .collect()
    }

    /// Its sets, anonymous ones included.
    #[must_use]
    pub fn sets(&self) -> &[SetSnapshot] {
        &self.sets
    }

    /// Its rules, chain by chain, in the order of evaluation.
    #[must_use]
    pub fn rules(&self) -> &Dump {
        &self.rules
    }

    /// Whether it holds thousands of rules more than are desired, so that they were not read where [`Depth::KeptRules`] was
    /// asked for. The kernel walks along all rules before each part of a dump, which is quadratic: 100,000 rules take seconds
    /// (`nf_tables_dump_rules` in net/netfilter/nf_tables_api.c, Linux 6.18).
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// As [`TableSnapshot::is_crowded`], by what the kernel counts in each chain without listing it: its rules, and the jumps
    /// to it, of which a rule has one.
    fn crowds(&self, desired: Desired<'_>) -> Result<bool, DecodeError> {
        let mut references = 0_usize;
        for record in &self.chains {
            let count = nftwire::Chain::decode(&record.message()?)?.references;
            references = references.saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
        }
        let mut tables = desired.ruleset().tables.iter();
        let desired = tables.find(|table| table.is_same_table(&self.table));
        let desired = desired.map_or(0, |table| table.chains.iter().map(|chain| chain.rules.len()).sum());
        // Twice what they refer to, as somebody may be preparing the same.
        Ok(references > CROWD.saturating_add(usize::saturating_mul(desired, 4)))
    }

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

    /// The table with all it holds, its rules as they can be compiled.
    fn loadable(&self) -> Result<Table, DecodeError> {
        let mut table = self.without_sets_and_rules()?;
        let mut sets = self.decompiled_sets()?;
        if !table.anonymous.is_empty() {
            table.anonymous = self.anonymous_chains(&table, &sets)?;
        }
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
    /// The set without its elements.
    #[must_use]
    pub fn head(&self) -> &Set {
        &self.set
    }

    /// The message that tells of it.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Its elements, where they were asked for.
    #[must_use]
    pub fn elements(&self) -> &Dump {
        &self.elements
    }

    fn decompile(&self) -> Result<Set, DecodeError> {
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

/// Whoever can be asked what the kernel holds.
trait Source {
    fn read(&mut self, family: Family, query: Query<'_>) -> Result<Dump, Error>;
    fn volatile(&mut self, family: Family, query: Query<'_>) -> Result<Dump, Error>;
}

/// With a proof.
impl Source for Reader<'_> {
    fn read(&mut self, family: Family, query: Query<'_>) -> Result<Dump, Error> {
        Self::read(self, family, query)
    }

    fn volatile(&mut self, family: Family, query: Query<'_>) -> Result<Dump, Error> {
        self.read_unproven(family, query)
    }
}

/// Without.
impl Source for Socket {
    fn read(&mut self, family: Family, query: Query<'_>) -> Result<Dump, Error> {
        self.read_unproven(family, query)
    }

    fn volatile(&mut self, family: Family, query: Query<'_>) -> Result<Dump, Error> {
        self.read_unproven(family, query)
    }
}

fn read(source: &mut impl Source, scope: Scope<'_>, depth: Depth) -> Result<Snapshot, Error> {
    let mut tables = tables(source, scope)?;
    if tables.is_empty() || depth == Depth::Tables {
        return Ok(Snapshot::of(tables));
    }
    if let Scope::Set(family, table, set) = scope {
        tables[0].sets.extend(read_set(source, family, table, set, depth)?);
        return Ok(Snapshot::of(tables));
    }
    if let Scope::Chain(family, table, chain) = scope {
        read_chain(source, family, (table, chain), &mut tables[0], depth)?;
        return Ok(Snapshot::of(tables));
    }
    let chains = source.read(scope.family(), Query::Chains)?.records()?;
    let chains_of_others = share_out(
        &mut tables,
        chains,
        |table| &mut table.chains,
        |message| nftwire::Chain::decode(message).map(|chain| (chain.family, chain.table)),
    )?;
    if depth >= Depth::Objects {
        let only = scope.table();
        let objects = source.read(scope.family(), Query::Objects { table: only, kind: None })?.records()?;
        share_out(
            &mut tables,
            objects,
            |table| &mut table.objects,
            |message| nftwire::Object::decode(message).map(|object| (object.family, object.table)),
        )?;
        let flowtables = source.read(scope.family(), Query::Flowtables { table: only })?.records()?;
        share_out(
            &mut tables,
            flowtables,
            |table| &mut table.flowtables,
            |message| {
                nftwire::Flowtable::decode(message).map(|flowtable| (flowtable.family, flowtable.table))
            },
        )?;
        for table in &mut tables {
            let mut depth = depth;
            if let (Depth::KeptRules, Scope::Desired(desired)) = (depth, scope)
                && table.crowds(desired)?
            {
                table.is_crowded = true;
                depth = Depth::Objects;
            }
            read_sets_and_rules(source, table, depth)?;
        }
    }
    Ok(Snapshot { chains_of_others: Some(chains_of_others), ..Snapshot::of(tables) })
}

/// The tables of a scope without what they hold.
fn tables(source: &mut impl Source, scope: Scope<'_>) -> Result<Vec<TableSnapshot>, Error> {
    let query = scope.table().map_or(Query::Tables, |table| Query::Table { table });
    let Some(dump) = if_there(source.read(scope.family(), query))? else { return Ok(Vec::new()) };
    let mut tables: Vec<TableSnapshot> = Vec::new();
    for decoded in dump.decode(nftwire::Table::decode) {
        let table = table(&decoded?);
        // An unproven reading may have it twice.
        if scope.has(&table) && !tables.iter().any(|other| other.table.is_same_table(&table)) {
            tables.push(TableSnapshot {
                table,
                chains: Vec::new(),
                sets: Vec::new(),
                objects: Vec::new(),
                flowtables: Vec::new(),
                rules: Dump::default(),
                is_crowded: false,
            });
        }
    }
    Ok(tables)
}

/// The tables of a scope without what they hold.
///
/// # Errors
/// Those of reading.
pub fn read_tables(reader: &mut Reader<'_>, scope: Scope<'_>) -> Result<Vec<Table>, Error> {
    Ok(tables(reader, scope)?.into_iter().map(|table| table.table).collect())
}

/// The sets of a table, anonymous ones included, with the elements that `depth` asks for.
///
/// # Errors
/// Those of reading.
pub fn read_sets(
    reader: &mut Reader<'_>,
    family: Family,
    table: Text<'_>,
    depth: Depth,
) -> Result<Vec<Set>, Error> {
    let records = reader.read(family, Query::Sets { table: Some(table) })?.records()?;
    let sets = records.into_iter().map(|record| {
        let set = with_elements(reader, family, table, record, depth)?;
        Ok(set.decompile()?)
    });
    sets.collect()
}

/// Hands records out to the tables that they belong to; returns the others.
fn share_out(
    tables: &mut [TableSnapshot],
    records: Vec<Record>,
    list: fn(&mut TableSnapshot) -> &mut Vec<Record>,
    place: for<'m> fn(&nftwire::Message<'m>) -> Result<(Family, Text<'m>), DecodeError>,
) -> Result<Vec<Record>, Error> {
    let mut rest = Vec::new();
    // One after the other they mostly belong to the same.
    let mut last = 0;
    for record in records {
        let (family, name) = place(&record.message()?)?;
        let is_it =
            |there: &TableSnapshot| there.table.family == family && there.table.name.as_text() == name;
        let index = match tables.get(last).is_some_and(is_it) {
            true => Some(last),
            false => tables.iter().position(is_it),
        };
        match index {
            Some(index) => {
                list(&mut tables[index]).push(record);
                last = index;
            }
            None => rest.push(record),
        }
    }
    Ok(rest)
}

fn read_sets_and_rules(
    source: &mut impl Source,
    table: &mut TableSnapshot,
    depth: Depth,
) -> Result<(), Error> {
    let (family, name) = (table.table.family, table.table.name.clone());
    let name = name.as_text();
    for record in source.read(family, Query::Sets { table: Some(name) })?.records()? {
        table.sets.push(with_elements(source, family, name, record, depth)?);
    }
    if depth.has_rules() && !table.chains.is_empty() {
        table.rules = source.read(family, Query::Rules { table: Some(name), chain: None })?;
    }
    Ok(())
}

/// One chain: of the table's sets only those that its rules refer to, each asked for by its name.
fn read_chain(
    source: &mut impl Source,
    family: Family,
    (table, chain): (Text<'_>, Text<'_>),
    found: &mut TableSnapshot,
    depth: Depth,
) -> Result<(), Error> {
    let Some(dump) = if_there(source.read(family, Query::Chain { table, chain }))? else { return Ok(()) };
    found.chains = dump.records()?;
    if !depth.has_rules() {
        return Ok(());
    }
    found.rules = source.read(family, Query::Rules { table: Some(table), chain: Some(chain) })?;
    if has_anonymous_chain(&found.rules)? {
        for record in source.read(family, Query::Chains)?.records()? {
            let message = record.message()?;
            let wire = nftwire::Chain::decode(&message)?;
            if wire.table == table && wire.flags.contains(nftwire::ChainFlags::BINDING) {
                found.chains.push(record.clone());
            }
        }
        found.rules = source.read(family, Query::Rules { table: Some(table), chain: None })?;
    }
    let mut names = HashSet::new();
    for rule in found.rules.decode(nftwire::Rule::decode) {
        for expression in rule?.expressions() {
            names.extend(set_of(&expression?).map(Text::to_name));
        }
    }
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_unstable();
    for name in names {
        // Rules show the elements of anonymous sets, and the names of others.
        found.sets.extend(read_set(source, family, table, name.as_text(), Depth::Rules)?);
    }
    Ok(())
}

/// Whether a rule may jump to a chain of its own: the kernel names them `__chain` and a number.
fn has_anonymous_chain(rules: &Dump) -> Result<bool, DecodeError> {
    for rule in rules.decode(nftwire::Rule::decode) {
        for expression in rule?.expressions() {
            if let Expr::Immediate(Immediate::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain))) =
                expression?
                && chain.as_bytes().starts_with(b"__chain")
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The set that an expression refers to.
pub(crate) fn set_of<'e>(expression: &Expr<'e>) -> Option<Text<'e>> {
    match expression {
        Expr::Lookup(lookup) => Some(lookup.set),
        Expr::Dynset(dynset) => Some(dynset.set),
        Expr::Objref(Objref::Map { set, .. }) => Some(*set),
        _ => None,
    }
}

fn read_set(
    source: &mut impl Source,
    family: Family,
    table: Text<'_>,
    set: Text<'_>,
    depth: Depth,
) -> Result<Option<SetSnapshot>, Error> {
    let Some(dump) = if_there(source.read(family, Query::Set { table, set }))? else { return Ok(None) };
    let Some(record) = dump.records()?.pop() else { return Ok(None) };
    with_elements(source, family, table, record, depth).map(Some)
}

fn with_elements(
    source: &mut impl Source,
    family: Family,
    table: Text<'_>,
    record: Record,
    depth: Depth,
) -> Result<SetSnapshot, Error> {
    let wire = record.message()?;
    let wire = nftwire::Set::decode(&wire)?;
    let set = decompile::set(&wire);
    let query = Query::Elements { table, set: wire.name };
    let elements = match depth.has_elements(&set) {
        false => Dump::default(),
        true if wire.flags.is_volatile() => source.volatile(family, query)?,
        true => source.read(family, query)?,
    };
    drop(wire);
    Ok(SetSnapshot { set, record, elements })
}

/// Nothing where the kernel says that there is no such thing. That it is gone meanwhile shows in the generation.
fn if_there(read: Result<Dump, Error>) -> Result<Option<Dump>, Error> {
    match read {
        Err(Error::Refused(refusal)) if matches!(*refusal, Refusal { errno: NO_ENTRY, .. }) => Ok(None),
        read => read.map(Some),
    }
}

/// A table without what it holds.
#[must_use]
pub fn table(table: &nftwire::Table<'_>) -> Table {
    Table {
        handle: table.handle,
        flags: table.flags.0,
        comment: userdata::comment(table.userdata).map(Into::into),
        ..Table::new(table.family, table.name)
    }
}

/// A chain without its rules.
#[must_use]
pub fn chain(chain: &nftwire::Chain<'_>) -> Chain {
    let base = chain.base.and_then(|base| {
        Some(BaseChain {
            kind: ChainKind::from_name(base.kind)?,
            hook: base.hook,
            priority: base.priority,
            policy: base.policy.unwrap_or(Policy::Accept),
        })
    });
    // The kernel tells them in the order in which they came.
    let mut devices: Vec<_> = chain.devices.iter().map(decompile::device).collect();
    devices.sort_unstable();
    Chain {
        name: chain.name.into(),
        handle: chain.handle,
        comment: userdata::comment(chain.userdata).map(Into::into),
        base,
        devices,
        rules: Vec::new(),
    }
}
