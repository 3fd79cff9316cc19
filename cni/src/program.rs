//! Programming a pod's network namespace.

use std::net::IpAddr;

use meshwire::apply::{ApplyError, Counters};
use meshwire::diagnostic::Explain;
use meshwire::interception::Interception;
use meshwire::netns::{Namespace, NamespaceError, inside};
use meshwire::network::RouteError;
use meshwire::nftwire;

/// Why the rules could not be made. The pod must not be started.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The namespace, its addresses or its rules
    #[error("{}", with_help(.0))]
    Apply(ApplyError),
    /// No address decides whether there are rules for IPv6
    #[error(
        "the pod has no address but loopback and link local ones, so that it cannot be decided whether it is IPv4 or \
         IPv6: a plugin that gives it an address has to come before this one in the network's list"
    )]
    NoAddress,
}

impl From<ApplyError> for ProgramError {
    fn from(error: ApplyError) -> Self {
        Self::Apply(error)
    }
}

/// The error, and what to do, in one line: the runtime shows nothing else.
fn with_help(error: &ApplyError) -> String {
    match error.explanation().help {
        Some(help) => format!("{error}; {help}"),
        None => error.to_string(),
    }
}

impl From<NamespaceError> for ProgramError {
    fn from(error: NamespaceError) -> Self {
        Self::Apply(error.into())
    }
}

impl From<nftwire::Error> for ProgramError {
    fn from(error: nftwire::Error) -> Self {
        Self::Apply(error.into())
    }
}

impl From<RouteError> for ProgramError {
    fn from(error: RouteError) -> Self {
        Self::Apply(error.into())
    }
}

/// Programs what the addresses in the namespace lead to, on a thread that enters nothing but the network namespace and
/// then ends. Returns what is not as it should be nevertheless.
///
/// # Errors
/// Nothing was changed, unless the error says so.
pub(crate) fn program(
    netns: &str,
    interception: impl FnOnce(&[IpAddr]) -> Option<Interception> + Send,
) -> Result<Vec<String>, ProgramError> {
    let namespace = Namespace::from_path(netns)?;
    inside(&namespace, |nft, routes| {
        let addresses: Vec<_> =
            routes.interface_addresses()?.iter().map(|interface| interface.address).collect();
        let interception = interception(&addresses).ok_or(ProgramError::NoAddress)?;
        Ok(interception.apply(nft, routes, Counters::Reset)?.warnings())
    })
}
