//! Which sockets of a network namespace take connections, and whose they are: sock_diag(7).

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, TCP_CLOSE, TCP_LISTEN,
};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};
use nftwire::io_text;
use nix::errno::Errno;

use crate::diagnostic::{Explain, Explanation};

/// `INET_DIAG_SOCKOPT` (linux/inet_diag.h): options of the socket as bits, from Linux 5.4 on.
const INET_DIAG_SOCKOPT: u16 = 22;
/// Where `transparent` is among them: the sixth bit field of the first byte.
const TRANSPARENT: u8 = if cfg!(target_endian = "little") { 1 << 5 } else { 1 << 2 };

/// The kernel fills up to this many bytes of a reader's buffer (netlink_recvmsg in net/netlink/af_netlink.c).
const BUFFER: usize = 32 * 1024;

/// A socket that takes connections or datagrams from any peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The transport protocol (IPPROTO_*)
    pub protocol: u8,
    /// The address that it is bound to; unspecified for all
    pub address: IpAddr,
    /// The port
    pub port: u16,
    /// Its user, in the reader's user namespace
    pub uid: u32,
    /// Whether it takes packets to addresses that are not of this host (IP_TRANSPARENT); `None` on a kernel that does
    /// not report it
    pub transparent: Option<bool>,
    /// Whether an IPv6 socket leaves IPv4 alone
    pub v6_only: bool,
}

/// The sockets cannot be listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketsError {
    /// A kernel that does not list the sockets of a protocol, and so cannot say that nobody listens
    #[error("cannot list the sockets: this kernel has no {module}")]
    NoModule {
        /// The kernel's module, also where it would be built in
        module: &'static str,
    },
    /// A system call
    #[error("cannot list the sockets: {}", io_text(.0))]
    Io(io::Error),
}

impl From<io::Error> for SocketsError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Explain for SocketsError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::NoModule { module } => {
                let help = format!("load the module {module} on the node (modprobe {module})");
                Explanation::of_errno(Errno::ENOENT as i32).help(help)
            }
            Self::Io(error) => error.explanation(),
        }
    }
}

impl Listener {
    /// Whether it takes what comes to this address: its own, any, or with IPv6 also any of IPv4.
    #[must_use]
    pub fn takes(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (own, address) if own == address => true,
            (IpAddr::V6(own), IpAddr::V4(_)) => own.is_unspecified() && !self.v6_only,
            (own, address) => own.is_unspecified() && own.is_ipv4() == address.is_ipv4(),
        }
    }
}

/// All listeners of the network namespace that the thread is in: listening TCP and unconnected UDP sockets.
///
/// # Errors
/// [`SocketsError`]: no socket, or a kernel without tcp_diag or udp_diag.
pub fn listeners() -> Result<Vec<Listener>, SocketsError> {
    let mut listeners = Vec::new();
    let protocols =
        [(IPPROTO_TCP, StateFlags::LISTEN, "tcp_diag"), (IPPROTO_UDP, StateFlags::CLOSE, "udp_diag")];
    for (protocol, states, module) in protocols {
        for family in [AF_INET, AF_INET6] {
            match dump(family, protocol, states.clone(), &mut listeners) {
                // There is one handler for each protocol, and one for each family in front of them (`inet_diag_lock_handler`
                // and `sock_diag_lock_handler`, Linux 6.18): IPv6 alone can be left out of a kernel.
                Err(error) if error.kind() == io::ErrorKind::NotFound && family == AF_INET => {
                    return Err(SocketsError::NoModule { module });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
    }
    Ok(listeners)
}

fn dump(family: u8, protocol: u8, states: StateFlags, listeners: &mut Vec<Listener>) -> io::Result<()> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request(family, protocol, states), 0)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = socket.recv(&mut &mut buffer[..], 0)?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => {
                    listeners.extend(listener(protocol, &found));
                }
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            let step = usize::try_from(message.header.length).map_err(io::Error::other)?;
            rest = rest.get(step.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn request(family: u8, protocol: u8, states: StateFlags) -> Vec<u8> {
    let socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = InetRequest { family, protocol, extensions: ExtensionFlags::empty(), states, socket_id };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn listener(protocol: u8, found: &InetResponse) -> Option<Listener> {
    let expected = if protocol == IPPROTO_TCP { TCP_LISTEN } else { TCP_CLOSE };
    let header = &found.header;
    // A UDP socket that is not bound has no port.
    if header.state != expected || header.socket_id.source_port == 0 {
        return None;
    }
    let mut listener = Listener {
        protocol,
        address: header.socket_id.source_address,
        port: header.socket_id.source_port,
        uid: header.uid,
        transparent: None,
        v6_only: false,
    };
    for attribute in &found.nlas {
        match attribute {
            Nla::SkV6Only(only) => listener.v6_only = *only,
            Nla::Other(other) if netlink_packet_core::Nla::kind(other) == INET_DIAG_SOCKOPT => {
                let mut bytes = vec![0; netlink_packet_core::Nla::value_len(other)];
                netlink_packet_core::Nla::emit_value(other, &mut bytes);
                listener.transparent = bytes.first().map(|options| options & TRANSPARENT != 0);
            }
            _ => {}
        }
    }
    Some(listener)
}
