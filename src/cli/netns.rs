//! The network namespace in which a command works: that of `--netns`, or the one that it was started in.

use nftwire::NamespaceError;

use super::action::refuse_host_network;
use super::failure::Failure;
use super::flag::shared::NETNS;
use super::flag::{Given, Values};
use super::pod::{self, POD};
use super::pod_spec::PodSpec;
use crate::diagnostic::{Explain, Explanation};
use crate::netns::named;
use crate::preflight::{Host, is_initial_namespace};

/// A namespace that cannot be entered, and the setting that named it.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {error}")]
struct NoNamespaceError {
    origin: String,
    error: NamespaceError,
}

impl NoNamespaceError {
    /// `origin` is `--netns` or a setting of the same meaning; the file is named where the error itself does not name it.
    fn new(origin: &str, file: &str, error: NamespaceError) -> Self {
        let origin = match error {
            NamespaceError::Gone { .. }
            | NamespaceError::NoProcess { .. }
            | NamespaceError::NotANamespace { .. }
            | NamespaceError::Open { .. } => origin.to_owned(),
            _ => format!("{origin}: {file}"),
        };
        Self { origin, error }
    }
}

impl Explain for NoNamespaceError {
    fn explanation(&self) -> Explanation {
        self.error.explanation()
    }
}

/// The namespace that `--netns` or `--pod` names, which both do not.
pub(super) fn chosen(values: &Values<'_>) -> Result<Option<Given>, Failure> {
    match (values.read(&NETNS)?, pod::given(values)?) {
        (Some(netns), Some(pod)) => {
            Err(netns.fault(format_args!("{} names a network namespace, too", pod.origin())).into())
        }
        (netns, pod) => Ok(netns.or(pod)),
    }
}

/// The namespace that `--pod` names, and what the node agent says that its rules are to be.
pub(super) fn chosen_with_settings(values: &Values<'_>) -> Result<Option<(Given, PodSpec)>, Failure> {
    match (values.read(&NETNS)?, values.read(&POD)?) {
        (Some(netns), Some(_)) => {
            Err(netns.fault(format_args!("--{} names a network namespace, too", POD.name())).into())
        }
        (_, pod) => pod.as_ref().map(pod::with_settings).transpose(),
    }
}

/// Does the work in the namespace that a setting names, or here without one.
///
/// What is opened inside is to be closed inside: an open socket would keep a deleted pod's namespace alive.
pub(super) fn inside<T: Send>(
    setting: Option<&Given>,
    work: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    match setting {
        Some(given) => named(&given.text)
            .and_then(|namespace| namespace.enter(work))
            .map_err(|error| NoNamespaceError::new(given.origin(), &given.text, error))?,
        None => work(),
    }
}

/// As [`inside`], and with `is_guarded` not where that is the machine's own network namespace.
pub(super) fn inside_pod<T: Send>(
    setting: Option<&Given>,
    is_guarded: bool,
    warn: impl FnOnce(&str),
    work: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    if is_guarded {
        let is_host = match setting {
            Some(given) => named(&given.text)
                .and_then(|namespace| match Host::query().is(&namespace) {
                    None => namespace.enter(is_initial_namespace),
                    known => Ok(known),
                })
                .map_err(|error| NoNamespaceError::new(given.origin(), &given.text, error))?,
            None => is_initial_namespace(),
        };
        refuse_host_network(is_host, warn)?;
    }
    inside(setting, work)
}
