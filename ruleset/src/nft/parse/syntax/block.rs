//! What is between the braces of tables, chains, sets, objects and flowtables.

use crate::Family;
use crate::model::statement::ObjectKind;

use super::super::source::Span;
use super::{Expr, Name, Rule, Stmt};

/// What is between the braces of a table.
#[derive(Clone, Debug, Default)]
pub struct TableBlock {
    /// `dormant`, `owner`, …
    pub flags: Vec<Name>,
    /// The comment
    pub comment: Option<Name>,
    /// Chains
    pub chains: Vec<(Name, ChainBlock)>,
    /// Sets and maps
    pub sets: Vec<(Name, SetBlock)>,
    /// Objects
    pub objects: Vec<(Name, ObjectBlock)>,
    /// Flowtables
    pub flowtables: Vec<(Name, FlowtableBlock)>,
}

/// What is between the braces of a chain.
#[derive(Clone, Debug, Default)]
pub struct ChainBlock {
    /// `type … hook … priority …`
    pub hook: Option<HookSpec>,
    /// `policy`
    pub policy: Option<Expr>,
    /// `flags offload`
    pub offload: bool,
    /// The comment
    pub comment: Option<Name>,
    /// The rules
    pub rules: Vec<Rule>,
}

/// `type … hook … devices … priority …`
#[derive(Clone, Debug)]
pub struct HookSpec {
    /// `filter`, `nat`, `route`
    pub kind: Name,
    /// The hook
    pub hook: Name,
    /// The devices
    pub devices: Vec<Expr>,
    /// The priority
    pub priority: Priority,
    /// Where all that is
    pub span: Span,
}

/// A priority: a number, or a name with something added.
#[derive(Clone, Debug)]
pub struct Priority {
    /// The name, or a variable's value
    pub base: Option<Expr>,
    /// The number, or what is added to the name
    pub offset: i64,
    /// Where it is
    pub span: Span,
}

/// What is between the braces of a set or a map.
#[derive(Clone, Debug, Default)]
pub struct SetBlock {
    /// Whether it is a map
    pub map: bool,
    /// The key
    pub key: Option<TypeSpec>,
    /// What a map has for a key
    pub value: Option<ValueSpec>,
    /// `NFT_SET_*`
    pub flags: u32,
    /// `auto-merge`
    pub auto_merge: bool,
    /// Milliseconds
    pub timeout: Option<u64>,
    /// Milliseconds
    pub gc_interval: Option<u64>,
    /// `size`
    pub size: Option<u64>,
    /// `policy memory`
    pub memory_policy: Option<bool>,
    /// The comment
    pub comment: Option<Name>,
    /// Counters and limits of each element
    pub statements: Vec<Stmt>,
    /// The elements
    pub elements: Option<Expr>,
    /// Where all that is
    pub span: Span,
}

/// `type …` or `typeof …`
#[derive(Clone, Debug)]
pub enum TypeSpec {
    /// Names of types
    Names(Vec<Name>),
    /// Expressions
    Of(Expr),
}

/// What a map has for a key.
#[derive(Clone, Debug)]
pub enum ValueSpec {
    /// A value, or with `interval` a range
    Data(TypeSpec, bool),
    /// An object
    Object(ObjectKind),
}

/// An object.
#[derive(Clone, Debug)]
pub struct ObjectBlock {
    /// What it is
    pub data: ObjectSpec,
    /// The comment
    pub comment: Option<Name>,
    /// Where it is
    pub span: Span,
}

/// What an object is.
#[derive(Clone, Debug)]
pub enum ObjectSpec {
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
pub struct FlowtableBlock {
    /// `hook`
    pub hook: Option<Name>,
    /// `priority`
    pub priority: Option<Priority>,
    /// The devices
    pub devices: Vec<Expr>,
    /// `NFT_FLOWTABLE_*`
    pub flags: u32,
}
