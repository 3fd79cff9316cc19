//! Making an interception true: addresses and policy routing first, then the ruleset in one commit; and back.
//!
//! Packets that are marked need their route before the first one is marked, so the network comes first. When the
//! kernel refuses anything, what this run has added is taken back, and nothing else.

mod ambient;
mod applied;
mod settle;

use std::time::Duration;

use nftwire::{Commit, NamespaceError, Refusal, Socket};
use nix::errno::Errno;
use serde_json::json;

use crate::diagnostic::{self, Explain, Explanation};
use crate::interception::Interception;
use crate::network::{Lock, Network, RouteError, RouteSocket};
use crate::retry::{self, LostRace, retry, retry_for};
pub use applied::Applied;
pub(crate) use applied::WITHOUT_FIB;
use nft_ruleset::nft::compile::NotCompiled;
use nft_ruleset::transaction::{Subject, Transaction};
use nft_ruleset::update::{Update, UpdateError, initial_transaction, update, update_any};
use nft_ruleset::validate::{Invalid, validate};
use nft_ruleset::{Family, Ruleset};
use nftwire::feature::Feature;
use settle::Committed;

/// How long a generation is sought that lasts from the reading to the commit.
const EXACT: Duration = Duration::from_secs(2);

/// What to do with the rules that the new ruleset has, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counters {
    /// All rules are new and count from zero
    Reset,
    /// Rules that do not change stay where they are, with their counters
    Keep,
}

/// Why an interception was not applied, checked or removed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The ruleset is wrong in itself. Nothing was changed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The ruleset has something that only can be shown. Nothing was changed.
    #[error(transparent)]
    NotCompiled(#[from] NotCompiled),
    /// The network namespace cannot be entered. Nothing was changed.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// An address, a policy rule or a route could not be changed. What this run had added is gone again.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The kernel refused the ruleset. Nothing was changed.
    #[error("{}", refused(.subject.as_deref(), .refusal))]
    Refused {
        /// What it refused, as the user knows it
        subject: Option<Box<Subject>>,
        /// What that takes that a kernel may lack
        feature: Option<&'static Feature>,
        /// Its answer
        refusal: Box<Refusal>,
    },
    /// The ruleset could not be sent or read. With [`nftwire::Error::Receive`] and
    /// [`nftwire::Error::Unconfirmed`], it is not known whether it was applied.
    #[error("nf_tables: {0}")]
    Netlink(nftwire::Error),
    /// The ruleset is applied or removed, but an address, a policy rule or a route of an earlier run is still there.
    #[error("the rules are {done}, but routes or addresses of an earlier run are still there: {error}")]
    Leftover {
        /// `applied` or `removed`
        done: &'static str,
        /// What is still there, and why
        error: RouteError,
    },
    /// Taking back what this run had added failed, too.
    #[error("{error}; and what was added before could not be taken back: {undo}")]
    NotUndone {
        /// The first failure
        error: Box<ApplyError>,
        /// The second
        undo: RouteError,
    },
}

fn refused(subject: Option<&Subject>, refusal: &Refusal) -> String {
    let what = subject.map_or_else(|| "the ruleset".to_owned(), ToString::to_string);
    let part = refusal.part().map_or_else(String::new, |part| format!("{part}: "));
    format!("the kernel refused {what}: {part}{}", refusal.reason())
}

impl Explain for ApplyError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::Invalid(invalid) => invalid.explanation(),
            Self::NotCompiled(_) => Explanation::default(),
            Self::Namespace(error) => error.explanation(),
            Self::Route(error) | Self::Leftover { error, .. } => error.explanation(),
            Self::Netlink(error) => error.explanation(),
            Self::Refused { subject, feature, refusal } => {
                let mut explanation = diagnostic::refused(refusal, *feature);
                if let Some(subject) = subject {
                    explanation = explanation
                        .at("family", subject.family.to_string())
                        .at("table", subject.table.to_string());
                    if let Some(set) = &subject.set {
                        explanation = explanation.at("set", set.to_string());
                    }
                    if let Some(chain) = &subject.chain {
                        explanation = explanation.at("chain", chain.to_string());
                    }
                    if let Some((index, text)) = &subject.rule {
                        explanation = explanation.at("rule", json!({ "number": index + 1, "text": text }));
                    }
                }
                explanation
            }
            Self::NotUndone { error, undo } => error.explanation().at("left", undo.explanation().place).help(
                "what this run had added of routes and addresses is still there: `--cleanup-only` removes it",
            ),
        }
    }
}

impl Interception {
    fn apply_all(
        &self,
        nft: &mut Socket,
        routes: &mut RouteSocket,
        counters: Counters,
    ) -> Result<Applied, ApplyError> {
        validate(&self.ruleset)?;
        let (lock, without_lock) = Lock::take_or_reason();
        let mut added = Network::default();
        let network = self.network.possible_here(routes)?;
        let result = network
            .add(routes, &mut added)
            .map_err(ApplyError::from)
            .and_then(|()| commit_all(nft, self, counters, lock.as_ref()));
        match result {
            Ok((commit, replaces)) => {
                let leftover =
                    if replaces { self.owned_network.without(&self.network) } else { Network::default() };
                let committed = Committed {
                    owned: &self.owned,
                    ruleset: &self.ruleset,
                    network: &network,
                    leftover: &leftover,
                    alone: lock.is_some(),
                };
                committed.settle(nft, routes).map_err(still_there("applied"))?;
                Ok(Applied { without_lock, ..commit.into() })
            }
            Err(error) if error.outcome_is_unknown() => Err(error),
            Err(error) => match added.remove(routes, &mut Network::default()) {
                Ok(()) => Err(error),
                Err(undo) => Err(ApplyError::NotUndone { error: Box::new(error), undo }),
            },
        }
    }

    fn check_all(&self, nft: &mut Socket) -> Result<Commit, ApplyError> {
        validate(&self.ruleset)?;
        retry(|| {
            let mut transaction = update(nft, &self.owned, &self.ruleset, false)?.transaction;
            let checked = nft.check(transaction.batch());
            checked.map_err(|error| explain(&transaction, error))
        })
    }

    /// Takes all of it away: the owned's tables, then the network. What is gone already is no error.
    ///
    /// # Errors
    /// As [`Interception::apply`]; what was removed before the failure stays removed.
    pub fn remove(&self, nft: &mut Socket, routes: &mut RouteSocket) -> Result<Applied, ApplyError> {
        let (lock, without_lock) = Lock::take_or_reason();
        let nothing = Ruleset::default();
        let (commit, _) = commit(nft, &self.owned, &nothing, Counters::Reset, None)?;
        let committed = Committed {
            owned: &self.owned,
            ruleset: &nothing,
            network: &Network::default(),
            leftover: &self.owned_network,
            alone: lock.is_some(),
        };
        committed.settle(nft, routes).map_err(still_there("removed"))?;
        Ok(Applied { without_lock, ..commit.into() })
    }
}

impl ApplyError {
    /// Whether the kernel may have applied the ruleset nevertheless.
    #[must_use]
    pub fn outcome_is_unknown(&self) -> bool {
        matches!(self, Self::Netlink(nftwire::Error::Receive(_) | nftwire::Error::Unconfirmed))
    }
}

impl LostRace for ApplyError {
    fn is_lost_race(&self) -> bool {
        matches!(self, Self::Netlink(error) if error.is_lost_race())
    }
}

impl From<UpdateError> for ApplyError {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::Read(error) => error.into(),
            UpdateError::NotCompiled(error) => error.into(),
        }
    }
}

impl From<nftwire::Error> for ApplyError {
    fn from(error: nftwire::Error) -> Self {
        match error {
            nftwire::Error::Refused(refusal) => Self::Refused { subject: None, feature: None, refusal },
            error => Self::Netlink(error),
        }
    }
}

/// Makes the rules so, for an interception that needs no network beside them.
///
/// # Errors
/// As [`Interception::apply`].
pub(crate) fn apply_ruleset(
    nft: &mut Socket,
    interception: &Interception,
    counters: Counters,
) -> Result<Commit, ApplyError> {
    validate(&interception.ruleset)?;
    Ok(commit_all(nft, interception, counters, None)?.0)
}

/// As [`commit`], in two commits where a base chain has a successor.
fn commit_all(
    nft: &mut Socket,
    interception: &Interception,
    counters: Counters,
    lock: Option<&Lock>,
) -> Result<(Commit, bool), ApplyError> {
    let Interception { ruleset, handover, owned, .. } = interception;
    if retry(|| holds_predecessor(nft, interception))? {
        validate(handover)?;
        commit(nft, owned, handover, Counters::Keep, None)?;
    }
    commit(nft, owned, ruleset, counters, lock)
}

/// Whether the kernel holds a base chain that the handover has and the ruleset has not.
fn holds_predecessor(nft: &mut Socket, interception: &Interception) -> Result<bool, ApplyError> {
    let mut found = false;
    if interception.handover.tables.is_empty() {
        return Ok(found);
    }
    nft.chains(Family::Unspec, |chain| {
        let is_in = |ruleset: &Ruleset| {
            let mut tables = ruleset.tables.iter();
            let table = tables.find(|table| table.family == chain.family && table.name == chain.table);
            table.is_some_and(|table| table.chains.iter().any(|desired| desired.name == chain.name))
        };
        found |= chain.base.is_some() && is_in(&interception.handover) && !is_in(&interception.ruleset);
        Ok(())
    })?;
    Ok(found)
}

/// Returns whether tables of the owned were there before, too. With a turn, nobody else makes some at the same time.
fn commit(
    nft: &mut Socket,
    owned: &Ruleset,
    desired: &Ruleset,
    counters: Counters,
    lock: Option<&Lock>,
) -> Result<(Commit, bool), ApplyError> {
    if lock.is_some()
        && let Some(mut transaction) = initial_transaction(nft, owned, desired)?
    {
        match nft.commit(transaction.batch()) {
            // Somebody without a turn, such as nft, made one of the tables meanwhile.
            Err(nftwire::Error::Refused(refusal)) if refusal.errno == Errno::EEXIST as i32 => {}
            committed => {
                return committed.map(|commit| (commit, false)).map_err(|error| explain(&transaction, error));
            }
        }
    }
    let attempt = |update: Update<'_>, nft: &mut Socket| {
        let Update { mut transaction, replaces } = update;
        let committed = nft.commit(transaction.batch());
        committed.map(|commit| (commit, replaces)).map_err(|error| explain(&transaction, error))
    };
    let keep = counters == Counters::Keep;
    let limit = if keep { retry::LIMIT } else { EXACT };
    match retry_for(limit, || attempt(update(nft, owned, desired, keep)?, nft)) {
        // Where many commit, each waits for the others, and no generation lasts until a commit. Rules that stay have to
        // be those that were read; where all are new, what was read matters little.
        Err(error) if error.is_lost_race() && !keep => {
            retry(|| attempt(update_any(nft, owned, desired)?, nft).map_err(gone_meanwhile))
        }
        result => result,
    }
}

fn still_there(done: &'static str) -> impl FnOnce(RouteError) -> ApplyError {
    move |error| ApplyError::Leftover { done, error }
}

/// What is to go is gone already: others were faster.
fn gone_meanwhile(error: ApplyError) -> ApplyError {
    const GONE: [i32; 2] = [Errno::ENOENT as i32, Errno::EBUSY as i32];
    match error {
        ApplyError::Refused { subject: Some(subject), refusal, .. }
            if subject.is_removal && GONE.contains(&refusal.errno) =>
        {
            ApplyError::Netlink(nftwire::Error::GenerationChanged)
        }
        error => error,
    }
}

/// Names the object that the kernel refused.
fn explain(transaction: &Transaction<'_>, error: nftwire::Error) -> ApplyError {
    match error {
        nftwire::Error::Refused(refusal) => {
            let expression = refusal.location.expression.as_ref().map(|(index, _)| *index);
            let subject = refusal.message.and_then(|message| transaction.subject(message)).map(Box::new);
            let feature = refusal.message.and_then(|message| transaction.feature(message, expression));
            ApplyError::Refused { subject, feature, refusal }
        }
        error => ApplyError::Netlink(error),
    }
}
