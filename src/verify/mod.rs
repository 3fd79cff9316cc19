//! Whether the kernel still holds what an interception made, and what differs. Nothing is changed.

mod possible;
mod report;

use std::time::Duration;

use nftwire::{NamespaceError, Socket};
use nix::errno::Errno;

use crate::diagnostic::{self, Explain, Explanation};
use crate::interception::Interception;
use crate::leftovers::{self, Leftover};
use crate::network::{Network, RouteError, RouteSocket};
use nft_ruleset::nft::compile::NotCompiled;
use nft_ruleset::plan::{Counters, Plan, PlanError, TableDifference};
pub use possible::{PossibleDifferences, verify_possible};

/// Everything that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Tables, with what differs in them
    pub tables: Vec<TableDifference>,
    /// Addresses, policy rules and routes that are desired, but missing
    pub missing_network: Network,
    /// Those that other settings of the profile need, and that exist
    pub extra_network: Network,
    /// What iptables has left of a mesh's rules, where that is looked for
    pub leftovers: Vec<Leftover>,
}

/// Why the comparison failed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The kernel answered EPERM: it lets nobody read rules without the privilege to change them.
    #[error("cannot read the ruleset: {}", Errno::EPERM)]
    NotPermitted,
    /// The network namespace cannot be entered
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The ruleset cannot be read
    #[error("cannot read the ruleset: {0}")]
    Read(nftwire::Error),
    /// Addresses, policy rules or routes cannot be read
    #[error(transparent)]
    Route(#[from] RouteError),
    /// A desired rule has something that only can be shown
    #[error(transparent)]
    NotCompiled(#[from] NotCompiled),
    /// There is no plan, for a reason that [`PlanError`] did not know when this was written
    #[error(transparent)]
    Plan(PlanError),
}

impl From<nftwire::Error> for VerifyError {
    fn from(error: nftwire::Error) -> Self {
        match error {
            nftwire::Error::Refused(refusal) if refusal.errno == Errno::EPERM as i32 => Self::NotPermitted,
            error => Self::Read(error),
        }
    }
}

impl From<PlanError> for VerifyError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Read(error) => error.into(),
            PlanError::NotCompiled(error) => error.into(),
            error => Self::Plan(error),
        }
    }
}

impl Explain for VerifyError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::NotPermitted => diagnostic::not_permitted(),
            Self::Namespace(error) => error.explanation(),
            Self::Read(error) => error.explanation(),
            Self::Route(error) => error.explanation(),
            Self::NotCompiled(_) | Self::Plan(_) => Explanation::default(),
        }
    }
}

impl Differences {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What differs between the kernel and this interception.
///
/// The tables are read as of one generation; addresses, rules and routes have none, and are read one after the other.
///
/// # Errors
/// Reading failed.
pub fn verify(
    desired: &Interception,
    nft: &mut Socket,
    routes: &mut RouteSocket,
) -> Result<Differences, VerifyError> {
    compare(desired, nft, routes, false, READ_LIMIT)
}

/// How long a reading is sought that can be proven.
const READ_LIMIT: Duration = Duration::from_secs(10);

fn compare(
    desired: &Interception,
    nft: &mut Socket,
    routes: &mut RouteSocket,
    with_leftovers: bool,
    limit: Duration,
) -> Result<Differences, VerifyError> {
    let plan = Plan::read_for(nft, desired.desired(), Counters::Keep, limit)?;
    let tables = plan.differences()?;
    let leftovers = match plan.snapshot().chains_of_others() {
        _ if !with_leftovers => Vec::new(),
        Some(chains) => leftovers::among(chains)?,
        None => leftovers::find(nft)?,
    };
    let there = present(&desired.owned_network, routes)?;
    let network = desired.network.possible_here(routes)?;
    Ok(Differences {
        tables,
        missing_network: network.without(&there),
        extra_network: there.without(&network),
        leftovers,
    })
}

/// As [`verify`], with what iptables has left of a mesh's rules.
///
/// # Errors
/// As [`verify`].
pub(crate) fn verify_with_leftovers(
    desired: &Interception,
    nft: &mut Socket,
    routes: &mut RouteSocket,
) -> Result<Differences, VerifyError> {
    compare(desired, nft, routes, true, READ_LIMIT)
}

/// As [`verify`] or [`verify_with_leftovers`], for those who look again soon: a reading is sought for this long.
///
/// # Errors
/// As [`verify`].
pub(crate) fn verify_within(
    limit: Duration,
    with_leftovers: bool,
    desired: &Interception,
    nft: &mut Socket,
    routes: &mut RouteSocket,
) -> Result<Differences, VerifyError> {
    compare(desired, nft, routes, with_leftovers, limit)
}

/// The part of it that exists.
fn present(network: &Network, routes: &mut RouteSocket) -> Result<Network, RouteError> {
    let mut there = Network::default();
    for &address in &network.loopback_addresses {
        if routes.has_loopback_address(address)? {
            there.loopback_addresses.push(address);
        }
    }
    for rule in &network.rules {
        if routes.has_rule(rule)? {
            there.rules.push(*rule);
        }
    }
    for &route in &network.routes {
        if routes.has_local_route(route)? {
            there.routes.push(route);
        }
    }
    Ok(there)
}
