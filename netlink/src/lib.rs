//! nf_tables on the wire.
//!
//! This crate speaks the kernel's nf_tables protocol (`NETLINK_NETFILTER`) directly: it encodes tables, chains,
//! rules, sets and expressions into one [`Batch`], commits it as one atomic transaction over a [`Socket`], and
//! decodes what the kernel holds. It starts no process, links no C library and knows nothing of what the rules
//! are for.
//!
//! ```no_run
//! use nftwire::{Batch, Chain, Family, Hook, BaseChain, Position, Rule, Socket, Table, expr};
//!
//! let mut batch = Batch::new();
//! batch.add_table(&Table::new(Family::Inet, "example"));
//! let hook = BaseChain { kind: "filter", hook: Hook::LocalIn, priority: 0, policy: Some(nftwire::Policy::Accept) };
//! batch.add_chain(&Chain { base: Some(hook), ..Chain::new(Family::Inet, "example", "input") });
//! let rule = Rule::new(Family::Inet, "example", "input");
//! batch.add_rule(&rule, Position::Append, &[expr::Counter::default().into()]);
//! Socket::open()?.commit(&mut batch)?;
//! # Ok::<(), nftwire::Error>(())
//! ```
//!
//! # Byte order
//!
//! Netlink headers are in host order, nf_tables' own integers in network order; the attribute writer and reader
//! do that. A register's content is in the byte order of what was loaded: a header field in network
//! order, a mark or a uid in host order. [`Data`] has a constructor for each.
//!
//! # Panics
//!
//! Nothing here panics on what the kernel sends. Lengths from the wire are checked; what does not fit is a
//! [`DecodeError`].

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod alike;
mod attr;
mod batch;
mod chain;
mod change;
mod data;
mod device;
mod dump;
mod element;
mod error;
pub mod events;
pub mod expr;
pub mod feature;
mod flowtable;
#[cfg(fuzzing)]
pub mod fuzzing;
mod generation;
mod hook;
mod location;
mod lookup;
mod message;
mod name;
mod netns;
mod number;
mod object;
mod outcome;
mod reading;
mod reply;
mod rule;
mod set;
mod socket;
#[cfg(feature = "tracing")]
mod span;
mod table;
#[cfg(test)]
mod testing;
mod tunnel;
pub mod uapi;
pub mod userdata;
mod version;

pub use attr::{Attr, AttrReader, AttrWriter};
pub use batch::Batch;
pub use chain::{BaseChain, Chain, ChainFlags, Hook, Policy};
pub use change::{BatchPosition, Reference, Removal};
pub use data::{Data, OtherVerdict, Register, Verdict};
pub use device::Device;
pub use dump::{Dump, Query, Received, Record};
pub use element::{Element, ElementData, ElementList};
pub use error::{DecodeError, Error, Refusal, errno_text, io_text};
pub use expr::Expr;
pub use flowtable::{Flowtable, FlowtableFlags};
pub use hook::{HookChain, HookFunction};
pub use location::{ElementLocation, Location};
pub use message::{Family, Message, UnknownFamilyError};
pub use name::{Name, Quoted, Text};
pub use netns::{Namespace, NamespaceError};
pub use object::{CtExpect, CtHelper, CtTimeout, Object, ObjectData, ObjectKind};
pub use reading::Reader;
pub use rule::{Compat, Position, Rule};
pub use set::{Set, SetFlags, SetPolicy};
pub use socket::{Commit, Socket};
pub use table::{Table, TableFlags};
pub use tunnel::{GeneveOption, TunnelObject, TunnelOptions};
pub use version::{Version, release};
