//! Why a command failed: an error of the library, and the exit code for it.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use nftwire::io_text;
use serde_json::Value as Json;

use super::flag::UsageError;
use super::log::Log;
use super::remedy;
use crate::diagnostic::{Explain, Explanation};

/// Exit code for a wrong command line or environment.
pub(super) const USAGE: u8 = 2;

/// An error on its way to standard error. Whatever has no exit code of its own ends with 1.
#[derive(Debug)]
pub(super) struct Failure {
    error: Box<dyn Explain + Send + Sync>,
    exit_code: u8,
}

impl<E: Explain + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error, 1)
    }
}

/// Wrong usage, unless what the setting asks for cannot be had.
impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Self {
        let exit_code = if error.is_usage { USAGE } else { 1 };
        Self::new(UnusableSettingError(error), exit_code)
    }
}

/// It has its own exit code, so that it is not made a failure as other errors are.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct UnusableSettingError(UsageError);

impl Explain for UnusableSettingError {
    fn explanation(&self) -> Explanation {
        self.0.explanation()
    }
}

impl Failure {
    pub(super) fn new(error: impl Explain + Send + Sync + 'static, exit_code: u8) -> Self {
        Self { error: Box::new(error), exit_code }
    }

    /// The same, saying where it happened.
    pub(super) fn at(self, location: &str) -> Self {
        let Self { error, exit_code } = self;
        Self::new(LocatedError { location: location.to_owned(), error }, exit_code)
    }

    /// With what to type.
    fn explanation(&self) -> Explanation {
        remedy::with_words(self.error.explanation())
    }

    /// What is wrong.
    pub(super) fn text(&self) -> String {
        self.error.to_string()
    }

    /// As an object, see [`Explanation::to_json`].
    pub(super) fn to_json(&self) -> Json {
        self.explanation().to_json(&self.error.to_string()).0
    }

    /// Says it; returns the exit code.
    pub(super) fn report(&self, log: Log) -> ExitCode {
        log.failure(&self.error.to_string(), &self.explanation());
        ExitCode::from(self.exit_code)
    }
}

/// An error, and where it happened.
#[derive(Debug, thiserror::Error)]
#[error("{location}: {error}")]
struct LocatedError {
    location: String,
    error: Box<dyn Explain + Send + Sync>,
}

impl Explain for LocatedError {
    fn explanation(&self) -> Explanation {
        self.error.explanation().at("netns", self.location.as_str())
    }
}

/// The exit code of a command that has ended; a failure is said first.
pub(super) fn end(result: Result<ExitCode, impl Into<Failure>>, log: Log) -> ExitCode {
    result.unwrap_or_else(|failure| failure.into().report(log))
}

/// Standard output took no more.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the result to standard output: {}", io_text(.0))]
pub(super) struct NotWrittenError(io::Error);

impl From<io::Error> for NotWrittenError {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

/// Writes the result to standard output, whole. In no command is a reader that has seen enough an error: `meshwire list |
/// head`.
pub(super) fn write_result(result: &str) -> Result<(), NotWrittenError> {
    write_part(result).map(|_| ())
}

/// Writes a part of the result to standard output, at once: false where nobody reads any more.
pub(super) fn write_part(part: &str) -> Result<bool, NotWrittenError> {
    let mut out = io::stdout().lock();
    match out.write_all(part.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true)?),
    }
}

impl Explain for NotWrittenError {
    fn explanation(&self) -> Explanation {
        self.0.explanation()
    }
}
