//! nft's language, read: from a text to commands, and from commands to the model.

pub mod evaluate;
pub mod json;
mod lexer;
mod parser;
pub mod source;
pub(crate) mod syntax;

pub use parser::{Files, IncludeError, NoFiles, Variables, parse, parse_all_but_rules};
pub use syntax::{Command, RulePosition, Verb};
