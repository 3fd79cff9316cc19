//! What is between the braces of tables, chains, sets, objects and flowtables.

use crate::Family;
use crate::model::statement::ObjectKind;

use super::super::source::Span;
use super::{Expr, Name, Rules, Stmt};

/// What is between the braces of a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct TableBlock {
    /// `dormant`, `owner`, …
    pub(crate) flags: Vec<Name>,
    /// The comment
    pub(crate) comment: Option<Name>,
    /// Chains
    pub(crate) chains: Vec<(Name, ChainBlock)>,
    /// Sets and maps
    pub(crate) sets: Vec<(Name, SetBlock)>,
    /// Objects
    pub(crate) objects: Vec<(Name, ObjectBlock)>,
    /// Flowtables
    pub(crate) flowtables: Vec<(Name, FlowtableBlock)>,
}

/// What is between the braces of a chain.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChainBlock {
    /// `type … hook … priority …`
    pub(crate) hook: Option<HookSpec>,
    /// `policy`
    pub(crate) policy: Option<Expr>,
    /// `flags offload`
    pub(crate) offload: bool,
    /// The comment
    pub(crate) comment: Option<Name>,
    /// The rules
    pub(crate) rules: Rules,
}

/// `type … hook … devices … priority …`
#[derive(Clone, Debug)]
pub(crate) struct HookSpec {
    /// `filter`, `nat`, `route`
    pub(crate) kind: Name,
    /// The hook
    pub(crate) hook: Name,
    /// The devices
    pub(crate) devices: Vec<Expr>,
    /// The priority
    pub(crate) priority: Priority,
    /// Where all that is
    pub(crate) span: Span,
}

/// A priority: a number, or a name with something added.
#[derive(Clone, Debug)]
pub(crate) struct Priority {
    /// The name, or a variable's value
    pub(crate) base: Option<Expr>,
    /// The number, or what is added to the name
    pub(crate) offset: i64,
    /// Where it is
    pub(crate) span: Span,
}

/// What is between the braces of a set or a map.
#[derive(Clone, Debug, Default)]
pub(crate) struct SetBlock {
    /// Whether it is a map
    pub(crate) map: bool,
    /// The key
    pub(crate) key: Option<TypeSpec>,
    /// What a map has for a key
    pub(crate) value: Option<ValueSpec>,
    /// `NFT_SET_*`
    pub(crate) flags: u32,
    /// `auto-merge`
    pub(crate) auto_merge: bool,
    /// Milliseconds
    pub(crate) timeout: Option<u64>,
    /// Milliseconds
    pub(crate) gc_interval: Option<u64>,
    /// `size`
    pub(crate) size: Option<u64>,
    /// `policy memory`
    pub(crate) memory_policy: Option<bool>,
    /// The comment
    pub(crate) comment: Option<Name>,
    /// Counters and limits of each element
    pub(crate) statements: Vec<Stmt>,
    /// The elements
    pub(crate) elements: Option<Expr>,
    /// Where all that is
    pub(crate) span: Span,
}

/// `type …` or `typeof …`
#[derive(Clone, Debug)]
pub(crate) enum TypeSpec {
    /// Names of types
    Names(Vec<Name>),
    /// Expressions
    Of(Expr),
}

/// What a map has for a key.
#[derive(Clone, Debug)]
pub(crate) enum ValueSpec {
    /// A value, or with `interval` a range
    Data(TypeSpec, bool),
    /// An object
    Object(ObjectKind),
}

/// An object.
#[derive(Clone, Debug)]
pub(crate) struct ObjectBlock {
    /// What it is
    pub(crate) data: ObjectSpec,
    /// The comment
    pub(crate) comment: Option<Name>,
    /// Where it is
    pub(crate) span: Span,
}

/// What an object is.
#[derive(Clone, Debug)]
pub(crate) enum ObjectSpec {
    /// `counter`
    Counter(crate::model::statement::Counter),
    /// `quota`
    Quota(Option<crate::model::statement::Quota>),
    /// `limit`
    Limit(Option<crate::model::statement::Limit>),
    /// `secmark`
    Secmark(Option<Name>),
    /// `synproxy`
    Synproxy(Option<crate::model::statement::Synproxy>),
    /// `ct helper`
    CtHelper {
        /// The helper
        helper: Option<Name>,
        /// `tcp` or `udp`
        l4proto: u8,
        /// `l3proto`
        l3proto: Option<Family>,
    },
    /// `ct timeout`
    CtTimeout {
        /// `tcp` or `udp`
        l4proto: u8,
        /// `l3proto`
        l3proto: Option<Family>,
        /// States and seconds
        policy: Vec<(Name, u64)>,
    },
    /// `ct expectation`
    CtExpectation {
        /// `tcp` or `udp`
        l4proto: u8,
        /// `l3proto`
        l3proto: Option<Family>,
        /// The port
        dport: u64,
        /// Milliseconds
        timeout: u64,
        /// How many
        size: u64,
    },
}

/// What is between the braces of a flowtable.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlowtableBlock {
    /// `hook`
    pub(crate) hook: Option<Name>,
    /// `priority`
    pub(crate) priority: Option<Priority>,
    /// The devices
    pub(crate) devices: Vec<Expr>,
    /// `NFT_FLOWTABLE_*`
    pub(crate) flags: u32,
}
