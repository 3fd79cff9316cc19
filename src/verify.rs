//! Whether the kernel still holds what an interception made, and what differs. Nothing is changed.

mod report;

use nftwire::{NamespaceError, Socket};

use crate::interception::Interception;
use crate::route::{Network, RouteError, RouteSocket};
use crate::ruleset::compile::NotCompiled;
use crate::ruleset::diff::{self, TableDifference};

/// Everything that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Tables, with what differs in them
    pub tables: Vec<TableDifference>,
    /// Addresses, policy rules and routes that are wanted, and not there
    pub missing_network: Network,
    /// Those that other settings of the profile need, and that are there
    pub extra_network: Network,
}

/// Why it cannot be told what differs.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The kernel answered EPERM: it lets nobody read rules without the privilege to change them.
    #[error(
        "cannot read the ruleset: CAP_NET_ADMIN is needed, for reading too, in the user namespace that owns this \
         network namespace; a pod gets it by securityContext.capabilities.add: [NET_ADMIN]"
    )]
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
    /// A wanted rule has something that only can be shown
    #[error(transparent)]
    NotCompiled(#[from] NotCompiled),
}

impl From<nftwire::Error> for VerifyError {
    fn from(error: nftwire::Error) -> Self {
        match error {
            nftwire::Error::Refused(refusal) if refusal.errno == nix::errno::Errno::EPERM as i32 => {
                Self::NotPermitted
            }
            error => Self::Read(error),
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
    wanted: &Interception,
    nft: &mut Socket,
    routes: &mut RouteSocket,
) -> Result<Differences, VerifyError> {
    let held = diff::read(nft, &wanted.layout)?;
    let tables = diff::compare(&wanted.ruleset, &held)?;
    let there = present(&wanted.possible_network, routes)?;
    let network = wanted.network.possible_here(routes)?;
    Ok(Differences {
        tables,
        missing_network: network.without(&there),
        extra_network: there.without(&network),
    })
}

/// The part of it that is there.
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
