//! The namespaces: one for the pod, in which the main thread is from then on, and one for the outside.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::thread;

use nftwire::Namespace;
use nix::sched::{CloneFlags, unshare};

use super::{APP, Context, NAME, OUTSIDE, POD, PREFIX, PROXY, Step, User, link};
use crate::cli::failure::Failure;
use crate::cli::sandbox;

/// A pod and the outside, on one wire.
pub(super) struct Stage {
    pub(super) users: Users,
    outside: Namespace,
}

/// Who can be distinguished from whom.
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
        sandbox::enter(NAME)?;
        let users = if APP.is_possible() && PROXY.is_possible() { Users::Own } else { Users::One };
        let outside =
            new_namespace().context("make a second network namespace (it takes a mounted /proc)")?;
        link::add_veth_pair("eth0", &outside).context("make a veth pair (is veth in this kernel?)")?;
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

    /// Does something in the pod as this user, where users can be distinguished.
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
