//! Where a command that looks at the kernel looks: `--netns PATH|PID`, and the names of what is there.

use std::collections::HashMap;

use clap::Arg;
use nftwire::{Namespace, NamespaceError};
use nix::net::if_::if_nameindex;

use super::failure::Failure;
use super::settings::Given;

/// The flag's name.
pub(super) const NETNS: &str = "netns";

pub(super) fn netns() -> Arg {
    Arg::new(NETNS)
        .long(NETNS)
        .value_name("PATH|PID")
        .help("The network namespace: a file such as /var/run/netns/NAME, or a process in it")
}

/// A process by its number, or a namespace's file.
pub(super) fn namespace(netns: &str) -> Result<Namespace, NamespaceError> {
    match netns.parse() {
        Ok(pid) if netns.bytes().all(|byte| byte.is_ascii_digit()) => Namespace::from_pid(pid),
        _ => Namespace::from_path(netns),
    }
}

/// A namespace that cannot be entered, and the setting that named it.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {error}")]
struct NoNamespace {
    place: String,
    error: NamespaceError,
}

/// Does the work in the namespace whose file a setting names, or here without one.
///
/// What is opened inside is to be closed inside: an open socket would keep a deleted pod's namespace alive.
pub(super) fn inside<T: Send>(
    setting: Option<&Given>,
    work: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    match setting {
        Some(given) => Namespace::from_path(&given.text)
            .and_then(|namespace| namespace.enter(work))
            .map_err(|error| not_entered(given, error))?,
        None => work(),
    }
}

/// Names the setting, and the file where the error itself does not.
fn not_entered(given: &Given, error: NamespaceError) -> NoNamespace {
    let place = match error {
        NamespaceError::Gone { .. } | NamespaceError::Open { .. } => given.origin().to_owned(),
        _ => format!("{}: {}", given.origin(), given.text),
    };
    NoNamespace { place, error }
}

/// The names of the interfaces of the namespace that the thread is in, by their indices.
pub(super) fn interfaces() -> Result<HashMap<u32, String>, nix::Error> {
    let interfaces = if_nameindex()?;
    let named = |interface: &nix::net::if_::Interface| {
        (interface.index(), interface.name().to_string_lossy().into_owned())
    };
    Ok(interfaces.iter().map(named).collect())
}
