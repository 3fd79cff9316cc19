//! What a server sees of a connection, and says in its answer.

use std::fmt;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, TcpStream};
use std::str::FromStr;

use nix::sys::socket::sockopt::{Ip6tOriginalDst, OriginalDst};
use nix::sys::socket::{SockaddrIn, SockaddrIn6, getsockopt};

/// A connection as the server sees it that took it in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Arrival {
    /// The port at which the server listens.
    pub(crate) listener: u16,
    /// Who connected.
    pub(crate) peer: SocketAddr,
    /// The server's own end.
    pub(crate) local: SocketAddr,
    /// Where the connection desired to go: SO_ORIGINAL_DST, or the server's own end where the kernel knows no other.
    pub(crate) original: SocketAddr,
}

impl Arrival {
    pub(super) fn of(stream: &TcpStream, listener: u16) -> io::Result<Self> {
        let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
        Ok(Self { listener, peer, local, original: original_destination(stream, local).unwrap_or(local) })
    }
}

/// None where connection tracking knows nothing of the connection (ENOENT), or does not exist at all (ENOPROTOOPT).
fn original_destination(stream: &TcpStream, local: SocketAddr) -> Option<SocketAddr> {
    if local.is_ipv4() {
        let address = SockaddrIn::from(getsockopt(stream, OriginalDst).ok()?);
        Some(SocketAddrV4::from(address).into())
    } else {
        let address = SockaddrIn6::from(getsockopt(stream, Ip6tOriginalDst).ok()?);
        Some(SocketAddrV6::from(address).into())
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.listener, self.peer, self.local, self.original)
    }
}

impl FromStr for Arrival {
    type Err = Box<dyn std::error::Error>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let [listener, peer, local, original] = text.split_whitespace().collect::<Vec<_>>()[..] else {
            return Err(format!("no arrival: {text:?}").into());
        };
        Ok(Self {
            listener: listener.parse()?,
            peer: peer.parse()?,
            local: local.parse()?,
            original: original.parse()?,
        })
    }
}
