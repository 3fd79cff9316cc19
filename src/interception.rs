//! What an interception needs of the kernel: rules, addresses, routes and policy rules.

use crate::network::Network;
use nft_ruleset::desired::{Desired, Owned};
use nft_ruleset::optimize::{Counting, optimize};
use nft_ruleset::{Expression, Rule, Ruleset, Selector, Statement};

/// Everything that an interception consists of, and everything that an earlier one may have left.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is changed before it is applied"]
pub struct Interception {
    /// The rules
    pub ruleset: Ruleset,
    /// What the rules need besides
    pub network: Network,
    /// Where the kernel holds a base chain of these tables that the ruleset has not, this is committed first: in one
    /// commit the old chain would go before the new one sees packets. Empty where no settings lead to such a chain
    pub handover: Ruleset,
    /// Every table that some settings of the profile need, besides those of the ruleset, and those of their sets that
    /// others fill, which stay with what is in them
    pub owned: Owned,
    /// What some settings of the profile need besides their rules
    pub owned_network: Network,
}

impl Interception {
    /// The ruleset, and nothing else in its tables and in those that are owned.
    #[must_use]
    pub fn desired(&self) -> Desired<'_> {
        Desired::new(&self.ruleset, &self.owned)
    }

    /// As [`Interception::desired`], for the handover.
    pub(crate) fn handed_over(&self) -> Desired<'_> {
        Desired::new(&self.handover, &self.owned)
    }

    /// The same, with the sets that others fill as its own: they go when they are not desired.
    pub fn without_kept_sets(mut self) -> Self {
        self.owned = self.owned.without_kept_sets();
        self
    }

    /// An empty desired state, which removes all of it.
    pub fn to_remove(&self) -> Self {
        let (ruleset, network, handover) = (Ruleset::default(), Network::default(), Ruleset::default());
        Self { ruleset, network, handover, ..self.clone() }
    }

    /// The same without the rules that take the expression `fib`, for a kernel that has none (CONFIG_NFT_FIB_INET);
    /// `None` where no rule takes it. Without them, DNS of guests is lost where DNS is intercepted.
    #[must_use]
    pub fn without_fib(&self) -> Option<Self> {
        let takes_fib = |rule: &Rule| {
            let is_fib = |statement: &Statement| {
                matches!(statement, Statement::Match { left: Expression::Selector(Selector::Fib(_)), .. })
            };
            rule.statements.iter().any(is_fib)
        };
        let mut other = self.clone();
        for table in &mut other.ruleset.tables {
            for chain in &mut table.chains {
                chain.rules.retain(|rule| !takes_fib(rule));
            }
        }
        (other.ruleset.rule_count() < self.ruleset.rule_count()).then_some(other)
    }

    /// The same with [optimized](optimize) rules, where it is said what counts in them.
    pub fn optimized(self, counting: Option<Counting>) -> Self {
        match counting {
            Some(counting) => Self { ruleset: optimize(&self.ruleset, counting), ..self },
            None => self,
        }
    }
}
