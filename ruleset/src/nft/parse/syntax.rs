//! What a text says, before names and values are looked up: commands, statements and expressions with their places.

use nftwire::expr::RtKey;

use crate::model::statement::{NatKind, ObjectKind, UpdateOp};
use crate::{Family, Op, Operator, Selector};

use super::source::Span;

/// `rt nexthop` before it is known of which family: the table or the packet says so.
pub(super) const NEXT_HOP: RtKey = RtKey::from_number(u32::MAX);

/// A word that names something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The word
    pub text: Box<str>,
    /// Where it is
    pub span: Span,
}

/// Something that has a value.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is
    pub kind: ExprKind,
    /// Where it is
    pub span: Span,
}

/// Something that has a value.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// Digits
    Number(u64),
    /// A word or an address
    Word(Box<str>),
    /// Text between quotes
    Quoted(Box<str>),
    /// A word with an asterisk
    Asterisk(Box<str>),
    /// Read from the packet
    Selector(Selector),
    /// `value/len`
    Prefix(Box<Expr>, u64),
    /// `from-to`
    Range(Box<(Expr, Expr)>),
    /// `one . other`
    Concat(Vec<Expr>),
    /// `one,other`
    List(Vec<Expr>),
    /// `{ one, other }`
    Set(Vec<Element>),
    /// `@name`
    SetName(Box<str>),
    /// `key map …`
    Map(Box<(Expr, Expr)>),
    /// An operation on bits
    Binary(Operator, Box<(Expr, Expr)>),
    /// `jhash …`
    Hash(Box<Hash>),
    /// `accept`, `jump chain`, …
    Verdict(Verdict),
    /// `*`
    Wildcard,
}

/// `jhash OF mod MODULUS seed SEED offset OFFSET`
#[derive(Clone, Debug)]
pub struct Hash {
    /// Of what
    pub of: Expr,
    /// How many values
    pub modulus: u32,
    /// What the hash begins with
    pub seed: Option<u32>,
    /// The lowest value
    pub offset: u32,
}

/// A verdict.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// `accept`
    Accept,
    /// `drop`
    Drop,
    /// `continue`
    Continue,
    /// `return`
    Return,
    /// `jump chain`
    Jump(Name),
    /// `goto chain`
    Goto(Name),
}

/// An element of a set or a map.
#[derive(Clone, Debug)]
pub struct Element {
    /// The key
    pub key: Expr,
    /// What a map has for it
    pub value: Option<Expr>,
    /// The rest, which few have
    pub details: Option<Box<ElementDetails>>,
}

/// What few elements have.
#[derive(Clone, Debug, Default)]
pub struct ElementDetails {
    /// Milliseconds after which it expires
    pub timeout: Option<u64>,
    /// Milliseconds until it expires
    pub expires: Option<u64>,
    /// The comment
    pub comment: Option<Name>,
    /// Counters and limits of its own
    pub statements: Vec<Stmt>,
}

/// A step of a rule.
#[derive(Clone, Debug)]
pub struct Stmt {
    /// What it is
    pub kind: StmtKind,
    /// Where it is
    pub span: Span,
}

/// A step of a rule.
#[derive(Clone, Debug)]
pub enum StmtKind {
    /// `left OP right`
    Match {
        /// What is read
        left: Expr,
        /// How it is compared, where that is said
        op: Option<Op>,
        /// With what
        right: Expr,
        /// `right / mask`
        mask: Option<Expr>,
    },
    /// A verdict
    Verdict(Verdict),
    /// `jump { … }`
    Block {
        /// `goto` instead of `jump`
        goto: bool,
        /// The rules
        rules: Vec<Rule>,
    },
    /// `key vmap …`
    VerdictMap(Expr, Expr),
    /// `counter packets … bytes …`
    Counter {
        /// Packets so far
        packets: u64,
        /// Bytes so far
        bytes: u64,
    },
    /// `counter name …` and the like
    Object(ObjectKind, Expr),
    /// `log …`
    Log(Box<Log>),
    /// `limit rate …`
    Limit(crate::model::statement::Limit),
    /// `quota …`
    Quota(crate::model::statement::Quota),
    /// `last`
    Last,
    /// `ct count …`
    CtCount {
        /// How many
        count: u32,
        /// `over`
        over: bool,
    },
    /// `reject …`
    Reject(Option<RejectWith>),
    /// `snat …`, `dnat …`, `masquerade …`, `redirect …`
    Nat(Box<Nat>),
    /// `tproxy …`
    Tproxy(Box<Tproxy>),
    /// `queue …`
    Queue {
        /// The number or numbers
        number: Option<Expr>,
        /// `bypass`
        bypass: bool,
        /// `fanout`
        fanout: bool,
    },
    /// `meta mark set …`
    Set(Selector, Expr),
    /// `notrack`
    NoTrack,
    /// `flow add @…`
    FlowAdd(Name),
    /// `dup to … device …`
    Dup(Expr, Option<Expr>),
    /// `fwd to …`, `fwd ip to … device …`
    Forward {
        /// The family of the address
        family: Option<Family>,
        /// The address
        address: Option<Expr>,
        /// The device
        device: Expr,
    },
    /// `add @set { … }`
    Update(Box<Update>),
    /// `synproxy …`
    Synproxy(crate::model::statement::Synproxy),
    /// `reset tcp option …`
    ResetOption(Selector),
}

/// `log …`
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// `prefix`
    pub prefix: Option<Name>,
    /// `group`
    pub group: Option<u64>,
    /// `snaplen`
    pub snaplen: Option<u64>,
    /// `queue-threshold`
    pub queue_threshold: Option<u64>,
    /// `level`
    pub level: Option<Name>,
    /// `flags`
    pub flags: u32,
}

/// `with …` of `reject`
#[derive(Clone, Debug)]
pub enum RejectWith {
    /// `tcp reset`
    TcpReset,
    /// `icmp …`
    Icmp(Expr),
    /// `icmpv6 …`
    Icmp6(Expr),
    /// `icmpx …`
    Icmpx(Expr),
}

/// A change of addresses or ports.
#[derive(Clone, Debug)]
pub struct Nat {
    /// Which
    pub kind: NatKind,
    /// `ip` or `ip6` before `to`
    pub family: Option<Family>,
    /// The address
    pub address: Option<Expr>,
    /// The port
    pub port: Option<Expr>,
    /// `random`, `fully-random`, `persistent`, as bits
    pub flags: u32,
    /// `prefix`
    pub prefix: bool,
    /// `interval`, and `addr . port`
    pub shape: NatShape,
}

/// What a map of `snat` or `dnat` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatShape {
    /// As the map says
    Plain,
    /// `addr . port to …`
    AddressAndPort,
    /// `interval to …`
    Interval,
}

/// `tproxy …`
#[derive(Clone, Debug)]
pub struct Tproxy {
    /// `ip` or `ip6` before `to`
    pub family: Option<Family>,
    /// The address
    pub address: Option<Expr>,
    /// The port
    pub port: Option<Expr>,
}

/// `add @set { key : value }`
#[derive(Clone, Debug)]
pub struct Update {
    /// What is done
    pub op: UpdateOp,
    /// The set
    pub set: Name,
    /// The key
    pub key: Element,
    /// A set of the rule's own, with this size
    pub meter: Option<Option<u64>>,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its statements
    pub statements: Vec<Stmt>,
    /// The comment
    pub comment: Option<Name>,
    /// Where it is
    pub span: Span,
}

/// A table by its name or its handle.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// The family
    pub family: Family,
    /// The name; with a handle, empty
    pub name: Name,
}

/// Something in a table, by its name.
#[derive(Clone, Debug)]
pub struct ItemSpec {
    /// The table
    pub table: TableSpec,
    /// Its name
    pub name: Name,
}

/// A name, or the kernel's handle.
#[derive(Clone, Debug)]
pub enum NameOrHandle {
    /// A name
    Name(Name),
    /// A handle
    Handle(u64, Span),
}

/// A command.
#[derive(Clone, Debug)]
pub struct Command {
    /// What it is
    pub kind: CommandKind,
    /// Where it is
    pub span: Span,
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
pub enum CommandKind {
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
pub enum Deletion {
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
pub enum Flush {
    /// Every table of a family, or of all
    Ruleset(Option<Family>),
    /// The rules of a table
    Table(TableSpec),
    /// The rules of a chain
    Chain(ItemSpec),
    /// The elements of a set or a map
    Set(ItemSpec),
}

/// Which kind of set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetKind {
    /// `set`
    Set,
    /// `map`
    Map,
    /// `meter`
    Meter,
}

/// What is listed or reset.
#[derive(Clone, Debug)]
pub enum ListWhat {
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
    Rule(ItemSpec, u64, Span),
    /// `hooks`
    Hooks(Option<Family>, Option<Name>),
}

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
