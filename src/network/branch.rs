//! Pods that have a network interface of their own at the cloud provider: AWS's branch interfaces, for security groups of
//! pods.
//!
//! All traffic of such a pod takes the provider's network, by a routing table of its own: `iif LINK lookup TABLE`, where
//! `TABLE` routes the pod's address over `LINK`. The node's own packets for the pod, such as the kubelet's probes, take the
//! provider's network, too; there a probe's source address is nobody's. Two rules keep them on the node.

use std::net::IpAddr;

use neli::consts::nl::NlmF;
use neli::consts::rtnl::{FrAct, Frattr, Frf, Rta, Rtm, Rtn};
use neli::rtnl::{Fibmsg, FibmsgBuilder, Rtmsg};
use neli::types::{Buffer, RtBuffer};

use super::message::{self, address_family, attribute, bits, find, native_u32, octets};
use super::wire::Encoded;
use super::{
    Attempt, Change, Family, NEW, Removal, RouteError, RouteSocket, absent_is_empty, added, removed,
};

/// What AWS's plugin gives the rules of pods without such an interface.
const TO_POD_PRIORITY: u32 = 512;
/// `RT_TABLE_MAIN` and `RT_TABLE_LOCAL` (linux/rtnetlink.h): never a pod's own.
const SHARED_TABLES: [u32; 2] = [254, LOCAL_TABLE];
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
        let rules =
            self.0.dump(Attempt::ListRules(family), Rtm::Getrule, message::any_rule(family), from_link);
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
            let routes = self.0.dump(attempt, Rtm::Getroute, message::any_route(family, table), |route| {
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
        let mut add =
            |rule: &ProbeRule<'_>| added(self.0.change(attempt, Rtm::Newrule, NEW, probe_rule(family, rule)));
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

    /// The kernel removes the first rule that has what is named; what has more is not ours.
    fn remove_probe_rule(
        &mut self,
        family: Family,
        address: IpAddr,
        rule: &ProbeRule<'_>,
    ) -> Result<Removal, RouteError> {
        let found =
            self.0.dump(Attempt::ListRules(family), Rtm::Getrule, message::any_rule(family), |found| {
                is_probe_rule(found, rule).then_some(())
            });
        if absent_is_empty(found)?.is_empty() {
            return Ok(Removal::AlreadyAbsent);
        }
        let message = probe_rule(family, rule);
        removed(self.0.change(Attempt::RemoveProbeRules(address), Rtm::Delrule, NlmF::empty(), message))
    }
}

fn from_link(found: &Fibmsg) -> Option<FromLink> {
    let attributes = found.rtattrs();
    let number = |kind| find(attributes, kind).and_then(native_u32);
    let table = number(Frattr::Table)?;
    let is_own = *found.fib_action() == FrAct::FrActToTbl && table != 0 && !SHARED_TABLES.contains(&table);
    let link = text(find(attributes, Frattr::Iifname)?)?.to_owned();
    is_own.then(|| FromLink { link, table, priority: number(Frattr::Priority).unwrap_or(0) })
}

/// The destination and the link of a route to one address. The table is compared once more: see
/// [`found_in_place_of`](message::found_in_place_of).
fn to_one_address(found: &Rtmsg, family: Family, table: u32) -> Option<(IpAddr, u32)> {
    let attributes = found.rtattrs();
    let number = |kind| find(attributes, kind).and_then(native_u32);
    let destination = find(attributes, Rta::Dst)?;
    let address = match family {
        Family::V4 => IpAddr::from(*destination.first_chunk::<4>()?),
        Family::V6 => IpAddr::from(*destination.first_chunk::<16>()?),
    };
    let is_it = *found.rtm_family() == address_family(family)
        && *found.rtm_type() == Rtn::Unicast
        && *found.rtm_dst_len() == bits(address)
        && number(Rta::Table) == Some(table);
    Some((address, number(Rta::Oif)?)).filter(|_| is_it)
}

fn probe_rule(family: Family, rule: &ProbeRule<'_>) -> Encoded<Fibmsg> {
    let ProbeRule { to, from, table, priority } = *rule;
    let mut attributes: RtBuffer<Frattr, Buffer> =
        RtBuffer::from_iter([attribute(Frattr::Table, table)?, attribute(Frattr::Priority, priority)?]);
    if let Some(to) = to {
        attributes.push(attribute(Frattr::Dst, octets(to))?);
    }
    if let Some(from) = from {
        attributes.push(attribute(Frattr::Iifname, [from.as_bytes(), b"\0"].concat())?);
    }
    let empty = message::any_rule(family)?;
    Ok(FibmsgBuilder::default()
        .fib_family(*empty.fib_family())
        .fib_dst_len(to.map_or(0, bits))
        .fib_src_len(0)
        .fib_tos(0)
        .fib_table(*empty.fib_table())
        .fib_action(FrAct::FrActToTbl)
        .rtattrs(attributes)
        .build()?)
}

/// Whether the found rule is this one, and nothing more.
fn is_probe_rule(found: &Fibmsg, rule: &ProbeRule<'_>) -> bool {
    let attributes = found.rtattrs();
    let number = |kind| find(attributes, kind).and_then(native_u32);
    let conditions = [Frattr::Dst, Frattr::Iifname];
    *found.fib_action() == FrAct::FrActToTbl
        && !found.fib_flags().contains(Frf::INVERT)
        && *found.fib_dst_len() == rule.to.map_or(0, bits)
        && (*found.fib_src_len(), *found.fib_tos()) == (0, 0)
        && find(attributes, Frattr::Dst) == rule.to.map(octets).as_deref()
        && find(attributes, Frattr::Iifname).and_then(text) == rule.from
        && number(Frattr::Table) == Some(rule.table)
        && number(Frattr::Priority).unwrap_or(0) == rule.priority
        && attributes.iter().filter(|attribute| !conditions.contains(attribute.rta_type())).all(|attribute| {
            message::is_in_every_rule(attribute.rta_type(), attribute.rta_payload().as_ref())
        })
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().map(|text| text.trim_end_matches('\0'))
}
