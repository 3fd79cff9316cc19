//! Leaving a node of an ambient mesh to Istio's own agent.
//!
//! In its iptables mode that agent knows none of our tables: it makes its chains, and ours go on working next to them. A
//! pod that leaves the mesh afterwards loses Istio's chains alone, and ours would send its traffic to a proxy that is
//! gone. So our tables have to go, once Istio's rules are in force.

use nft_ruleset::snapshot::{Depth, Scope, Snapshot};
use nft_ruleset::{Expression, Family, Protocol, Selector, Statement, Table};
use nftwire::Socket;

use crate::apply::ApplyError;
use crate::interception::Interception;
use crate::leftovers::{self, Leftover};
use crate::mesh::Profile;
use crate::mesh::istio::ambient::PodInterception;
use crate::network::{Network, RouteSocket};

/// What became of a network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// It has none of our tables
    Nothing,
    /// Our tables are removed; these chains of Istio's agent do their work
    Removed(Vec<Leftover>),
    /// Our tables still exist: of this family, [`Family::Ipv4`] or [`Family::Ipv6`], nothing would do their work
    NotTakenOver(Family),
}

/// Removes our tables of ambient mode, a pod's or the node's, where the rules of Istio's agent in iptables mode are in
/// force, made by iptables-nft, for each family that ours are for. Policy rules and routes stay: both need them. Chains of
/// legacy iptables cannot be read, so they count as absent.
///
/// # Errors
/// The ruleset cannot be read, or the tables cannot be removed.
pub fn release_beside_iptables(nft: &mut Socket, routes: &mut RouteSocket) -> Result<Released, ApplyError> {
    // The node's table is one of a pod's, with sets that nobody needs any more.
    let ours = Interception { owned_network: Network::default(), ..PodInterception::nothing() };
    let is_ours = |table: &&Table| {
        ours.owned.tables().any(|(family, name)| family == table.family && table.name == *name)
    };
    let ruleset = Snapshot::read(nft, Scope::Family(Family::Unspec), Depth::Rules)?.listed()?;
    let mut tables = ruleset.tables.iter().filter(is_ours).peekable();
    if tables.peek().is_none() {
        return Ok(Released::Nothing);
    }
    let families = if tables.any(is_for_ipv6) { &[Family::Ipv4, Family::Ipv6][..] } else { &[Family::Ipv4] };
    let is_missing = |family: &&Family| !Profile::Ambient.is_in_force_by_iptables(&ruleset, **family);
    if let Some(family) = families.iter().find(is_missing) {
        return Ok(Released::NotTakenOver(*family));
    }
    let theirs = leftovers::find(nft)?;
    ours.remove(nft, routes)?;
    Ok(Released::Removed(theirs))
}

/// Whether a rule looks at packets of IPv6.
fn is_for_ipv6(table: &Table) -> bool {
    let mut statements = table.chains.iter().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements);
    let is_ipv6 = |statement: &Statement| match statement {
        Statement::Match { left: Expression::Selector(Selector::Payload(field)), .. } => {
            field.protocol == Protocol::Ip6
        }
        _ => false,
    };
    statements.any(is_ipv6)
}
