//! Which protocols a packet has that comes as far as a place in a rule.

use nftwire::Family;
use nftwire::expr::{MetaKey, PayloadBase};

use crate::{Field, Protocol, Selector};

/// What the matches before a place in a rule tell.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// The table's family
    pub(super) family: Family,
    network: Option<Protocol>,
    transport: Option<Transport>,
    /// What was there before in a packet inside a packet
    tunneled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Header(Protocol),
    /// A number of a protocol whose header nft does not know
    Other(u8),
}

/// Two headers that a packet cannot have both.
pub(super) struct Conflict(pub(super) &'static str, pub(super) &'static str);

impl Context {
    pub(super) fn new(family: Family) -> Self {
        let network = match family {
            Family::Ipv4 => Some(Protocol::Ip),
            Family::Ipv6 => Some(Protocol::Ip6),
            Family::Arp => Some(Protocol::Arp),
            _ => None,
        };
        Self { family, network, transport: None, tunneled: false }
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
        match protocol.base() {
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

    fn use_transport(&mut self, protocol: Protocol) -> Result<(), Conflict> {
        match self.transport {
            Some(Transport::Header(known)) if known != protocol => {
                // An authentication header comes before another one.
                if matches!(known, Protocol::Ah | Protocol::Esp | Protocol::Comp) {
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
                (Protocol::Ether | Protocol::Vlan, "type") => self.learn_ether_type(number),
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
        let protocol = match number {
            1 => Protocol::Icmp,
            2 => Protocol::Igmp,
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            33 => Protocol::Dccp,
            50 => Protocol::Esp,
            51 => Protocol::Ah,
            58 => Protocol::Icmp6,
            108 => Protocol::Comp,
            132 => Protocol::Sctp,
            136 => Protocol::Udplite,
            // A packet inside the packet
            4 | 41 => {
                self.tunneled = true;
                return;
            }
            number => {
                self.transport = Some(Transport::Other(u8::try_from(number).unwrap_or(u8::MAX)));
                return;
            }
        };
        self.transport = Some(Transport::Header(protocol));
    }
}
