//! Istio's ambient mode on a node: pods are found, get their rules, and are handed to ztunnel.

mod api;
mod backoff;
mod branch;
pub mod cluster;
pub mod handover;
mod host;
mod host_watch;
pub mod netns;
mod node;
pub mod objects;
mod plugin;
pub mod scan;
pub mod settings;
pub mod state;
mod status;
mod take_over;
pub mod workers;

pub use backoff::Moment;
pub use node::{Members, Query, StartError, Summary, run};
