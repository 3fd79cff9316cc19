//! For architectures that seccompiler does not know: `--lockdown` is refused before the run begins.

use std::convert::Infallible;

/// Why there is no filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no filter is known for {}", std::env::consts::ARCH)]
pub(in crate::cli) struct FilterError;

/// What to do about an error.
pub(super) fn help(_error: &FilterError) -> &'static str {
    "--lockdown=false does without"
}

/// There is none.
pub(super) struct Filter(Infallible);

impl Filter {
    pub(super) fn new(_validates: bool) -> Result<Self, FilterError> {
        Err(FilterError)
    }

    pub(super) fn install(&self) -> Result<(), FilterError> {
        match self.0 {}
    }
}
