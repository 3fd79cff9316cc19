//! Istio.

pub mod ambient;
mod guest;
mod interface;
mod priority;
pub mod sidecar;

pub use interface::{Interface, InterfaceError};
