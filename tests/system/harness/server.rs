//! Servers that answer everything with what they saw of it.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage};
use nix::sys::socket::{bind, listen, setsockopt, socket, sockopt};

use super::arrival::Arrival;
use super::{Namespace, User};

/// A thread that serves its sockets until the value is dropped.
pub(crate) struct Server {
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at the ports, on every address of both families. Each line that a client sends is answered by an
    /// [`Arrival`].
    pub(crate) fn tcp(namespace: &Namespace, user: User, ports: &[u16]) -> Self {
        Self::start(namespace, user, || ports.iter().flat_map(|port| listeners(*port, false)).collect())
    }

    /// As [`tcp`](Self::tcp), and takes in connections to addresses that are not the namespace's (IP_TRANSPARENT).
    pub(crate) fn transparent(namespace: &Namespace, user: User, ports: &[u16]) -> Self {
        Self::start(namespace, user, || ports.iter().flat_map(|port| listeners(*port, true)).collect())
    }

    /// Answers each datagram that arrives at one of the addresses with an [`Arrival`], from that address.
    pub(crate) fn udp(namespace: &Namespace, user: User, addresses: &[SocketAddr]) -> Self {
        Self::start(namespace, user, || {
            addresses.iter().map(|address| Endpoint::Datagrams(UdpSocket::bind(address).unwrap())).collect()
        })
    }

    /// The sockets are open, and so reachable, when this returns.
    fn start(namespace: &Namespace, user: User, open: impl FnOnce() -> Vec<Endpoint> + Send) -> Self {
        let endpoints = namespace.run(|| {
            user.take_on();
            open()
        });
        let (until, stop) = io::pipe().unwrap();
        let thread = thread::spawn(move || {
            // An accepted connection belongs to who accepted it.
            user.take_on();
            serve(endpoints, &until);
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            assert!(thread::panicking(), "a server panicked");
        }
    }
}

enum Endpoint {
    Listener(TcpListener, u16),
    Connection(TcpStream, u16),
    Datagrams(UdpSocket),
}

impl Endpoint {
    /// Does the one thing that the socket is ready for, and returns the endpoints that exist from now on.
    fn advance(self) -> Vec<Self> {
        match self {
            Self::Listener(listener, port) => {
                let accepted = listener.accept().ok().map(|(stream, _)| Self::Connection(stream, port));
                [Self::Listener(listener, port)].into_iter().chain(accepted).collect()
            }
            Self::Connection(stream, port) => match answer(&stream, port) {
                Ok(true) => vec![Self::Connection(stream, port)],
                Ok(false) | Err(_) => vec![],
            },
            Self::Datagrams(socket) => {
                if let Ok((_, peer)) = socket.recv_from(&mut [0; 64]) {
                    let local = socket.local_addr().unwrap();
                    let arrival = Arrival { listener: local.port(), peer, local, original: local };
                    let _ = socket.send_to(arrival.to_string().as_bytes(), peer);
                }
                vec![Self::Datagrams(socket)]
            }
        }
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Listener(socket, _) => socket.as_fd(),
            Self::Connection(socket, _) => socket.as_fd(),
            Self::Datagrams(socket) => socket.as_fd(),
        }
    }
}

/// False at the connection's end.
fn answer(mut stream: &TcpStream, port: u16) -> io::Result<bool> {
    if stream.read(&mut [0; 64])? == 0 {
        return Ok(false);
    }
    writeln!(stream, "{}", Arrival::of(stream, port)?)?;
    Ok(true)
}

/// Serves until the other end of the pipe is closed.
fn serve(mut endpoints: Vec<Endpoint>, until: &PipeReader) {
    loop {
        let sources = [until.as_fd()].into_iter().chain(endpoints.iter().map(AsFd::as_fd));
        let mut descriptors: Vec<_> = sources.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        poll(&mut descriptors, PollTimeout::NONE).unwrap();

        let mut ready = descriptors.iter().map(|fd| fd.any().unwrap_or(true)).collect::<Vec<_>>().into_iter();
        if ready.next() == Some(true) {
            return;
        }
        let pairs = endpoints.into_iter().zip(ready);
        endpoints = pairs
            .flat_map(|(endpoint, ready)| if ready { endpoint.advance() } else { vec![endpoint] })
            .collect();
    }
}

/// One listener a family, as the proxies that run in pods have them.
fn listeners(port: u16, transparent: bool) -> [Endpoint; 2] {
    [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)].map(|address| {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        if address.is_ipv6() {
            setsockopt(&socket, sockopt::Ipv6V6Only, &true).unwrap();
        }
        // One flag of the socket in the kernel: this option also serves IPv6, whose own name for it nix lacks.
        setsockopt(&socket, sockopt::IpTransparent, &transparent).unwrap();
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(address, port))).unwrap();
        listen(&socket, Backlog::new(16).unwrap()).unwrap();
        Endpoint::Listener(socket.into(), port)
    })
}
