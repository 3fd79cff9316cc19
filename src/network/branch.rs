//! Pods that have a network interface of their own at the cloud provider: AWS's branch interfaces, for security groups of
//! pods.
//!
//! All traffic of such a pod takes the provider's network, by a routing table of its own: `iif LINK lookup TABLE`, where
//! `TABLE` routes the pod's address over `LINK`. The node's own packets for the pod, such as the kubelet's probes, take the
//! provider's network, too; there a probe's source address is nobody's. Two rules keep them on the node.

use std::net::IpAddr;

use neli::consts::rtnl::{Frattr, RtAddrFamily, Rta, Rtm, Rtn};
use nftwire::{DecodeError, Text};

use super::message::{
    self, ROUTE_HEADER, address_family, bits, find, find_u32, ip_address, put_address, split, writer,
};
use super::rules::{self, Alike, Found, RuleRequest};
use super::{Attempt, Change, Family, NEW, Removal, RouteError, RouteSocket, absent_is_empty, added};

/// What AWS's plugin gives the rules of pods without such an interface.
const TO_POD_PRIORITY: u32 = 512;
/// `RT_TABLE_UNSPEC`, `RT_TABLE_MAIN` and `RT_TABLE_LOCAL` (linux/rtnetlink.h): never a pod's own.
const SHARED_TABLES: [u32; 3] = [0, 254, LOCAL_TABLE];
const LOCAL_TABLE: u32 = 255;

/// How packets of and for a pod with a branch interface are routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchRoute {
    /// The pod's address
    pub address: IpAddr,
    /// The name of the link to the pod
    pub link: String,
    /// The routing table that routes the pod's address over the link
    pub table: u32,
    /// The priority of the rule by which what comes from the link is routed by that table
    pub priority: u32,
}

/// A rule by which what comes from a link is routed by a table.
struct FromLink {
    link: String,
    table: u32,
    priority: u32,
}

/// One of the two rules, as all that it consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ProbeRule<'a> {
    to: Option<IpAddr>,
    from: Option<&'a str>,
    table: u32,
    priority: u32,
}

impl BranchRoute {
    fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// What goes to the pod goes over its link; what comes from it for this node is delivered, before the rule by which
    /// everything leaves for the provider's network.
    fn rules(&self) -> [ProbeRule<'_>; 2] {
        let (to, from) = (Some(self.address), Some(self.link.as_str()));
        [
            ProbeRule { to, from: None, table: self.table, priority: TO_POD_PRIORITY },
            ProbeRule { to: None, from, table: LOCAL_TABLE, priority: self.priority.saturating_sub(1) },
        ]
    }
}

impl RouteSocket {
    /// The pods with a branch interface, by the rules and tables that the provider's plugin has made.
    ///
    /// # Errors
    /// [`RouteError::Interrupted`] and the transport's.
    pub fn branch_routes(&mut self, family: Family) -> Result<Vec<BranchRoute>, RouteError> {
        let rules = self.0.dump(Attempt::ListRules(family), Rtm::Getrule, &rules::any_rule(family), |rule| {
            from_link(rule, family)
        });
        let rules = absent_is_empty(rules)?;
        if rules.is_empty() {
            return Ok(Vec::new());
        }
        let links = self.links()?;
        let mut tables: Vec<_> = rules.iter().map(|rule| rule.table).collect();
        tables.sort_unstable();
        tables.dedup();
        let mut found = Vec::new();
        for table in tables {
            let attempt = Attempt::ReadTable(family, table);
            let routes = self.0.dump(attempt, Rtm::Getroute, &message::any_route(family, table), |route| {
                to_one_address(route, family, table)
            });
            for (address, index) in absent_is_empty(routes)? {
                let name = links.iter().find(|(link, _)| *link == index).map(|(_, name)| name);
                let rule = rules.iter().find(|rule| rule.table == table && Some(&rule.link) == name);
                found.extend(rule.map(|FromLink { link, table, priority }| BranchRoute {
                    address,
                    link: link.clone(),
                    table: *table,
                    priority: *priority,
                }));
            }
        }
        Ok(found)
    }

    /// `ip rule add to ADDRESS lookup TABLE pref 512` and `ip rule add iif LINK lookup local pref N`, before the link's own
    /// rule. Where the second one fails, the first one is taken back.
    ///
    /// # Errors
    /// [`RouteError::NotPermitted`].
    pub fn add_branch_rules(&mut self, branch: &BranchRoute) -> Result<Change, RouteError> {
        let family = branch.family();
        let attempt = Attempt::AddProbeRules(branch.address);
        let mut add = |rule: &ProbeRule<'_>| {
            added(self.0.change(attempt, Rtm::Newrule, NEW, &probe_rule(family, rule)))
        };
        let [to_pod, from_pod] = branch.rules();
        let first = add(&to_pod)?;
        match add(&from_pod) {
            Ok(Change::AlreadyThere) => Ok(first),
            Err(error) if first == Change::Made => {
                self.remove_probe_rule(family, branch.address, &to_pod)?;
                Err(error)
            }
            second => second,
        }
    }

    /// Removes both rules, where exactly they exist.
    ///
    /// # Errors
    /// [`RouteError::NotPermitted`], [`RouteError::Interrupted`].
    pub fn remove_branch_rules(&mut self, branch: &BranchRoute) -> Result<Removal, RouteError> {
        let [to_pod, from_pod] = branch.rules();
        let first = self.remove_probe_rule(branch.family(), branch.address, &to_pod)?;
        let second = self.remove_probe_rule(branch.family(), branch.address, &from_pod)?;
        Ok(if first == Removal::Made { first } else { second })
    }

    fn remove_probe_rule(
        &mut self,
        family: Family,
        address: IpAddr,
        rule: &ProbeRule<'_>,
    ) -> Result<Removal, RouteError> {
        let attempts =
            [Attempt::ListRules(family), Attempt::AddProbeRules(address), Attempt::RemoveProbeRules(address)];
        self.remove_exactly(
            attempts,
            family,
            |_| probe_rule(family, rule),
            |found| alike(found, family, rule),
        )
    }
}

fn from_link(found: &[u8], family: Family) -> Result<Option<FromLink>, DecodeError> {
    let found = Found::read(found)?;
    let table = found.table.filter(|table| found.looks_up(family) && !SHARED_TABLES.contains(table));
    let link = found.link.and_then(|link| link.str().ok());
    let priority = found.priority;
    Ok(link.zip(table).map(|(link, table)| FromLink { link: link.to_owned(), table, priority }))
}

/// The destination and the link of a route to one address. The table is compared once more: see
/// [`found_in_place_of`](message::found_in_place_of).
fn to_one_address(found: &[u8], family: Family, table: u32) -> Result<Option<(IpAddr, u32)>, DecodeError> {
    let (&[of_family, to, _, _, _, _, _, kind, ..], attributes) = split::<ROUTE_HEADER>(found)?;
    let is_it = RtAddrFamily::from(of_family) == address_family(family)
        && Rtn::from(kind) == Rtn::Unicast
        && find_u32(attributes, Rta::Table)? == Some(table);
    let destination = find(attributes, Rta::Dst)?.and_then(|found| ip_address(of_family, found.value));
    let address = destination.filter(|address| is_it && to == bits(*address));
    Ok(address.zip(find_u32(attributes, Rta::Oif)?))
}

fn probe_rule(family: Family, rule: &ProbeRule<'_>) -> RuleRequest {
    /// Longer than any link's name (`IFNAMSIZ`, linux/if.h), so that the kernel refuses what is cut.
    const LONGEST: usize = 16;
    let ProbeRule { to, from, table, priority } = *rule;
    let mut attributes = writer();
    attributes.put_ne32(Frattr::Table.into(), table);
    attributes.put_ne32(Frattr::Priority.into(), priority);
    if let Some(to) = to {
        put_address(&mut attributes, Frattr::Dst.into(), to);
    }
    if let Some(from) = from {
        let name = &from.as_bytes()[..from.len().min(LONGEST)];
        attributes.put_text(Frattr::Iifname.into(), Text::from_bytes(name));
    }
    rules::rule_to_table(family, to.map_or(0, bits), attributes)
}

/// The found rule, if removing `rule` can remove it: see [`alike`](rules::alike).
fn alike(found: &[u8], family: Family, rule: &ProbeRule<'_>) -> Result<Option<Alike>, DecodeError> {
    let found = Found::read(found)?;
    let is_alike = found.looks_up(family)
        && (found.table, found.priority) == (Some(rule.table), rule.priority)
        && rule.to.is_none_or(|address| found.is_to(address))
        && rule.from.is_none_or(|name| found.link.is_some_and(|link| link.str() == Ok(name)));
    let is_same = !found.is_marked() && found.has_only(rule.to.is_some(), rule.from.is_some());
    Ok(is_alike.then(|| found.alike(is_same)))
}
