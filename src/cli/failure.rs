//! Why a command failed: an error of the library, and the exit code that tells it.

use std::error::Error;
use std::process::ExitCode;

use super::USAGE;
use super::log::Log;
use super::settings::UsageError;

/// An error on its way to standard error. Whatever has no exit code of its own ends with 1.
#[derive(Debug)]
pub(super) struct Failure {
    error: Box<dyn Error + Send + Sync>,
    exit_code: u8,
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error, 1)
    }
}

impl Failure {
    pub(super) fn new(error: impl Error + Send + Sync + 'static, exit_code: u8) -> Self {
        Self { error: Box::new(error), exit_code }
    }

    /// A setting that cannot be used.
    pub(super) fn usage(error: UsageError) -> Self {
        let exit_code = if error.is_usage { USAGE } else { 1 };
        Self::new(error, exit_code)
    }

    /// The same, saying where it happened.
    pub(super) fn at(self, place: &str) -> Self {
        let Self { error, exit_code } = self;
        Self::new(At { place: place.to_owned(), error }, exit_code)
    }

    /// What is said of it.
    pub(super) fn text(&self) -> String {
        self.error.to_string()
    }

    /// Says it; returns the exit code.
    pub(super) fn report(&self, log: Log) -> ExitCode {
        log.error(&self.text());
        ExitCode::from(self.exit_code)
    }
}

/// An error, and where it happened.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {error}")]
struct At {
    place: String,
    error: Box<dyn Error + Send + Sync>,
}

/// The exit code of a command that has ended; a failure is said first.
pub(super) fn end(result: Result<ExitCode, impl Into<Failure>>, log: Log) -> ExitCode {
    result.unwrap_or_else(|failure| failure.into().report(log))
}
