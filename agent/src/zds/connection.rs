//! One connection of ztunnel's: packets with a time limit, in lock step.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, recvmsg, sendmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::message::{self, Ack, DecodeError, MAX_PACKET};

/// How long sending a packet may take, and how long its acknowledgement.
const LIMIT: Duration = Duration::from_secs(5);

/// Why a connection cannot be used any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// ztunnel closed it
    #[error("ztunnel closed the connection")]
    Closed,
    /// ztunnel did not read or answer in time
    #[error("ztunnel did not {expected} within {} s", LIMIT.as_secs())]
    TimedOut {
        /// `say hello`, `read the request` or `acknowledge the request`
        expected: &'static str,
    },
    /// A packet came that nothing had asked for: what it answers is not known
    #[error("ztunnel sent a packet without a request")]
    Unexpected,
    /// A packet is longer than [`MAX_PACKET`], or carries descriptors
    #[error("ztunnel sent a packet of more than {MAX_PACKET} bytes, or with descriptors")]
    Oversized,
    /// A packet cannot be read
    #[error("ztunnel sent a packet that cannot be read: {0}")]
    Decode(DecodeError),
    /// The socket failed
    #[error("the connection to ztunnel failed: {}", nftwire::io_text(.0))]
    Socket(io::Error),
}

impl From<DecodeError> for ConnectionError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

/// A connection that ztunnel made.
#[derive(Debug)]
pub(super) struct Connection {
    /// Of type SOCK_SEQPACKET: a read is a packet
    socket: UnixStream,
}

impl Connection {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self { socket }
    }

    /// Waits for ztunnel's first packet.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    pub(super) async fn hello(&self) -> Result<(), ConnectionError> {
        let packet = limited("say hello", self.receive()).await?;
        Ok(message::decode_hello(&packet)?)
    }

    /// Sends an encoded request, with the namespace if it is [`Request::Add`](super::Request::Add), and waits for the acknowledgement.
    ///
    /// # Errors
    /// See [`ConnectionError`]; the connection has to be closed then.
    pub(super) async fn request(
        &self,
        packet: &[u8],
        netns: Option<BorrowedFd<'_>>,
    ) -> Result<Ack, ConnectionError> {
        limited("read the request", self.send(packet, netns)).await?;
        let response = limited("acknowledge the request", self.receive()).await?;
        Ok(message::decode_response(&response)?)
    }

    /// Waits until ztunnel closes the connection, or sends what nobody asked for.
    pub(super) async fn end(&self) -> ConnectionError {
        match self.receive().await {
            Ok(_) => ConnectionError::Unexpected,
            Err(error) => error,
        }
    }

    async fn send(&self, packet: &[u8], netns: Option<BorrowedFd<'_>>) -> Result<(), ConnectionError> {
        let send = || {
            let descriptors = netns.map(|netns| [netns.as_raw_fd()]);
            let rights = descriptors.as_ref().map(|fds| ControlMessage::ScmRights(fds));
            let control = rights.as_slice();
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            Ok(sendmsg::<()>(self.socket.as_raw_fd(), &[IoSlice::new(packet)], control, flags, None)?)
        };
        // A packet is sent as a whole, or not at all (SOCK_SEQPACKET, unix(7)).
        match self.socket.async_io(Interest::WRITABLE, send).await {
            Ok(_) => Ok(()),
            Err(error) if is_hangup(&error) => Err(ConnectionError::Closed),
            Err(error) => Err(error.into()),
        }
    }

    async fn receive(&self) -> Result<Vec<u8>, ConnectionError> {
        let mut buffer = [0; MAX_PACKET];
        let receive = || {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
            // Without room for descriptors the kernel closes those that come, and says MSG_CTRUNC.
            let received = recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, None, flags)?;
            Ok((received.bytes, received.flags))
        };
        match self.socket.async_io(Interest::READABLE, receive).await {
            Ok((_, flags)) if flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) => {
                Err(ConnectionError::Oversized)
            }
            // No message of ztunnel's is empty: this is the end.
            Ok((0, _)) => Err(ConnectionError::Closed),
            Ok((length, _)) => Ok(buffer[..length].to_vec()),
            Err(error) if is_hangup(&error) => Err(ConnectionError::Closed),
            Err(error) => Err(error.into()),
        }
    }
}

async fn limited<T>(
    expected: &'static str,
    work: impl Future<Output = Result<T, ConnectionError>>,
) -> Result<T, ConnectionError> {
    timeout(LIMIT, work).await.unwrap_or(Err(ConnectionError::TimedOut { expected }))
}

fn is_hangup(error: &io::Error) -> bool {
    let hangups = [Errno::EPIPE, Errno::ECONNRESET, Errno::ENOTCONN];
    error.raw_os_error().is_some_and(|errno| hangups.contains(&Errno::from_raw(errno)))
}
