//! Events for tokio.

use std::collections::VecDeque;
use std::future::poll_fn;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket, TokioSocket};

use super::{Event, Group, QUEUE, RECEIVE_BUFFER, add, subscribe};
use crate::Error;

/// As [`Events`](super::Events), for a task of tokio; needs the feature `tokio`.
pub struct AsyncEvents {
    socket: TokioSocket,
    buffer: Vec<u8>,
    received: VecDeque<Event>,
}

impl std::fmt::Debug for AsyncEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsyncEvents").field("received", &self.received).finish_non_exhaustive()
    }
}

impl AsyncEvents {
    /// As [`Events::open`](super::Events::open).
    ///
    /// # Errors
    /// As [`Events::open`](super::Events::open).
    ///
    /// # Panics
    /// Outside of a tokio runtime whose I/O driver is enabled.
    pub fn open(groups: &[Group]) -> Result<Self, Error> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER).map_err(Error::Open)?;
        subscribe(socket.socket_mut(), groups, QUEUE).map_err(Error::Open)?;
        Ok(Self { socket, buffer: Vec::with_capacity(RECEIVE_BUFFER), received: VecDeque::new() })
    }

    /// Waits for the next event. Nothing is lost if the future is dropped before it is ready.
    ///
    /// # Errors
    /// As [`Events::next`](super::Events::next).
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.received.pop_front() {
                return Ok(event);
            }
            self.buffer.clear();
            let received = poll_fn(|context| self.socket.poll_recv_from(context, &mut self.buffer)).await;
            let port = received.map(|sender| sender.port_number());
            add(&mut self.received, port, &self.buffer).map_err(Error::Reply)?;
        }
    }
}
