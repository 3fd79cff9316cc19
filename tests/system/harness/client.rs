//! Clients: who connects, from where, and what comes of it.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage};
use nix::sys::socket::{bind, connect, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::arrival::Arrival;
use super::{Namespace, User};

/// Everything here is one hop away, but on a busy machine the server's thread may wait for its turn: what takes longer than
/// this many seconds does not come.
const TIMEOUT_SECONDS: u32 = 20;
/// The same where nothing is expected to come.
const BRIEF_TIMEOUT_SECONDS: u32 = 2;

/// What came of a connection or a question.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Outcome {
    /// A server answered.
    Reached {
        /// The port at which that server listens.
        listener: u16,
        /// TCP: where the server takes the connection to have been going. UDP: where the answer came from.
        destination: SocketAddr,
    },
    /// Nobody listens there.
    Refused,
    /// Nothing came back.
    Silence,
}

/// The server that was asked answered, and nothing on the way changed that.
pub(crate) fn straight(destination: SocketAddr) -> Outcome {
    Outcome::Reached { listener: destination.port(), destination }
}

/// The server at the port `listener` answered instead, and knows where the client desired to go.
pub(crate) fn captured(listener: u16, destination: SocketAddr) -> Outcome {
    Outcome::Reached { listener, destination }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached { listener, destination } => {
                write!(f, "reached {listener}, original {destination}")
            }
            Self::Refused => f.write_str("refused"),
            Self::Silence => f.write_str("no answer"),
        }
    }
}

/// A user in a namespace who connects.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    namespace: &'a Namespace,
    user: User,
    source: Option<SocketAddr>,
    mark: Option<u32>,
    connected: bool,
    timeout_seconds: u32,
}

impl<'a> Client<'a> {
    /// This user, inside the namespace.
    pub(crate) fn new(namespace: &'a Namespace, user: User) -> Self {
        Self { namespace, user, source: None, mark: None, connected: false, timeout_seconds: TIMEOUT_SECONDS }
    }

    /// Connects from this address, whoever has it (IP_TRANSPARENT); port 0 is any.
    pub(crate) fn from(self, source: SocketAddr) -> Self {
        Self { source: Some(source), ..self }
    }

    /// Marks its packets (SO_MARK).
    pub(crate) fn marked(self, mark: u32) -> Self {
        Self { mark: Some(mark), ..self }
    }

    /// Connects its UDP sockets, which then take nothing that does not come from where they sent to.
    pub(crate) fn connected(self) -> Self {
        Self { connected: true, ..self }
    }

    /// Soon takes silence for the answer: for what is not expected to arrive, where an answer that is late misleads nobody.
    pub(crate) fn briefly(self) -> Self {
        Self { timeout_seconds: BRIEF_TIMEOUT_SECONDS, ..self }
    }

    /// Connects, asks once and closes the connection.
    pub(crate) fn tcp(&self, to: SocketAddr) -> Outcome {
        match self.arrival(to) {
            Ok(Arrival { listener, original, .. }) => Outcome::Reached { listener, destination: original },
            Err(outcome) => outcome,
        }
    }

    /// As [`tcp`](Self::tcp): what the server sees of the connection, or what came of it where there is no server.
    pub(crate) fn arrival(&self, to: SocketAddr) -> Result<Arrival, Outcome> {
        self.open(to).and_then(|mut connection| connection.ask()).map_err(|error| failure(to, &error))
    }

    /// Asks one question in one datagram.
    pub(crate) fn udp(&self, to: SocketAddr) -> Outcome {
        let exchange = || -> io::Result<_> {
            let socket = UdpSocket::from(self.socket(SockType::Datagram, to)?);
            socket.set_read_timeout(Some(Duration::from_secs(self.timeout_seconds.into())))?;
            match self.connected {
                true => socket.connect(to).and_then(|()| socket.send(b"?"))?,
                false => socket.send_to(b"?", to)?,
            };
            let mut answer = [0; 256];
            let (length, from) = uninterrupted(|| socket.recv_from(&mut answer))?;
            Ok((parse(&String::from_utf8_lossy(&answer[..length])), from))
        };
        match self.namespace.run(exchange) {
            Ok((Arrival { listener, .. }, from)) => Outcome::Reached { listener, destination: from },
            Err(error) => failure(to, &error),
        }
    }

    /// Connects and stays.
    pub(crate) fn open(&self, to: SocketAddr) -> io::Result<Connection> {
        self.namespace.run(|| {
            let socket = self.socket(SockType::Stream, to)?;
            // Called again, connect(2) goes on waiting (`__inet_stream_connect` in net/ipv4/af_inet.c, Linux 6.18).
            uninterrupted(|| Ok(connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?))?;
            let stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(Duration::from_secs(self.timeout_seconds.into())))?;
            Ok(Connection(BufReader::new(stream)))
        })
    }

    /// To be called inside the namespace: a socket is its opener's for good, in the eyes of `meta skuid` too.
    fn socket(&self, kind: SockType, to: SocketAddr) -> io::Result<OwnedFd> {
        self.user.take_on();
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
        // Bounds connect(2) as well, which then fails with EINPROGRESS (socket(7)).
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::seconds(self.timeout_seconds.into()))?;
        if let Some(mark) = self.mark {
            setsockopt(&socket, sockopt::Mark, &mark)?;
        }
        if self.source.is_some() {
            setsockopt(&socket, sockopt::IpTransparent, &true)?;
            // A command that another test starts right now holds a copy of a socket that was closed, until its exec.
            setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        }
        let unspecified: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let source = self.source.unwrap_or(SocketAddr::new(unspecified, 0));
        bind(socket.as_raw_fd(), &SockaddrStorage::from(source))?;
        Ok(socket)
    }
}

/// An open connection.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Asks what the other end sees of this connection.
    pub(crate) fn ask(&mut self) -> io::Result<Arrival> {
        self.0.get_mut().write_all(b"?\n")?;
        let mut answer = String::new();
        self.0.read_line(&mut answer)?;
        if answer.is_empty() {
            return Err(Errno::ECONNRESET.into());
        }
        Ok(parse(&answer))
    }

    /// The client's own end.
    pub(crate) fn local(&self) -> SocketAddr {
        self.0.get_ref().local_addr().unwrap()
    }
}

/// Whatever wakes a thread, such as a stop of the whole process, interrupts a call on a socket with a time limit, also where no
/// signal has a handler (signal(7)).
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn parse(answer: &str) -> Arrival {
    answer.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// What an error means to who connects; one that no rule could have caused is the test's own fault.
fn failure(to: SocketAddr, error: &io::Error) -> Outcome {
    match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
        Errno::ECONNREFUSED | Errno::ECONNRESET => Outcome::Refused,
        // EPERM: a rule of this host drops the datagram. EALREADY: a connect(2) that was called again timed out.
        Errno::EINPROGRESS | Errno::EALREADY | Errno::EAGAIN | Errno::ETIMEDOUT | Errno::EPERM => {
            Outcome::Silence
        }
        _ => panic!("{to}: {error}"),
    }
}
