//! What rules do not say: addresses, devices, routes and sockets.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;

use nft_ruleset::evaluate::{Host, Interface};

use super::sockets::{Listener, SocketsError, listeners};
use crate::diagnostic::{Explain, Explanation};
use crate::network::{InterfaceAddress, ResolvedRoute, RouteError, RouteQuery, RouteSocket};

/// The index of `lo` (LOOPBACK_IFINDEX in net/flow.h).
const LOOPBACK: u32 = 1;

/// A network namespace, but for its rules.
pub struct Machine {
    routes: RefCell<RouteSocket>,
    addresses: Vec<InterfaceAddress>,
    links: HashMap<u32, String>,
    listeners: Vec<Listener>,
}

/// The machine cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// Addresses, devices or routes
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Sockets
    #[error(transparent)]
    Sockets(#[from] SocketsError),
}

impl Explain for MachineError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::Route(error) => error.explanation(),
            Self::Sockets(error) => error.explanation(),
        }
    }
}

impl Machine {
    /// Reads the network namespace that the thread is in, and stays with it: drop it soon.
    ///
    /// # Errors
    /// [`MachineError`].
    pub fn open() -> Result<Self, MachineError> {
        let mut routes = RouteSocket::open()?;
        let addresses = routes.interface_addresses()?;
        let links = routes.links()?.into_iter().collect();
        Ok(Self { routes: RefCell::new(routes), addresses, links, listeners: listeners()? })
    }

    /// The route of a packet; `None` where it has none.
    pub(super) fn route(&self, query: &RouteQuery) -> Result<Option<ResolvedRoute>, MachineError> {
        Ok(self.routes.borrow_mut().resolve(query)?)
    }

    pub(super) fn interface(&self, index: u32) -> Interface {
        let name = self.links.get(&index).cloned().unwrap_or_default();
        Interface { name, index: Some(index) }
    }

    pub(super) fn loopback(&self) -> Interface {
        self.interface(LOOPBACK)
    }

    /// The device on which packets from outside to this address arrive: the one that has the address, or else the one
    /// that leads back to the sender.
    pub(super) fn arrival(&self, destination: IpAddr, source: Option<IpAddr>) -> Result<u32, MachineError> {
        let of_address =
            self.addresses.iter().find(|own| own.address == destination && own.index != LOOPBACK);
        if let Some(own) = of_address {
            return Ok(own.index);
        }
        let back = match source {
            Some(source) => self.route(&RouteQuery {
                destination: source,
                source: None,
                input: None,
                mark: 0,
                uid: None,
            })?,
            None => None,
        };
        let other = self.addresses.iter().map(|own| own.index).find(|index| *index != LOOPBACK);
        Ok(back.map(|route| route.output).or(other).unwrap_or(LOOPBACK))
    }

    /// Where a redirection on this device leads: `lo` has its own address, any other device its first one
    /// (nf_nat_redirect_ipv4 and _ipv6, net/netfilter/nf_nat_redirect.c).
    pub(super) fn redirect_address(&self, device: u32, is_v4: bool) -> Option<IpAddr> {
        let mut of_device = self.addresses.iter().filter(|own| own.index == device);
        of_device
            .find(|own| own.address.is_ipv4() == is_v4 && !is_link_local(own.address))
            .map(|own| own.address)
    }

    /// Somebody beyond this device, for where no sender is named: the kernel drops what arrives from no address before it is
    /// routed (`ip_route_input_slow` in net/ipv4/route.c, Linux 6.18).
    pub(super) fn neighbor(&self, device: u32, is_v4: bool) -> Option<IpAddr> {
        let own = self.redirect_address(device, is_v4)?;
        let near = |bit: u8| match own {
            IpAddr::V4(own) => IpAddr::from((own.to_bits() ^ u32::from(bit)).to_be_bytes()),
            IpAddr::V6(own) => IpAddr::from((own.to_bits() ^ u128::from(bit)).to_be_bytes()),
        };
        // The nearest address may be the network's broadcast address.
        (1..=3).map(near).find(|other| self.address_type(*other) == Some(ResolvedRoute::UNICAST.into()))
    }

    /// Who takes what comes to this address and port: the socket that is bound to the address before one bound to all.
    pub(super) fn listener(&self, protocol: u8, address: IpAddr, port: u16) -> Option<&Listener> {
        let mut fitting: Vec<_> = self
            .listeners
            .iter()
            .filter(|listener| {
                (listener.protocol, listener.port) == (protocol, port) && listener.takes(address)
            })
            .collect();
        fitting.sort_by_key(|listener| listener.address != address);
        fitting.first().copied()
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

impl Host for Machine {
    /// As `inet_addr_type` sees it, which looks into the table `local` alone: an address that is not in it is unicast.
    fn address_type(&self, address: IpAddr) -> Option<u32> {
        let query = RouteQuery { destination: address, source: None, input: None, mark: 0, uid: None };
        let route = self.route(&query).ok()?;
        let kind = route.map_or(ResolvedRoute::UNICAST, |route| route.kind);
        let known = [ResolvedRoute::LOCAL, ResolvedRoute::BROADCAST, ResolvedRoute::MULTICAST];
        Some(if known.contains(&kind) { kind } else { ResolvedRoute::UNICAST }.into())
    }

    #[cfg(not(feature = "nft"))]
    fn statements(&self, _: nft_ruleset::Family, _: &str) -> Option<Vec<nft_ruleset::Statement>> {
        None
    }

    fn has_transparent_socket(&self, protocol: u8, address: Option<IpAddr>, port: u16) -> Option<bool> {
        let fitting = |listener: &&Listener| {
            (listener.protocol, listener.port) == (protocol, port)
                && address.is_none_or(|address| listener.takes(address))
        };
        let fitting: Vec<_> = self.listeners.iter().filter(fitting).collect();
        if fitting.iter().any(|listener| listener.transparent == Some(true)) {
            return Some(true);
        }
        fitting.iter().all(|listener| listener.transparent == Some(false)).then_some(false)
    }
}
