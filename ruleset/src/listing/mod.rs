//! What the kernel holds, as a [`Ruleset`], or as text made while it is received.

mod counters;
mod stream;
mod text;

use nftwire::{Error, Family, Reader, Socket, userdata};
use nftwire::{Name, Text};

use crate::nft::decompile::{self, SetReader, Sets};
use crate::{BaseChain, Chain, ChainKind, Policy, Rule, Ruleset, Set, Table};
pub use counters::{Moved, moved};
#[cfg(fuzzing)]
pub use stream::rules_in;
pub use text::{json, text};

/// What is read.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// Every table of a family, or of all with [`Family::Unspec`]
    Family(Family),
    /// The tables of which this is true
    Where(fn(&Table) -> bool),
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
            Self::Where(_) => Family::Unspec,
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
            Self::Table(_, name) | Self::Chain(_, name, _) | Self::Set(_, name, _) => table.name == name,
        }
    }

    /// The only chain whose rules are read.
    fn chain(self) -> Option<Text<'a>> {
        if let Self::Chain(.., chain) = self { Some(chain) } else { None }
    }

    /// Whether only a part of a table is read.
    fn is_part(self) -> bool {
        matches!(self, Self::Chain(..) | Self::Set(..))
    }
}

/// A table, and what was made of its chains' rules.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// The table with all it holds but rules
    pub table: Table,
    /// One for each chain of the table, in their order
    pub rules: Vec<T>,
}

/// Everything of a family, or of all with [`Family::Unspec`], of one generation.
///
/// # Errors
/// Those of reading; [`Error::GenerationChanged`] if the ruleset does not stand still for 10 seconds.
pub fn read(socket: &mut Socket, family: Family) -> Result<Ruleset, Error> {
    let keep = |_: &Table, _: &Chain, rule, rules: &mut Vec<Rule>| rules.push(rule);
    let listed = collect(socket, Scope::Family(family), keep)?;
    let tables = listed.into_iter().map(|Listed { mut table, rules }| {
        for (chain, rules) in table.chains.iter_mut().zip(rules) {
            chain.rules = rules;
        }
        table
    });
    Ok(Ruleset { tables: tables.collect() })
}

/// The tables of a scope, of one generation; `each` is called with every rule, on another thread than the caller's,
/// and makes of the rules of a chain what is kept of them. A table, chain or set that is not there is left out.
///
/// # Errors
/// As [`read`].
pub fn collect<T: Default + Send>(
    socket: &mut Socket,
    scope: Scope<'_>,
    each: impl Fn(&Table, &Chain, Rule, &mut T) + Sync,
) -> Result<Vec<Listed<T>>, Error> {
    socket.consistent(|reader| collect_once(reader, scope, &each)).map(|(_, listed)| listed)
}

fn collect_once<T: Default + Send>(
    reader: &mut Reader<'_>,
    scope: Scope<'_>,
    each: &(impl Fn(&Table, &Chain, Rule, &mut T) + Sync),
) -> Result<Vec<Listed<T>>, Error> {
    let mut tables = tables(reader, scope)?;
    match scope {
        Scope::Set(..) => {}
        Scope::Chain(..) => read_chains(reader, scope, &mut tables)?,
        Scope::Family(_) | Scope::Where(_) | Scope::Table(..) => {
            read_chains(reader, scope, &mut tables)?;
            read_objects(reader, scope, &mut tables)?;
        }
    }
    let collected = tables.into_iter().map(|mut table| {
        let (mut sets, named) = read_sets_of(reader, scope, &table, true)?;
        let rules = match table.chains.is_empty() {
            true => Vec::new(),
            false => stream::rules(reader, &table, scope.chain(), &sets, each)?,
        };
        table.sets = named.iter().filter_map(|name| sets.remove(name)).collect();
        Ok(Listed { table, rules })
    });
    collected.collect()
}

/// The tables of a scope without what they hold.
///
/// # Errors
/// Those of reading.
pub fn tables(reader: &mut Reader<'_>, scope: Scope<'_>) -> Result<Vec<Table>, Error> {
    let mut tables = Vec::new();
    reader.tables(scope.family(), |table| {
        tables.push(self::table(&table));
        Ok(())
    })?;
    tables.retain(|table| scope.has(table));
    Ok(tables)
}

fn read_chains(reader: &mut Reader<'_>, scope: Scope<'_>, tables: &mut [Table]) -> Result<(), Error> {
    reader.chains(scope.family(), |chain| {
        let desired = scope.chain().is_none_or(|name| name == chain.name);
        if let Some(table) = find(tables, chain.family, chain.table).filter(|_| desired) {
            table.chains.push(self::chain(&chain));
        }
        Ok(())
    })
}

/// Objects and flowtables.
fn read_objects(reader: &mut Reader<'_>, scope: Scope<'_>, tables: &mut [Table]) -> Result<(), Error> {
    let only = if let Scope::Table(_, name) = scope { Some(name) } else { None };
    reader.objects(scope.family(), only, None, |object| {
        if let Some(table) = find(tables, object.family, object.table) {
            table.objects.push(decompile::object(&object));
        }
        Ok(())
    })?;
    reader.flowtables(scope.family(), only, |flowtable| {
        if let Some(table) = find(tables, flowtable.family, flowtable.table) {
            table.flowtables.push(decompile::flowtable(&flowtable));
        }
        Ok(())
    })
}

fn find<'t>(tables: &'t mut [Table], family: Family, name: Text<'_>) -> Option<&'t mut Table> {
    tables.iter_mut().find(|table| table.family == family && table.name == name)
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

/// The sets of a table, and the names of those that have one, in the kernel's order. Only those without a name have their
/// elements, which rules show; the others may be large.
///
/// # Errors
/// Those of reading.
pub fn read_sets(reader: &mut Reader<'_>, family: Family, table: &Name) -> Result<(Sets, Vec<Name>), Error> {
    read_sets_of(reader, Scope::Family(family), &Table::new(family, table), false)
}

/// As [`read_sets`], with the elements of those that have a name, too.
///
/// # Errors
/// Those of reading.
pub fn read_full_sets(
    reader: &mut Reader<'_>,
    family: Family,
    table: &Name,
) -> Result<(Sets, Vec<Name>), Error> {
    read_sets_of(reader, Scope::Family(family), &Table::new(family, table), true)
}

fn read_sets_of(
    reader: &mut Reader<'_>,
    scope: Scope<'_>,
    table: &Table,
    elements_of_named: bool,
) -> Result<(Sets, Vec<Name>), Error> {
    let mut found = Vec::new();
    reader.sets(table.family, &table.name, |set| {
        found.push(decompile::set(&set));
        Ok(())
    })?;
    let mut sets = Sets::with_capacity(found.len());
    let mut named = Vec::new();
    for set in found {
        let name = set.name.clone();
        let shown = match scope {
            Scope::Set(.., desired) => name == desired,
            Scope::Chain(..) => false,
            Scope::Family(_) | Scope::Where(_) | Scope::Table(..) => !set.is_anonymous(),
        };
        if shown {
            named.push(name.clone());
        }
        // The rules of a chain show the elements of sets without a name, and the names of others.
        let set = match scope {
            Scope::Set(..) if !shown => continue,
            Scope::Chain(..) if !set.is_anonymous() => set,
            _ if !set.is_anonymous() && !elements_of_named => set,
            _ => read_elements(reader, table, set)?,
        };
        sets.insert(name, set);
    }
    Ok((sets, named))
}

fn read_elements(reader: &mut Reader<'_>, table: &Table, set: Set) -> Result<Set, Error> {
    let name = set.name.clone();
    let mut elements = SetReader::new(set);
    reader.elements(table.family, &table.name, &name, |list| {
        for element in list.elements() {
            elements.add(&element?);
        }
        Ok(())
    })?;
    Ok(elements.finish())
}
