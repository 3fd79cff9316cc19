//! What a text says, before names and values are looked up: commands, statements and expressions with their places.

mod block;
mod command;
mod elements;
mod statement;

pub use block::*;
pub use command::*;
pub use elements::{Elements, Entry};
pub use statement::*;

use nftwire::expr::RtKey;

use crate::{Operator, Selector};

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
    /// Where all that is
    pub span: Span,
}
