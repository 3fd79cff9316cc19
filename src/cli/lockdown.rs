//! `--lockdown`: once its input is read, a run gives up whatever it does not need for the rest.
//!
//! What stays is CAP_NET_ADMIN, as far as it was there, and the system calls below. None of them opens a file, starts a
//! program, enters a namespace or makes a socket of another kind than the run needs.
//!
//! Other system calls fail with EPERM and do not end the process: a call that a library makes in passing, and can do
//! without, must not cost a pod its start, nor end a run between its routes and its rules; where the call matters, the
//! run fails as it does with any error, takes back what it did and says so. What a call that is not allowed would do does
//! not happen in either case.

use std::collections::{BTreeMap, HashSet};

use caps::errors::CapsError;
use caps::{CapSet, Capability};
use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::flag::Flag;
use crate::diagnostic::{Explain, Explanation};

pub(super) static LOCKDOWN: Flag<bool> = {
    let flag = Flag::switch("lockdown").help(
        "Once the settings are read, keep CAP_NET_ADMIN and the system calls that are needed, nothing else",
    );
    if IS_DEFAULT { flag.on_by_default() } else { flag }
};

const IS_DEFAULT: bool = cfg!(feature = "lockdown");

/// What a run needs whatever it does: memory, its own end, and what it says.
const ALWAYS: &[i64] = &[
    // Whether this is the machine's own namespace: a file's being there tells it.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    libc::SYS_brk,
    // What an error's help depends on, and the kernel's version below.
    libc::SYS_capget,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_faccessat,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_pwrite64,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_uname,
    libc::SYS_write,
];

/// On a socket, of a kind that may be made.
const ON_SOCKETS: &[i64] = &[
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
];

/// For the proof that traffic is intercepted.
const FOR_VALIDATION: &[i64] = &[
    libc::SYS_accept4,
    libc::SYS_fcntl,
    libc::SYS_getpeername,
    libc::SYS_listen,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
];

/// What a run makes its memory with, and the number of the argument that says whether it can be executed.
const MAPPING: [(i64, u8); 2] = [(libc::SYS_mmap, 2), (libc::SYS_mprotect, 2)];

/// Why nothing was given up; the run has not begun then.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockdownError {
    #[error("--lockdown: cannot give up capabilities: {0}")]
    Capabilities(#[from] CapsError),
    #[error("--lockdown: cannot install a seccomp filter: {0}")]
    Filter(#[from] seccompiler::Error),
}

impl Explain for LockdownError {
    fn explanation(&self) -> Explanation {
        Explanation::default().help(match self {
            Self::Capabilities(_) => "--lockdown=false does without",
            Self::Filter(_) => "it takes a kernel with CONFIG_SECCOMP_FILTER; --lockdown=false does without",
        })
    }
}

impl From<BackendError> for LockdownError {
    fn from(error: BackendError) -> Self {
        Self::Filter(error.into())
    }
}

/// Gives up what is not needed from now on: the capabilities of this thread, and system calls for all threads. With
/// `validates`, what is left is enough for connections, too.
pub(super) fn lock_down(validates: bool) -> Result<(), LockdownError> {
    super::log::keep_termination_log();
    keep_one_capability()?;
    // It sets no_new_privs, too, without which only root may install one.
    seccompiler::apply_filter_all_threads(&filter(validates)?)?;
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

fn filter(validates: bool) -> Result<BpfProgram, BackendError> {
    let validation = if validates { FOR_VALIDATION } else { &[] };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        [ALWAYS, ON_SOCKETS, validation].concat().into_iter().map(|call| (call, Vec::new())).collect();
    let families =
        if validates { &[libc::AF_NETLINK, libc::AF_INET, libc::AF_INET6][..] } else { &[libc::AF_NETLINK] };
    rules.insert(
        libc::SYS_socket,
        families.iter().map(|&family| only(0, SeccompCmpOp::Eq, family)).collect::<Result<_, _>>()?,
    );
    for (call, argument) in MAPPING {
        let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
        rules.insert(call, vec![only(argument, SeccompCmpOp::MaskedEq(executable), 0)?]);
    }
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?.try_into()
}

/// A call is allowed where this argument compares so.
fn only(argument: u8, operation: SeccompCmpOp, value: i32) -> Result<SeccompRule, BackendError> {
    let value = u64::from(value.unsigned_abs());
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value)?])
}

#[cfg(test)]
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
            seccompiler::apply_filter(&filter(validates).unwrap()).unwrap();
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
    fn what_a_run_needs_is_there() {
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
