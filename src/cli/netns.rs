//! The network namespace in which a command works: that of `--netns`, or the one that it was started in.

use nftwire::{Namespace, NamespaceError};

use super::failure::Failure;
use super::flag::Given;
use crate::diagnostic::{Explain, Explanation};

/// A namespace that cannot be entered, and the setting that named it.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {error}")]
struct NoNamespace {
    origin: String,
    error: NamespaceError,
}

impl NoNamespace {
    /// `origin` is `--netns` or a setting of the same meaning; the file is told where the error itself does not.
    fn new(origin: &str, file: &str, error: NamespaceError) -> Self {
        let origin = match error {
            NamespaceError::Gone { .. } | NamespaceError::Open { .. } => origin.to_owned(),
            _ => format!("{origin}: {file}"),
        };
        Self { origin, error }
    }
}

impl Explain for NoNamespace {
    fn explanation(&self) -> Explanation {
        self.error.explanation()
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
        Some(given) => namespace(&given.text)
            .and_then(|namespace| namespace.enter(work))
            .map_err(|error| NoNamespace::new(given.origin(), &given.text, error))?,
        None => work(),
    }
}

/// A process by its number, or a namespace's file.
pub(super) fn namespace(netns: &str) -> Result<Namespace, NamespaceError> {
    match netns.parse() {
        Ok(pid) if netns.bytes().all(|byte| byte.is_ascii_digit()) => Namespace::from_pid(pid),
        _ => Namespace::from_path(netns),
    }
}
