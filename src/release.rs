//! Leaving a node of an ambient mesh to Istio's own agent.
//!
//! In its iptables mode that agent knows none of our tables: it makes its chains, and ours go on working next to them. A
//! pod that leaves the mesh afterwards loses Istio's chains alone, and ours would send its traffic to a proxy that is
//! gone. So our tables have to go, once Istio's chains are in force.

use nftwire::{Family, Socket};

use crate::apply::ApplyError;
use crate::interception::Interception;
use crate::leftovers::{self, Leftover};
use crate::mesh::istio::ambient::PodInterception;
use crate::network::{Network, RouteSocket};

/// What became of a network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// It has none of our tables
    Nothing,
    /// Our tables are removed; these chains of Istio's agent do their work
    Removed(Vec<Leftover>),
    /// Our tables are still there: nothing would do their work
    NotTakenOver,
}

/// Removes our tables of ambient mode, a pod's or the node's, where Istio's agent in iptables mode has made its chains by
/// iptables-nft. Policy rules and routes stay: both need them. Chains of legacy iptables cannot be read, so they count as
/// absent.
///
/// # Errors
/// The ruleset cannot be read, or the tables cannot be removed.
pub fn release_beside_iptables(nft: &mut Socket, routes: &mut RouteSocket) -> Result<Released, ApplyError> {
    // The node's table is one of a pod's, with sets that nobody needs any more.
    let ours = Interception { owned_network: Network::default(), ..PodInterception::nothing() };
    if !holds_tables(nft, &ours)? {
        return Ok(Released::Nothing);
    }
    let theirs = leftovers::find(nft)?;
    if theirs.is_empty() {
        return Ok(Released::NotTakenOver);
    }
    ours.remove(nft, routes)?;
    Ok(Released::Removed(theirs))
}

fn holds_tables(nft: &mut Socket, interception: &Interception) -> Result<bool, ApplyError> {
    let mut found = false;
    nft.tables(Family::Unspec, |table| {
        let is_it = |(family, name): (Family, &nftwire::Name)| family == table.family && table.name == *name;
        found |= interception.owned.tables().any(is_it);
        Ok(())
    })?;
    Ok(found)
}
