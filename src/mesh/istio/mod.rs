//! Istio.

pub mod ambient;
mod interface;
pub mod sidecar;

pub use interface::{Interface, InterfaceError};
