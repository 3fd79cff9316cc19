//! TCP segments that no TCP would send.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage};
use nix::sys::socket::{bind, recv, sendto, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::client::uninterrupted;

const IPV4_HEADER: usize = 20;
const IPPROTO_TCP: u8 = 6;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Opens connections to `to` from the two source ports, the first by a SYN/ACK that nobody asked for and the second by
/// a SYN, and returns the source ports whose segment was refused by a RST, until the second one was. To be called
/// inside a namespace with this address; `to` is a port where nobody listens.
pub(crate) fn refused(from: IpAddr, stray: u16, proper: u16, to: SocketAddr) -> Vec<u16> {
    let socket = raw_socket(from);
    for (port, flags) in [(stray, SYN | ACK), (proper, SYN)] {
        let segment = segment(SocketAddr::new(from, port), to, flags);
        // A raw IPv6 socket has no ports, and refuses an address with one.
        let target = SockaddrStorage::from(SocketAddr::new(to.ip(), 0));
        sendto(socket.as_raw_fd(), &segment, &target, MsgFlags::empty()).unwrap();
    }

    let mut refused = Vec::new();
    while refused.last() != Some(&proper) {
        let mut packet = [0; 256];
        let length = uninterrupted(|| Ok(recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty())?))
            .expect("the SYN is refused");
        let tcp = &packet[if to.is_ipv4() { IPV4_HEADER } else { 0 }..length];
        if tcp[13] & RST != 0 {
            refused.push(u16::from_be_bytes([tcp[2], tcp[3]]));
        }
    }
    refused
}

/// A socket that sends and sees every TCP segment of this address.
fn raw_socket(address: IpAddr) -> OwnedFd {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp).unwrap();
    bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(address, 0))).unwrap();
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(20)).unwrap();
    socket
}

/// A TCP header (RFC 9293, section 3.1) without options and data.
fn segment(from: SocketAddr, to: SocketAddr, flags: u8) -> [u8; 20] {
    let mut segment = [0; 20];
    segment[0..2].copy_from_slice(&from.port().to_be_bytes());
    segment[2..4].copy_from_slice(&to.port().to_be_bytes());
    segment[4..8].copy_from_slice(&1000_u32.to_be_bytes());
    segment[12] = 5 << 4; // the header's length, in words of 32 bits
    segment[13] = flags;
    segment[14..16].copy_from_slice(&1024_u16.to_be_bytes());
    let checksum = checksum(&[pseudo_header(from.ip(), to.ip()), segment.to_vec()].concat());
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    segment
}

/// The addresses, the protocol and the length; in a sum, IPv4's form (RFC 9293) and IPv6's (RFC 8200) are the same.
fn pseudo_header(from: IpAddr, to: IpAddr) -> Vec<u8> {
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    [octets(from), octets(to), vec![0, IPPROTO_TCP, 0, 20]].concat()
}

/// RFC 1071, over an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}
