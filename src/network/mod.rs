//! Policy rules, routes, addresses and links of one network namespace, over rtnetlink.
//!
//! What remains is what iproute2 leaves for the same words; each method names them. Everything
//! here is idempotent and exact: adding reports whether it added, removing whether it removed, and neither
//! touches what merely resembles its object. So a caller can take back what it did and nothing else.
//!
//! Numbers, attributes and their meaning: rtnetlink(7), linux/rtnetlink.h, linux/fib_rules.h.

mod branch;
mod desired;
mod error;
mod lock;
mod message;
mod resolve;
mod rules;
mod wire;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Rtm, Rtprot};

use nftwire::DecodeError;
use rules::{Alike, RuleRequest};
use wire::Wire;

pub use branch::BranchRoute;
pub use desired::Network;
pub use error::{Attempt, FoundRoute, RouteError};
pub(crate) use lock::Lock;
pub use lock::LockError;
pub use resolve::{ResolvedRoute, RouteQuery};
#[cfg(feature = "init")]
pub(crate) use wire::uninterrupted;

/// How many times a route is added while the kernel reports EEXIST and the table has no such route.
const ATTEMPTS: u32 = 100;

/// Adding is refused with EEXIST where the object exists.
const NEW: NlmF = NlmF::CREATE.union(NlmF::EXCL);

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// What adding did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "only what was made may be taken back"]
pub enum Change {
    /// It did not exist, and does now.
    Made,
    /// It existed before, and was left alone.
    AlreadyThere,
}

/// What removing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It existed, and is gone.
    Made,
    /// It did not exist.
    AlreadyAbsent,
}

/// One address of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The link's index.
    pub index: u32,
    /// The link's own address, not its peer's, on point-to-point links too.
    pub address: IpAddr,
}

/// `ip rule`: packets with this mark are routed by this table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// The packets' family.
    pub family: Family,
    /// The bits of the packet mark, host order. 0 would match packets that nobody marked.
    pub mark: u32,
    /// The bits of the mark that count, host order; `None` is all of them.
    pub mask: Option<u32>,
    /// The rule's place in the list, the lowest first. `None`: adding puts it before the first rule after
    /// `local`, and a rule at any place counts as this one.
    pub priority: Option<u32>,
    /// The routing table.
    pub table: u32,
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule fwmark {:#x}", self.family, self.mark)?;
        if let Some(mask) = self.mask {
            write!(f, "/{mask:#x}")?;
        }
        if let Some(priority) = self.priority {
            write!(f, " pref {priority}")?;
        }
        write!(f, " lookup {}", self.table)
    }
}

/// `ip route`: everything that this table is asked about is for this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalRoute {
    /// The destinations' family.
    pub family: Family,
    /// The routing table.
    pub table: u32,
}

impl fmt::Display for LocalRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} route local default dev lo table {}", self.family, self.table)
    }
}

/// A socket to the network namespace that its thread was in when it was opened.
///
/// Calls block; each is one request and its reply unless it says otherwise. Reading needs no privilege,
/// changing needs CAP_NET_ADMIN. The socket stays with that namespace on whatever thread it is used, and
/// keeps it and its devices in existence: open, use, drop.
pub struct RouteSocket(Wire);

impl RouteSocket {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`RouteError::Open`].
    pub fn open() -> Result<Self, RouteError> {
        Wire::open(false).map(Self).map_err(RouteError::Open)
    }

    /// As [`RouteSocket::open`], for a run that changes something and uses it for nothing else: where nobody holds the lock
    /// at the moment, this socket does until it is dropped, and the run needs no other one for it.
    ///
    /// # Errors
    /// [`RouteError::Open`].
    #[cfg(feature = "init")]
    pub(crate) fn open_as_lock() -> Result<Self, RouteError> {
        Wire::open(true).map(Self).map_err(RouteError::Open)
    }

    /// All IPv4 addresses, then all IPv6 addresses, each in the kernel's order: the order of Go's
    /// `net.InterfaceAddrs`, which settles what "the first address" is for Istio.
    ///
    /// # Errors
    /// [`RouteError::Interrupted`] and the transport's.
    pub fn interface_addresses(&mut self) -> Result<Vec<InterfaceAddress>, RouteError> {
        self.0.dump(Attempt::ListAddresses, Rtm::Getaddr, &message::any_address(), message::interface_address)
    }

    /// Whether `lo` does without IPv6 by its own setting (net.ipv6.conf.lo.disable_ipv6). A kernel that has no IPv6 at
    /// all has no such setting.
    ///
    /// # Errors
    /// The transport's.
    pub fn loopback_disables_ipv6(&mut self) -> Result<bool, RouteError> {
        let attempt = Attempt::ReadLinkSettings(message::LOOPBACK_INDEX);
        let link = message::link(message::LOOPBACK_INDEX);
        Ok(self.0.get(attempt, Rtm::Getlink, &link, message::disables_ipv6)?.unwrap_or(false))
    }

    /// The names of the links whose other side is in another namespace (IFLA_LINK_NETNSID): veth pairs that
    /// reach across, and macvlan, ipvlan and VLAN links whose lower device stayed in the other namespace.
    ///
    /// # Errors
    /// [`RouteError::Interrupted`] and the transport's.
    pub fn links_with_peer_elsewhere(&mut self) -> Result<Vec<String>, RouteError> {
        self.0.dump(Attempt::ListLinks, Rtm::Getlink, &message::link(0), message::name_if_peer_elsewhere)
    }

    /// `ip -6 address add ADDRESS/128 dev lo`.
    ///
    /// As with `ip`, the address is tentative until a worker of the kernel has seen that `lo` needs no
    /// duplicate detection: for up to some milliseconds binding to it fails with EADDRNOTAVAIL.
    ///
    /// # Errors
    /// [`RouteError::Ipv6DisabledOnLoopback`], [`RouteError::NoIpv6`], [`RouteError::NotPermitted`].
    pub fn add_loopback_address(&mut self, address: Ipv6Addr) -> Result<Change, RouteError> {
        let message = message::loopback_address(address);
        added(self.0.change(Attempt::AddAddress(address), Rtm::Newaddr, NEW, &message))
    }

    /// `ip -6 address delete ADDRESS/128 dev lo`.
    ///
    /// # Errors
    /// [`RouteError::NotPermitted`], also if the address is absent.
    pub fn remove_loopback_address(&mut self, address: Ipv6Addr) -> Result<Removal, RouteError> {
        let message = message::loopback_address(address);
        removed(self.0.change(Attempt::RemoveAddress(address), Rtm::Deladdr, NlmF::empty(), &message))
    }

    /// `ip rule add fwmark MARK[/MASK] [pref PRIORITY] lookup TABLE`.
    ///
    /// The rules are listed first. Without a priority, the kernel would pick a free one, find no rule there, and add the
    /// same rule again with every call; with one, it would take a rule for ours that asks for an address besides. Two
    /// callers at the same moment can both add it.
    ///
    /// # Errors
    /// [`RouteError::NoPolicyRouting`], [`RouteError::NotPermitted`], [`RouteError::Interrupted`].
    pub fn add_rule(&mut self, rule: &PolicyRule) -> Result<Change, RouteError> {
        if self.alike(rule)?.iter().any(Alike::is_same) {
            return Ok(Change::AlreadyThere);
        }
        let message = rules::rule(rule, rule.priority);
        self.0.change(Attempt::AddRule(*rule), Rtm::Newrule, NlmF::CREATE, &message).map(|()| Change::Made)
    }

    /// Removes this rule, as often as it exists, and none that has further conditions: `ip rule delete` by itself takes the
    /// first rule with this mark and table.
    ///
    /// # Errors
    /// [`RouteError::NotPermitted`], [`RouteError::Interrupted`].
    pub fn remove_rule(&mut self, rule: &PolicyRule) -> Result<Removal, RouteError> {
        let attempts = [Attempt::ListRules(rule.family), Attempt::AddRule(*rule), Attempt::RemoveRule(*rule)];
        let request = |priority| rules::rule(rule, Some(priority));
        self.remove_exactly(attempts, rule.family, request, |found| rules::alike(found, rule))
    }

    /// Removes a rule, as often as it exists. The kernel removes the first rule that has what the request names. So a rule
    /// before ours that has more gets a copy after ours, and goes then, which changes nothing but their order.
    fn remove_exactly(
        &mut self,
        [list, add, remove]: [Attempt; 3],
        family: Family,
        request: impl Fn(u32) -> RuleRequest,
        alike: impl Fn(&[u8]) -> Result<Option<Alike>, DecodeError>,
    ) -> Result<Removal, RouteError> {
        let alike = |wire: &mut Wire| {
            absent_is_empty(wire.dump(list, Rtm::Getrule, &rules::any_rule(family), &alike))
        };
        let mut removal = Removal::AlreadyAbsent;
        let mut found = alike(&mut self.0)?;
        let count = found.iter().filter(|found| found.is_same()).count();
        for number in 0..count {
            if number > 0 {
                found = alike(&mut self.0)?;
            }
            let Some(ours) = found.iter().position(Alike::is_same) else { break };
            let priority = found[ours].priority;
            let request = request(priority);
            let remove_first =
                |wire: &mut Wire| removed(wire.change(remove, Rtm::Delrule, NlmF::empty(), &request));
            for foreign in found.drain(..ours).filter(|foreign| foreign.priority == priority) {
                // The kernel refuses to remove a permanent rule, so a copy of it would only be left over.
                if let Some(copy) = foreign.copy.filter(|_| !foreign.is_permanent) {
                    self.0.change(add, Rtm::Newrule, NlmF::CREATE, &copy)?;
                }
                remove_first(&mut self.0)?;
            }
            if remove_first(&mut self.0)? == Removal::Made {
                removal = Removal::Made;
            }
        }
        Ok(removal)
    }

    /// `ip route add local default dev lo table TABLE`.
    ///
    /// Add the policy rule first: a kernel without policy routing refuses the rule, but would put this route
    /// into its main table, where it takes all traffic.
    ///
    /// # Errors
    /// [`RouteError::ForeignDefaultRoute`]: the table has another one. [`RouteError::NotPermitted`]. For IPv6
    /// [`RouteError::Ipv6DisabledOnLoopback`], [`RouteError::NoIpv6`], and [`RouteError::Refused`] with
    /// ENETDOWN while `lo` is down.
    pub fn add_local_route(&mut self, route: LocalRoute) -> Result<Change, RouteError> {
        let message = message::local_route(route, Rtprot::Boot);
        for attempt in 1.. {
            let Err(error) = self.0.change(Attempt::AddRoute(route), Rtm::Newroute, NEW, &message) else {
                break;
            };
            if !error.says_present() {
                return Err(error);
            }
            match self.default_routes(route)?.first() {
                Some(found) if found.is_local() => return Ok(Change::AlreadyThere),
                Some(found) => return Err(RouteError::ForeignDefaultRoute { route, found: *found }),
                None if attempt == ATTEMPTS => return Err(error),
                // Another run removed it in between.
                None => {}
            }
        }
        Ok(Change::Made)
    }

    /// `ip route delete local default dev lo table TABLE`. The table is read first: the kernel compares
    /// neither an IPv6 route's type nor all of an IPv4 one's attributes.
    ///
    /// # Errors
    /// [`RouteError::NotPermitted`], [`RouteError::Interrupted`].
    pub fn remove_local_route(&mut self, route: LocalRoute) -> Result<Removal, RouteError> {
        if !absent_is_empty(self.default_routes(route))?.iter().any(FoundRoute::is_local) {
            return Ok(Removal::AlreadyAbsent);
        }
        let message = message::local_route(route, Rtprot::Unspec);
        removed(self.0.change(Attempt::RemoveRoute(route), Rtm::Delroute, NlmF::empty(), &message))
    }

    /// Whether this is an address of `lo`.
    ///
    /// # Errors
    /// As [`RouteSocket::interface_addresses`].
    pub fn has_loopback_address(&mut self, address: Ipv6Addr) -> Result<bool, RouteError> {
        let desired = InterfaceAddress { index: message::LOOPBACK_INDEX, address: address.into() };
        Ok(self.interface_addresses()?.contains(&desired))
    }

    /// Whether exactly this rule exists. A kernel without policy routing, or without IPv6, has none.
    ///
    /// # Errors
    /// [`RouteError::Interrupted`] and the transport's.
    pub fn has_rule(&mut self, rule: &PolicyRule) -> Result<bool, RouteError> {
        Ok(absent_is_empty(self.alike(rule))?.iter().any(Alike::is_same))
    }

    /// Whether this route exists, and no other one is before it.
    ///
    /// # Errors
    /// [`RouteError::Interrupted`] and the transport's.
    pub fn has_local_route(&mut self, route: LocalRoute) -> Result<bool, RouteError> {
        Ok(absent_is_empty(self.default_routes(route))?.first().is_some_and(FoundRoute::is_local))
    }

    /// Whether this kernel routes packets of the family by rules. Needs no privilege.
    ///
    /// # Errors
    /// [`RouteError::Interrupted`] and the transport's.
    pub fn has_policy_routing(&mut self, family: Family) -> Result<bool, RouteError> {
        let attempt = Attempt::ListRules(family);
        match self.0.dump(attempt, Rtm::Getrule, &rules::any_rule(family), |_| Ok(None::<()>)) {
            Ok(_) => Ok(true),
            Err(error) if error.says_absent() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The rules that the kernel takes for this one, in its order.
    fn alike(&mut self, rule: &PolicyRule) -> Result<Vec<Alike>, RouteError> {
        let attempt = Attempt::ListRules(rule.family);
        self.0.dump(attempt, Rtm::Getrule, &rules::any_rule(rule.family), |found| rules::alike(found, rule))
    }

    /// The routing tables of all policy rules for packets with this mark, whatever else they ask for.
    ///
    /// # Errors
    /// [`RouteError::Interrupted`] and the transport's.
    pub fn tables_of_mark(&mut self, family: Family, mark: u32) -> Result<Vec<u32>, RouteError> {
        let attempt = Attempt::ListRules(family);
        self.0
            .dump(attempt, Rtm::Getrule, &rules::any_rule(family), |found| rules::table_of_mark(found, mark))
    }

    /// What is in the position of this route: the table's default routes of the same metric, first that counts
    /// first.
    fn default_routes(&mut self, route: LocalRoute) -> Result<Vec<FoundRoute>, RouteError> {
        let attempt = Attempt::ReadRoutes(route);
        self.0.dump(attempt, Rtm::Getroute, &message::any_route(route.family, route.table), |found| {
            message::found_in_place_of(found, route)
        })
    }
}

fn added(change: Result<(), RouteError>) -> Result<Change, RouteError> {
    match change {
        Ok(()) => Ok(Change::Made),
        Err(error) if error.says_present() => Ok(Change::AlreadyThere),
        Err(error) => Err(error),
    }
}

fn removed(change: Result<(), RouteError>) -> Result<Removal, RouteError> {
    match change {
        Ok(()) => Ok(Removal::Made),
        Err(error) if error.says_absent() => Ok(Removal::AlreadyAbsent),
        Err(error) => Err(error),
    }
}

fn absent_is_empty<T>(list: Result<Vec<T>, RouteError>) -> Result<Vec<T>, RouteError> {
    match list {
        Err(error) if error.says_absent() => Ok(Vec::new()),
        result => result,
    }
}
