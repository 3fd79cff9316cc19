//! What has to be known about a network namespace before anything is changed in it: facts, and verdicts about them.

pub mod facts;
mod host;
pub mod modules;
pub mod owners;
pub mod probe;
pub mod report;
mod requirements;

pub use host::{Host, HostNetworkError, is_initial_namespace};
pub use requirements::Profile;

use nftwire::Version;

/// The oldest kernel that Istio's native backend, and so meshwire, is made for.
pub const OLDEST: Version = Version::new(5, 13);
