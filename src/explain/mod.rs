//! What the rules of a network namespace do to a connection, before it is made: each hook, chain and rule that its first
//! packet meets, the address translation, and who listens where it ends.
//!
//! [`Machine::open`] reads what the rules do not say (addresses, routes, sockets), [`explain`] walks a ruleset with it.
//! Where the evaluation would have to guess, it follows both branches: an explanation has several paths then, and each
//! says what it assumes.

mod machine;
mod order;
mod sockets;
mod walk;

use std::net::{IpAddr, SocketAddr};

use nft_ruleset::evaluate::{Fate, Outcome};
use nft_ruleset::{Chain, Hook, Ruleset, Table};

pub use machine::{Machine, MachineError};
pub use sockets::{Listener, SocketsError, listeners};

/// A connection, or a datagram, to explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// IPPROTO_TCP or IPPROTO_UDP
    pub protocol: u8,
    /// Who sends it
    pub origin: Origin,
    /// The source address; `None` for the one that the kernel chooses
    pub source: Option<IpAddr>,
    /// The source port; `None` for one of those that the kernel chooses (net.ipv4.ip_local_port_range)
    pub source_port: Option<u16>,
    /// Where it goes
    pub destination: SocketAddr,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A process of this network namespace
    Process {
        /// Its user, in the user namespace that owns the network namespace
        uid: u32,
        /// Its group
        gid: u32,
    },
    /// Another host, or another network namespace
    Outside,
}

/// The fate of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation<'r> {
    /// Each way that it can go; at least one
    pub paths: Vec<Path<'r>>,
    /// Base chains that see the packet as well and that this does not evaluate: those of devices and bridges
    pub unseen: Vec<(&'r Table, &'r Chain)>,
}

/// One way of a connection's first packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path<'r> {
    /// The base chains that it met, in order
    pub hops: Vec<Hop<'r>>,
    /// Where it ends
    pub end: End,
}

/// A base chain that the packet met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop<'r> {
    /// The hook
    pub hook: Hook,
    /// The table
    pub table: &'r Table,
    /// The chain
    pub chain: &'r Chain,
    /// What the chain did
    pub outcome: Outcome<'r>,
}

/// Where a packet ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// At a socket of this network namespace, or at a port of it where none is
    Delivered {
        /// The address and the port, after all translations
        to: SocketAddr,
        /// How it got there
        via: Via,
        /// Who listens there
        listener: Option<Listener>,
    },
    /// Leaves by this device
    Leaves {
        /// Its name
        device: String,
        /// The address and the port, after all translations
        to: SocketAddr,
    },
    /// Leaves by this device from the loopback address, so that whoever receives it drops it (`ip6_rcv_core` in
    /// net/ipv6/ip6_input.c, Linux 6.18); IPv4 does not route it
    Martian {
        /// Its name
        device: String,
        /// The address and the port, after all translations
        to: SocketAddr,
    },
    /// Has no route
    Unroutable {
        /// To this address
        to: IpAddr,
    },
    /// A rule, or a chain's policy, ends it
    Dropped(Fate),
    /// Cannot be evaluated further
    Unknown(Fate),
}

/// How a packet got to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// It was sent to that address
    Direct,
    /// Its destination was translated
    Nat,
    /// A tproxy statement gave it to the socket; its destination is what it was
    Tproxy,
}

/// The answer in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Every way ends at a proxy
    Intercepted,
    /// Every way leads to a redirected port, and nobody listens at one of them
    NoListener,
    /// A way leads past, or is not known
    NotIntercepted,
}

impl Explanation<'_> {
    /// The answer in a word: the worst of all paths.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.paths.iter().map(|path| path.end.verdict()).max().unwrap_or(Verdict::NotIntercepted)
    }
}

impl End {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Delivered { via: Via::Direct, .. } => Verdict::NotIntercepted,
            Self::Delivered { listener: Some(_), .. } => Verdict::Intercepted,
            Self::Delivered { listener: None, .. } => Verdict::NoListener,
            _ => Verdict::NotIntercepted,
        }
    }
}

/// What the ruleset does to the first packet of a flow.
///
/// # Errors
/// [`MachineError`]: a route could not be read.
pub fn explain<'r>(
    ruleset: &'r Ruleset,
    machine: &Machine,
    flow: &Flow,
) -> Result<Explanation<'r>, MachineError> {
    let paths = walk::paths(ruleset, machine, flow)?;
    Ok(Explanation { paths, unseen: order::unseen(ruleset) })
}
