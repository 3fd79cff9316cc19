//! Rules and their statements.

use crate::model::statement::{NatKind, ObjectKind, UpdateOp};
use crate::{Family, Op, Selector};

use super::super::source::Span;
use super::{Element, Expr, Name, Verdict};

/// A step of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Stmt {
    /// What it is
    pub(crate) kind: StmtKind,
    /// Where it is
    pub(crate) span: Span,
}

/// A step of a rule.
#[derive(Clone, Debug)]
pub(crate) enum StmtKind {
    /// `left OP right`
    Match {
        /// What is read
        left: Expr,
        /// How it is compared, where that is said
        op: Option<Op>,
        /// With what
        right: Expr,
        /// `right / mask`
        mask: Option<Box<Expr>>,
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
pub(crate) struct Log {
    /// `prefix`
    pub(crate) prefix: Option<Name>,
    /// `group`
    pub(crate) group: Option<u64>,
    /// `snaplen`
    pub(crate) snaplen: Option<u64>,
    /// `queue-threshold`
    pub(crate) queue_threshold: Option<u64>,
    /// `level`
    pub(crate) level: Option<Name>,
    /// `flags`
    pub(crate) flags: u32,
}

/// `with …` of `reject`
#[derive(Clone, Debug)]
pub(crate) enum RejectWith {
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
pub(crate) struct Nat {
    /// Which
    pub(crate) kind: NatKind,
    /// `ip` or `ip6` before `to`
    pub(crate) family: Option<Family>,
    /// The address
    pub(crate) address: Option<Expr>,
    /// The port
    pub(crate) port: Option<Expr>,
    /// `random`, `fully-random`, `persistent`, as bits
    pub(crate) flags: u32,
    /// `prefix`
    pub(crate) prefix: bool,
    /// `interval`, and `addr . port`
    pub(crate) shape: NatShape,
}

/// What a map of `snat` or `dnat` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NatShape {
    /// As the map says
    Plain,
    /// `addr . port to …`
    AddressAndPort,
    /// `interval to …`
    Interval,
}

/// `tproxy …`
#[derive(Clone, Debug)]
pub(crate) struct Tproxy {
    /// `ip` or `ip6` before `to`
    pub(crate) family: Option<Family>,
    /// The address
    pub(crate) address: Option<Expr>,
    /// The port
    pub(crate) port: Option<Expr>,
}

/// `add @set { key : value }`
#[derive(Clone, Debug)]
pub(crate) struct Update {
    /// What is done
    pub(crate) op: UpdateOp,
    /// The set
    pub(crate) set: Name,
    /// The key
    pub(crate) key: Element,
    /// A set of the rule's own, with this size
    pub(crate) meter: Option<Option<u64>>,
}

/// A rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// Its statements
    pub(crate) statements: Vec<Stmt>,
    /// The comment
    pub(crate) comment: Option<Name>,
    /// Where it is
    pub(crate) span: Span,
}
