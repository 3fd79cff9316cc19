//! `meshwire nft` against nft itself: what the kernel holds after both have loaded the same text, and what both say of a
//! text that is wrong. Every text is loaded into a network namespace of its own.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what goes wrong here fails the test")]

#[path = "../common/program.rs"]
mod program;

mod adversarial;
mod commands;
mod elsewhere;
mod errors;
mod foreign;
mod harness;
mod hooks;
mod json;
mod knftables;
mod load;
mod monitor;
mod newer;
mod own_lines;
mod random;
