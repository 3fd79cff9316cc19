//! Proof that traffic is intercepted: a connection to where nobody listens must arrive at one of our own listeners.
//!
//! It is what Istio's validator does (tools/istio-iptables/pkg/validation in its sources). It needs no capability,
//! writes no file and leaves no thread. Among the rules of a sidecar it meets those for the proxy's own uid
//! and gid (a connection by way of `lo` to another address than the loopback one): it has to run with one of them.

pub mod token;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nftwire::io_text;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, bind, connect,
    getsockopt, listen, setsockopt, socket, sockopt,
};

use crate::diagnostic::{Explain, Explanation};

/// How long a connection has to arrive before the next one is made.
const INTERVAL: Duration = Duration::from_secs(1);

/// What has to be intercepted, and where it has to arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectCheck {
    /// The loopback address, on which to listen and from which to connect
    pub loopback: IpAddr,
    /// The ports on which to listen. One that can be had is enough.
    pub listen_ports: Vec<u16>,
    /// Where to connect to: an address of the loopback address's family at which nobody answers
    pub destination: IpAddr,
    /// The port there, by which a connection that arrives is known
    pub probe_port: u16,
    /// How long to try; longer by a moment at most
    pub timeout: Duration,
}

/// Why traffic is not known to be intercepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedirectCheckError {
    /// No connection arrived in time.
    #[error(
        "the workload is not ready for the mesh: within {timeout:?} none of {attempts} connections to {destination} \
         was redirected to the proxy's ports (the last one {last})"
    )]
    NotIntercepted {
        /// Where the connections were made to
        destination: SocketAddr,
        /// How long it was tried
        timeout: Duration,
        /// How many connections were made
        attempts: u32,
        /// The outcome of the last one
        last: Missed,
    },
    /// No connection could be made in time, for want of a route or of an address.
    #[error(
        "cannot determine whether the workload is ready for the mesh: {destination} cannot be reached: {}",
        io_text(error)
    )]
    Unreachable {
        /// Where the connections were to be made to
        destination: SocketAddr,
        /// What the system call said
        error: io::Error,
    },
    /// Not even connections that nothing has to redirect arrive: `lo` is down, or a packet filter drops them.
    #[error(
        "cannot determine whether the workload is ready for the mesh: not even a connection to {address}, on which this \
         listens, arrives"
    )]
    NoLoopback {
        /// Where one of the listeners is
        address: SocketAddr,
    },
    /// Not one of the ports can be listened on.
    #[error(
        "cannot determine whether the workload is ready for the mesh: cannot listen on {}",
        join(failures)
    )]
    NoListener {
        /// Each address, and what the system call said
        failures: Vec<(SocketAddr, io::Error)>,
    },
    /// A system call on the listeners failed, for want of descriptors or memory.
    #[error("cannot determine whether the workload is ready for the mesh: cannot accept connections: {}", io_text(.0))]
    Accept(io::Error),
}

/// What to do about traffic that is not intercepted.
const NOT_READY: &str = "with a CNI plugin this happens when a pod is scheduled before the node is ready: delete the \
                         pod, so that it is created again on a node where the plugin runs (a repair controller, such \
                         as Istio's with cni.repair.deletePods=true, does that by itself)";

impl Explain for RedirectCheckError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::NotIntercepted { destination, .. } => {
                Explanation::default().at("destination", destination.to_string()).help(NOT_READY)
            }
            Self::Unreachable { destination, error } => {
                error.explanation().at("destination", destination.to_string()).help(
                    "is lo up, and does it have the address, as an IPv6 one gets it from the run that intercepts?",
                )
            }
            Self::NoLoopback { address } => Explanation::default()
                .at("destination", address.to_string())
                .help("is lo up, and does no packet filter drop what the proxy's user sends on it?"),
            Self::NoListener { .. } => {
                Explanation::default().help("is the proxy running already, or another program at its ports?")
            }
            Self::Accept(error) => error.explanation(),
        }
    }
}

/// The outcome of a connection that did not arrive at a listener.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Missed {
    /// A system call said that it cannot be.
    #[error("failed: {}", io_text(.0))]
    Failed(io::Error),
    /// Somebody else listens.
    #[error("was accepted by something else")]
    AcceptedElsewhere,
    /// Nothing came back.
    #[error("got no answer")]
    NoAnswer,
}

fn join(failures: &[(SocketAddr, io::Error)]) -> String {
    let texts: Vec<_> =
        failures.iter().map(|(address, error)| format!("{address}: {}", io_text(error))).collect();
    texts.join("; ")
}

/// Connects, again and again, until a connection arrives or the time is over.
///
/// # Errors
/// See [`RedirectCheckError`].
pub fn run(validation: &RedirectCheck) -> Result<(), RedirectCheckError> {
    let &RedirectCheck { loopback, destination, probe_port, timeout, .. } = validation;
    let started = Instant::now();
    let listeners = listeners(loopback, &validation.listen_ports)?;
    let destination = SocketAddr::new(destination, probe_port);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let probe = start_connecting(Some(loopback), destination);
        let limit = timeout.saturating_sub(started.elapsed()).min(INTERVAL);
        if arrives(&listeners, probe_port, limit).map_err(RedirectCheckError::Accept)? {
            return Ok(());
        }
        if started.elapsed() >= timeout {
            let last = match missed(probe) {
                Missed::Failed(error) if is_unreachable(&error) => {
                    return Err(RedirectCheckError::Unreachable { destination, error });
                }
                Missed::NoAnswer => {
                    if let Some(address) =
                        unreached(&listeners, loopback).map_err(RedirectCheckError::Accept)?
                    {
                        return Err(RedirectCheckError::NoLoopback { address });
                    }
                    Missed::NoAnswer
                }
                last => last,
            };
            return Err(RedirectCheckError::NotIntercepted { destination, timeout, attempts, last });
        }
    }
}

/// Whether there is no way to the destination, so that nothing is known of what would happen on it.
fn is_unreachable(error: &io::Error) -> bool {
    use Errno::{EACCES, EADDRNOTAVAIL, EHOSTUNREACH, EINVAL, ENETDOWN, ENETUNREACH};
    // A route of type prohibit is EACCES, one of type blackhole EINVAL (`fib_props` in net/ipv4/fib_semantics.c).
    let unreachable = [EACCES, EADDRNOTAVAIL, EHOSTUNREACH, EINVAL, ENETDOWN, ENETUNREACH];
    error.raw_os_error().is_some_and(|number| unreachable.contains(&Errno::from_raw(number)))
}

/// The address of a listener that a connection does not reach either which nothing has to redirect.
fn unreached(listeners: &[TcpListener], from: IpAddr) -> io::Result<Option<SocketAddr>> {
    let Some(listener) = listeners.first() else { return Ok(None) };
    let address = listener.local_addr()?;
    let _connection = start_connecting(Some(from), address)?;
    wait([listener.as_fd()], INTERVAL)?;
    Ok(if accept(listener)?.is_some() { None } else { Some(address) })
}

/// Where a connection was going before it was redirected to the socket that accepted it (`SO_ORIGINAL_DST` of
/// linux/netfilter_ipv4.h, `IP6T_SO_ORIGINAL_DST`).
///
/// # Errors
/// ENOENT: connection tracking does not know the connection, so it was not redirected. ENOPROTOOPT: there is no
/// connection tracking.
pub fn original_destination(connection: &TcpStream) -> io::Result<SocketAddr> {
    let fd = connection.as_fd();
    Ok(if connection.local_addr()?.is_ipv4() {
        SocketAddrV4::from(SockaddrIn::from(getsockopt(&fd, sockopt::OriginalDst)?)).into()
    } else {
        SocketAddrV6::from(SockaddrIn6::from(getsockopt(&fd, sockopt::Ip6tOriginalDst)?)).into()
    })
}

fn listeners(address: IpAddr, ports: &[u16]) -> Result<Vec<TcpListener>, RedirectCheckError> {
    let mut listeners = Vec::new();
    let mut failures = Vec::new();
    for &port in ports {
        let address = SocketAddr::new(address, port);
        match listener(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) => failures.push((address, error)),
        }
    }
    if listeners.is_empty() { Err(RedirectCheckError::NoListener { failures }) } else { Ok(listeners) }
}

/// With SO_REUSEPORT, because a proxy of the same user may hold the port in the same way; with SO_REUSEADDR, as every
/// listener of Go has it, because old connections of another user may still occupy the port.
fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = nonblocking_socket(address)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&socket, Backlog::new(16)?)?;
    Ok(socket.into())
}

/// A connection that is being made, from this address if one is given, or an error that came at once.
fn start_connecting(from: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = nonblocking_socket(to)?;
    if let Some(from) = from {
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
    }
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket.into()),
        Err(errno) => Err(errno.into()),
    }
}

fn nonblocking_socket(address: SocketAddr) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)
}

/// Whether a connection that was going to this port arrives in time.
fn arrives(listeners: &[TcpListener], port: u16, limit: Duration) -> io::Result<bool> {
    let started = Instant::now();
    loop {
        let left = limit.saturating_sub(started.elapsed());
        wait(listeners.iter().map(AsFd::as_fd), left)?;
        for listener in listeners {
            // One from each before the clock is looked at again: strangers can connect here, too.
            let Some(connection) = accept(listener)? else { continue };
            // A connection that was not redirected has no original destination, or our own port.
            if original_destination(&connection).is_ok_and(|original| original.port() == port) {
                return Ok(true);
            }
        }
        if left.is_zero() {
            return Ok(false);
        }
    }
}

/// Waits for something to come in at any of the sockets; a signal ends it early.
fn wait<'f>(sockets: impl IntoIterator<Item = BorrowedFd<'f>>, limit: Duration) -> io::Result<()> {
    let mut fds: Vec<_> = sockets.into_iter().map(|socket| PollFd::new(socket, PollFlags::POLLIN)).collect();
    // Rounded up: no wait at all, again and again, would be a busy loop.
    let milliseconds = limit.as_micros().div_ceil(1000);
    match poll(&mut fds, PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((connection, _)) => Ok(Some(connection)),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted => Ok(None),
            _ => Err(error),
        },
    }
}

fn missed(probe: io::Result<TcpStream>) -> Missed {
    let connection = match probe {
        Ok(connection) => connection,
        Err(error) => return Missed::Failed(error),
    };
    match connection.take_error() {
        Ok(Some(error)) | Err(error) => Missed::Failed(error),
        Ok(None) if connection.peer_addr().is_ok() => Missed::AcceptedElsewhere,
        Ok(None) => Missed::NoAnswer,
    }
}
