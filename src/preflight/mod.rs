//! What has to be known about the place before anything is changed in it: facts as values, and verdicts about them.

pub mod facts;
mod host;
pub mod modules;
pub mod owners;
pub mod probe;
mod profile;
pub mod report;

pub use host::{HostNetwork, host_network, is_initial_namespace};
pub use profile::Profile;
