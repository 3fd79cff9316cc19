//! What plans for many namespaces have in common.

use std::sync::OnceLock;

use super::fingerprint::{Fingerprint, desired_fingerprints};
use super::transaction::Compiled;
use crate::desired::Desired;
use crate::nft::compile::NotCompiled;
use crate::snapshot::Snapshot;

/// A desired state that is to be made in many namespaces: what depends on none of them is compiled once, by the first plan that
/// needs it. Threads can share one.
#[derive(Debug)]
pub struct Shared<'a> {
    desired: Desired<'a>,
    parts: Parts,
}

/// What was compiled so far.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// What the rules of each desired table's chains are to be
    fingerprints: OnceLock<Vec<Vec<Vec<Fingerprint>>>>,
    /// The transaction where no desired table exists
    pub(super) initial: OnceLock<Compiled>,
    /// What was read where it was found to be what is desired: what is read elsewhere need not be decoded where it is alike
    pub(super) held: OnceLock<Snapshot>,
}

/// What a plan is to reach: a [`Desired`], or one that is [`Shared`].
#[derive(Clone, Copy, Debug)]
pub struct Goal<'a> {
    pub(super) desired: Desired<'a>,
    pub(super) parts: Option<&'a Parts>,
}

impl<'a> Shared<'a> {
    /// Nothing is compiled yet.
    #[must_use]
    pub fn new(desired: Desired<'a>) -> Self {
        Self { desired, parts: Parts::default() }
    }
}

impl<'a> From<Desired<'a>> for Goal<'a> {
    fn from(desired: Desired<'a>) -> Self {
        Self { desired, parts: None }
    }
}

impl<'a> From<&'a Shared<'a>> for Goal<'a> {
    fn from(shared: &'a Shared<'a>) -> Self {
        Self { desired: shared.desired, parts: Some(&shared.parts) }
    }
}

impl<'a> Goal<'a> {
    /// What is desired.
    #[must_use]
    pub fn desired(self) -> Desired<'a> {
        self.desired
    }
}

impl Parts {
    pub(super) fn fingerprints(&self, desired: Desired<'_>) -> Result<&[Vec<Vec<Fingerprint>>], NotCompiled> {
        if let Some(made) = self.fingerprints.get() {
            return Ok(made);
        }
        let tables = desired.ruleset().tables.iter();
        let tables =
            tables.map(|table| table.chains.iter().map(|chain| desired_fingerprints(table, chain)).collect());
        let made = tables.collect::<Result<_, _>>()?;
        Ok(self.fingerprints.get_or_init(|| made))
    }
}
