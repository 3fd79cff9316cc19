//! What an interception needs besides its rules, as one value.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use super::{Change, Family, LocalRoute, PolicyRule, Removal, RouteError, RouteSocket};

/// Addresses and policy routing that rules need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Addresses of `lo`
    pub loopback_addresses: Vec<Ipv6Addr>,
    /// Which packets are routed by which table
    pub rules: Vec<PolicyRule>,
    /// Tables that bring everything to this host
    pub routes: Vec<LocalRoute>,
    /// Whether the IPv6 routes are left out where `lo` does without IPv6 (net.ipv6.conf.lo.disable_ipv6), and it is no
    /// error
    pub skip_if_ipv6_disabled: bool,
}

impl Network {
    /// Routes packets with this mark by a table that brings everything to this host.
    pub fn add_marked_to_local(&mut self, family: Family, mark: u32, table: u32) {
        self.rules.push(PolicyRule { family, mark, mask: None, priority: None, table });
        self.routes.push(LocalRoute { family, table });
    }

    /// What of it can be in the socket's network namespace.
    ///
    /// # Errors
    /// The settings of `lo` cannot be read.
    pub fn possible_here(&self, socket: &mut RouteSocket) -> Result<Cow<'_, Self>, RouteError> {
        let is_v6 = |route: &LocalRoute| route.family == Family::V6;
        let mut network = Cow::Borrowed(self);
        if self.skip_if_ipv6_disabled && self.routes.iter().any(is_v6) && socket.loopback_disables_ipv6()? {
            network.to_mut().routes.retain(|route| !is_v6(route));
        }
        Ok(network)
    }

    /// Adds what does not exist yet, and notes in `added` what that was.
    ///
    /// # Errors
    /// The first one; `added` then has what is to be taken back.
    pub fn add(&self, socket: &mut RouteSocket, added: &mut Self) -> Result<(), RouteError> {
        self.add_unless(|_, _| Ok(false), socket, added)
    }

    /// As [`Network::add`] where most likely nothing is missing: routes are looked at first.
    ///
    /// # Errors
    /// As [`Network::add`].
    pub(crate) fn restore(&self, socket: &mut RouteSocket, added: &mut Self) -> Result<(), RouteError> {
        // Adding a rule looks for it first anyway, and to look for an address is to read all of them.
        self.add_unless(RouteSocket::has_local_route, socket, added)
    }

    fn add_unless(
        &self,
        has_route: impl Fn(&mut RouteSocket, LocalRoute) -> Result<bool, RouteError>,
        socket: &mut RouteSocket,
        added: &mut Self,
    ) -> Result<(), RouteError> {
        for &address in &self.loopback_addresses {
            if socket.add_loopback_address(address)? == Change::Made {
                added.loopback_addresses.push(address);
            }
        }
        // The rule before the route: a kernel without policy routing refuses the rule, but would put the route into
        // its main table.
        for rule in &self.rules {
            if socket.add_rule(rule)? == Change::Made {
                added.rules.push(*rule);
            }
        }
        for &route in &self.routes {
            if !has_route(socket, route)? && socket.add_local_route(route)? == Change::Made {
                added.routes.push(route);
            }
        }
        Ok(())
    }

    /// Removes what exists of it, in the opposite order, and notes in `removed` what that was.
    ///
    /// # Errors
    /// The first one; what was removed before stays removed.
    pub fn remove(&self, socket: &mut RouteSocket, removed: &mut Self) -> Result<(), RouteError> {
        for &route in &self.routes {
            if socket.remove_local_route(route)? == Removal::Made {
                removed.routes.push(route);
            }
        }
        for rule in &self.rules {
            if socket.remove_rule(rule)? == Removal::Made {
                removed.rules.push(*rule);
            }
        }
        for &address in &self.loopback_addresses {
            if socket.remove_loopback_address(address)? == Removal::Made {
                removed.loopback_addresses.push(address);
            }
        }
        Ok(())
    }

    /// What this has and `other` has not.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        fn difference<T: Copy + PartialEq>(these: &[T], others: &[T]) -> Vec<T> {
            these.iter().filter(|item| !others.contains(item)).copied().collect()
        }
        Self {
            loopback_addresses: difference(&self.loopback_addresses, &other.loopback_addresses),
            rules: difference(&self.rules, &other.rules),
            routes: difference(&self.routes, &other.routes),
            skip_if_ipv6_disabled: false,
        }
    }
}
