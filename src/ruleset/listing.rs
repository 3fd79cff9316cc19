//! What the kernel holds, as a [`Ruleset`].

use std::collections::HashMap;

use nftwire::{Error, Family, Socket, userdata};

use super::decompile::{self, Decompiler, SetReader, Sets};
use super::{BaseChain, Chain, ChainKind, Policy, Ruleset, Table};

/// Everything of a family, or of all with [`Family::Unspec`], of one generation.
///
/// # Errors
/// Those of reading; [`Error::GenerationChanged`] if the ruleset does not stand still for 10 seconds.
pub fn read(socket: &mut Socket, family: Family) -> Result<Ruleset, Error> {
    socket.consistent(|socket| read_once(socket, family)).map(|(_, ruleset)| ruleset)
}

fn read_once(socket: &mut Socket, family: Family) -> Result<Ruleset, Error> {
    let mut ruleset = Ruleset::default();
    socket.tables(family, |table| {
        ruleset.tables.push(self::table(&table));
        Ok(())
    })?;
    let tables = &mut ruleset.tables;
    socket.chains(family, |chain| {
        if let Some(table) = find(tables, chain.family, chain.table) {
            table.chains.push(self::chain(&chain));
        }
        Ok(())
    })?;
    socket.objects(family, None, None, |object| {
        if let Some(table) = find(tables, object.family, object.table) {
            table.objects.push(decompile::object(&object));
        }
        Ok(())
    })?;
    socket.flowtables(family, None, |flowtable| {
        if let Some(table) = find(tables, flowtable.family, flowtable.table) {
            table.flowtables.push(decompile::flowtable(&flowtable));
        }
        Ok(())
    })?;
    for table in tables {
        let (sets, order) = read_sets(socket, table.family, &table.name)?;
        read_rules(socket, table, &sets)?;
        let mut sets = sets;
        table.sets = order.iter().filter_map(|name| sets.remove(name)).collect();
    }
    Ok(ruleset)
}

fn find<'t>(tables: &'t mut [Table], family: Family, name: &str) -> Option<&'t mut Table> {
    tables.iter_mut().find(|table| table.family == family && table.name == name)
}

/// A table without what it holds.
#[must_use]
pub fn table(table: &nftwire::Table<'_>) -> Table {
    Table {
        handle: table.handle,
        flags: table.flags.0,
        comment: userdata::comment(table.userdata).map(str::to_owned),
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
        name: chain.name.to_owned(),
        handle: chain.handle,
        comment: userdata::comment(chain.userdata).map(str::to_owned),
        base,
        devices,
        rules: Vec::new(),
    }
}

/// The sets of a table with their elements, and the names of those that have one, in the kernel's order.
///
/// # Errors
/// Those of reading.
pub fn read_sets(socket: &mut Socket, family: Family, table: &str) -> Result<(Sets, Vec<String>), Error> {
    let mut found = Vec::new();
    socket.sets(family, table, |set| {
        found.push(decompile::set(&set));
        Ok(())
    })?;
    let mut sets = Sets::with_capacity(found.len());
    let mut named = Vec::new();
    for set in found {
        let name = set.name.clone();
        if !set.is_anonymous() {
            named.push(name.clone());
        }
        let mut reader = SetReader::new(set);
        socket.elements(family, table, &name, |list| {
            for element in list.elements() {
                reader.add(&element?);
            }
            Ok(())
        })?;
        sets.insert(name, reader.finish());
    }
    Ok((sets, named))
}

fn read_rules(socket: &mut Socket, table: &mut Table, sets: &Sets) -> Result<(), Error> {
    let chains: HashMap<_, _> =
        table.chains.iter().enumerate().map(|(index, chain)| (chain.name.clone(), index)).collect();
    let mut decompiler = Decompiler::new(table.family, sets);
    let family = table.family;
    let chain_list = &mut table.chains;
    socket.rules(family, &table.name, |rule| {
        if let Some(&index) = chains.get(rule.chain) {
            let rule = decompiler.rule(&rule)?;
            chain_list[index].rules.push(rule);
        }
        Ok(())
    })
}
