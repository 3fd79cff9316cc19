//! One writer at a time: who changes routes and rules together has to be alone among its kind.
//!
//! The kernel makes one transaction of all rules, but routes and addresses are not part of it. Without turns, a run that
//! needs them and one that takes them away can each do half of it after the other one's half.
//!
//! The turn is a port number of netlink: only one socket of a network namespace can have it, the kernel takes it back
//! when its process dies, and nothing is left in any file system.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};

/// No process's number, after which the kernel names sockets first, and not one of the negative ones that it takes then
/// (`netlink_autobind` in net/netlink/af_netlink.c).
const PORT: u32 = 0x6d77_6972;

/// Who has not got its turn by then goes on without: everybody can have taken the number, or have been stopped.
const LIMIT: Duration = Duration::from_secs(10);

/// How long a turn takes, roughly.
const PAUSE: Duration = Duration::from_millis(1);

/// What keeps others waiting until it is dropped.
pub(crate) struct Lock {
    _socket: OwnedFd,
}

impl Lock {
    /// Waits until nobody else has the turn in the network namespace that the thread is in. Where there is none to be
    /// had, the run goes on all the same: most have no company.
    pub(crate) fn take() -> Option<Self> {
        let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkRoute);
        let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).ok()?;
        let started = Instant::now();
        while bind(socket.as_raw_fd(), &NetlinkAddr::new(PORT, 0)) == Err(nix::Error::EADDRINUSE) {
            if started.elapsed() > LIMIT {
                return None;
            }
            std::thread::sleep(PAUSE);
        }
        Some(Self { _socket: socket })
    }
}
