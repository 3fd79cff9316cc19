//! Where a rule or a set comes from, and so whether the model says all that the kernel holds.

use nftwire::Compat;

use super::{Name, Set, Statement, Userdata};
use crate::nft::compile::{AnonymousSet, NamedSet};

/// Where a rule comes from, which decides how it is compiled.
///
/// nft's language has one form for what the kernel can hold in several: `ip saddr 10.0.0.0/8` is a comparison of one
/// byte or of four under a mask, and a match on `icmp type` may or may not follow one on `meta nfproto`. A rule that was
/// read never becomes another one silently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The statements say all: a program or a text made them, or they compile to the expressions that they were read from
    #[default]
    Written,
    /// They were read to be shown, and it was not checked whether they say all: such a rule is not compiled
    Listed,
    /// They say less than the kernel holds: the rule compiles to the expressions that it was read from
    Kernel(Box<Original>),
    /// They say less than the kernel holds, and so does everything else here: such a rule is not compiled
    Inexact,
}

/// The expressions that a rule was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// What was made of them: a rule that has other statements by now is another rule
    pub(crate) statements: Vec<Statement>,
    /// The list of expressions as the kernel sent it (`NFTA_RULE_EXPRESSIONS`)
    pub(crate) expressions: Vec<u8>,
    /// The sets that belong to the rule, by the names that they had there
    pub(crate) sets: Vec<(Name, AnonymousSet)>,
    /// What xtables' extensions need to know
    pub(crate) compat: Option<Compat>,
    /// What programs keep with the rule, where that is more than the comment
    pub(crate) userdata: Userdata,
}

/// Where a set comes from, which decides how it is compiled.
///
/// nft's language cannot say all that the kernel can hold: the type of a key that another program declared by an expression
/// of its own, ranges whose ends are elsewhere than nft puts them, or entries of a later nft's userdata. A set that was read
/// never becomes another one silently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SetOrigin {
    /// The fields say all: a program or a text made them, or they compile to what they were read from, or that was
    /// not checked because the set was read to be shown
    #[default]
    Written,
    /// They say less than the kernel holds: the set compiles to what it was read from
    Kernel(Box<OriginalSet>),
    /// They say less than the kernel holds, and so does everything else here: such a set is not compiled
    Inexact,
}

/// What a set was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalSet {
    /// What was made of it: a set that has other elements by now is another set
    pub(crate) set: Set,
    /// What the kernel sent
    pub(crate) compiled: NamedSet,
}
