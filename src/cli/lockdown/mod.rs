//! `--lockdown`: once its input is read, a run gives up whatever it does not need for the rest.
//!
//! What stays is CAP_NET_ADMIN, as far as it was granted, and the system calls below. None of them opens a file, starts a
//! program, enters a namespace or makes a socket of another kind than the run needs.
//!
//! Other system calls fail with EPERM and do not end the process: a call that a library makes in passing, and can do
//! without, must not cost a pod its start, nor end a run between its routes and its rules; where the call matters, the
//! run fails as it does with any error, takes back what it did and says so. What a call that is not allowed would do does
//! not happen in either case.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
mod filter;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
#[path = "no_filter.rs"]
mod filter;

use std::collections::HashSet;

use caps::errors::CapsError;
use caps::{CapSet, Capability};

use super::flag::Flag;
use crate::diagnostic::{Explain, Explanation};

pub(super) static LOCKDOWN: Flag<bool> = {
    let flag = Flag::switch("lockdown").help(
        "Once the settings are read, keep CAP_NET_ADMIN and the system calls that are needed, nothing else",
    );
    if IS_DEFAULT { flag.on_by_default() } else { flag }
};

const IS_DEFAULT: bool = cfg!(feature = "lockdown");

#[derive(Debug, thiserror::Error)]
pub(super) enum LockdownError {
    #[error("--lockdown: cannot give up capabilities: {0}")]
    Capabilities(CapsError),
    #[error("--lockdown: cannot install a seccomp filter: {0}")]
    Filter(filter::FilterError),
}

impl From<CapsError> for LockdownError {
    fn from(error: CapsError) -> Self {
        Self::Capabilities(error)
    }
}

impl From<filter::FilterError> for LockdownError {
    fn from(error: filter::FilterError) -> Self {
        Self::Filter(error)
    }
}

impl Explain for LockdownError {
    fn explanation(&self) -> Explanation {
        Explanation::default().help(match self {
            Self::Capabilities(_) => "--lockdown=false does without",
            Self::Filter(error) => filter::help(error),
        })
    }
}

/// Gives up what is not needed from now on: the capabilities of this thread, and system calls for all threads. With
/// `validates`, what is left is enough for connections, too.
pub(super) fn lock_down(validates: bool) -> Result<(), LockdownError> {
    let filter = filter::Filter::new(validates)?;
    super::log::keep_termination_log();
    keep_one_capability()?;
    filter.install()?;
    Ok(())
}

fn keep_one_capability() -> Result<(), CapsError> {
    const KEPT: Capability = Capability::CAP_NET_ADMIN;
    // Those that a program could get that is executed later. Nothing can be, so it is only thoroughness, and where the
    // privilege for it is missing it is left.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in caps::runtime::thread_all_supported() {
            if capability != KEPT {
                caps::drop(None, CapSet::Bounding, capability)?;
            }
        }
    }
    let kept = |set| -> Result<HashSet<_>, CapsError> {
        Ok(caps::has_cap(None, set, KEPT)?.then_some(KEPT).into_iter().collect())
    };
    // The ambient ones go with the inheritable ones.
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &kept(CapSet::Effective)?)?;
    caps::set(None, CapSet::Permitted, &kept(CapSet::Permitted)?)
}

#[cfg(test)]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
mod tests {
    use std::fs::File;
    use std::io;
    use std::process::Command;
    use std::thread;

    use nix::errno::Errno;
    use nix::sched::{CloneFlags, unshare};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    use nix::unistd::execv;

    use super::*;
    use crate::network::RouteSocket;

    /// Does something in a thread that is locked down: neither capabilities nor filter are those of the others.
    fn locked_down<T: Send + 'static>(validates: bool, work: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = thread::spawn(move || {
            filter::Filter::new(validates).unwrap().install_in_thread().unwrap();
            work()
        });
        thread.join().unwrap()
    }

    fn errno<T>(result: io::Result<T>) -> Option<Errno> {
        result.err().and_then(|error| error.raw_os_error()).map(Errno::from_raw)
    }

    fn opens(family: AddressFamily) -> nix::Result<()> {
        socket(family, SockType::Stream, SockFlag::empty(), None).map(drop)
    }

    #[test]
    fn what_a_run_does_not_need_is_refused() {
        locked_down(false, || {
            let refused = Some(Errno::EPERM);
            assert_eq!(execv(c"/bin/true", &[c"true"]), Err(Errno::EPERM));
            assert_eq!(errno(Command::new("/bin/true").spawn()), refused);
            assert_eq!(errno(File::create("/dev/null")), refused);
            assert_eq!(errno(File::open("/dev/null")), refused);
            assert_eq!(unshare(CloneFlags::CLONE_NEWNET), Err(Errno::EPERM));
            for family in [AddressFamily::Inet, AddressFamily::Inet6, AddressFamily::Unix] {
                assert_eq!(opens(family), Err(Errno::EPERM));
            }
        });
    }

    #[test]
    fn what_a_run_needs_exists_in_an_empty_image() {
        for validates in [false, true] {
            locked_down(validates, || {
                nftwire::Socket::open().unwrap();
                RouteSocket::open().unwrap().interface_addresses().unwrap();
                thread::sleep(std::time::Duration::from_millis(1));
                // More than the heap has: from the kernel, and back.
                drop(vec![1_u8; 10_000_000]);
            });
        }
        locked_down(true, || opens(AddressFamily::Inet).unwrap());
    }

    #[test]
    fn one_capability_is_kept_where_it_was_there() {
        thread::spawn(|| {
            let had: Vec<_> = [CapSet::Effective, CapSet::Permitted]
                .map(|set| caps::has_cap(None, set, Capability::CAP_NET_ADMIN).unwrap())
                .into();
            keep_one_capability().unwrap();
            for (set, had) in [CapSet::Effective, CapSet::Permitted].into_iter().zip(had) {
                let kept: Vec<_> = caps::read(None, set).unwrap().into_iter().collect();
                assert_eq!(kept, if had { vec![Capability::CAP_NET_ADMIN] } else { vec![] });
            }
            assert!(caps::read(None, CapSet::Inheritable).unwrap().is_empty());
            // And once more, without the privilege to change the bounding set.
            keep_one_capability().unwrap();
        })
        .join()
        .unwrap();
    }
}
