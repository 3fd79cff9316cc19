//! The model: tables, chains, rules, sets and statements as values.

mod build;
mod data_type;
pub(crate) mod expression;
mod field;
mod ip_prefix;
pub mod object;
pub mod option;
mod origin;
pub mod selector;
pub mod statement;
pub(crate) mod symbols;
mod userdata;

pub use build::{Operand, Value};
pub use data_type::DataType;
pub use expression::{
    Binary, Constant, Element, ElementDetails, Expression, Hash, Map, Operator, Prefix, Range,
};
pub use field::{Field, IP_DADDR, IP_SADDR, IP6_DADDR, IP6_SADDR, Protocol};
pub use field::{TCP_DPORT, TCP_SPORT, UDP_DPORT, UDP_SPORT};
pub use ip_prefix::{IpPrefix, IpPrefixError, Ipv4Prefix};
pub use nftwire::{Data, Family, Hook, Name, Policy, Text};
pub use object::{FieldType, Flowtable, Object, ObjectData, Set, SetType, SetValue};
pub use origin::{Origin, Original, OriginalSet, SetOrigin};
pub use selector::Selector;
pub use statement::{Op, Statement, Verdict};
pub use userdata::Userdata;

/// What can be set: the selectors that are not fields of a header, such as [`Selector::MARK`].
pub type Target = Selector;

/// Tables with all they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The tables, in the order in which they are shown
    pub tables: Vec<Table>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its family
    pub family: Family,
    /// Its name
    pub name: Name,
    /// The kernel's handle; 0 where it is not known
    pub handle: u64,
    /// `NFT_TABLE_F_*`
    pub flags: u32,
    /// The comment
    pub comment: Option<Name>,
    /// What else programs keep with it
    pub userdata: Userdata,
    /// Its named objects
    pub objects: Vec<Object>,
    /// Its named sets and maps
    pub sets: Vec<Set>,
    /// Its flowtables
    pub flowtables: Vec<Flowtable>,
    /// Its chains
    pub chains: Vec<Chain>,
    /// Chains that belong to one rule each, which jumps to them by names that the kernel made
    pub anonymous: Vec<Chain>,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Its name
    pub name: Name,
    /// The kernel's handle; 0 where it is not known
    pub handle: u64,
    /// The comment
    pub comment: Option<Name>,
    /// What else programs keep with it
    pub userdata: Userdata,
    /// Its flags (`NFT_CHAIN_*`) but those that say whether it is a base chain and whether it belongs to a rule
    pub flags: u32,
    /// How often its policy decided, where a base chain counts that
    pub policy_counter: Option<statement::Counter>,
    /// What makes it a base chain, where it is one
    pub base: Option<BaseChain>,
    /// The devices whose packets enter it, at the hooks of devices
    pub devices: Vec<Name>,
    /// Its rules, in the order of evaluation
    pub rules: Vec<Rule>,
}

/// What makes a chain a base chain: packets enter it by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseChain {
    /// What it may do with packets
    pub kind: ChainKind,
    /// Where it meets them
    pub hook: Hook,
    /// Its place among the chains of its hook, the lowest first
    pub priority: i32,
    /// What happens to a packet that no rule decided about
    pub policy: Policy,
}

/// A chain type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    /// `filter`
    Filter,
    /// `nat`: sees the first packet of each connection
    Nat,
    /// `route`: packets that it changes are routed again
    Route,
}

impl ChainKind {
    /// The kernel's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Route => "route",
        }
    }

    /// The kind with this name of the kernel's.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Filter, Self::Nat, Self::Route].into_iter().find(|kind| kind.name() == name)
    }
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The kernel's handle; 0 where it is not known
    pub handle: u64,
    /// Its statements, in the order of evaluation
    pub statements: Vec<Statement>,
    /// The comment
    pub comment: Option<Name>,
    /// Where the statements come from
    pub origin: Origin,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(family: Family, name: impl Into<Name>) -> Self {
        Self {
            family,
            name: name.into(),
            handle: 0,
            flags: 0,
            comment: None,
            userdata: Userdata::default(),
            objects: Vec::new(),
            sets: Vec::new(),
            flowtables: Vec::new(),
            chains: Vec::new(),
            anonymous: Vec::new(),
        }
    }

    /// Whether a rule adds elements to this set or deletes some.
    pub(crate) fn updates(&self, set: &Name) -> bool {
        let rules = self.chains.iter().chain(&self.anonymous).flat_map(|chain| &chain.rules);
        let is_update = |statement: &Statement| match statement {
            Statement::Update(update) => update.meter.is_none() && update.set == *set,
            _ => false,
        };
        rules.flat_map(|rule| &rule.statements).any(is_update)
    }

    /// Whether both are the same table to the kernel.
    #[must_use]
    pub fn is_same_table(&self, other: &Self) -> bool {
        self.family == other.family && self.name == other.name
    }
}

impl Ruleset {
    /// How many chains all tables have.
    #[must_use]
    pub fn chain_count(&self) -> usize {
        self.tables.iter().map(|table| table.chains.len()).sum()
    }

    /// How many rules all chains have.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.tables.iter().flat_map(|table| &table.chains).map(|chain| chain.rules.len()).sum()
    }
}

/// The name of a table, for a message: `inet istio-proxy-nat`.
impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}
