//! One connection out and one in, step by step on a single thread: the kernel completes a connection, and keeps what
//! was sent over it, before the other side asks.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::stage::{Stage, Users};
use super::{APP, APP_PORT, Context, OUTSIDE, POD, PROXY, SERVER_PORT, Step};
use crate::mesh::istio::sidecar::{PASSTHROUGH_V4, Sidecar};
use crate::network::uninterrupted;
use crate::redirect_check::original_destination;

/// How long any step may take; everything is on this machine.
const TIMEOUT_SECONDS: i64 = 1;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// The outcome of one connection.
#[derive(Debug)]
pub(super) struct Course {
    /// Who connected
    pub(super) client: SocketAddr,
    /// Where to
    pub(super) destination: SocketAddr,
    /// The proxy's end
    pub(super) arrived: SocketAddr,
    /// Where to, as the kernel reported to the proxy
    pub(super) original: SocketAddr,
    /// The connection that the proxy made for it
    pub(super) onward: Option<Onward>,
    /// What the client got
    pub(super) answer: String,
}

/// The proxy's own connection to the original destination.
#[derive(Debug)]
pub(super) struct Onward {
    /// The proxy, as the server saw it
    pub(super) client: SocketAddr,
    /// The server's end
    pub(super) server: SocketAddr,
}

/// A server that the proxy may pass connections on to.
struct Server {
    address: SocketAddr,
    listener: TcpListener,
    /// What it answers
    answer: &'static str,
    /// The address from which the proxy connects to it
    proxy_from: Ipv4Addr,
}

/// Lets the app call the outside, and the outside call the app.
pub(super) fn play(stage: &Stage, sidecar: &Sidecar) -> Result<[Course; 2], Step> {
    let outside = SocketAddr::from((OUTSIDE, SERVER_PORT));
    let outside = Server {
        address: outside,
        listener: stage.outside(|| listen(outside))?,
        answer: "hello from the outside",
        // The rules let it pass by its uid.
        proxy_from: ANY,
    };
    let app = Server {
        address: (POD, APP_PORT).into(),
        listener: stage.as_user(APP, || listen((ANY, APP_PORT).into()))?,
        answer: "hello from the app",
        // The rules let it pass by its source: the pod calls itself here, and that they would redirect, too.
        proxy_from: PASSTHROUGH_V4,
    };
    let proxy_out = stage.as_user(PROXY, || listen((ANY, sidecar.envoy_port).into()))?;
    let proxy_in = stage.as_user(PROXY, || listen((ANY, sidecar.inbound_capture_port).into()))?;

    let client = stage.as_user(APP, || dial(ANY, outside.address))?;
    let outbound = follow(stage, &client, &proxy_out, &outside)?;
    let client = stage.outside(|| dial(ANY, app.address))?;
    let inbound = follow(stage, &client, &proxy_in, &app)?;
    Ok([outbound, inbound])
}

/// Sends a line over the client's connection, and follows it to the proxy and further.
fn follow(stage: &Stage, client: &TcpStream, proxy: &TcpListener, server: &Server) -> Result<Course, Step> {
    say(client, "hello")?;
    let to_client = accept(proxy)?;
    let original = original_destination(&to_client).context("read the original destination")?;
    let request = hear(&to_client)?;
    let onward = match stage.users {
        Users::Own => {
            let to_server = stage.as_user(PROXY, || dial(server.proxy_from, original))?;
            say(&to_server, &request)?;
            let to_proxy = accept(&server.listener)?;
            hear(&to_proxy)?;
            say(&to_proxy, server.answer)?;
            say(&to_client, &hear(&to_server)?)?;
            Some(Onward { client: peer(&to_proxy)?, server: local(&to_proxy)? })
        }
        Users::One => {
            say(&to_client, "hello from the proxy")?;
            None
        }
    };
    Ok(Course {
        client: local(client)?,
        destination: server.address,
        arrived: local(&to_client)?,
        original,
        onward,
        answer: hear(client)?,
    })
}

fn listen(address: SocketAddr) -> Result<TcpListener, Step> {
    let listen = || -> io::Result<_> {
        let listener = TcpListener::bind(address)?;
        setsockopt(&listener, sockopt::ReceiveTimeout, &TimeVal::seconds(TIMEOUT_SECONDS))?;
        Ok(listener)
    };
    listen().context(format!("listen on {address}"))
}

fn dial(from: Ipv4Addr, to: SocketAddr) -> Result<TcpStream, Step> {
    let dial = || -> io::Result<_> {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(TIMEOUT_SECONDS))?;
        // Bounds connect(2), too (socket(7)).
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::seconds(TIMEOUT_SECONDS))?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from((from, 0))))?;
        // Of a process that was stopped and continued: a socket's time limit ends restarts (signal(7)). Called again, connect(2)
        // goes on waiting (`__inet_stream_connect` in net/ipv4/af_inet.c, Linux 6.18).
        uninterrupted(|| Ok(connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?))?;
        Ok(socket.into())
    };
    dial().context(format!("connect to {to}"))
}

fn accept(listener: &TcpListener) -> Result<TcpStream, Step> {
    let accept = || -> io::Result<_> {
        let (connection, _) = listener.accept()?;
        setsockopt(&connection, sockopt::ReceiveTimeout, &TimeVal::seconds(TIMEOUT_SECONDS))?;
        Ok(connection)
    };
    let port = listener.local_addr().map_or(0, |address| address.port());
    accept().context(format!("accept a connection at port {port}"))
}

fn say(mut connection: &TcpStream, line: &str) -> Result<(), Step> {
    connection.write_all(format!("{line}\n").as_bytes()).context("send over a connection")
}

fn hear(connection: &TcpStream) -> Result<String, Step> {
    let mut line = String::new();
    BufReader::new(connection).read_line(&mut line).context("receive from a connection")?;
    Ok(line.trim_end().to_owned())
}

fn local(connection: &TcpStream) -> Result<SocketAddr, Step> {
    connection.local_addr().context("read a connection's address")
}

fn peer(connection: &TcpStream) -> Result<SocketAddr, Step> {
    connection.peer_addr().context("read a connection's address")
}
