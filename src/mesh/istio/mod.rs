//! Istio.

pub mod sidecar;
