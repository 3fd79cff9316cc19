//! What is known of the packets that come to a place in a rule: their headers, and which matches said so.

use nftwire::Family;
use nftwire::expr::{MetaKey, PayloadBase};

use crate::model::selector::Tunnel;
use crate::{Field, Protocol};

/// A header as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// The one with these fields
    Protocol(Protocol),
    /// IPv4 or IPv6: the family inet
    Inet,
    /// Whatever a device receives: the family netdev
    Netdev,
    /// One that nft has no name for
    Unknown,
}

/// The layers, by what nft calls their base.
pub(crate) const LINK: usize = 0;
pub(crate) const NETWORK: usize = 1;
pub(crate) const TRANSPORT: usize = 2;
/// The layer that a match inside the transport header implies
pub(crate) const INNER: usize = 3;

/// The layer that a payload expression reads.
pub(crate) fn layer_of(base: PayloadBase) -> Option<usize> {
    match base {
        PayloadBase::LinkLayer => Some(LINK),
        PayloadBase::Network => Some(NETWORK),
        PayloadBase::Transport => Some(TRANSPORT),
        _ => None,
    }
}

/// A match that nft may leave out, because a later one implies it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dependency {
    /// The number of its statement
    pub(crate) statement: usize,
    /// What it compares
    pub(crate) left: DependencyOn,
    /// With what
    pub(crate) value: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DependencyOn {
    Meta(MetaKey),
    Ct,
    Payload(Field),
}

/// What is known at a place in a rule.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) family: Family,
    pub(crate) layers: [Option<Layer>; 3],
    /// Link layer headers before the one in `layers`
    pub(crate) stacked: Vec<Protocol>,
    /// The type of ICMP message, where it is known
    pub(crate) icmp_type: Option<u8>,
    /// The type of ICMP message that a dependency asks for
    dependency_icmp_type: Option<u8>,
    dependencies: [Option<Dependency>; 4],
    /// The header of the tunnel inside which the packet is
    pub(crate) tunnel: Option<Protocol>,
}

impl Context {
    /// Of a packet inside a tunnel's packet.
    pub(crate) fn inside(tunnel: Tunnel) -> Self {
        let family = if tunnel.has_link_layer() { Family::Bridge } else { Family::Netdev };
        Self { tunnel: tunnel.header(), ..Self::new(family) }
    }

    pub(crate) fn new(family: Family) -> Self {
        let mut context = Self {
            family,
            layers: [None; 3],
            stacked: Vec::new(),
            icmp_type: None,
            dependency_icmp_type: None,
            dependencies: [None; 4],
            tunnel: None,
        };
        context.restart();
        context
    }

    /// For the next rule.
    pub(crate) fn restart(&mut self) {
        self.layers = match self.family {
            Family::Bridge => [Some(Layer::Protocol(Protocol::Ether)), None, None],
            Family::Netdev => [Some(Layer::Netdev), None, None],
            Family::Inet => [Some(Layer::Inet), None, None],
            Family::Ipv4 => [None, Some(Layer::Protocol(Protocol::Ip)), None],
            Family::Ipv6 => [None, Some(Layer::Protocol(Protocol::Ip6)), None],
            Family::Arp => [None, Some(Layer::Protocol(Protocol::Arp)), None],
            _ => [None; 3],
        };
        self.stacked.clear();
        self.icmp_type = None;
        self.forget_dependencies();
    }

    /// A statement with an effect came: what was matched before it has to stay there.
    pub(crate) fn forget_dependencies(&mut self) {
        self.dependencies = [None; 4];
        self.dependency_icmp_type = None;
    }

    pub(crate) fn protocol(&self, layer: usize) -> Option<Protocol> {
        match self.layers.get(layer)? {
            Some(Layer::Protocol(protocol)) => Some(*protocol),
            _ => None,
        }
    }

    /// Learns from a match on `meta KEY VALUE`.
    pub(crate) fn learn_meta(&mut self, key: MetaKey, value: u32) {
        match key {
            MetaKey::IifType if self.family != Family::Bridge => {
                let ethernet = value == 1; // ARPHRD_ETHER
                let layer = if ethernet { Layer::Protocol(Protocol::Ether) } else { Layer::Unknown };
                self.layers[LINK] = Some(layer);
            }
            MetaKey::NfProto => {
                let own = u32::from(self.family.number()) == value;
                let known = match self.family {
                    Family::Inet => upper(Layer::Inet, value),
                    _ if own => self.layers[NETWORK],
                    _ => None,
                };
                self.layers[NETWORK] = Some(known.unwrap_or(Layer::Unknown));
            }
            MetaKey::L4Proto => {
                self.layers[TRANSPORT] = Some(transport(value).unwrap_or(Layer::Unknown));
            }
            MetaKey::Protocol if matches!(self.family, Family::Netdev | Family::Bridge) => {
                let known = upper(Layer::Netdev, value).unwrap_or(Layer::Unknown);
                self.layers[layer_of_protocol(known)] = Some(known);
            }
            _ => {}
        }
    }

    /// Learns from a match on `ct l3proto VALUE` or `ct protocol VALUE`.
    pub(crate) fn learn_ct(&mut self, layer: usize, value: u32) {
        if let Some(next) = self.layers[layer].and_then(|base| upper(base, value)) {
            self.layers[layer + 1] = Some(next);
        }
    }

    /// Learns from a match on a field that says which header comes next.
    pub(crate) fn learn_field(&mut self, field: &Field, layer: usize, value: u32) {
        let Some(base) = self.layers[layer] else { return };
        let Some(next) = upper(base, value) else {
            let kind = u8::try_from(value).unwrap_or(0);
            match field.protocol {
                // Replies have the same fields as requests.
                Protocol::Icmp => self.icmp_type = Some(if kind == 0 { 8 } else { kind }),
                Protocol::Icmp6 => self.icmp_type = Some(if kind == 129 { 128 } else { kind }),
                _ => {}
            }
            return;
        };
        let next_layer = layer_of_protocol(next);
        if next_layer == layer
            && let Layer::Protocol(protocol) = base
        {
            self.stacked.push(protocol);
        }
        self.layers[next_layer] = Some(next);
    }

    /// Whether a match on a field says that another header of the same layer follows.
    pub(crate) fn is_stacked(&self, layer: usize, value: u32) -> bool {
        self.layers[layer]
            .and_then(|base| upper(base, value))
            .is_some_and(|next| layer_of_protocol(next) == layer)
    }

    fn slot(&self, layer: usize) -> Option<usize> {
        match layer {
            _ if self.dependencies[layer].is_some() => Some(layer),
            TRANSPORT if self.dependencies[INNER].is_some() => Some(INNER),
            _ => None,
        }
    }

    pub(crate) fn dependency(&self, layer: usize) -> Option<Dependency> {
        self.dependencies[self.slot(layer)?]
    }

    /// Notes a match that says something about `layer`.
    pub(crate) fn depend(&mut self, layer: usize, dependency: Dependency) {
        if let DependencyOn::Payload(field) = dependency.left {
            let kind = u8::try_from(dependency.value).unwrap_or(u8::MAX);
            match field.protocol {
                Protocol::Icmp if field.len == 8 => {
                    let kind = if kind == 0 { 8 } else { kind };
                    self.dependency_icmp_type = Some(kind);
                    if kind == 8 {
                        return;
                    }
                }
                Protocol::Icmp6 if field.len == 8 => {
                    self.dependency_icmp_type = Some(kind);
                    if kind == 128 || kind == 129 {
                        return;
                    }
                }
                _ => {}
            }
        }
        if let Some(slot) = self.dependencies.get_mut(layer) {
            *slot = Some(dependency);
        }
    }

    /// Takes out the match that says something about `layer`; returns its statement's number.
    pub(crate) fn release(&mut self, layer: usize) -> Option<usize> {
        let slot = self.slot(layer)?;
        let gone = self.dependencies[slot].take()?.statement;
        self.forget_statement(gone);
        Some(gone)
    }

    /// The match that says something about `layer` stays, whatever implies it later.
    pub(crate) fn keep_dependency(&mut self, layer: usize) {
        if let Some(slot) = self.slot(layer) {
            self.dependencies[slot] = None;
        }
    }

    /// A statement was taken out.
    pub(crate) fn forget_statement(&mut self, gone: usize) {
        for dependency in self.dependencies.iter_mut().flatten() {
            if dependency.statement > gone {
                dependency.statement -= 1;
            }
        }
    }

    /// Whether a match on `field` makes the one that defines its layer superfluous. The families of several
    /// network protocols keep more.
    pub(crate) fn field_implies(&self, field: &Field, layer: usize) -> bool {
        let Some(dependency) = self.dependency(layer) else { return false };
        let DependencyOn::Payload(on) = dependency.left else { return true };
        let on_layer = layer_of(on.protocol.base()).unwrap_or(TRANSPORT);
        if matches!(self.family, Family::Bridge | Family::Netdev | Family::Inet) {
            if on_layer == NETWORK
                && layer == TRANSPORT
                && matches!(on.protocol, Protocol::Ip | Protocol::Ip6)
            {
                return false;
            }
            if layer == on_layer {
                if field.is_protocol_key() {
                    return false;
                }
                if layer == LINK {
                    let vlan = 0x8100; // ETH_P_8021Q
                    return on.protocol != Protocol::Vlan && dependency.value == vlan;
                }
            }
        }
        if layer == TRANSPORT && matches!(on.protocol, Protocol::Icmp | Protocol::Icmp6) {
            return field.message.is_some()
                && on.protocol == field.protocol
                && self.dependency_icmp_type == field.message;
        }
        true
    }

    /// Whether a match on `meta l4proto` or the like makes the one that names the network protocol superfluous.
    pub(crate) fn meta_implies(&self, key: Option<MetaKey>, value: u32) -> bool {
        let Some(dependency) = self.dependency(NETWORK) else { return true };
        let nfproto = match dependency.left {
            DependencyOn::Meta(MetaKey::NfProto) => Family::from_number(number_u8(dependency.value)),
            DependencyOn::Meta(MetaKey::Protocol) => family_of_ether_type(dependency.value),
            DependencyOn::Payload(field) if field.protocol.base() == PayloadBase::LinkLayer => {
                family_of_ether_type(dependency.value)
            }
            _ => return true,
        };
        match self.family {
            Family::Inet | Family::Netdev | Family::Bridge => {}
            Family::Ipv4 | Family::Ipv6 => return self.family == nfproto,
            _ => return true,
        }
        if key != Some(MetaKey::L4Proto) {
            return true;
        }
        match value {
            1 => nfproto != Family::Ipv6,
            58 => nfproto != Family::Ipv4,
            _ => false,
        }
    }
}

fn number_u8(value: u32) -> u8 {
    u8::try_from(value).unwrap_or(0)
}

fn family_of_ether_type(ether_type: u32) -> Family {
    match ether_type {
        0x0800 => Family::Ipv4,
        0x86dd => Family::Ipv6,
        _ => Family::Unspec,
    }
}

fn layer_of_protocol(layer: Layer) -> usize {
    match layer {
        Layer::Protocol(protocol) => layer_of(protocol.base()).unwrap_or(TRANSPORT),
        Layer::Inet | Layer::Netdev => LINK,
        Layer::Unknown => NETWORK,
    }
}

/// The header that the lower one announces by this number.
pub(crate) fn upper(base: Layer, number: u32) -> Option<Layer> {
    let protocol = match (base, number) {
        (Layer::Inet, 2) => Protocol::Ip,
        (Layer::Inet, 10) => Protocol::Ip6,
        (Layer::Netdev | Layer::Protocol(Protocol::Ether | Protocol::Vlan), number) => match number {
            0x0800 => Protocol::Ip,
            0x0806 => Protocol::Arp,
            0x86dd => Protocol::Ip6,
            0x8100 | 0x88a8 => Protocol::Vlan,
            _ => return None,
        },
        (Layer::Protocol(Protocol::Ip | Protocol::Ip6), number) => return transport(number),
        (Layer::Protocol(Protocol::Ah | Protocol::Comp), 1 | 2 | 58) => return None,
        (Layer::Protocol(Protocol::Ah | Protocol::Comp), number) => return transport(number),
        _ => return None,
    };
    Some(Layer::Protocol(protocol))
}

fn transport(number: u32) -> Option<Layer> {
    Protocol::from_transport_number(number).map(Layer::Protocol)
}
