//! Istio's ambient mode on a node: pods are found, get their rules, and are handed to ztunnel.

mod backoff;
pub mod state;

pub use backoff::Moment;
