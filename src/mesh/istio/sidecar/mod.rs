//! Sidecar interception: what Istio's native nftables backend of `istio-iptables` programs in a pod.
//!
//! The rules, and their order inside each chain, are Istio's, so that the state can be compared. Three tables of the
//! family inet take part: nat redirects, mangle marks and drops, raw puts DNS into zones of connection tracking.

pub mod pod;
mod rules;
mod tables;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use nft_ruleset::{IpPrefix, Ipv4Prefix};

pub use super::interface::{Interface, InterfaceError};
use crate::interception::Interception;
use crate::mesh::{are_all_networks, are_all_ports, with_bridges};
use crate::network::{self, Network};
pub use pod::deciding_address;
pub use tables::owned;

/// The address to which the proxy binds when it passes inbound traffic on, so that it is not redirected again.
pub const PASSTHROUGH_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
/// The same for IPv6; it has to be added to `lo`.
pub const PASSTHROUGH_V6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);
/// The port at which Istio's agent answers DNS.
pub const DNS_PORT: u16 = 15053;
/// The mark on packets that the proxy sends to the pod itself, in TPROXY mode.
pub(crate) const OUTBOUND_MARK: u32 = 1338;

/// A pod's settings. The names are those of Istio's flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Outbound TCP goes here
    pub envoy_port: u16,
    /// Inbound TCP goes here
    pub inbound_capture_port: u16,
    /// Inbound TCP to this port is left alone
    pub inbound_tunnel_port: u16,
    /// The proxy's uids: their traffic is left alone
    pub proxy_uids: Vec<u32>,
    /// The proxy's gids: their traffic is left alone
    pub proxy_gids: Vec<u32>,
    /// How inbound traffic gets to the proxy
    pub mode: Mode,
    /// The mark on inbound packets, in TPROXY mode
    pub tproxy_mark: u32,
    /// The routing table for marked packets, in TPROXY mode
    pub tproxy_route_table: u32,
    /// Which inbound ports are intercepted
    pub inbound_ports: InboundPorts,
    /// Outbound ports that are intercepted wherever they lead to
    pub outbound_ports: Vec<RangeInclusive<u16>>,
    /// Outbound ports that are left alone, TCP and UDP
    pub outbound_ports_exclude: Vec<RangeInclusive<u16>>,
    /// To which networks outbound traffic is intercepted
    pub service_cidr: ServiceCidr,
    /// Networks to which outbound traffic is left alone
    pub service_cidr_exclude: Vec<IpPrefix>,
    /// Whose outbound traffic is intercepted
    pub owner_groups: OwnerGroups,
    /// Interfaces whose inbound traffic, from a virtual machine, is treated as outbound
    pub virtual_interfaces: Vec<Interface>,
    /// Interfaces whose traffic is left alone
    pub exclude_interfaces: Vec<Interface>,
    /// Which DNS traffic is intercepted, if any
    pub dns: Option<DnsCapture>,
    /// Whether packets that connection tracking finds invalid are dropped
    pub drop_invalid: bool,
    /// Whether there are rules for IPv6
    pub ipv6: bool,
    /// Exactly the rules of Istio's native backend: without IPv6 they still catch some of it, only TCP packets are
    /// dropped as invalid, and UDP DNS of guests is lost where DNS is intercepted
    pub native_nftables: bool,
    /// The loopback network of IPv4
    pub loopback_v4: Ipv4Prefix,
}

/// What Istio's command does without a flag: nothing inbound is intercepted, and outbound nothing but what goes back to
/// the pod itself.
impl Default for Sidecar {
    fn default() -> Self {
        Self {
            envoy_port: 15001,
            inbound_capture_port: 15006,
            inbound_tunnel_port: 15008,
            proxy_uids: vec![1337],
            proxy_gids: vec![1337],
            mode: Mode::Redirect,
            tproxy_mark: 1337,
            tproxy_route_table: 133,
            inbound_ports: InboundPorts::Only(Vec::new()),
            outbound_ports: Vec::new(),
            outbound_ports_exclude: Vec::new(),
            service_cidr: ServiceCidr::Only(Vec::new()),
            service_cidr_exclude: Vec::new(),
            owner_groups: OwnerGroups::AllExcept(Vec::new()),
            virtual_interfaces: Vec::new(),
            exclude_interfaces: Vec::new(),
            dns: None,
            drop_invalid: false,
            ipv6: false,
            native_nftables: false,
            loopback_v4: Ipv4Addr::LOCALHOST.into(),
        }
    }
}

/// How inbound traffic gets to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By changing the destination
    Redirect,
    /// By handing the packet, unchanged, to a transparent socket
    Tproxy,
}

/// Which inbound ports are intercepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InboundPorts {
    /// All but these
    AllExcept(Vec<RangeInclusive<u16>>),
    /// These; none if there are none
    Only(Vec<RangeInclusive<u16>>),
}

/// To which networks outbound traffic is intercepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceCidr {
    /// All
    All,
    /// These
    Only(Vec<IpPrefix>),
}

/// Whose outbound traffic is intercepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerGroups {
    /// That of all groups but these
    AllExcept(Vec<u32>),
    /// That of these groups
    Only(Vec<u32>),
}

/// Which DNS traffic is intercepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsCapture {
    /// All to port 53
    All,
    /// What goes to port 53 of these servers
    Servers(Vec<IpAddr>),
}

impl Sidecar {
    /// Whether any DNS is intercepted: servers of a family that there are no rules for do not count.
    #[must_use]
    pub fn captures_dns(&self) -> bool {
        match &self.dns {
            None => false,
            Some(DnsCapture::All) => true,
            Some(DnsCapture::Servers(servers)) => !self.of_known_family(servers).is_empty(),
        }
    }

    /// Whether these settings intercept nothing at all but what the proxy sends to the pod itself.
    #[must_use]
    pub fn intercepts_nothing(&self) -> bool {
        let inbound = match &self.inbound_ports {
            InboundPorts::AllExcept(ports) => !are_all_ports(ports),
            InboundPorts::Only(ports) => !ports.is_empty(),
        };
        let networks = match &self.service_cidr {
            ServiceCidr::All => true,
            ServiceCidr::Only(networks) => {
                networks.iter().any(|network| self.ipv6 || network.address().is_ipv4())
            }
        };
        let outbound = (networks || !self.outbound_ports.is_empty())
            && self.owner_groups != OwnerGroups::Only(Vec::new())
            && !are_all_ports(&self.outbound_ports_exclude)
            && !are_all_networks(&self.service_cidr_exclude, self.ipv6);
        !inbound && !outbound && !self.captures_dns()
    }

    /// What the rules need besides.
    #[must_use]
    pub fn network(&self) -> Network {
        let mut network = Network::default();
        if self.ipv6 {
            network.loopback_addresses.push(PASSTHROUGH_V6);
        }
        if self.mode == Mode::Tproxy && self.inbound_ports != InboundPorts::Only(Vec::new()) {
            let v6 = self.ipv6.then_some(network::Family::V6);
            for family in std::iter::once(network::Family::V4).chain(v6) {
                network.add_marked_to_local(family, self.tproxy_mark, self.tproxy_route_table);
            }
        }
        network
    }

    /// What any settings with this mark and this table need besides their rules.
    #[must_use]
    pub fn owned_network(&self) -> Network {
        let mut network = Network { loopback_addresses: vec![PASSTHROUGH_V6], ..Network::default() };
        for family in [network::Family::V4, network::Family::V6] {
            network.add_marked_to_local(family, self.tproxy_mark, self.tproxy_route_table);
        }
        network
    }

    /// All that is desired of the kernel.
    pub fn interception(&self) -> Interception {
        Interception {
            ruleset: self.ruleset(),
            network: self.network(),
            owned: with_bridges(&owned()),
            owned_network: self.owned_network(),
            ..Interception::default()
        }
    }
}
