//! What a table does to a packet, computed from the model alone.
//!
//! Rules are evaluated as the kernel does it (`nft_do_chain`, net/netfilter/nf_tables_core.c in Linux 6.18), for one base
//! chain at a time; which base chains a packet meets, and what it meets in between, is the caller's to say.
//!
//! Not everything that a rule looks at is known: a random number, the rate of a limit, a header field that the caller
//! did not give. There the evaluation follows both branches, and each [`Outcome`] says what it assumes. So one outcome
//! without assumptions is a proof, and several are the possible ones.

mod compare;
mod packet;
mod read;
#[cfg(test)]
mod tests;
mod walk;
mod xtables;

use std::net::IpAddr;

use crate::statement::{NatKind, Reject};
use crate::{Chain, Rule, Table};

pub use packet::{Host, Interface, Owner, Packet, Tracking};

/// One way through a base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<'r> {
    /// The packet's fate
    pub fate: Fate,
    /// The packet as the rules leave it. NAT is not done to it: [`Fate::Nat`] has what is asked for
    pub packet: Packet,
    /// The rules whose matches it passed, in order
    pub steps: Vec<Step<'r>>,
    /// What had to be assumed; empty where all is certain
    pub assumptions: Vec<Assumption<'r>>,
    /// Whether a counter saw the packet
    pub counted: bool,
}

/// A rule whose matches the packet passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'r> {
    /// The chain
    pub chain: &'r Chain,
    /// The rule's number in it, from 0
    pub number: usize,
}

impl<'r> Step<'r> {
    /// The rule.
    #[must_use]
    pub fn rule(&self) -> Option<&'r Rule> {
        self.chain.rules.get(self.number)
    }
}

/// Something that could not be evaluated, and how it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumption<'r> {
    /// Where
    pub step: Step<'r>,
    /// Which statement of the rule, from 0
    pub statement: usize,
    /// Whether it was taken to pass
    pub passes: bool,
}

/// A packet's fate in a base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No rule decided: the chain's policy does
    Policy,
    /// Continues with the next base chain
    Accepted,
    /// Is dropped
    Dropped,
    /// Is dropped, and the sender gets an error
    Rejected(Reject),
    /// Is accepted, and its connection's addresses or ports are translated
    Nat(Translation),
    /// Goes to a program in user space
    Queued,
    /// Leaves the stack here: it is forwarded to a device, or a SYN proxy answers it
    Taken,
    /// Cannot be evaluated: an unknown verdict or chain, or too many outcomes
    Unknown,
}

/// What a NAT statement asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Which kind
    pub kind: NatKind,
    /// The address; `None` where it has none, or where it is not known
    pub address: Option<IpAddr>,
    /// The port; `None` where it has none, or where it is not known
    pub port: Option<u16>,
    /// Whether the kernel chooses an address or a port that is not known: one of a range, or by what cannot be evaluated
    pub is_open: bool,
}

/// The fates of `packet` when it enters the chain `base` of `table`. There is always at least one outcome.
#[must_use]
pub fn evaluate<'r, 'n>(
    table: &'r Table,
    base: impl Into<crate::Text<'n>>,
    packet: &Packet,
    host: &dyn Host,
) -> Vec<Outcome<'r>> {
    walk::outcomes(table, base.into(), packet, host)
}
