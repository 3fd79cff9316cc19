//! What the tests of several crates need: network namespaces, links and pods.

#[cfg(feature = "kubernetes")]
pub mod kubernetes;
#[cfg(feature = "kubernetes")]
pub mod ztunnel;
