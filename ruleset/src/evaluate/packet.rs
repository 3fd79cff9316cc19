//! A packet, and what the kernel keeps with it.

use std::net::IpAddr;

use super::read::Value;
use crate::{Family, Field, Protocol, Statement};

/// A packet as far as rules can be evaluated on it. `None` means "not known".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The device that it arrived on; [`Interface::NONE`] on its way out
    pub input: Interface,
    /// The device that it leaves by; [`Interface::NONE`] on its way in
    pub output: Interface,
    /// The source address
    pub source: IpAddr,
    /// The destination address, of the same family
    pub destination: IpAddr,
    /// The transport protocol (IPPROTO_*)
    pub protocol: u8,
    /// The source port, of protocols that have ports
    pub source_port: Option<u16>,
    /// The destination port, of protocols that have ports
    pub destination_port: Option<u16>,
    /// Whose socket it comes from
    pub owner: Owner,
    /// The packet's mark
    pub mark: Option<u32>,
    /// What connection tracking says of it
    pub tracking: Tracking,
    /// The connection's mark
    pub ct_mark: Option<u32>,
    /// What connection tracking has done to the connection (`IPS_*`)
    pub ct_status: Option<u32>,
    /// The flags of TCP, the byte as it is in the header
    pub tcp_flags: Option<u8>,
    /// The connection's zone, or that of the template where it is not tracked yet
    pub zone: Option<u16>,
    /// The transparent socket that a tproxy statement gave it to: its address and its port
    pub socket: Option<(Option<IpAddr>, Option<u16>)>,
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name; empty for no device
    pub name: String,
    /// Its index; 0 for no device, `None` where it is not known
    pub index: Option<u32>,
}

impl Interface {
    /// No device. The kernel gives rules an empty name and the index 0 then (`nft_meta_store_ifname`).
    pub const NONE: Self = Self { name: String::new(), index: Some(0) };

    /// A device of which only the name is known.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), index: None }
    }
}

/// Whose socket a packet comes from, as `meta skuid` and `meta skgid` see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// No full socket: a packet from outside
    None,
    /// A socket of this user
    Socket {
        /// The user, in the namespace's own user namespace
        uid: u32,
        /// The group
        gid: u32,
    },
    /// Not known
    Unknown,
}

/// What connection tracking says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// It has not seen the packet yet: before priority -200 at prerouting and output
    None,
    /// A rule keeps it out
    Untracked,
    /// It belongs to a connection: one of `CtKey::STATE_*`
    State(u32),
}

/// What rules ask about the machine rather than the packet. `None` means "not known".
pub trait Host {
    /// What kind of address this is (`RTN_*`, linux/rtnetlink.h).
    fn address_type(&self, address: IpAddr) -> Option<u32> {
        let _ = address;
        None
    }

    /// Whether a transparent socket takes packets for this port, and this address where one is given.
    fn has_transparent_socket(&self, protocol: u8, address: Option<IpAddr>, port: u16) -> Option<bool> {
        let _ = (protocol, address, port);
        None
    }

    /// The statements of a rule of this family's tables, in nft's language; xtables' matches and targets are evaluated by them.
    /// Reading them links all of the language's parser: a program that does not need it returns `None`.
    fn statements(&self, family: Family, rule: &str) -> Option<Vec<Statement>> {
        super::xtables::read(family, rule)
    }
}

/// A machine of which nothing is known.
impl Host for () {}

impl Packet {
    /// The family of its addresses: [`Family::Ipv4`] or [`Family::Ipv6`].
    #[must_use]
    pub fn family(&self) -> Family {
        if self.destination.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }

    /// The protocol, where it is one that tproxy knows (`nft_tproxy_eval_v4`).
    pub(super) fn transparent_protocol(&self) -> Option<u8> {
        [Protocol::TCP, Protocol::UDP].into_iter().find(|protocol| *protocol == self.protocol)
    }

    /// A rule has written this to a field of the packet. Returns whether the packet is known as far as rules see it.
    pub(super) fn write(&mut self, field: Field, value: Option<Value>) -> bool {
        match (field.protocol, field.name) {
            (_, "sport") => self.source_port = value.as_ref().and_then(Value::port),
            (_, "dport") => self.destination_port = value.as_ref().and_then(Value::port),
            (Protocol::Ip | Protocol::Ip6, "saddr" | "daddr") => {
                let Some(address) = value.and_then(Value::address) else { return false };
                *(if field.name == "saddr" { &mut self.source } else { &mut self.destination }) = address;
            }
            (Protocol::Tcp, "flags") => self.tcp_flags = None,
            (Protocol::Ip | Protocol::Ip6, "protocol" | "nexthdr") => return false,
            _ => {}
        }
        true
    }
}
