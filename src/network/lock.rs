//! One writer at a time: a run that changes routes and rules together takes a lock.
//!
//! The kernel makes one transaction of all rules, but routes and addresses are not part of it. Without a lock, a run that
//! needs them and one that removes them could interleave.
//!
//! The lock is a netlink port ID: only one socket of a network namespace can have it, the kernel takes it back when its
//! process ends, and nothing is left in any file system. It needs no privilege, so that any process of a pod can hold it for
//! ever. Therefore it is only waited for, and shortly; what counts is that the network is looked at again after the commit.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nftwire::errno_text;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};

use super::RouteSocket;

/// No process's number, after which the kernel names sockets first, and not one of the negative ones that it takes then
/// (`netlink_autobind` in net/netlink/af_netlink.c).
pub(super) const PORT: u32 = 0x6d77_6972;

/// A run takes some milliseconds. Who has not got the lock by then continues without it.
const LIMIT: Duration = Duration::from_secs(1);

/// How long a run takes, roughly.
const PAUSE: Duration = Duration::from_millis(1);

/// What keeps others waiting until it is dropped, unless the [`RouteSocket`] does, which outlives it.
pub(crate) struct Lock {
    _socket: Option<OwnedFd>,
}

/// Why there is no lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// A process of the same network namespace has had it all the time: another run that was stopped, or any other program.
    #[error(
        "another process has held the lock, netlink port {port:#x}, for {limit:?}: a run that was stopped, or one that \
         intends to delay others"
    )]
    Held {
        /// The netlink port ID
        port: u32,
        /// How long it was waited for
        limit: Duration,
    },
    /// There is no socket for it; the errno.
    #[error("no lock could be taken: {}", errno_text(*.0))]
    NoSocket(i32),
}

impl Lock {
    /// The lock of the network namespace that the thread is in, or why the run has to do without. It is held already where
    /// the socket [has](RouteSocket::open_as_lock) the port ID.
    pub(crate) fn take_or_reason(routes: &RouteSocket) -> (Option<Self>, Option<LockError>) {
        if routes.0.is_lock() {
            return (Some(Self { _socket: None }), None);
        }
        match Self::take() {
            Ok(lock) => (Some(lock), None),
            Err(reason) => (None, Some(reason)),
        }
    }

    /// Waits until no other process has it.
    fn take() -> Result<Self, LockError> {
        let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkRoute);
        let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
            .map_err(|errno| LockError::NoSocket(errno as i32))?;
        let started = Instant::now();
        loop {
            match bind(socket.as_raw_fd(), &NetlinkAddr::new(PORT, 0)) {
                Ok(()) => return Ok(Self { _socket: Some(socket) }),
                Err(Errno::EADDRINUSE) if started.elapsed() < LIMIT => std::thread::sleep(PAUSE),
                Err(Errno::EADDRINUSE) => return Err(LockError::Held { port: PORT, limit: LIMIT }),
                Err(errno) => return Err(LockError::NoSocket(errno as i32)),
            }
        }
    }
}
