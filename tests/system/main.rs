//! What the command does to a pod: real connections through real rules, the kernel's state as other tools see it, and
//! what goes wrong, in network namespaces that live as long as a test. Needs root; see [`harness::privileged`] for what
//! happens without.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what goes wrong here fails the test"
)]

mod counters;
mod dns;
mod errors;
#[path = "../evaluator/mod.rs"]
mod evaluator;
mod families;
mod harness;
mod image;
mod invocation;
mod killed;
mod linkerd_matrix;
mod optimize;
mod redirect;
mod reset;
mod route;
mod settings;
mod state;
mod swap;
mod tproxy;
mod user_namespace;
mod validation;
mod verify;
