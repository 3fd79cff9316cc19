//! How long connection tracking remembers a connection that one side has closed (nf_conntrack-sysctl, in the kernel's
//! documentation).

use std::fs::OpenOptions;
use std::io::{self, Write};

use nftwire::io_text;
use nix::errno::Errno;

use crate::diagnostic::{Explain, Explanation};

/// The kernel's name for the setting, which each network namespace has for itself.
pub const CLOSE_WAIT_TIMEOUT: &str = "net.netfilter.nf_conntrack_tcp_timeout_close_wait";
/// The same as a file: that of the network namespace of whoever opens it.
const FILE: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait";

/// The setting was not changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot set {CLOSE_WAIT_TIMEOUT} to {seconds}: {}", io_text(error))]
pub struct CloseWaitError {
    /// What it was to be, in seconds
    pub seconds: u32,
    /// What the system call said
    pub error: io::Error,
}

/// Sets how many seconds a TCP connection is remembered in the state CLOSE_WAIT, in the network namespace that the
/// thread is in.
///
/// # Errors
/// [`CloseWaitError`]: EROFS in a container that is not privileged, EACCES without CAP_NET_ADMIN, ENOENT without connection
/// tracking, EINVAL for more seconds than the kernel can count.
pub fn set_close_wait_timeout(seconds: u32) -> Result<(), CloseWaitError> {
    let written = OpenOptions::new()
        .write(true)
        .open(FILE)
        .and_then(|mut file| file.write_all(seconds.to_string().as_bytes()));
    written.map_err(|error| CloseWaitError { seconds, error })
}

impl Explain for CloseWaitError {
    fn explanation(&self) -> Explanation {
        let explanation = self.error.explanation().at("sysctl", CLOSE_WAIT_TIMEOUT);
        match self.error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EROFS) => explanation.help(
                "/proc/sys is read-only in a container that is not privileged; give this one securityContext: \
                 {privileged: true, runAsUser: 0}, or set it for the whole pod by spec.securityContext.sysctls, where \
                 the kubelet allows that (its setting allowedUnsafeSysctls)",
            ),
            Some(Errno::EACCES | Errno::EPERM) => explanation.help(
                "CAP_NET_ADMIN is needed in the user namespace that owns this network namespace, or the user that owns \
                 /proc; in a pod, securityContext: {privileged: true, runAsUser: 0}",
            ),
            Some(Errno::ENOENT) => {
                explanation.help("the kernel tracks no connections; load nf_conntrack on the node")
            }
            Some(Errno::EINVAL) => explanation.help("the kernel cannot count so many seconds"),
            _ => explanation,
        }
    }
}
