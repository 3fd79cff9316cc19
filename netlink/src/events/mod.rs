//! What happens to the ruleset, as it happens, and what happens to traced packets.
//!
//! To keep a picture of the ruleset: subscribe first, then read it (see [`crate::Socket::consistent`]), and drop the events
//! up to the [generation](Event::Generation) that was read. After [`Event::Missed`], read it anew.
//!
//! ```no_run
//! use nftwire::events::{Event, Events, Group};
//!
//! let mut events = Events::open(&[Group::Ruleset])?;
//! while let Some(event) = events.next(None)? {
//!     match event {
//!         Event::Generation { generation, .. } => println!("generation {generation}"),
//!         Event::Missed => println!("something was missed"),
//!         _ => {}
//!     }
//! }
//! # Ok::<(), nftwire::Error>(())
//! ```

#[cfg(feature = "tokio")]
mod asynchronous;
mod trace;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use bytes::Bytes;
use netlink_sys::SocketAddr;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::libc::MSG_DONTWAIT;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

#[cfg(feature = "tokio")]
pub use self::asynchronous::AsyncEvents;
pub use self::trace::{Trace, TraceKind};
use crate::message::Datagram;
use crate::socket::receive;
use crate::{DecodeError, Error, Message, Record, uapi};

/// The kernel sends what one transaction did in datagrams of a few KiB (`nft_commit_notify` in
/// net/netfilter/nf_tables_api.c, Linux 6.18); one event alone may be larger.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// The port ID of the kernel.
const KERNEL_PORT: u32 = 0;

/// What the kernel may queue, in bytes: some 10,000 events of a few rules' size.
const QUEUE: usize = 4 * 1024 * 1024;

/// What can be subscribed to (`enum nfnetlink_groups` in include/uapi/linux/netfilter/nfnetlink.h).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `NFNLGRP_NFTABLES`: changes of the ruleset
    Ruleset,
    /// `NFNLGRP_NFTRACE`: the way of packets for which a rule has set `meta nftrace`
    Trace,
}

/// Something that happened.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum Event {
    /// A table, chain, rule, set, object, flowtable or list of elements is new, or has changed: a `NFT_MSG_NEW…` message
    New(Record),
    /// One is gone: a `NFT_MSG_DEL…` message
    Deleted(Record),
    /// A transaction is complete; its events came before. Who it was can be forged and is no more than a hint.
    Generation {
        /// The new generation
        generation: u32,
        /// The thread ID of the writer, in the initial PID namespace
        writer: Option<u32>,
        /// The name of the writer's thread (`comm`), up to 15 bytes
        writer_name: Option<Vec<u8>>,
    },
    /// A traced packet met a rule, or the end of a chain; see [`Trace::decode`]
    Trace(Record),
    /// The queue was full, and some events are lost. They may belong after some that are still queued
    Missed,
}

/// A subscription in the network namespace in which it was opened.
///
/// An open one keeps its network namespace alive.
#[derive(Debug)]
pub struct Events {
    socket: netlink_sys::Socket,
    buffer: Vec<u8>,
    received: VecDeque<Event>,
}

impl Events {
    /// Subscribes to these groups in the caller's network namespace. Nothing that happens from now on is missed
    /// without an [`Event::Missed`].
    ///
    /// # Errors
    /// No socket could be opened; EPERM without CAP_NET_ADMIN over the network namespace.
    pub fn open(groups: &[Group]) -> Result<Self, Error> {
        Self::open_with_queue(groups, QUEUE)
    }

    /// As [`Events::open`], with a queue of `bytes` (SO_RCVBUF, see socket(7)) and not 4 MiB. Without CAP_NET_ADMIN in
    /// the initial user namespace the kernel grants at most net.core.rmem_max.
    ///
    /// # Errors
    /// As [`Events::open`].
    pub fn open_with_queue(groups: &[Group], bytes: usize) -> Result<Self, Error> {
        let mut socket = netlink_sys::Socket::new(NETLINK_NETFILTER).map_err(Error::Open)?;
        subscribe(&mut socket, groups, bytes).map_err(Error::Open)?;
        Ok(Self { socket, buffer: Vec::new(), received: VecDeque::new() })
    }

    /// The next event; waits for one for as long as `timeout` says, or for ever. `None` when the time is over.
    ///
    /// # Errors
    /// The socket failed, or something came that is not nf_tables' protocol.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(event) = self.received.pop_front() {
                return Ok(Some(event));
            }
            match self.receive() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => {
                    received.map_err(Error::Reply)?;
                    continue;
                }
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            self.wait(left).map_err(Error::Reply)?;
        }
    }

    /// Whether nothing of what was received is left to be [handed out](Self::next).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    fn wait(&self, left: Option<Duration>) -> io::Result<()> {
        // A little too long rather than a busy loop at the end.
        let milliseconds = left.map(|left| left.as_millis().saturating_add(1));
        let timeout = milliseconds.map_or(PollTimeout::NONE, |milliseconds| {
            PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Receives one datagram, if there is one.
    fn receive(&mut self) -> io::Result<()> {
        let received =
            receive(&mut self.buffer, RECEIVE_BUFFER, |window| self.socket.recv_from(window, MSG_DONTWAIT));
        add(&mut self.received, received.map(|(_, sender)| sender.port_number()), &self.buffer)
    }
}

fn subscribe(socket: &mut netlink_sys::Socket, groups: &[Group], queue: usize) -> io::Result<()> {
    // The kernel doubles what is asked for.
    let ask = queue / 2;
    if setsockopt(socket, sockopt::RcvBufForce, &ask).is_err() {
        setsockopt(socket, sockopt::RcvBuf, &ask)?;
    }
    socket.bind(&SocketAddr::new(0, 0))?;
    groups.iter().try_for_each(|group| {
        socket.add_membership(match group {
            Group::Ruleset => uapi::NFNLGRP_NFTABLES,
            Group::Trace => uapi::NFNLGRP_NFTRACE,
        })
    })
}

/// Adds the events of a datagram from this port ID, or that some were missed.
fn add(events: &mut VecDeque<Event>, received: io::Result<u32>, datagram: &[u8]) -> io::Result<()> {
    match received {
        Ok(KERNEL_PORT) => decode(&Bytes::copy_from_slice(datagram), events)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        // Any process with CAP_NET_ADMIN can send something to this socket's port ID (netlink(7)).
        Ok(_) => Ok(()),
        // The socket reports it once (`netlink_overrun` in net/netlink/af_netlink.c, Linux 6.18).
        Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
            events.push_back(Event::Missed);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn decode(datagram: &Bytes, events: &mut VecDeque<Event>) -> Result<(), DecodeError> {
    for header in Datagram(datagram) {
        let header = header?;
        let message = Message::decode(header.nlmsg_type, header.payload)?;
        let record = Record::new(&header, datagram.slice_ref(header.payload));
        events.push_back(match message.kind {
            uapi::NFT_MSG_NEWGEN => generation(&message)?,
            uapi::NFT_MSG_TRACE => Event::Trace(record),
            uapi::NFT_MSG_DELTABLE
            | uapi::NFT_MSG_DELCHAIN
            | uapi::NFT_MSG_DELRULE
            | uapi::NFT_MSG_DELSET
            | uapi::NFT_MSG_DELSETELEM
            | uapi::NFT_MSG_DELOBJ
            | uapi::NFT_MSG_DELFLOWTABLE => Event::Deleted(record),
            _ => Event::New(record),
        });
    }
    Ok(())
}

fn generation(message: &Message<'_>) -> Result<Event, DecodeError> {
    let (mut generation, mut writer, mut writer_name) = (None, None, None);
    for attribute in message.attributes {
        let attribute = attribute?;
        match attribute.kind {
            uapi::NFTA_GEN_ID => generation = Some(attribute.be32()?),
            uapi::NFTA_GEN_PROC_PID => writer = Some(attribute.be32()?),
            uapi::NFTA_GEN_PROC_NAME => {
                let name = attribute.value.split(|byte| *byte == 0).next().unwrap_or_default();
                writer_name = Some(name.to_vec());
            }
            _ => {}
        }
    }
    let generation = generation.ok_or(DecodeError::Missing { attribute: uapi::NFTA_GEN_ID })?;
    Ok(Event::Generation { generation, writer, writer_name })
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::bytes;

    #[test]
    fn a_datagram_of_a_transaction() {
        // add table ip t, by `nft` with the thread ID 14661: NEWTABLE, NEWGEN
        let golden = bytes(
            "
            30000000 000a 0004 00000000 00000000  02000002
              0600 0100 74000000
              0800 0200 00000000
              0c00 0400 0000000000000001
            2c000000 0f0a 0000 00000000 00000000  00000002
              0800 0100 00000002
              0800 0200 00003945
              0800 0300 6e667400
            ",
        );
        let mut events = VecDeque::new();
        decode(&Bytes::from(golden), &mut events).unwrap();
        let Some(Event::New(record)) = events.pop_front() else { panic!("{events:?}") };
        assert_eq!(crate::Table::decode(&record.message().unwrap()).unwrap().handle, 1);
        let Some(Event::Generation { generation, writer, writer_name }) = events.pop_front() else {
            panic!("{events:?}")
        };
        assert_eq!((generation, writer, writer_name.as_deref()), (2, Some(14661), Some(&b"nft"[..])));
        assert!(events.is_empty());
    }
}
