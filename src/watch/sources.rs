//! Where events come from: nf_tables and rtnetlink.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nftwire::events::{Event, Events, Group};
use nix::errno::Errno;
use nix::libc::MSG_DONTWAIT;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Changes, Stop, WatchError};
use crate::interception::Interception;

/// `RTNLGRP_IPV4_RULE`, `RTNLGRP_IPV6_RULE`, `RTNLGRP_IPV4_ROUTE`, `RTNLGRP_IPV6_ROUTE` and `RTNLGRP_IPV6_IFADDR`
/// (linux/rtnetlink.h): policy rules, routes, and the addresses that lo may have.
const ROUTE_GROUPS: [u32; 5] = [8, 19, 7, 11, 9];

/// What it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// Something happened, or the time is over
    Woken,
    Stopped,
}

impl Waited {
    pub(super) fn is_stopped(self) -> bool {
        self == Self::Stopped
    }
}

/// Subscriptions in the network namespace in which they were opened.
pub(super) struct Sources {
    nft: Events,
    routes: Socket,
    /// Up to which generation all events have come; none where that is not known, because events were lost
    heard: Option<u32>,
}

impl Sources {
    pub(super) fn open() -> Result<Self, WatchError> {
        let nft = Events::open(&[Group::Ruleset]).map_err(WatchError::Events)?;
        let subscribe = || -> io::Result<Socket> {
            let mut routes = Socket::new(NETLINK_ROUTE)?;
            routes.bind(&SocketAddr::new(0, 0))?;
            for group in ROUTE_GROUPS {
                routes.add_membership(group)?;
            }
            Ok(routes)
        };
        Ok(Self { nft, routes: subscribe().map_err(WatchError::RouteEvents)?, heard: None })
    }

    /// Waits until something happens, the time is over or it is stopped; adds what happened.
    pub(super) fn wait(
        &mut self,
        deadline: Instant,
        stop: &Stop<'_>,
        changes: &mut Changes,
        desired: &Interception,
    ) -> Result<Waited, WatchError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if poll_all(&[self.nft.as_fd(), self.routes.as_fd()], stop, left)? == Waited::Stopped {
            return Ok(Waited::Stopped);
        }
        self.drain(changes, desired)?;
        Ok(Waited::Woken)
    }

    /// Adds what has happened.
    fn drain(&mut self, changes: &mut Changes, desired: &Interception) -> Result<(), WatchError> {
        while self.next(Duration::ZERO, changes, desired)? {}
        // What they say does not matter: all that is desired of the network is looked at.
        loop {
            match self.routes.recv_from(&mut Vec::with_capacity(DATAGRAM), MSG_DONTWAIT) {
                Ok(_) => changes.add_network(),
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => changes.add_network(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(WatchError::RouteEvents(error)),
            }
        }
    }

    /// Adds what has happened up to this generation, for which it waits so long at most: a commit can be read before its
    /// events come, which follow it (`nf_tables_commit` in net/netfilter/nf_tables_api.c, Linux 6.18). False if they have not
    /// come.
    pub(super) fn hear_of(
        &mut self,
        generation: u32,
        limit: Duration,
        changes: &mut Changes,
        desired: &Interception,
    ) -> Result<bool, WatchError> {
        let deadline = Instant::now() + limit;
        loop {
            self.drain(changes, desired)?;
            // Where it is not known, it begins here.
            let is_heard = !is_newer(generation, *self.heard.get_or_insert(generation));
            let left = deadline.saturating_duration_since(Instant::now());
            if is_heard || left.is_zero() {
                return Ok(is_heard);
            }
            self.next(left, changes, desired)?;
        }
    }

    /// Adds the next event of nf_tables; false if none comes in time.
    fn next(
        &mut self,
        limit: Duration,
        changes: &mut Changes,
        desired: &Interception,
    ) -> Result<bool, WatchError> {
        let Some(event) = self.nft.next(Some(limit)).map_err(WatchError::Events)? else { return Ok(false) };
        match (&event, &mut self.heard) {
            (Event::Generation { generation, .. }, Some(heard)) if is_newer(*generation, *heard) => {
                *heard = *generation;
            }
            (Event::Missed, heard) => *heard = None,
            _ => {}
        }
        changes.add(event, desired).map_err(|error| WatchError::Events(error.into()))?;
        Ok(true)
    }
}

/// Generations are counted in a circle.
fn is_newer(generation: u32, other: u32) -> bool {
    generation.wrapping_sub(other).cast_signed() > 0
}

/// The rest of a datagram is dropped, and nothing of it is read.
const DATAGRAM: usize = 16;

fn poll_all(sources: &[BorrowedFd<'_>], stop: &Stop<'_>, left: Duration) -> Result<Waited, WatchError> {
    let readable = sources.iter().copied().chain(stop.readable);
    let mut fds: Vec<_> = readable.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    // That the other side is closed is reported whatever is asked for.
    fds.extend(stop.closed.map(|fd| PollFd::new(fd, PollFlags::empty())));
    // A little too long rather than a busy loop at the end.
    let milliseconds = left.as_millis().saturating_add(u128::from(!left.is_zero()));
    let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(Waited::Woken),
        Err(errno) => return Err(WatchError::Wait(errno.into())),
    }
    let is_stopped = fds[sources.len()..].iter().any(|fd| fd.any() == Some(true));
    Ok(if is_stopped { Waited::Stopped } else { Waited::Woken })
}
