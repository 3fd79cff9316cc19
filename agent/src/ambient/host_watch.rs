//! Waits for changes of the node's own ruleset.
//!
//! Only there: a socket in a pod's namespace would keep it alive.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::thread;

use nftwire::NamespaceError;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::netns::{Netns, NetnsError};

/// `NFNLGRP_NFTABLES` in linux/netfilter/nfnetlink.h, as a bit of the groups.
const GROUP: u32 = 1 << (7 - 1);

/// How often it is seen whether anybody still wants to know.
const ALIVE: i64 = 5;

/// Starts the thread. It calls `changed` with true after a change, and with false from time to time; it ends when that
/// returns false.
pub(super) fn start(netns: Netns, changed: impl Fn(bool) -> bool + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("host-events".to_owned()).spawn(move || {
        if let Err(error) = watch(&netns, changed) {
            tracing::error!(target: "cni-agent", "cannot watch the node's ruleset, it is read every 30 s instead: {error}");
        }
    })?;
    Ok(())
}

fn watch(netns: &Netns, changed: impl Fn(bool) -> bool) -> Result<(), NetnsError> {
    setns(netns.fd.as_fd(), CloneFlags::CLONE_NEWNET).map_err(NamespaceError::Enter)?;
    let failed = |errno: Errno| NetnsError::Events(errno.into());
    let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkNetFilter);
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).map_err(failed)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUP)).map_err(failed)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(ALIVE)).map_err(failed)?;
    let mut buffer = vec![0; 32 << 10];
    loop {
        let happened = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            // What it says is read from the kernel itself. ENOBUFS: something was missed.
            Ok(_) | Err(Errno::ENOBUFS) => true,
            Err(Errno::EAGAIN | Errno::EINTR) => false,
            Err(errno) => return Err(failed(errno)),
        };
        if !changed(happened) {
            return Ok(());
        }
    }
}
