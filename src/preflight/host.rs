//! Whether this is the machine's own network namespace, where a mistyped run would cut off a node or a virtual machine.

use nftwire::{Namespace, Version, release};
use nix::unistd::{AccessFlags, access};

use crate::diagnostic::{Explain, Explanation};

/// Exists in the initial network namespace alone (`netns_core_table` and `net_core_table` in
/// net/core/sysctl_net_core.c).
const INITIAL_NAMESPACE_ONLY: &str = "/proc/sys/net/core/netdev_max_backlog";

/// The inode of its file from [`FIXED_INODE`] on (`NET_NS_INIT_INO` in include/uapi/linux/nsfs.h); those of others are higher
/// (`PROC_DYNAMIC_FIRST` in fs/proc/generic.c).
const INITIAL_INODE: u64 = 0xefff_fff9;

/// Before, its inode was one of the others.
const FIXED_INODE: Version = Version::new(6, 18);

/// The network namespace is the machine's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is the machine's own network namespace: a change here concerns all of the machine, and can cut it off"
)]
pub struct HostNetworkError;

impl Explain for HostNetworkError {
    fn explanation(&self) -> Explanation {
        Explanation::default()
    }
}

/// Whether the calling thread is in the machine's own network namespace; `None` where /proc is not mounted.
///
/// The kernel looks at every network namespace for it: ask once, and see [`Host`] for many.
#[must_use]
pub fn is_initial_namespace() -> Option<bool> {
    exists("/proc/sys/net/core").then(|| exists(INITIAL_NAMESPACE_ONLY))
}

fn exists(path: &str) -> bool {
    access(path, AccessFlags::F_OK).is_ok()
}

/// The machine's own network namespace, as far as it can be known from here.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// The device and the inode of its file
    known: Option<(u64, u64)>,
    /// Those of the caller's, which is another one
    other: Option<(u64, u64)>,
}

impl Host {
    /// Looks for it: it is the caller's own, or the one with the inode that it has on newer kernels, or that of the first
    /// process, or unknown, as in a pod that sees no process of the machine, or on a node that is a container itself.
    #[must_use]
    pub fn query() -> Self {
        let own = Namespace::from_path("/proc/thread-self/ns/net").ok().and_then(|own| own.identity().ok());
        match is_initial_namespace() {
            Some(true) => Self { known: own, other: None },
            Some(false) => {
                if let Some((device, inode)) = own
                    && inode != INITIAL_INODE
                    && Version::of_release(&release()).is_some_and(|version| version >= FIXED_INODE)
                {
                    return Self { known: Some((device, INITIAL_INODE)), other: own };
                }
                let first = Namespace::from_pid(1).ok();
                let is_initial =
                    |first: &Namespace| first.enter(is_initial_namespace).ok().flatten() == Some(true);
                let first = first.filter(is_initial).and_then(|first| first.identity().ok());
                Self { known: first, other: own }
            }
            None => Self { known: None, other: None },
        }
    }

    /// Whether this namespace is the machine's own; `None` where that is not known, and has to be asked
    /// [inside](is_initial_namespace).
    #[must_use]
    pub fn is(&self, namespace: &Namespace) -> Option<bool> {
        let identity = namespace.identity().ok()?;
        match self.known {
            Some(known) => Some(known == identity),
            None => (self.other == Some(identity)).then_some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is known from elsewhere is what the kernel says inside.
    #[test]
    fn a_host_is_known_from_another_namespace() {
        let own = || Namespace::from_path("/proc/thread-self/ns/net").unwrap();
        let outside = own();
        let is_initial = is_initial_namespace();
        meshwire_testkit::in_new_namespace(|| {
            let host = Host::query();
            assert_eq!((is_initial_namespace(), host.is(&own())), (Some(false), Some(false)));
            match host.is(&outside) {
                // The first process may not be looked at, or may be elsewhere.
                None => assert!(Version::of_release(&release()).unwrap() < FIXED_INODE),
                known => assert_eq!(known, is_initial),
            }
        });
    }
}
