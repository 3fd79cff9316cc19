//! Which protocols a packet has that comes as far as a place in a rule.

use nftwire::Family;
use nftwire::expr::{MetaKey, PayloadBase};

use super::super::source::{Fault, Span};
use crate::{Field, Protocol, Selector};

/// What the matches before a place in a rule say.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// The table's family
    pub(super) family: Family,
    network: Option<Protocol>,
    transport: Option<Transport>,
    /// Others that earlier matches ask for: with one more, no packet passes
    other_transports: Vec<Protocol>,
    /// What the link layer says comes next, where that is not a network protocol
    ether_type: Option<u32>,
    /// The type of an ICMP or ICMPv6 message
    message: Option<u8>,
    /// What applied before in a packet inside a packet
    tunneled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Header(Protocol),
    /// A number of a protocol whose header nft does not know
    Other(u8),
}

/// Two headers that a packet cannot have both.
pub(super) struct Conflict(&'static str, &'static str);

impl Conflict {
    pub(super) fn at(&self, span: Span) -> Fault {
        let Self(known, used) = self;
        Fault::new(span, format!("conflicting protocols specified: {known} vs. {used}"))
    }
}

impl Context {
    pub(super) fn new(family: Family) -> Self {
        let network = match family {
            Family::Ipv4 => Some(Protocol::Ip),
            Family::Ipv6 => Some(Protocol::Ip6),
            Family::Arp => Some(Protocol::Arp),
            _ => None,
        };
        let other_transports = Vec::new();
        Self {
            family,
            network,
            transport: None,
            other_transports,
            ether_type: None,
            message: None,
            tunneled: false,
        }
    }

    /// The family of addresses, where it is known.
    pub(super) fn network(&self) -> Option<Family> {
        match self.network {
            Some(Protocol::Ip) => Some(Family::Ipv4),
            Some(Protocol::Ip6) => Some(Family::Ipv6),
            _ => None,
        }
    }

    /// Whether the transport protocol is known.
    pub(super) fn has_transport(&self) -> bool {
        matches!(self.transport, Some(Transport::Header(_)))
    }

    /// A field of a header is read: all packets that come further have the header.
    pub(super) fn use_field(&mut self, field: &Field) -> Result<(), Conflict> {
        let protocol = field.protocol;
        self.use_message(field)?;
        match protocol.base() {
            PayloadBase::LinkLayer if protocol == Protocol::Vlan => match self.ether_type {
                Some(known) if !matches!(known, 0x8100 | 0x88a8) => Err(Conflict("ether", "vlan")),
                _ => Ok(()),
            },
            PayloadBase::Network => match self.network {
                Some(known) if known != protocol && !self.tunneled => {
                    Err(Conflict(known.name(), protocol.name()))
                }
                _ => {
                    self.network = Some(protocol);
                    Ok(())
                }
            },
            PayloadBase::Transport if protocol != Protocol::Th => self.use_transport(protocol),
            _ => Ok(()),
        }
    }

    /// Some fields are only in messages of one type, or of the reply to it.
    fn use_message(&mut self, field: &Field) -> Result<(), Conflict> {
        let Some(needed) = field.message else { return Ok(()) };
        let pair = |kind| match kind {
            // Echo requests and replies
            0 => 8,
            129 => 128,
            kind => kind,
        };
        match self.message {
            Some(known) if pair(known) != needed => Err(Conflict("icmp type", field.name)),
            _ => {
                self.message = Some(needed);
                Ok(())
            }
        }
    }

    /// Addresses of a family are read.
    pub(super) fn use_family(&self, family: Family) -> Result<(), Conflict> {
        let name = |family| if family == Family::Ipv4 { "ip" } else { "ip6" };
        match self.network() {
            Some(known) if known != family => Err(Conflict(name(known), name(family))),
            _ => Ok(()),
        }
    }

    /// Whether a packet may be answered by a reset.
    pub(super) fn may_be_tcp(&self) -> bool {
        matches!(self.transport, None | Some(Transport::Header(Protocol::Tcp)))
    }

    /// Whether it is known to be neither IPv4 nor IPv6.
    pub(super) fn is_other_network(&self) -> bool {
        self.network.is_some() && self.network().is_none()
    }

    fn use_transport(&mut self, protocol: Protocol) -> Result<(), Conflict> {
        if let Some(other) = self.other_transports.iter().find(|other| **other != protocol) {
            return Err(Conflict(other.name(), protocol.name()));
        }
        match self.transport {
            Some(Transport::Header(known)) if known != protocol => {
                if has_another_inside(known) {
                    self.transport = Some(Transport::Header(protocol));
                    return Ok(());
                }
                Err(Conflict(known.name(), protocol.name()))
            }
            Some(Transport::Other(_)) => Err(Conflict("unknown", protocol.name())),
            _ => {
                self.transport = Some(Transport::Header(protocol));
                Ok(())
            }
        }
    }

    /// A match on any of several values passes: as in nft, the last one counts for what may follow.
    pub(super) fn learn_one_of(&mut self, selector: &Selector, number: u128) {
        let transport = match selector {
            Selector::Meta(MetaKey::L4Proto) => true,
            Selector::Payload(field) => {
                matches!(
                    (field.protocol, field.name),
                    (Protocol::Ip, "protocol") | (Protocol::Ip6, "nexthdr")
                )
            }
            _ => false,
        };
        if transport {
            self.learn(selector, number);
        }
    }

    /// A match on one value passes.
    pub(super) fn learn(&mut self, selector: &Selector, number: u128) {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        match selector {
            Selector::Meta(MetaKey::NfProto) => self.learn_network(match number {
                2 => Some(Protocol::Ip),
                10 => Some(Protocol::Ip6),
                _ => None,
            }),
            Selector::Meta(MetaKey::Protocol) => self.learn_ether_type(number),
            Selector::Meta(MetaKey::L4Proto) => self.learn_transport(number),
            Selector::Payload(field) => match (field.protocol, field.name) {
                (Protocol::Ether | Protocol::Vlan, "type") => {
                    self.ether_type = Some(number);
                    self.learn_ether_type(number);
                }
                (Protocol::Icmp | Protocol::Icmp6, "type") => self.message = u8::try_from(number).ok(),
                (Protocol::Ip, "protocol") | (Protocol::Ip6 | Protocol::Ah | Protocol::Comp, "nexthdr") => {
                    self.learn_transport(number);
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn learn_ether_type(&mut self, number: u32) {
        self.learn_network(match number {
            0x800 => Some(Protocol::Ip),
            0x86dd => Some(Protocol::Ip6),
            0x806 => Some(Protocol::Arp),
            _ => None,
        });
    }

    fn learn_network(&mut self, protocol: Option<Protocol>) {
        if protocol.is_some() {
            self.network = protocol;
        }
    }

    fn learn_transport(&mut self, number: u32) {
        // A packet inside the packet
        if let 4 | 41 = number {
            self.tunneled = true;
            return;
        }
        let learned = match Protocol::from_transport_number(number) {
            Some(protocol) => Transport::Header(protocol),
            None => Transport::Other(u8::try_from(number).unwrap_or(u8::MAX)),
        };
        if let Some(Transport::Header(known)) = self.transport
            && Transport::Header(known) != learned
            && !has_another_inside(known)
        {
            self.other_transports.push(known);
        }
        self.transport = Some(learned);
    }
}

/// A header for authentication, encryption or compression comes before another one.
fn has_another_inside(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Ah | Protocol::Esp | Protocol::Comp)
}
