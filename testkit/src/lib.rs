//! What the tests of several crates need: network namespaces, links, a check of what the machine has, and with the feature
//! `kubernetes` an API server and ztunnel's side of ZDS.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what goes wrong here fails a test")]

mod executable;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod link;
mod namespace;
mod prerequisite;
#[cfg(feature = "kubernetes")]
pub mod ztunnel;

pub use executable::{build_tests, cargo, copy_executable};
pub use namespace::{Namespace, enter_new, finish, in_new_namespace, in_thread};
pub use prerequisite::{full, is_ci, oracle, privileged, say, skip, skipped};

/// What Istio's node agent makes in a pod with its iptables backend, as iptables-restore reads it.
pub const ISTIO_AMBIENT_POD: &str = include_str!("istio-ambient-pod.rules");
