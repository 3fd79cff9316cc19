//! Which tables are read, and what of them.

use crate::desired::Desired;
use crate::{Family, Set, Table, Text};

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
    pub(super) fn family(self) -> Family {
        match self {
            Self::Where(_) | Self::Desired(_) => Family::Unspec,
            Self::Family(family)
            | Self::Table(family, _)
            | Self::Chain(family, ..)
            | Self::Set(family, ..) => family,
        }
    }

    pub(super) fn has(self, table: &Table) -> bool {
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
    pub(super) fn table(self) -> Option<Text<'a>> {
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
    /// As [`Depth::Rules`], but of a [crowded](super::TableSnapshot::is_crowded) table neither rules nor elements
    KeptRules,
    /// Rules, too, and the elements of anonymous sets; of sets with a name only where they are desired and no other program
    /// fills them ([`Scope::Desired`])
    Rules,
    /// Everything
    All,
}

impl Depth {
    pub(super) fn has_rules(self) -> bool {
        self >= Self::KeptRules
    }

    pub(super) fn has_elements(self, set: &Set) -> bool {
        match self {
            Self::Tables | Self::Chains | Self::Objects => false,
            Self::NamedElements => !set.is_anonymous(),
            Self::KeptRules | Self::Rules => set.is_anonymous(),
            Self::All => true,
        }
    }
}
