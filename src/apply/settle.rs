//! The network after the commit. Rules are one transaction, routes and addresses are not part of it: between the
//! routes of this run and its rules, another run that did not wait can have removed the routes, or have replaced the rules afterwards. So
//! each run looks again after its commit, and the run whose rules are in force decides.

use nftwire::Socket;

use crate::network::{Network, RouteError, RouteSocket};
use nft_ruleset::desired::Desired;
use nft_ruleset::plan::Plan;

/// What a run has committed.
pub(super) struct Committed<'a> {
    /// The tables that it made, and all that it may have made
    pub(super) desired: Desired<'a>,
    /// What they need besides
    pub(super) network: &'a Network,
    /// What other settings need
    pub(super) leftover: &'a Network,
    /// Whether others that take the lock waited meanwhile
    pub(super) alone: bool,
}

impl Committed<'_> {
    /// Adds of the network what is gone again, and removes what is left over, unless the rules are another run's by now.
    ///
    /// # Errors
    /// The first one. What is desired is added first, so that a leftover that cannot be removed costs nothing.
    pub(super) fn settle(&self, nft: &mut Socket, routes: &mut RouteSocket) -> Result<(), RouteError> {
        if !self.alone && self.is_replaced(nft) {
            return Ok(());
        }
        let mut restored = Network::default();
        self.network.restore(routes, &mut restored)?;
        self.finish(nft, routes, &restored)
    }

    /// The same where the network was looked at after the rules, and what was missing of it is `restored`.
    ///
    /// # Errors
    /// As [`Committed::settle`].
    pub(super) fn finish(
        &self,
        nft: &mut Socket,
        routes: &mut RouteSocket,
        restored: &Network,
    ) -> Result<(), RouteError> {
        let mut removed = Network::default();
        let result = self.leftover.remove(routes, &mut removed);
        // Whoever commits after this settles after this.
        if removed != Network::default() && self.is_replaced(nft) {
            removed.restore(routes, &mut Network::default())?;
        }
        if *restored != Network::default() {
            self.take_back(nft, routes, restored)?;
        }
        result
    }

    /// Removes again what was restored, where it was missing because a removal was faster: then no table is left that needs it.
    /// Whoever makes one afterwards settles afterwards.
    fn take_back(
        &self,
        nft: &mut Socket,
        routes: &mut RouteSocket,
        restored: &Network,
    ) -> Result<(), RouteError> {
        if !self.is_gone(nft) {
            return Ok(());
        }
        let mut removed = Network::default();
        restored.remove(routes, &mut removed)?;
        if self.is_gone(nft) { Ok(()) } else { removed.restore(routes, &mut Network::default()) }
    }

    /// Whether the kernel is known to hold none of the tables.
    fn is_gone(&self, nft: &mut Socket) -> bool {
        Plan::read(nft, self.desired).is_ok_and(|plan| !plan.replaces())
    }

    /// Whether the kernel holds other rules by now. Where it cannot be read, nothing says so, and this run's commit counts:
    /// otherwise a reading that fails would leave what the run is to remove, and the run would report success.
    fn is_replaced(&self, nft: &mut Socket) -> bool {
        Plan::read(nft, self.desired).is_ok_and(|plan| !plan.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use nft_ruleset::Ruleset;
    use nft_ruleset::desired::Owned;

    use super::*;
    use crate::network::{Family, PolicyRule};

    #[test]
    fn what_a_removal_has_removed_is_not_restored() {
        meshwire_testkit::in_new_namespace(|| {
            let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
            let rule = PolicyRule { family: Family::V4, mark: 7, mask: None, priority: None, table: 133 };
            let network = Network { rules: vec![rule], ..Network::default() };
            let table = nft_ruleset::Table::new(nft_ruleset::Family::Inet, "t");
            let (ruleset, owned) = (Ruleset { tables: vec![table] }, Owned::default());
            let desired = Desired::new(&ruleset, &owned);
            let committed =
                Committed { desired, network: &network, leftover: &Network::default(), alone: false };
            let exists = |routes: &mut RouteSocket| {
                let mut added = Network::default();
                network.restore(routes, &mut added).unwrap();
                added.remove(routes, &mut Network::default()).unwrap();
                added == Network::default()
            };
            // Between the look at the tables and the look at the rules, a removal has removed both.
            network.add(&mut routes, &mut Network::default()).unwrap();
            committed.take_back(&mut nft, &mut routes, &network).unwrap();
            assert!(!exists(&mut routes));
            // Somebody else's tables, or ours, need them.
            let plan = Plan::from_nothing(desired).unwrap();
            let mut transaction = plan.transaction(nft_ruleset::plan::Counters::Reset).unwrap();
            nft.commit(transaction.batch()).unwrap();
            committed.settle(&mut nft, &mut routes).unwrap();
            assert!(exists(&mut routes));
        });
    }
}
