//! What a text says, before names and values are looked up: commands, statements and expressions with their places. It
//! follows nft's grammar and grows with it, so it is nobody's outside: others hand [`Command`]s on as they are.

mod block;
mod command;
mod elements;
mod rules;
mod statement;

pub(crate) use block::*;
pub use command::{Command, RulePosition, Verb};
pub(crate) use command::{
    CommandKind, Deletion, Flush, ItemSpec, ListWhat, NameOrHandle, SetKind, TableSpec,
};
pub(crate) use elements::{Elements, Entry};
pub(super) use rules::KeptRule;
pub(crate) use rules::Rules;
pub(crate) use statement::*;

use nftwire::expr::RtKey;

use crate::{Operator, Selector};

use super::source::Span;

/// `rt nexthop` before it is known of which family: the table or the packet says so.
pub(super) const NEXT_HOP: RtKey = RtKey::from_number(u32::MAX);

/// A word that names something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// The word
    pub(crate) text: Box<str>,
    /// Where it is
    pub(crate) span: Span,
}

/// Something that has a value.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    /// What it is
    pub(crate) kind: ExprKind,
    /// Where it is
    pub(crate) span: Span,
}

/// Something that has a value.
#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    /// Digits
    Number(u64),
    /// A word or an address
    Word(Box<str>),
    /// Text between quotes
    Quoted(Box<str>),
    /// A word with an asterisk
    Asterisk(Box<str>),
    /// Read from the packet; elsewhere, as a set may have many values
    Selector(Box<Selector>),
    /// `value/len`
    Prefix(Box<Expr>, u64),
    /// `from-to`
    Range(Box<(Expr, Expr)>),
    /// `one . other`
    Concat(Vec<Expr>),
    /// `one,other`
    List(Vec<Expr>),
    /// `{ one, other }`
    Set(Box<Elements>),
    /// `@name`
    SetName(Box<str>),
    /// `key map …`
    Map(Box<(Expr, Expr)>),
    /// An operation on bits
    Binary(Operator, Box<(Expr, Expr)>),
    /// `jhash …`
    Hash(Box<Hash>),
    /// `accept`, `jump chain`, …
    Verdict(Box<Verdict>),
    /// `*`
    Wildcard,
}

/// `jhash OF mod MODULUS seed SEED offset OFFSET`
#[derive(Clone, Debug)]
pub(crate) struct Hash {
    /// Of what
    pub(crate) of: Expr,
    /// How many values
    pub(crate) modulus: u32,
    /// What the hash begins with
    pub(crate) seed: Option<u32>,
    /// The lowest value
    pub(crate) offset: u32,
}

/// A verdict.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
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
pub(crate) struct Element {
    /// The key
    pub(crate) key: Expr,
    /// What a map has for it
    pub(crate) value: Option<Expr>,
    /// The rest, which few have
    pub(crate) details: Option<Box<ElementDetails>>,
}

/// What few elements have.
#[derive(Clone, Debug, Default)]
pub(crate) struct ElementDetails {
    /// Milliseconds after which it expires
    pub(crate) timeout: Option<u64>,
    /// Milliseconds until it expires
    pub(crate) expires: Option<u64>,
    /// The comment
    pub(crate) comment: Option<Name>,
    /// Counters and limits of its own
    pub(crate) statements: Vec<Stmt>,
    /// Where all that is
    pub(crate) span: Span,
}
