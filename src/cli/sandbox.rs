//! A network namespace for a command that tries something out: it ends with the process.

use std::fs;
use std::io::{self, ErrorKind};

use nftwire::io_text;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use super::{NAME, link};
use crate::diagnostic::{Explain, Explanation};

/// No namespace of our own.
#[derive(Debug, thiserror::Error)]
pub(super) enum SandboxError {
    #[error(transparent)]
    Forbidden(#[from] ForbiddenError),
    #[error("cannot make a network namespace: {}", io_text(.0))]
    Refused(io::Error),
}

impl Explain for SandboxError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::Forbidden(error) => error.error.explanation().help(&error.instead),
            Self::Refused(error) => error.explanation(),
        }
    }
}

/// Into a network namespace of our own, and where that takes more privilege than there is, into a user namespace of our
/// own as well; `lo` is up then.
pub(super) fn enter(command: &'static str) -> Result<(), SandboxError> {
    // Without CAP_NET_ADMIN a namespace is of no use.
    let privileged =
        unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from).and_then(|()| link::set_up("lo"));
    match privileged {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(enter_unprivileged(command)?),
        result => result.map_err(SandboxError::Refused),
    }
}

fn enter_unprivileged(command: &'static str) -> Result<(), ForbiddenError> {
    // Inside they are unknown.
    let (uid, gid) = (geteuid(), getegid());
    let forbidden = |attempt| move |error| ForbiddenError::new(attempt, error, uid.is_root(), command);
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .map_err(io::Error::from)
        .map_err(forbidden("unshare"))?;
    // Without privilege a single uid and gid can be mapped, and the gid only with setgroups(2) off
    // (user_namespaces(7)).
    for (file, content) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ] {
        fs::write(file, content).map_err(forbidden(file))?;
    }
    // AppArmor may let the namespace be made, and refuse everything in it.
    link::set_up("lo").map_err(forbidden("set up lo"))
}

/// No user namespace may be made, or be used.
#[derive(Debug, thiserror::Error)]
#[error("this user may not make user namespaces here ({attempt}: {}){reason}", io_text(error))]
pub(super) struct ForbiddenError {
    attempt: &'static str,
    error: io::Error,
    reason: String,
    instead: String,
}

impl ForbiddenError {
    fn new(attempt: &'static str, error: io::Error, as_root: bool, command: &str) -> Self {
        let mut reason = String::new();
        if error.raw_os_error() == Some(Errno::EINVAL as i32) {
            reason += ": the kernel was built without them (CONFIG_USER_NS)";
        }
        for (setting, forbidding) in SETTINGS {
            let value = fs::read_to_string(format!("/proc/sys/{}", setting.replace('.', "/")));
            if value.is_ok_and(|value| value.trim() == forbidding) {
                reason += &format!(": {setting} is {forbidding}");
            }
        }
        let instead = if as_root {
            "root lacks CAP_SYS_ADMIN or CAP_NET_ADMIN, as in a container: run it outside of it, or in a privileged one".to_owned()
        } else {
            format!("run it as root: sudo {NAME} {command}")
        };
        Self { attempt, error, reason, instead }
    }
}

/// The settings that are known to forbid user namespaces, or network namespaces in them, and the value that does.
const SETTINGS: [(&str, &str); 4] = [
    ("kernel.unprivileged_userns_clone", "0"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1"),
    ("user.max_user_namespaces", "0"),
    ("user.max_net_namespaces", "0"),
];
