//! The node agent: installs the CNI plugins, repairs pods, and runs Istio's ambient mode on a node.
//!
//! The library is for the executable and its tests. Its items are not a public interface and have no stable versions; what is
//! public are the command line, the files and the metrics.

pub mod ambient;
pub mod cli;
pub mod files;
pub mod http;
pub mod install;
pub mod kubernetes;
pub mod log;
pub mod metrics;
pub mod node;
pub mod repair;
pub mod zds;
