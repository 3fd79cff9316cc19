//! What the kernel would do with a packet: `ip route get`.

use std::net::IpAddr;

use neli::consts::rtnl::Rtm;

use super::error::Attempt;
use super::{RouteError, RouteSocket, message};

/// A packet to find the route of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteQuery {
    /// Where it goes
    pub destination: IpAddr,
    /// Where it comes from, of the same family; the kernel chooses one for a packet of this host
    pub source: Option<IpAddr>,
    /// The index of the device that it arrived on; `None` for a packet of this host
    pub input: Option<u32>,
    /// Its mark, host order
    pub mark: u32,
    /// The user that sends it, for rules that ask for one
    pub uid: Option<u32>,
}

/// The route of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedRoute {
    /// What the route is for (`RTN_*`, linux/rtnetlink.h)
    pub kind: u8,
    /// The index of the device; 0 where the route has none
    pub output: u32,
    /// The source address that a packet of this host gets
    pub source: Option<IpAddr>,
}

impl ResolvedRoute {
    /// `RTN_UNICAST`: to another host.
    pub const UNICAST: u8 = 1;
    /// `RTN_LOCAL`: to this host.
    pub const LOCAL: u8 = 2;
    /// `RTN_BROADCAST`.
    pub const BROADCAST: u8 = 3;
    /// `RTN_MULTICAST`.
    pub const MULTICAST: u8 = 5;
}

impl RouteSocket {
    /// The route that the kernel has for a packet, by all its policy rules and tables; `None` where it has none.
    ///
    /// # Errors
    /// The transport's.
    pub fn resolve(&mut self, query: &RouteQuery) -> Result<Option<ResolvedRoute>, RouteError> {
        let attempt = Attempt::Resolve(query.destination);
        match self.0.get(attempt, Rtm::Getroute, &message::route_query(query), message::resolved) {
            Err(error) if error.says_unroutable() => Ok(None),
            result => result,
        }
    }

    /// The names of all links, by their indices.
    ///
    /// # Errors
    /// [`RouteError::Interrupted`] and the transport's.
    pub fn links(&mut self) -> Result<Vec<(u32, String)>, RouteError> {
        self.0.dump(Attempt::ListLinks, Rtm::Getlink, &message::link(0), message::index_and_name)
    }
}
