//! Rulesets as values, and nft's language for them.
//!
//! A [`Ruleset`] is what everything else takes or makes: [`listing`] reads one from the kernel, by way of
//! [`decompile`](nft::decompile); [`validate`] finds what the kernel would refuse or, worse, accept;
//! [`compile`](nft::compile) turns rules into expressions; [`plan`] makes the kernel hold a ruleset;
//! [`print`](mod@nft::print) and [`json`](nft::json) show it as nft does.

pub mod desired;
pub mod evaluate;
pub mod graph;
pub mod listing;
mod model;
pub mod nft;
pub mod optimize;
pub mod plan;
pub mod snapshot;
pub mod validate;

pub use model::*;
pub use nftwire;
