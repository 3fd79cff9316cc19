//! What others learn of the agent: why it cannot start, and how it is doing.

use std::io;
use std::path::PathBuf;

use nftwire::io_text;

use crate::ambient::netns::NetnsError;
use crate::ambient::state::Heals;

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The node's own network namespace is not to be found
    #[error("cannot look at {}, the node's own network namespace: {}", path.display(), io_text(error))]
    HostNamespace {
        /// The file
        path: PathBuf,
        /// What the system call said
        error: io::Error,
    },
    /// It cannot be opened
    #[error(transparent)]
    Host(#[from] NetnsError),
    /// A socket cannot be made
    #[error("cannot listen on {}: {}", path.display(), io_text(error))]
    Socket {
        /// Its path
        path: PathBuf,
        /// What the system call said
        error: io::Error,
    },
    /// No thread can be started
    #[error("cannot start a thread: {}", io_text(.0))]
    Thread(io::Error),
}

/// What others may want to know, such as metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// All pods have been looked for once, and ztunnel is accepted
    pub ready: bool,
    /// How many pods are as desired
    pub enabled: usize,
    /// How many are not yet
    pub pending: usize,
    /// For how many something has failed
    pub failed: usize,
    /// How many ztunnels are connected
    pub ztunnels: usize,
    /// How many times rules were repaired that others had removed
    pub heals: Heals,
    /// For how many pods, or the host, repairs wait for each other
    pub backing_off: usize,
}
