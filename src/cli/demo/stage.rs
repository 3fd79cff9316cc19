//! The namespaces: one for the pod, in which the main thread is from then on, and one for the outside.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::thread;

use nftwire::{Namespace, io_text};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use super::{APP, Context, OUTSIDE, POD, PREFIX, PROXY, Step, User, link};
use crate::cli::failure::Failure;
use crate::explain::{Explain, Explanation};

/// A pod and the outside, on one wire.
pub(super) struct Stage {
    pub(super) users: Users,
    outside: Namespace,
}

/// Who can be told from whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Users {
    /// The app and the proxy have uids of their own
    Own,
    /// There is a single uid, as in every user namespace that an unprivileged user makes
    One,
}

impl Stage {
    /// Moves the process, which must have a single thread, into namespaces of its own.
    pub(super) fn set() -> Result<Self, Failure> {
        leave()?;
        let users = if APP.is_possible() && PROXY.is_possible() { Users::Own } else { Users::One };
        let outside =
            new_namespace().context("make a second network namespace (it takes a mounted /proc)")?;
        link::add_cable("eth0", &outside).context("make a veth pair (is veth in this kernel?)")?;
        let stage = Self { users, outside: OwnedFd::from(outside).into() };
        stage.outside(|| {
            link::add_address("eth0", OUTSIDE, PREFIX).context("give the outside its address")?;
            link::set_up("eth0").context("set up the outside's eth0")
        })?;
        link::add_address("eth0", POD, PREFIX).context("give the pod its address")?;
        link::set_up("eth0").context("set up the pod's eth0")?;
        stage.outside(|| link::wait_for_carrier("eth0").context("use the outside's eth0"))?;
        Ok(stage)
    }

    /// Does something in the outside's network namespace.
    pub(super) fn outside<T: Send>(&self, work: impl FnOnce() -> Result<T, Step> + Send) -> Result<T, Step> {
        self.outside.enter(work).map_err(io::Error::other).context("reach the outside")?
    }

    /// Does something in the pod as this user, where users can be told apart.
    pub(super) fn as_user<T>(&self, user: User, work: impl FnOnce() -> T) -> T {
        match self.users {
            Users::Own => user.act(work),
            Users::One => work(),
        }
    }
}

/// A network namespace that no thread is in.
fn new_namespace() -> io::Result<File> {
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        File::open("/proc/thread-self/ns/net")
    };
    thread::spawn(make).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Into a network namespace of our own, and where that takes more privilege than there is, into a user namespace of our
/// own as well; `lo` is up then.
fn leave() -> Result<(), Failure> {
    // Without CAP_NET_ADMIN a namespace is of no use.
    let privileged =
        unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from).and_then(|()| link::set_up("lo"));
    match privileged {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(leave_unprivileged()?),
        result => Ok(result.context("make a network namespace")?),
    }
}

fn leave_unprivileged() -> Result<(), Forbidden> {
    // Inside they are unknown.
    let (uid, gid) = (geteuid(), getegid());
    let forbidden = |attempt| move |source| Forbidden::new(attempt, source, uid.is_root());
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
#[error("this user may not make user namespaces here ({attempt}: {}){reason}", io_text(source))]
pub(super) struct Forbidden {
    attempt: &'static str,
    source: io::Error,
    reason: String,
    instead: &'static str,
}

impl Explain for Forbidden {
    fn explanation(&self) -> Explanation {
        self.source.explanation().help(self.instead)
    }
}

impl Forbidden {
    fn new(attempt: &'static str, source: io::Error, as_root: bool) -> Self {
        let mut reason = String::new();
        if source.raw_os_error() == Some(Errno::EINVAL as i32) {
            reason += ": the kernel was built without them (CONFIG_USER_NS)";
        }
        for (setting, forbidding) in SETTINGS {
            let value = fs::read_to_string(format!("/proc/sys/{}", setting.replace('.', "/")));
            if value.is_ok_and(|value| value.trim() == forbidding) {
                reason += &format!(": {setting} is {forbidding}");
            }
        }
        let instead = if as_root {
            "root lacks CAP_SYS_ADMIN or CAP_NET_ADMIN, as in a container: run it outside of it, or in a privileged one"
        } else {
            "run it as root: sudo meshwire demo"
        };
        Self { attempt, source, reason, instead }
    }
}

/// The settings that are known to forbid user namespaces, or network namespaces in them, and the value that does.
const SETTINGS: [(&str, &str); 4] = [
    ("kernel.unprivileged_userns_clone", "0"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1"),
    ("user.max_user_namespaces", "0"),
    ("user.max_net_namespaces", "0"),
];
