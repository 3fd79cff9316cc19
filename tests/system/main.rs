//! What a pod's traffic does once the command has run: real connections through real rules, in network namespaces that
//! live as long as a test. Needs root; see [`harness::privileged`] for what happens without.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what goes wrong here fails the test"
)]

mod dns;
mod harness;
mod redirect;
mod reset;
mod route;
mod tproxy;
mod verify;
