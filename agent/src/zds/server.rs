//! The socket that ztunnel connects to, and one task per connection.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::connection::{Connection, ConnectionError};
use super::message::Ack;

/// At most five connections a second, so that a ztunnel that fails at once does not keep the agent busy.
const ACCEPT_INTERVAL: Duration = Duration::from_millis(200);

/// Which connection: a later one has a higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What happens on the socket.
#[derive(Debug)]
pub enum Event {
    /// A ztunnel has connected and said hello. Requests go to it by this channel, one after another.
    Connected(ConnectionId, mpsc::Sender<Command>),
    /// A connection is closed, and this is why
    Disconnected(ConnectionId, ConnectionError),
}

/// A request to one ztunnel.
#[derive(Debug)]
pub struct Command {
    /// The packet, see [`Request::encode`](super::Request::encode)
    pub packet: Vec<u8>,
    /// The pod's network namespace, with an Add alone
    pub netns: Option<Arc<OwnedFd>>,
    /// Gets the acknowledgement. It is dropped if the connection ends before.
    pub reply: oneshot::Sender<Ack>,
}

/// The listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
}

impl Listener {
    /// Takes the place of what an earlier agent left at this path, and listens there. ztunnel can connect from now on,
    /// and waits until [`serve`] accepts it.
    ///
    /// # Errors
    /// The directory is missing or not writable, or the path is too long (107 bytes, unix(7)).
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        // Whoever connects gets descriptors of all pods' namespaces.
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        listen(&socket, Backlog::new(16)?)?;
        // std and tokio accept on any Unix socket that keeps connections.
        Ok(Self { socket: UnixListener::from_std(socket.into())? })
    }
}

/// Accepts connections until the receiver of the events is gone.
///
/// A connection counts from its hello on. It gets one request at a time, and is closed by the first thing that goes
/// wrong, and at the latest when its channel of requests is dropped.
pub async fn serve(listener: Listener, events: mpsc::Sender<Event>) {
    let mut next = Instant::now();
    for id in (0..).map(ConnectionId) {
        sleep_until(next).await;
        let accepted = tokio::select! {
            accepted = listener.socket.accept() => accepted,
            () = events.closed() => return,
        };
        next = Instant::now() + ACCEPT_INTERVAL;
        match accepted {
            Ok((socket, _)) => {
                tokio::spawn(run(id, Connection::new(socket), events.clone()));
            }
            // Too many descriptors, for one; the connection waits in the backlog.
            Err(error) => {
                tracing::warn!(target: "cni-agent", "cannot accept a connection of ztunnel's: {error}");
            }
        }
    }
}

async fn run(id: ConnectionId, connection: Connection, events: mpsc::Sender<Event>) {
    if let Err(error) = connection.hello().await {
        tracing::warn!(target: "cni-agent", "a connection of ztunnel's ends before it begins: {error}");
        return;
    }
    let (sender, commands) = mpsc::channel(1);
    if events.send(Event::Connected(id, sender)).await.is_err() {
        return;
    }
    let error = forward(&connection, commands).await;
    // First the end, then the news of it: when the agent counts the connection out, ztunnel sees it closed.
    drop(connection);
    let _ = events.send(Event::Disconnected(id, error)).await;
}

/// Does what the commands say until something goes wrong.
async fn forward(connection: &Connection, mut commands: mpsc::Receiver<Command>) -> ConnectionError {
    loop {
        let command = tokio::select! {
            // Between requests ztunnel is silent, so this replaces a probe from time to time.
            error = connection.end() => return error,
            command = commands.recv() => command,
        };
        let Some(Command { packet, netns, reply }) = command else { return ConnectionError::Closed };
        match connection.request(&packet, netns.as_deref().map(AsFd::as_fd)).await {
            Ok(ack) => {
                let _ = reply.send(ack);
            }
            Err(error) => return error,
        }
    }
}
