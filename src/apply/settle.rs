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
        let mut removed = Network::default();
        self.network.restore(routes)?;
        let result = self.leftover.remove(routes, &mut removed);
        // Whoever commits after this settles after this.
        if removed != Network::default() && self.is_replaced(nft) {
            removed.restore(routes)?;
        }
        result
    }

    /// Whether the kernel holds other rules by now. Where it cannot be read, nothing says so, and this run's commit counts:
    /// otherwise a reading that fails would leave what the run is to remove, and the run would report success.
    fn is_replaced(&self, nft: &mut Socket) -> bool {
        Plan::read(nft, self.desired).is_ok_and(|plan| !plan.is_empty())
    }
}
