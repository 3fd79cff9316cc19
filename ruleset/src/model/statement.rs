//! Statements: the steps of a rule.

pub use nftwire::{ObjectKind, OtherVerdict};

use nftwire::{Family, uapi};

use super::{DataType, Expression, Name, Selector};

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Ends the rule unless `left` compares to `right` as `op` says
    Match {
        /// What is read from the packet
        left: Expression,
        /// How it is compared
        op: Op,
        /// With what
        right: Expression,
    },
    /// Counts packets and bytes
    Counter(Counter),
    /// Sets something that belongs to the packet or its connection
    Set {
        /// What is set
        target: Selector,
        /// To what
        value: Expression,
    },
    /// Changes the packet's addresses or ports
    Nat(Box<Nat>),
    /// Gives the packet unchanged to a transparent socket
    Tproxy(Box<Tproxy>),
    /// Decides what happens to the packet
    Verdict(Verdict),
    /// Decides what happens to the packet by a map of verdicts: an [`Expression::Map`]
    VerdictMap(Expression),
    /// Writes the packet to a log
    Log(Box<Log>),
    /// Matches while the rate is below the limit
    Limit(Limit),
    /// Matches while fewer bytes passed than the quota
    Quota(Quota),
    /// Records when the last packet passed; milliseconds since, `None` for never
    Last(Option<u64>),
    /// Matches while there are at most so many connections
    CtCount {
        /// How many
        count: u32,
        /// Whether it is inverted: it matches when there are more
        over: bool,
    },
    /// Drops the packet and informs the sender
    Reject(Reject),
    /// Uses an object of the table
    Object {
        /// What kind of object
        kind: ObjectKind,
        /// Its name, or a map of names
        name: Expression,
    },
    /// Changes a set
    Update(Box<Update>),
    /// Hands the packet to a program
    Queue(Box<Queue>),
    /// Keeps the packet out of connection tracking
    NoTrack,
    /// Sends a copy of the packet
    Dup(Box<Forward>),
    /// Sends the packet
    Forward(Box<Forward>),
    /// Gives the packet's connection to the flowtable with this name
    FlowAdd(Name),
    /// Answers TCP handshakes in the place of the server
    Synproxy(Synproxy),
    /// Overwrites an option of TCP by no-operations
    ResetOption(Selector),
    /// A match or target of xtables, from iptables-nft
    Xtables(Box<Xtables>),
    /// An expression that cannot be shown, with its attributes
    Unknown(Box<str>),
}

impl Statement {
    /// The verdicts that it may come to: one, or those of a map that belongs to the rule.
    pub fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        let (one, several) = match self {
            Self::Verdict(verdict) => (Some(verdict), &[][..]),
            Self::VerdictMap(Expression::Map(map)) => match &map.map {
                Expression::Set(elements) => (None, elements.as_slice()),
                _ => (None, &[][..]),
            },
            _ => (None, &[][..]),
        };
        let of_elements = several.iter().filter_map(|element| match &element.value {
            Some(Expression::Verdict(verdict)) => Some(verdict),
            _ => None,
        });
        one.into_iter().chain(of_elements)
    }
}

impl Statement {
    /// Calls `each` with the name of every set and map that the statement uses and that is not its own.
    pub fn each_set_name(&self, each: &mut impl FnMut(&Name)) {
        match self {
            Self::Match { left, right, .. } => {
                left.each_set_name(each);
                right.each_set_name(each);
            }
            Self::Set { value, .. } => value.each_set_name(each),
            Self::VerdictMap(map) => map.each_set_name(each),
            Self::Object { name, .. } => name.each_set_name(each),
            Self::Nat(nat) => {
                let Nat { kind: _, family: _, address, port, flags: _ } = &**nat;
                address.iter().chain(port).for_each(|part| part.each_set_name(each));
            }
            Self::Tproxy(tproxy) => {
                let Tproxy { family: _, address, port } = &**tproxy;
                address.iter().chain(port).for_each(|part| part.each_set_name(each));
            }
            Self::Update(update) => {
                if update.meter.is_none() {
                    each(&update.set);
                }
                update.key.each_set_name(each);
                update.value.iter().for_each(|value| value.each_set_name(each));
            }
            Self::Queue(queue) => queue.number.iter().for_each(|number| number.each_set_name(each)),
            Self::Dup(to) | Self::Forward(to) => {
                let Forward { family: _, address, device } = &**to;
                address.iter().chain(device).for_each(|part| part.each_set_name(each));
            }
            Self::Counter(_)
            | Self::Verdict(_)
            | Self::Log(_)
            | Self::Limit(_)
            | Self::Quota(_)
            | Self::Last(_)
            | Self::CtCount { .. }
            | Self::Reject(_)
            | Self::NoTrack
            | Self::FlowAdd(_)
            | Self::Synproxy(_)
            | Self::ResetOption(_)
            | Self::Xtables(_)
            | Self::Unknown(_) => {}
        }
    }
}

/// A match or target of xtables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xtables {
    /// Whether it is a target
    pub target: bool,
    /// Its name
    pub name: Box<str>,
    /// What iptables-translate(8) makes of it, which may be nothing; `None` where it makes nothing out of it
    pub text: Option<String>,
    /// The revision of its parameters
    pub revision: u32,
    /// Its parameters: a structure of C (linux/netfilter/xt_*.h) in the machine's own layout
    pub parameters: Box<[u8]>,
}

impl Xtables {
    /// What xtables calls its kind: those of ebtables that only look on are watchers.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match (self.target, &*self.name) {
            (true, "log" | "nflog") => "watcher",
            (true, _) => "target",
            (false, _) => "match",
        }
    }
}

/// What happens to the packet, or where evaluation goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ends this base chain; later ones still run
    Accept,
    /// Drops the packet
    Drop,
    /// Back to the chain that jumped here, or to the policy
    Return,
    /// Continues with the next rule
    Continue,
    /// Ends the rule; the next one is evaluated
    Break,
    /// Continues in this chain, and returns
    Jump(Name),
    /// Continues in this chain; does not return
    Goto(Name),
    /// Another one, by its code
    Other(OtherVerdict),
}

impl Verdict {
    /// The chain that it leads into.
    #[must_use]
    pub fn chain(&self) -> Option<&Name> {
        match self {
            Self::Jump(chain) | Self::Goto(chain) => Some(chain),
            _ => None,
        }
    }
}

impl Verdict {
    /// A verdict of the kernel's; `None` for one that refers to a chain by its number in a batch, which is sent, but never
    /// received.
    #[must_use]
    pub fn from_wire(verdict: nftwire::Verdict<'_>) -> Option<Self> {
        Some(match verdict {
            nftwire::Verdict::Accept => Self::Accept,
            nftwire::Verdict::Drop => Self::Drop,
            nftwire::Verdict::Return => Self::Return,
            nftwire::Verdict::Continue => Self::Continue,
            nftwire::Verdict::Break => Self::Break,
            nftwire::Verdict::Jump(chain) => Self::Jump(chain.to_name()),
            nftwire::Verdict::Goto(chain) => Self::Goto(chain.to_name()),
            nftwire::Verdict::Other(other) => Self::Other(other),
            nftwire::Verdict::JumpId(_) | nftwire::Verdict::GotoId(_) => return None,
        })
    }
}

impl<'a> From<&'a Verdict> for nftwire::Verdict<'a> {
    fn from(verdict: &'a Verdict) -> Self {
        match verdict {
            Verdict::Accept => Self::Accept,
            Verdict::Drop => Self::Drop,
            Verdict::Return => Self::Return,
            Verdict::Continue => Self::Continue,
            Verdict::Break => Self::Break,
            Verdict::Jump(chain) => Self::Jump(chain.as_text()),
            Verdict::Goto(chain) => Self::Goto(chain.as_text()),
            Verdict::Other(other) => Self::Other(*other),
        }
    }
}

/// How a [`Statement::Match`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Equal, or among the elements of a set
    Eq,
    /// Not equal, or not among the elements of a set
    Ne,
    /// Less than
    Lt,
    /// Greater than
    Gt,
    /// At most
    Le,
    /// At least
    Ge,
    /// Has any of these flags, as `ct state established,related`
    In,
    /// Has none of these flags, as `tcp flags ! syn,ack`
    NotIn,
}

impl Op {
    /// nft's sign for it; none for [`Op::In`].
    #[must_use]
    pub fn sign(self) -> Option<&'static str> {
        Some(match self {
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Gt => ">",
            Self::Le => "<=",
            Self::Ge => ">=",
            Self::In => return None,
            Self::NotIn => "!",
        })
    }
}

/// What a counter has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets so far
    pub packets: u64,
    /// Bytes so far, network headers included
    pub bytes: u64,
}

/// Which end of a packet is changed, and to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatKind {
    /// `snat`
    Source,
    /// `dnat`
    Destination,
    /// `masquerade`
    Masquerade,
    /// `redirect`
    Redirect,
}

impl NatKind {
    /// nft's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "snat",
            Self::Destination => "dnat",
            Self::Masquerade => "masquerade",
            Self::Redirect => "redirect",
        }
    }
}

/// A change of addresses or ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Which
    pub kind: NatKind,
    /// The family of the address, where the table's does not say it
    pub family: Option<Family>,
    /// The address
    pub address: Option<Expression>,
    /// The port
    pub port: Option<Expression>,
    /// `NF_NAT_RANGE_*` but those that the address and the port imply
    pub flags: u32,
}

impl Nat {
    /// `NF_NAT_RANGE_NETMAP`: the prefix is changed, the rest of the address stays
    pub const NETMAP: u32 = uapi::NF_NAT_RANGE_NETMAP;

    /// Nothing but the kind.
    #[must_use]
    pub fn new(kind: NatKind) -> Self {
        Self { kind, family: None, address: None, port: None, flags: 0 }
    }

    /// nft's names for the flags.
    pub fn flag_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        let flags = self.flags;
        let names = [
            (uapi::NF_NAT_RANGE_PROTO_RANDOM, "random"),
            (uapi::NF_NAT_RANGE_PROTO_RANDOM_FULLY, "fully-random"),
            (uapi::NF_NAT_RANGE_PERSISTENT, "persistent"),
        ];
        names.into_iter().filter(move |(flag, _)| flags & flag != 0).map(|(_, name)| name)
    }
}

/// Where a packet goes unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tproxy {
    /// IPv4 or IPv6, where the table is for both
    pub family: Option<Family>,
    /// The socket's address
    pub address: Option<Expression>,
    /// The socket's port
    pub port: Option<Expression>,
}

/// What is logged, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// What the line begins with
    pub prefix: Option<Name>,
    /// The netlink group; the kernel's log without one
    pub group: Option<u16>,
    /// Bytes of the packet
    pub snaplen: Option<u32>,
    /// Packets that are sent at once
    pub queue_threshold: Option<u16>,
    /// The severity, as in syslog(3)
    pub level: Option<u32>,
    /// `NF_LOG_*`
    pub flags: u32,
}

/// How many packets or bytes in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many
    pub rate: u64,
    /// Seconds
    pub unit: u64,
    /// How many more at once
    pub burst: u32,
    /// Bytes instead of packets
    pub bytes: bool,
    /// Whether it is inverted: it matches when there are more
    pub over: bool,
}

impl Limit {
    /// nft's name for the time.
    #[must_use]
    pub fn unit_name(&self) -> &'static str {
        match self.unit {
            1 => "second",
            60 => "minute",
            3_600 => "hour",
            86_400 => "day",
            604_800 => "week",
            _ => "error",
        }
    }
}

/// How many bytes at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many
    pub bytes: u64,
    /// How many have passed
    pub used: u64,
    /// Whether it is inverted: it matches once there were more
    pub over: bool,
}

/// What the sender receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// By what
    pub with: RejectWith,
    /// The code, for ICMP
    pub code: u8,
    /// Whether it is shown even where it is the default
    pub verbose: bool,
}

/// How the sender is informed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectWith {
    /// A TCP reset
    TcpReset,
    /// ICMP
    Icmp,
    /// ICMPv6
    Icmp6,
    /// ICMP or ICMPv6
    Icmpx,
    /// ICMP or ICMPv6, but nothing says which
    Unknown,
}

impl RejectWith {
    /// The type of the codes.
    #[must_use]
    pub fn code_type(self) -> DataType {
        match self {
            Self::Icmp => DataType::IcmpCode,
            Self::Icmp6 => DataType::Icmp6Code,
            Self::Icmpx => DataType::IcmpxCode,
            Self::TcpReset | Self::Unknown => DataType::Integer,
        }
    }
}

/// A change of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// What is done
    pub op: UpdateOp,
    /// The set's name
    pub set: Name,
    /// The key
    pub key: Expression,
    /// The value, for a map
    pub value: Option<Expression>,
    /// Milliseconds after which the element expires; 0 for the set's own time
    pub timeout: u64,
    /// Counters and limits of the element
    pub statements: Vec<Statement>,
    /// The size, for a meter: a set that only this rule has
    pub meter: Option<u32>,
}

/// What is done with an element (`enum nft_dynset_ops`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateOp {
    /// Added, unless it exists
    Add,
    /// Added, or its time begins anew
    Update,
    /// Deleted
    Delete,
}

impl UpdateOp {
    /// nft's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// The program that gets a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The queue's number or numbers
    pub number: Option<Expression>,
    /// Lets the packet pass where no program listens
    pub bypass: bool,
    /// Picks the queue by the processor
    pub fanout: bool,
}

/// Where a packet or its copy goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The family of the address
    pub family: Option<Family>,
    /// The address
    pub address: Option<Expression>,
    /// The device
    pub device: Option<Expression>,
}

/// What a TCP handshake is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synproxy {
    /// The largest segment
    pub mss: u16,
    /// The window scale
    pub wscale: u8,
    /// `NF_SYNPROXY_OPT_*`
    pub flags: u32,
}

impl Synproxy {
    /// `NF_SYNPROXY_OPT_MSS`
    pub const MSS: u32 = 1;
    /// `NF_SYNPROXY_OPT_WSCALE`
    pub const WSCALE: u32 = 2;
    /// `NF_SYNPROXY_OPT_SACK_PERM`
    pub const SACK_PERM: u32 = 4;
    /// `NF_SYNPROXY_OPT_TIMESTAMP`
    pub const TIMESTAMP: u32 = 8;
}
