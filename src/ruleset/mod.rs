//! The one model in the middle: tables, chains, rules and statements as values.
//!
//! A profile in [`crate::mesh`] makes a [`Ruleset`]; everything else takes one: [`validate`] finds what the kernel
//! would refuse or worse, accept; [`compile`] turns it into expressions; [`replace`] and [`update`] make the kernel
//! hold it; [`print`](mod@print) and [`json`] show it as nft does.

pub mod compile;
pub mod json;
pub mod print;
pub mod replace;
mod selector;
pub mod transaction;
pub mod update;
pub mod validate;

use ipnet::IpNet;
use nftwire::expr::{CtKey, MetaKey};
pub use nftwire::{Data, Family, Hook, Policy};
pub use selector::{DataType, Field, IP_DADDR, IP_SADDR, IP6_DADDR, IP6_SADDR, Protocol, Selector};
pub use selector::{TCP_DPORT, TCP_SPORT, UDP_DPORT, UDP_SPORT};

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
    pub name: String,
    /// Its chains
    pub chains: Vec<Chain>,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name
    pub name: String,
    /// What makes it a base chain, where it is one
    pub base: Option<BaseChain>,
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
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Its statements, in the order of evaluation
    pub statements: Vec<Statement>,
}

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Ends the rule unless `left` compares to `right` as `op` says
    Match {
        /// What is read from the packet
        left: Source,
        /// How it is compared
        op: Op,
        /// With what
        right: Operand,
    },
    /// Counts the packets and bytes that come by
    Counter,
    /// Sets something that belongs to the packet or its connection
    Set {
        /// What is set
        target: Target,
        /// To what
        value: Value,
    },
    /// Sends the packet to this port of this machine
    Redirect {
        /// The port
        port: u16,
    },
    /// Gives the packet unchanged to the transparent socket at this port
    Tproxy {
        /// IPv4 or IPv6
        family: Family,
        /// The port
        port: u16,
    },
    /// Decides what happens to the packet
    Verdict(Verdict),
}

/// What happens to the packet, or where evaluation goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On with the next base chain
    Accept,
    /// Away with it
    Drop,
    /// Back to the chain that jumped here, or to the policy
    Return,
    /// Into this chain, and back
    Jump(String),
}

/// How a [`Statement::Match`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Equal, or among the elements of a set
    Eq,
    /// Not equal, or not among the elements of a set
    Ne,
    /// Has any of these flags, as `ct state established,related`
    In,
}

/// A value that is read from the packet, and which of its bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What is read
    pub selector: Selector,
    /// What is done with its bits, where something is
    pub bits: Option<Bits>,
}

/// `value & mask | or`, each as the bytes of the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bits {
    /// The bits that stay
    pub mask: Data,
    /// The bits that are set afterwards
    pub or: Data,
}

/// What a [`Source`] is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A constant: bytes as they stand in a register, shown as what they are compared with
    Data(Data),
    /// All addresses that begin alike
    Prefix(IpNet),
    /// Any of these constants
    Set(Vec<Data>),
}

/// What a [`Target`] is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A constant
    Data(Data),
    /// Something read from the packet
    Source(Source),
}

/// What can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// What the kernel keeps beside the packet: its mark
    Meta(MetaKey),
    /// What the kernel keeps of its connection: its mark, its zone
    Ct(CtKey),
}

impl Target {
    /// `meta mark`
    pub const MARK: Self = Self::Meta(MetaKey::Mark);
    /// `ct mark`
    pub const CT_MARK: Self = Self::Ct(CtKey::Mark);
    /// `ct zone`
    pub const CT_ZONE: Self = Self::Ct(CtKey::Zone);

    /// The same as something that can be read.
    #[must_use]
    pub fn selector(self) -> Selector {
        match self {
            Self::Meta(key) => Selector::Meta(key),
            Self::Ct(key) => Selector::Ct(key),
        }
    }
}

impl From<Selector> for Source {
    fn from(selector: Selector) -> Self {
        Self { selector, bits: None }
    }
}

impl From<Selector> for Value {
    fn from(selector: Selector) -> Self {
        Self::Source(selector.into())
    }
}

impl From<Data> for Value {
    fn from(data: Data) -> Self {
        Self::Data(data)
    }
}

impl Rule {
    /// A rule without statements: it matches every packet and does nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with what `statement` says.
    #[must_use]
    pub fn then(mut self, statement: Statement) -> Self {
        self.statements.push(statement);
        self
    }

    /// Matches packets whose `selector` compares to a constant.
    #[must_use]
    pub fn matches(self, selector: Selector, op: Op, right: impl Into<Data>) -> Self {
        self.compare(selector, op, Operand::Data(right.into()))
    }

    /// Matches packets whose `selector` compares to an operand.
    #[must_use]
    pub fn compare(self, selector: Selector, op: Op, right: Operand) -> Self {
        self.then(Statement::Match { left: selector.into(), op, right })
    }

    /// `iifname NAME`
    #[must_use]
    pub fn iifname(self, name: &str) -> Self {
        self.matches(Selector::IIFNAME, Op::Eq, Data::interface(name))
    }

    /// `oifname NAME`
    #[must_use]
    pub fn oifname(self, name: &str) -> Self {
        self.matches(Selector::OIFNAME, Op::Eq, Data::interface(name))
    }

    /// `meta l4proto tcp`
    #[must_use]
    pub fn tcp(self) -> Self {
        self.matches(Selector::L4PROTO, Op::Eq, Data::new(&[Protocol::TCP]))
    }

    /// `meta nfproto ipv6`
    #[must_use]
    pub fn ipv6(self) -> Self {
        self.matches(Selector::NFPROTO, Op::Eq, Data::new(&[Family::Ipv6.number()]))
    }

    /// `skuid UID`, or with [`Op::Ne`] `skuid != UID`
    #[must_use]
    pub fn skuid(self, op: Op, uid: u32) -> Self {
        self.matches(Selector::SKUID, op, Data::ne32(uid))
    }

    /// `skgid GID`, or with [`Op::Ne`] `skgid != GID`
    #[must_use]
    pub fn skgid(self, op: Op, gid: u32) -> Self {
        self.matches(Selector::SKGID, op, Data::ne32(gid))
    }

    /// `meta mark MARK`, or with [`Op::Ne`] `meta mark != MARK`
    #[must_use]
    pub fn mark(self, op: Op, mark: u32) -> Self {
        self.matches(Selector::MARK, op, Data::ne32(mark))
    }

    /// `ct state FLAGS`: any of these bits of [`nftwire::expr::CtKey`]
    #[must_use]
    pub fn ct_state(self, flags: u32) -> Self {
        self.matches(Selector::CT_STATE, Op::In, Data::ne32(flags))
    }

    /// A port field compared to one port
    #[must_use]
    pub fn port(self, field: Field, op: Op, port: u16) -> Self {
        self.matches(Selector::Payload(field), op, Data::be16(port))
    }

    /// `ip saddr`, `ip daddr` or, by the prefix's family, `ip6 saddr`, `ip6 daddr`
    #[must_use]
    pub fn saddr(self, op: Op, prefix: impl Into<IpNet>) -> Self {
        self.address(IP_SADDR, IP6_SADDR, op, prefix.into())
    }

    /// `ip daddr` or, by the prefix's family, `ip6 daddr`
    #[must_use]
    pub fn daddr(self, op: Op, prefix: impl Into<IpNet>) -> Self {
        self.address(IP_DADDR, IP6_DADDR, op, prefix.into())
    }

    fn address(self, v4: Field, v6: Field, op: Op, prefix: IpNet) -> Self {
        let (field, address): (_, Data) = match prefix {
            IpNet::V4(prefix) => (v4, prefix.network().into()),
            IpNet::V6(prefix) => (v6, prefix.network().into()),
        };
        let single = prefix.prefix_len() == prefix.max_prefix_len();
        let right = if single { Operand::Data(address) } else { Operand::Prefix(prefix.trunc()) };
        self.compare(Selector::Payload(field), op, right)
    }

    /// `counter`
    #[must_use]
    pub fn counter(self) -> Self {
        self.then(Statement::Counter)
    }

    /// `meta mark set MARK`, `ct zone set ZONE`, …
    #[must_use]
    pub fn set(self, target: Target, value: impl Into<Value>) -> Self {
        self.then(Statement::Set { target, value: value.into() })
    }

    /// `redirect to :PORT`
    #[must_use]
    pub fn redirect(self, port: u16) -> Self {
        self.then(Statement::Redirect { port })
    }

    /// `tproxy ip to :PORT` or `tproxy ip6 to :PORT`
    #[must_use]
    pub fn tproxy(self, family: Family, port: u16) -> Self {
        self.then(Statement::Tproxy { family, port })
    }

    /// `accept`
    #[must_use]
    pub fn accept(self) -> Self {
        self.then(Statement::Verdict(Verdict::Accept))
    }

    /// `drop`
    #[must_use]
    pub fn drop(self) -> Self {
        self.then(Statement::Verdict(Verdict::Drop))
    }

    /// `return`
    #[must_use]
    pub fn returns(self) -> Self {
        self.then(Statement::Verdict(Verdict::Return))
    }

    /// `jump CHAIN`
    #[must_use]
    pub fn jump(self, chain: &str) -> Self {
        self.then(Statement::Verdict(Verdict::Jump(chain.to_owned())))
    }
}

impl Table {
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
