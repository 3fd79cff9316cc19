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

use crate::diagnostic::{Explain, Explanation};

/// `INET_DIAG_SOCKOPT` (linux/inet_diag.h): options of the socket as bits, from Linux 5.4 on.
const INET_DIAG_SOCKOPT: u16 = 22;
/// Where `transparent` is among them: the sixth bit field of the first byte.
const TRANSPARENT: u8 = if cfg!(target_endian = "little") { 1 << 5 } else { 1 << 2 };

/// The kernel fills up to this many bytes of a reader's buffer (netlink_recvmsg in net/netlink/af_netlink.c).
const BUFFER: usize = 32 * 1024;

/// A socket that takes connections or datagrams from anybody.
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
#[error("cannot list the sockets: {}", io_text(.0))]
pub struct SocketsError(#[source] io::Error);

impl Explain for SocketsError {
    fn explanation(&self) -> Explanation {
        self.0.explanation()
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
/// [`SocketsError`]: no socket, or a kernel without inet_diag.
pub fn listeners() -> Result<Vec<Listener>, SocketsError> {
    let mut listeners = Vec::new();
    for (protocol, states) in [(IPPROTO_TCP, StateFlags::LISTEN), (IPPROTO_UDP, StateFlags::CLOSE)] {
        for family in [AF_INET, AF_INET6] {
            dump(family, protocol, states.clone(), &mut listeners).map_err(SocketsError)?;
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
                // A kernel without the family or the protocol has no such sockets.
                NetlinkPayload::Error(error) if error.to_io().kind() == io::ErrorKind::NotFound => {
                    return Ok(());
                }
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
