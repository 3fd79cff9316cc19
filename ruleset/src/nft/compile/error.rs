//! Why a value cannot be sent to the kernel.

use nftwire::{ObjectKind, uapi};

use crate::{Family, Name, Op, Protocol};

/// A rule or a set has something that can be shown, but not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotCompiled {
    /// An expression of the kernel's that the model has no statement for.
    #[error("cannot compile `{0}`: this expression is not known")]
    Unknown(Box<str>),
    /// A match or target of xtables, whose parameters the model does not keep.
    #[error("cannot compile the xtables extension {0}")]
    Xtables(Box<str>),
    /// Something has no value that a register could hold, or cannot be written.
    #[error("cannot compile {0} here")]
    Expression(&'static str),
    /// Something has to be a constant.
    #[error("cannot compile a value that is not a constant here")]
    NotConstant,
    /// A comparison that the kernel has no expression for.
    #[error("cannot compile the operator {}", .0.sign().unwrap_or("in"))]
    Comparison(Op),
    /// The packets of a family have no such header, or what is known of them contradicts it.
    #[error("cannot compile a match on {}: packets of the family {family} are known to have no such header here", .header.name())]
    Header {
        /// The header
        header: Protocol,
        /// The table's family
        family: Family,
    },
    /// A translation whose address family neither the table nor the rule says.
    #[error("cannot compile {0} without a family")]
    NoFamily(&'static str),
    /// A lookup in a set that is not in the table.
    #[error("cannot compile a lookup in {0}, whose type is not known")]
    UnknownSet(Name),
    /// More values at once than the 16 registers of four bytes hold.
    #[error("cannot compile an expression of more than 64 bytes")]
    Registers,
    /// A rule has more expressions than the kernel takes.
    #[error("the rule needs {0} expressions, the kernel takes {max}", max = uapi::NFT_RULE_MAXEXPRS)]
    TooManyExpressions(usize),
    /// A comment that nft could not read.
    #[error("cannot compile a comment of {0} bytes: nft reads at most 127")]
    Comment(usize),
    /// An object of a kind that the model does not know.
    #[error("cannot compile an object of kind {}, which is not known", .0.number())]
    Object(ObjectKind),
    /// A set, or an element of one.
    #[error("cannot compile {0}")]
    Set(SetFault),
    /// A rule that was read from the kernel to be shown.
    #[error(
        "cannot compile a rule of a listing: its statements may say less than the kernel's expressions do"
    )]
    Listed,
    /// A rule that was read from the kernel, and whose statements say less than its expressions did.
    #[error("cannot compile a rule whose statements say less than the expressions that they were read from")]
    Inexact,
    /// Expressions that were received do not decode any more.
    #[error("cannot compile the expressions that the rule was read from: {0}")]
    Original(nftwire::DecodeError),
}

impl From<nftwire::DecodeError> for NotCompiled {
    fn from(error: nftwire::DecodeError) -> Self {
        Self::Original(error)
    }
}

/// What of a set cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetFault {
    /// The expression that was given for its type
    #[error("a set or map whose type is declared by this expression")]
    Typeof,
    /// A key that has another number of fields than the set
    #[error("an element whose key does not have the set's fields")]
    Fields,
    /// The name of an object, a verdict or a value in a set or a map of something else
    #[error("an element that leads to something else than its map's elements")]
    Element,
    /// A value of a map
    #[error("a map whose values are not constants of one type")]
    Value,
    /// Ranges of numbers that are not compared byte by byte
    #[error("a range of numbers in host order in a set")]
    HostOrder,
    /// A range in a set without the flag
    #[error("a range in a set without the flag interval")]
    NotInterval,
    /// Elements that share values
    #[error("a map or a set with counters whose elements overlap")]
    Overlap,
    /// Userdata that is too long
    #[error("a set whose userdata is too long")]
    Userdata,
    /// A set that was read from the kernel, and whose fields say less than it held
    #[error("a set whose type or elements say less than what they were read from")]
    Inexact,
}

impl From<SetFault> for NotCompiled {
    fn from(fault: SetFault) -> Self {
        Self::Set(fault)
    }
}
