//! The system calls that a locked-down run keeps, as a seccomp filter.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// What a run needs whatever it does: memory, its own end, and what it says.
const ALWAYS: &[i64] = &[
    // Whether this is the machine's own namespace: whether a file exists shows it.
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
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpeername,
    libc::SYS_getuid,
    libc::SYS_listen,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
];

/// What a run makes its memory with, and the number of the argument that says whether it can be executed.
const MAPPING: [(i64, u8); 2] = [(libc::SYS_mmap, 2), (libc::SYS_mprotect, 2)];

/// Why there is no filter.
pub(super) type FilterError = seccompiler::Error;

/// What to do about an error.
pub(super) fn help(_error: &FilterError) -> &'static str {
    "it takes a kernel with CONFIG_SECCOMP_FILTER; --lockdown=false does without"
}

/// A filter that is not installed yet.
pub(super) struct Filter(BpfProgram);

impl Filter {
    /// What a run needs; with `validates`, for connections, too.
    pub(super) fn new(validates: bool) -> Result<Self, FilterError> {
        Ok(Self(program(validates)?))
    }

    /// Gives up the other system calls, for all threads. It sets no_new_privs, too, without which only root may
    /// install a filter.
    pub(super) fn install(&self) -> Result<(), FilterError> {
        seccompiler::apply_filter_all_threads(&self.0)
    }

    #[cfg(test)]
    pub(super) fn install_in_thread(&self) -> Result<(), FilterError> {
        seccompiler::apply_filter(&self.0)
    }
}

fn program(validates: bool) -> Result<BpfProgram, BackendError> {
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
