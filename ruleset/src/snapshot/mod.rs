//! What the kernel holds: one generation, complete, and undecoded until it is looked at.
//!
//! The records of rules, sets and elements share the memory of the dumps that they came in.

mod decompile;
mod model;
mod read;
mod scope;

use std::time::Duration;

use nftwire::{DecodeError, Dump, Error, Record, Socket};

pub use self::decompile::decompile_rules;
pub use self::model::{chain, table};
use self::read::read;
pub(crate) use self::read::set_of;
pub use self::read::{read_sets, read_tables};
pub use self::scope::{Depth, Scope};
use crate::desired::Desired;
use crate::{Chain, Name, Rule, Ruleset, Set, Table};

/// How many references to its chains a table may have besides those of desired rules before it is crowded: more than anybody
/// prepares at the same moment, whose rules the kernel counts, too, and few enough to be read within milliseconds.
const CROWD: usize = 8_192;

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

    /// An empty ruleset, of any generation.
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

    /// All of it, decompiled to be shown: its rules are not compiled ([`Origin::Listed`](crate::Origin::Listed)).
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

    /// All of it, decompiled: each rule and each set compiles to what the kernel holds, or says that it does not ([`Origin`](crate::Origin),
    /// [`SetOrigin`](crate::SetOrigin)). That takes about twice as long as [`Snapshot::listed`].
    ///
    /// # Errors
    /// A record is not what the protocol says.
    pub fn ruleset(&self) -> Result<Ruleset, Error> {
        let tables = self.tables.iter().map(TableSnapshot::loadable);
        Ok(Ruleset { tables: tables.collect::<Result<_, DecodeError>>()? })
    }
}

impl Snapshot {
    /// Whether the other has the same tables with the same in them, for all that a plan looks at: not in which order others'
    /// tables are, which handles there are, nor what was counted. It may say no where a plan sees no difference.
    pub(crate) fn is_alike(&self, other: &Self) -> Result<bool, DecodeError> {
        let Self { generation: _, tables, chains_of_others: _ } = self;
        all_alike(tables, &other.tables, TableSnapshot::is_alike)
    }
}

impl TableSnapshot {
    fn is_alike(&self, other: &Self) -> Result<bool, DecodeError> {
        let Self { table, chains, sets, objects, flowtables, rules, is_crowded } = self;
        // What it holds is not in it.
        let Table { family: _, name: _, handle: _, flags, comment, userdata, .. } = table;
        let there = &other.table;
        Ok(*is_crowded == other.is_crowded
            && table.is_same_table(there)
            && (*flags, comment, userdata) == (there.flags, &there.comment, &there.userdata)
            && all_alike(chains, &other.chains, Record::is_alike)?
            && all_alike(sets, &other.sets, SetSnapshot::is_alike)?
            && all_alike(objects, &other.objects, Record::is_alike)?
            && all_alike(flowtables, &other.flowtables, Record::is_alike)?
            && rules.is_alike(&other.rules)?)
    }
}

impl SetSnapshot {
    fn is_alike(&self, other: &Self) -> Result<bool, DecodeError> {
        // The set is what its record says.
        let Self { set: _, record, elements } = self;
        Ok(record.is_alike(&other.record)? && elements.is_alike(&other.elements)?)
    }
}

fn all_alike<T>(
    these: &[T],
    others: &[T],
    is_alike: fn(&T, &T) -> Result<bool, DecodeError>,
) -> Result<bool, DecodeError> {
    for (one, other) in these.iter().zip(others) {
        if !is_alike(one, other)? {
            return Ok(false);
        }
    }
    Ok(these.len() == others.len())
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
}

impl SetSnapshot {
    /// The set without its elements.
    #[must_use]
    pub fn head(&self) -> &Set {
        &self.set
    }

    /// The message that describes it.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Its elements, where they were asked for.
    #[must_use]
    pub fn elements(&self) -> &Dump {
        &self.elements
    }
}
