//! How a snapshot is read, with a proof or without.

use std::collections::HashSet;

use nftwire::expr::{Immediate, Objref};
use nftwire::{DecodeError, Dump, Error, Expr, Query, Reader, Record, Refusal, Socket, Verdict};

use super::{Depth, Scope, SetSnapshot, Snapshot, TableSnapshot, table};
use crate::nft::decompile;
use crate::{Family, Name, Set, Table, Text};

/// ENOENT.
const NO_ENTRY: i32 = 2;

/// Whoever can be asked what the kernel holds.
pub(super) trait Source {
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

pub(super) fn read(source: &mut impl Source, scope: Scope<'_>, depth: Depth) -> Result<Snapshot, Error> {
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
    let chains_of_others = share_out(&mut tables, chains, |table| &mut table.chains)?;
    if depth >= Depth::Objects {
        let only = scope.table();
        let objects = source.read(scope.family(), Query::Objects { table: only, kind: None })?.records()?;
        share_out(&mut tables, objects, |table| &mut table.objects)?;
        let flowtables = source.read(scope.family(), Query::Flowtables { table: only })?.records()?;
        share_out(&mut tables, flowtables, |table| &mut table.flowtables)?;
        for table in &mut tables {
            let compared = match scope {
                Scope::Desired(desired) if depth.has_rules() => desired.compared_sets(&table.table),
                _ => Vec::new(),
            };
            let mut depth = depth;
            if let (Depth::KeptRules, Scope::Desired(desired)) = (depth, scope)
                && table.crowds(desired)?
            {
                table.is_crowded = true;
                depth = Depth::Objects;
            }
            let compared = if depth.has_rules() { &compared[..] } else { &[] };
            read_sets_and_rules(source, table, depth, compared)?;
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
        let set = with_elements(reader, family, table, record, |set| depth.has_elements(set))?;
        Ok(set.decompile()?)
    });
    sets.collect()
}

/// Hands records out to the tables that they belong to; returns the others.
fn share_out(
    tables: &mut [TableSnapshot],
    records: Vec<Record>,
    list: fn(&mut TableSnapshot) -> &mut Vec<Record>,
) -> Result<Vec<Record>, Error> {
    let mut rest = Vec::new();
    // One after the other they mostly belong to the same.
    let mut last = 0;
    for record in records {
        let message = record.message()?;
        let (family, name) = (message.family, message.table()?);
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
    found: &mut TableSnapshot,
    depth: Depth,
    compared: &[&Name],
) -> Result<(), Error> {
    let (family, name) = (found.table.family, found.table.name.as_text());
    let Some(sets) = if_there(source.read(family, Query::Sets { table: Some(name) }))? else { return Ok(()) };
    for record in sets.records()? {
        let has_elements = |set: &Set| depth.has_elements(set) || compared.contains(&&set.name);
        found.sets.push(with_elements(source, family, name, record, has_elements)?);
    }
    if depth.has_rules() && !found.chains.is_empty() {
        found.rules = source.read(family, Query::Rules { table: Some(name), chain: None })?;
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
    with_elements(source, family, table, record, |set| depth.has_elements(set)).map(Some)
}

fn with_elements(
    source: &mut impl Source,
    family: Family,
    table: Text<'_>,
    record: Record,
    has_elements: impl FnOnce(&Set) -> bool,
) -> Result<SetSnapshot, Error> {
    let wire = record.message()?;
    let wire = nftwire::Set::decode(&wire)?;
    let set = decompile::set(&wire);
    let query = Query::Elements { table, set: wire.name };
    let elements = match has_elements(&set) {
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
