//! What can be wrong with a ruleset, and where.

use std::fmt;

use nftwire::uapi;

use crate::nft::compile::NotCompiled;
use crate::{Family, Name};

/// What is wrong with a ruleset, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {fault}")]
pub struct Invalid {
    /// Where: `inet TABLE`, `chain NAME in inet TABLE`, or with `rule NUMBER of` before it
    pub location: String,
    /// What
    pub fault: Fault,
}

/// What can be wrong with a ruleset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A name is empty, longer than 255 bytes, or has a character that nft's grammar does not take in a name.
    #[error(
        "{0:?} is not a name (1 to 255 of letters, digits and / _ . -, the first one a letter or an underscore)"
    )]
    Name(Name),
    /// Two tables of a family, or two chains or two sets of a table, have the same name.
    #[error("duplicate name")]
    Duplicate,
    /// A table that belongs to a program's socket, and goes as soon as that is closed.
    #[error("a table with the flag owner and without persist goes as soon as the program that adds it ends")]
    Owned,
    /// A jump to a chain that the table does not have.
    #[error("jumps to unknown chain {0}")]
    MissingChain(Name),
    /// A lookup in a set that the table does not have.
    #[error("refers to unknown set {0}")]
    MissingSet(Name),
    /// The use of an object or a flowtable that the table does not have.
    #[error("refers to unknown {kind} {name}")]
    MissingObject {
        /// nft's word for the kind
        kind: &'static str,
        /// The name
        name: Name,
    },
    /// A chain that belongs to one rule, and to which none or several lead.
    #[error("chain {name} belongs to one rule, and {rules} lead to it")]
    AnonymousChain {
        /// Its name
        name: Name,
        /// How many do
        rules: usize,
    },
    /// A jump to a base chain.
    #[error("jumps to chain {0}, which is a base chain")]
    JumpToBase(Name),
    /// A chain can be reached from itself.
    #[error("jump loop: {0}")]
    Loop(String),
    /// As many jumps inside each other as the kernel's stack has places, or more.
    #[error("jumps are nested {max} deep; the kernel allows at most {}", uapi::NFT_JUMP_STACK_SIZE - 1, max = uapi::NFT_JUMP_STACK_SIZE)]
    Depth,
    /// A statement that this chain type or hook does not allow.
    #[error("{statement} is only allowed in {allowed}, but the rule is reached from chain {from}")]
    Misplaced {
        /// The statement's name
        statement: &'static str,
        /// Where it is allowed
        allowed: &'static str,
        /// The base chain from which it is reached
        from: Name,
    },
    /// A rule has something that only can be shown.
    #[error(transparent)]
    NotCompiled(#[from] NotCompiled),
    /// A priority at which connection tracking does not know the packet yet.
    #[error("a nat chain needs a priority above -200, it has {0}")]
    NatPriority(i32),
    /// A hook that a chain type does not have.
    #[error("a {kind} chain cannot be at hook {hook}")]
    Hook {
        /// The chain type
        kind: &'static str,
        /// nft's name for the hook
        hook: &'static str,
    },
}

/// Where something is in a ruleset, for a message: `rule 7 of istio-output in inet istio-proxy-nat`.
#[derive(Clone, Copy, Debug)]
pub struct RuleLocation<'a> {
    /// The family of the table
    pub family: Family,
    /// The name of the table
    pub table: &'a Name,
    /// The name of the chain
    pub chain: &'a Name,
    /// The rule's number in the chain, from 0; `None` for the chain itself
    pub rule: Option<usize>,
}

impl fmt::Display for RuleLocation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Some(index) => write!(f, "rule {} of {}", index + 1, self.chain)?,
            None => write!(f, "chain {}", self.chain)?,
        }
        write!(f, " in {} {}", self.family, self.table)
    }
}
