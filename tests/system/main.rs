//! What the command does to a pod: real connections through real rules, the kernel's state as other tools see it, and
//! what goes wrong, in network namespaces that live as long as a test. Needs root; see [`harness::privileged`] for what
//! happens without.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what goes wrong here fails the test"
)]

mod ambient_many;
mod ambient_probes;
mod ambient_state;
mod ambient_traffic;
mod capabilities;
mod command_line;
mod concurrency;
mod counters;
mod crowded;
mod dns;
mod doctor;
mod errors;
#[path = "../evaluator/mod.rs"]
mod evaluator;
mod every_nft;
mod explain;
mod families;
mod faults;
mod guests;
mod harness;
mod image;
mod invocation;
mod killed;
mod lacking;
mod leftovers;
mod linkerd_invocation;
mod linkerd_matrix;
mod linkerd_privileges;
mod linkerd_speed;
mod linkerd_state;
mod linkerd_validation;
mod lockdown;
mod migrate;
mod named_sets;
mod names;
mod node_agent;
mod node_pods;
mod optimize;
mod plan;
mod progress;
mod redirect;
mod requests;
mod reset;
mod route;
mod settings;
mod state;
mod swap;
mod tproxy;
mod trace;
mod transcripts;
mod user_namespace;
mod validation;
mod verify;
mod watch;
mod writers;
