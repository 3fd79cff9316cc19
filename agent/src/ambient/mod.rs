//! Istio's ambient mode on a node: pods are found, get their rules, and are handed to ztunnel.

mod backoff;
pub mod cluster;
pub mod netns;
pub mod objects;
pub mod scan;
pub mod settings;
pub mod state;
pub mod workers;

pub use backoff::Moment;
