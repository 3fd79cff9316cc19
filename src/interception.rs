//! What a profile wants of the kernel: rules, and the network beside them.

use crate::network::Network;
use nft_ruleset::Ruleset;
use nft_ruleset::optimize::{Counting, optimize};

/// Everything that an interception consists of, and everything that an earlier one may have left.
#[derive(Clone, Debug, Default)]
pub struct Interception {
    /// The rules
    pub ruleset: Ruleset,
    /// What the rules need beside them
    pub network: Network,
    /// Every table and chain that some settings of the profile need, empty; and those of their sets that others fill,
    /// which stay with what is in them
    pub owned: Ruleset,
    /// What some settings of the profile need beside their rules
    pub owned_network: Network,
}

impl Interception {
    /// The same, with the sets that others fill as its own: they go when they are not desired.
    #[must_use]
    pub fn without_kept_sets(mut self) -> Self {
        for table in &mut self.owned.tables {
            table.sets.clear();
        }
        self
    }

    /// The same with [optimized](optimize) rules, where it is said what counts in them.
    #[must_use]
    pub fn optimized(self, counting: Option<Counting>) -> Self {
        match counting {
            Some(counting) => Self { ruleset: optimize(&self.ruleset, counting), ..self },
            None => self,
        }
    }
}
