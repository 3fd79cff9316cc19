//! Commands, and what they are about.

use crate::model::statement::ObjectKind;
use crate::{Family, Set};

use super::super::source::Span;
use super::{ChainBlock, Expr, FlowtableBlock, Name, ObjectBlock, Rule, SetBlock, TableBlock};

/// A table by its name or its handle.
#[derive(Clone, Debug)]
pub(crate) struct TableSpec {
    /// The family
    pub(crate) family: Family,
    /// The name; with a handle, empty
    pub(crate) name: Name,
}

/// Something in a table, by its name.
#[derive(Clone, Debug)]
pub(crate) struct ItemSpec {
    /// The table
    pub(crate) table: TableSpec,
    /// Its name
    pub(crate) name: Name,
}

/// A name, or the kernel's handle.
#[derive(Clone, Debug)]
pub(crate) enum NameOrHandle {
    /// A name
    Name(Name),
    /// A handle
    Handle(u64, Span),
}

/// A command that was read, to be [carried out](crate::nft::command::run).
#[derive(Clone, Debug)]
pub struct Command {
    /// What it is
    pub(crate) kind: CommandKind,
    /// Where it is
    pub(crate) span: Span,
}

impl Command {
    /// Whether it shows something, which may be a device's name or number.
    #[must_use]
    pub fn shows(&self) -> bool {
        use CommandKind::{Describe, GetElements, List, Monitor, Reset};
        matches!(self.kind, List(_) | Reset(_) | GetElements(..) | Describe(_) | Monitor { .. })
    }
}

/// How something is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It may exist
    Add,
    /// It must not exist
    Create,
}

/// A command.
#[derive(Clone, Debug)]
pub(crate) enum CommandKind {
    /// `add table`, `create table`
    AddTable(Verb, TableSpec, Option<Box<TableBlock>>),
    /// `add chain`, `create chain`
    AddChain(Verb, ItemSpec, Option<Box<ChainBlock>>),
    /// `add rule`, `insert rule`
    AddRule {
        /// The chain
        chain: ItemSpec,
        /// Where in the chain
        position: RulePosition,
        /// The rule
        rule: Rule,
    },
    /// `add set`, `add map` and their `create`
    AddSet(Verb, ItemSpec, Box<SetBlock>),
    /// `add element`, `create element`
    AddElements(Verb, ItemSpec, Expr),
    /// `add counter` and the like
    AddObject(Verb, ItemSpec, Box<ObjectBlock>),
    /// `add flowtable`
    AddFlowtable(Verb, ItemSpec, Box<FlowtableBlock>),
    /// `delete …`, `destroy …`
    Delete {
        /// It need not exist
        destroy: bool,
        /// What
        what: Deletion,
    },
    /// `flush …`
    Flush(Flush),
    /// `rename chain`
    RenameChain(ItemSpec, Name),
    /// `get element`
    GetElements(ItemSpec, Expr),
    /// `list …`
    List(ListWhat),
    /// `reset …`
    Reset(ListWhat),
    /// `monitor …`
    Monitor {
        /// `new` or `destroy`
        event: Option<Name>,
        /// `tables`, `chains`, …
        object: Option<Name>,
        /// `json`
        json: bool,
    },
    /// `describe …`
    Describe(Expr),
}

/// Where in its chain a rule goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RulePosition {
    /// At the end
    Append,
    /// At the start
    Prepend,
    /// After the rule with this handle
    AfterHandle(u64, Span),
    /// Before the rule with this handle
    BeforeHandle(u64, Span),
    /// After the rule with this number, from 0
    AfterIndex(u64, Span),
    /// Before the rule with this number, from 0
    BeforeIndex(u64, Span),
    /// In the place of the rule with this handle
    Replace(u64, Span),
}

/// What is deleted.
#[derive(Clone, Debug)]
pub(crate) enum Deletion {
    /// A table
    Table(Family, NameOrHandle),
    /// A chain
    Chain(TableSpec, NameOrHandle),
    /// A rule, by its handle
    Rule(ItemSpec, u64, Span),
    /// A set or a map
    Set(TableSpec, NameOrHandle),
    /// Elements
    Elements(ItemSpec, Expr),
    /// An object
    Object(ObjectKind, TableSpec, NameOrHandle),
    /// A flowtable
    Flowtable(TableSpec, NameOrHandle),
    /// Devices of a flowtable
    FlowtableDevices(ItemSpec, Box<FlowtableBlock>),
}

/// What is emptied.
#[derive(Clone, Debug)]
pub(crate) enum Flush {
    /// Every table of a family, or of all
    Ruleset(Option<Family>),
    /// The rules of a table
    Table(TableSpec),
    /// The rules of a chain
    Chain(ItemSpec),
    /// The elements of a set, a map or a meter
    Set(SetKind, ItemSpec),
}

/// Which kind of set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetKind {
    /// `set`
    Set,
    /// `map`
    Map,
    /// `meter`
    Meter,
}

impl SetKind {
    /// Whether a set is of this kind (nftables 1.0.6, `set_is_literal`, `map_is_literal` and `set_is_meter`).
    pub(crate) fn is_of(self, set: &Set) -> bool {
        match self {
            Self::Set => !set.is_anonymous() && set.value.is_none(),
            Self::Map => !set.is_anonymous() && set.value.is_some(),
            Self::Meter => set.is_meter(),
        }
    }
}

/// What is listed or reset.
#[derive(Clone, Debug)]
pub(crate) enum ListWhat {
    /// `ruleset`
    Ruleset(Option<Family>),
    /// `tables`
    Tables(Option<Family>),
    /// `table`
    Table(TableSpec),
    /// `chains`
    Chains(Option<Family>),
    /// `chain`
    Chain(ItemSpec),
    /// `sets`, `maps`, `meters`, of all tables or of one
    Sets(SetKind, Option<Family>, Option<TableSpec>),
    /// `set`, `map`, `meter`
    Set(SetKind, ItemSpec),
    /// Elements of a set
    Elements(ItemSpec, Expr),
    /// `counters` and the like, of all tables or of one
    Objects(ObjectKind, Option<Family>, Option<TableSpec>),
    /// `counter` and the like
    Object(ObjectKind, ItemSpec),
    /// `flowtables`
    Flowtables(Option<Family>),
    /// `flowtable`
    Flowtable(ItemSpec),
    /// `rules`, of all tables, of one or of a chain
    Rules(Option<Family>, Option<TableSpec>, Option<Name>),
    /// `rule`
    Rule(ItemSpec, u64),
    /// `hooks`, of a family or of all, and of a device
    Hooks(Option<Family>, Option<Name>),
}
