//! Making rules, of a pod or of the node, where Istio's own agent may have been before.
//!
//! Its native rules are in tables of the same names, and a difference like any other. What it made by iptables-nft is in
//! other tables: both in force do the same, until the pod leaves the mesh, and then only ours would go.

use meshwire::apply::Counters;
use meshwire::interception::Interception;
use meshwire::leftovers;
use meshwire::migrate::MigrateError;
use meshwire::network::RouteSocket;
use meshwire::verify::verify;
use nftwire::Socket;

use super::netns::NetnsError;

/// Whether exactly these rules exist, and nothing of an agent in iptables mode.
///
/// # Errors
/// They cannot be read.
pub(super) fn is_made(
    desired: &Interception,
    nft: &mut Socket,
    routes: &mut RouteSocket,
) -> Result<bool, NetnsError> {
    Ok(leftovers::find(nft)?.is_empty() && verify(desired, nft, routes)?.is_empty())
}

/// Makes the rules; existing ones keep their counters.
///
/// # Errors
/// They cannot be read or made.
pub(super) fn make(
    desired: &Interception,
    nft: &mut Socket,
    routes: &mut RouteSocket,
) -> Result<(), NetnsError> {
    if leftovers::find(nft)?.is_empty() {
        desired.apply(nft, routes, Counters::Keep)?;
        return Ok(());
    }
    let removed = match desired.migrate(nft, routes) {
        Ok(migrated) => migrated.removed,
        // Other settings, or rules that cannot be read: connections may be cut, but the pod is where it should be.
        Err(error @ (MigrateError::Differ(_) | MigrateError::LegacyIptables { .. })) => {
            tracing::warn!(target: "cni-agent", "taking over from an agent in iptables mode: {error}");
            desired.apply(nft, routes, Counters::Keep)?;
            leftovers::remove(nft)?
        }
        Err(error) => return Err(error.into()),
    };
    for leftover in removed {
        tracing::info!(target: "cni-agent", "took over from an agent in iptables mode: removed {leftover}");
    }
    Ok(())
}
