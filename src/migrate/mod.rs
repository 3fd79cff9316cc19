//! From rules of another kind to ours, while connections are opened: from those that Istio's and Linkerd's commands make with
//! iptables-nft, from Istio's native tables, and from another version of our own.
//!
//! One transaction for both leaves a gap: a packet can pass the new chain before the transaction takes effect, and the old
//! one after it, when that is empty. So the first transaction adds our rules, a grace period passes until every packet that
//! is under way sees them, and the second transaction removes the old ones. Between the two both are in force, and do the
//! same twice. Where that would not be the same, a bridge leads from one to the other. Connections that are open live in connection tracking, and end only if the last chain of type nat goes.
//!
//! ```no_run
//! use meshwire::mesh::istio::sidecar::Sidecar;
//! use meshwire::migrate::MigrateError;
//! use meshwire::network::RouteSocket;
//!
//! fn take_over(sidecar: &Sidecar) -> Result<(), MigrateError> {
//!     let migrated = sidecar.interception().migrate(&mut nftwire::Socket::open()?, &mut RouteSocket::open()?)?;
//!     println!("{}", migrated.counters);
//!     Ok(())
//! }
//! ```

mod bridge;
mod error;
mod grace;
mod plan;
pub(crate) mod settings;

use nft_ruleset::Ruleset;
use nft_ruleset::desired::Desired;
use nft_ruleset::plan::Plan;
use nftwire::{Error, Socket};

use self::grace::grace_period;
use crate::apply::{Applied, Counters};
use crate::interception::Interception;
use crate::leftovers::{self, Leftover};
use crate::network::{Network, RouteSocket};
use crate::reset::Readings;
use crate::retry::retry;
pub use error::{Difference, MigrateError};
pub use plan::MigrationPlan;

/// What a migration did.
#[derive(Debug)]
pub struct Migrated {
    /// How our rules were applied
    pub applied: Applied,
    /// What was removed of iptables' rules
    pub removed: Vec<Leftover>,
    /// What the removed rules had counted, at the moment of their removal
    pub counters: Readings,
}

impl Interception {
    /// Puts our rules in the place of others, without a moment in which a connection is not intercepted, and without
    /// ending one. Routes, policy rules and addresses that both need stay.
    ///
    /// The [plan](MigrationPlan) is made first, and nothing is changed where it cannot be carried out.
    ///
    /// # Errors
    /// See [`MigrateError`], which says what is in force then.
    pub fn migrate(&self, nft: &mut Socket, routes: &mut RouteSocket) -> Result<Migrated, MigrateError> {
        let plan = MigrationPlan::read(self, nft, routes)?;
        plan.is_possible()?;
        if plan.needs_bridge() {
            return match self.migrate_over_bridge(nft, routes) {
                Err(MigrateError::Apply(error)) if error.lacks_fib() => {
                    let rest = self.without_fib().ok_or(error)?;
                    let mut migrated = rest.migrate_over_bridge(nft, routes)?;
                    migrated.applied.without_fib = true;
                    Ok(migrated)
                }
                result => result,
            };
        }
        let applied = bridge::without(self).apply(nft, routes, Counters::Keep)?;
        grace_period(nft)?;
        // Of a run that was killed.
        bridge::commit(nft, &Ruleset::default(), &bridge::owned(self))?;
        let without_fib = if applied.without_fib { self.without_fib() } else { None };
        let ours = without_fib.as_ref().unwrap_or(self);
        let (removed, counters) = remove_others(nft, ours.desired()).map_err(MigrateError::old_rules_stay)?;
        self.remove_network_of_others(routes, &removed)?;
        Ok(Migrated { applied, removed, counters })
    }

    /// The bridge comes, iptables' rules go, ours come, and what they replace goes with that; the bridge goes last.
    fn migrate_over_bridge(
        &self,
        nft: &mut Socket,
        routes: &mut RouteSocket,
    ) -> Result<Migrated, MigrateError> {
        let (rules, owned) = (bridge::ruleset(self), bridge::owned(self));
        let mut added = Network::default();
        let network = self.network.possible_here(routes)?;
        let bridged = network.add(routes, &mut added).map_err(MigrateError::from).and_then(|()| {
            bridge::commit(nft, &rules, &owned)?;
            grace_period(nft)?;
            remove_others(nft, Desired::new(&rules, &owned))
        });
        let (removed, counters) = match bridged {
            Ok(done) => done,
            Err(error) => {
                // As before: the old rules remain. What cannot be taken back does no harm.
                let _ = bridge::commit(nft, &Ruleset::default(), &owned);
                let _ = added.remove(routes, &mut Network::default());
                return Err(error);
            }
        };
        let applied = bridge::without(self).apply(nft, routes, Counters::Keep);
        let applied = applied.map_err(MigrateError::only_bridge)?;
        grace_period(nft)?;
        bridge::commit(nft, &Ruleset::default(), &owned).map_err(MigrateError::bridge_stays)?;
        self.remove_network_of_others(routes, &removed)?;
        Ok(Migrated { applied, removed, counters })
    }

    /// What iptables' rules needed of the network, and ours do not.
    fn remove_network_of_others(
        &self,
        routes: &mut RouteSocket,
        removed: &[Leftover],
    ) -> Result<(), MigrateError> {
        if !removed.is_empty() {
            self.owned_network.without(&self.network).remove(routes, &mut Network::default())?;
        }
        Ok(())
    }
}

/// Removes iptables' rules, in a generation in which these are in place.
fn remove_others(nft: &mut Socket, desired: Desired<'_>) -> Result<(Vec<Leftover>, Readings), MigrateError> {
    retry(|| {
        let ours = Plan::read(nft, desired)?;
        if !ours.is_empty() {
            return Err(MigrateError::NotInPlace);
        }
        let (generation, leftovers) = leftovers::read(nft)?;
        if generation != ours.generation() {
            return Err(Error::GenerationChanged.into());
        }
        if !leftovers.is_empty() {
            nft.commit(&mut leftovers::removal(generation, &leftovers))?;
        }
        let counters = plan::readings(&leftovers);
        Ok((leftovers.into_iter().map(|(leftover, _)| leftover).collect(), counters))
    })
}
