//! Where a rule comes from, and so whether its statements say all that the kernel holds.

use nftwire::Compat;

use super::{Name, Statement};
use crate::nft::compile::AnonymousSet;

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
    /// They were read to be shown, and nobody looked whether they say all: such a rule is not compiled
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
}
