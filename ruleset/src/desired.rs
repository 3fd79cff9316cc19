//! The desired state of the kernel.

use crate::{Family, Name, Ruleset, Set, Table, Text};

/// Owned tables: what is in them and not desired is removed, except for sets that others fill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    tables: Vec<OwnedTable>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct OwnedTable {
    family: Family,
    name: Name,
    /// Where one of these exists, and is of the same kind, it stays with its elements
    kept_sets: Vec<Set>,
}

impl Owned {
    /// These tables; the kernel may fill their sets, or other programs, so sets of the same kind stay with their
    /// elements, whether the rules that use them are desired or not. Chains and rules do not matter here.
    #[must_use]
    pub fn with_kept_sets(ruleset: &Ruleset) -> Self {
        let tables = ruleset.tables.iter().map(|table| OwnedTable {
            family: table.family,
            name: table.name.clone(),
            kept_sets: table.sets.clone(),
        });
        Self { tables: tables.collect() }
    }

    /// The same tables; their sets are replaced as everything else is.
    #[must_use]
    pub fn without_kept_sets(mut self) -> Self {
        for table in &mut self.tables {
            table.kept_sets.clear();
        }
        self
    }

    /// The same, and the tables of this ruleset.
    #[must_use]
    pub fn and(mut self, ruleset: &Ruleset) -> Self {
        for table in &ruleset.tables {
            if !self.has(table.family, table.name.as_text()) {
                let (family, name) = (table.family, table.name.clone());
                self.tables.push(OwnedTable { family, name, kept_sets: Vec::new() });
            }
        }
        self
    }

    /// The same without the tables of such names.
    #[must_use]
    pub fn without(mut self, is_such: impl Fn(&Name) -> bool) -> Self {
        self.tables.retain(|table| !is_such(&table.name));
        self
    }

    fn has(&self, family: Family, name: Text<'_>) -> bool {
        self.tables.iter().any(|table| table.family == family && table.name.as_text() == name)
    }

    /// The tables' families and names.
    pub fn tables(&self) -> impl Iterator<Item = (Family, &Name)> {
        self.tables.iter().map(|table| (table.family, &table.name))
    }

    /// The sets of a table that stay with their elements.
    #[must_use]
    pub fn kept_sets(&self, family: Family, name: Text<'_>) -> &[Set] {
        let table = self.tables.iter().find(|table| table.family == family && table.name.as_text() == name);
        table.map_or(&[], |table| &table.kept_sets)
    }
}

/// A ruleset, and the tables that are to hold nothing else: its own, and all owned ones.
#[derive(Clone, Copy, Debug)]
pub struct Desired<'a> {
    ruleset: &'a Ruleset,
    owned: &'a Owned,
}

impl<'a> Desired<'a> {
    /// This ruleset, and nothing else in the tables of both.
    #[must_use]
    pub fn new(ruleset: &'a Ruleset, owned: &'a Owned) -> Self {
        Self { ruleset, owned }
    }

    /// The ruleset.
    #[must_use]
    pub fn ruleset(self) -> &'a Ruleset {
        self.ruleset
    }

    /// Whether it decides what this table holds.
    #[must_use]
    pub fn owns(self, family: Family, name: Text<'_>) -> bool {
        let is_it = |table: &Table| table.family == family && table.name.as_text() == name;
        self.ruleset.tables.iter().any(is_it) || self.owned.has(family, name)
    }

    /// The names of the desired sets of a table whose elements matter: no other program fills them.
    pub(crate) fn compared_sets(self, table: &Table) -> Vec<&'a Name> {
        let kept = self.kept_sets(table.family, table.name.as_text());
        let desired = self.ruleset.tables.iter().find(|desired| desired.is_same_table(table));
        let sets = desired.into_iter().flat_map(|desired| &desired.sets).map(|set| &set.name);
        sets.filter(|name| !kept.iter().any(|kept| kept.name == **name)).collect()
    }

    /// The sets of a table that stay with their elements.
    #[must_use]
    pub fn kept_sets(self, family: Family, name: Text<'_>) -> &'a [Set] {
        self.owned.kept_sets(family, name)
    }
}
