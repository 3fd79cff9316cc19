//! nft's language: from statements to the kernel's expressions and back, and as text and JSON.

pub mod command;
pub mod compile;
pub mod decompile;
pub mod json;
pub mod parse;
pub mod print;
mod strerror;
