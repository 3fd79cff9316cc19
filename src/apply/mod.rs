//! Applies and removes an interception: addresses and policy routing first, then the ruleset in one commit.
//!
//! Packets that are marked need their route before the first one is marked, so the network comes first. Where the rules are
//! found to be in force, nothing is sent, and the network is looked at once, after them. When the kernel refuses anything, what
//! this run has added is taken back, and nothing else.

mod ambient;
mod applied;
mod prepared;
mod settle;

use std::time::Duration;

use nftwire::{Commit, NamespaceError, Refusal, Socket};
use nix::errno::Errno;
use serde_json::json;

use crate::diagnostic::{self, Explain, Explanation, Remedy};
use crate::interception::Interception;
use crate::json::JsonValue;
use crate::leftovers;
use crate::network::{Lock, Network, RouteError, RouteSocket};
use crate::retry::{LostRace, retry, retry_for};
pub use applied::Applied;
pub(crate) use applied::WITHOUT_FIB;
use nft_ruleset::desired::Desired;
use nft_ruleset::nft::compile::NotCompiled;
pub use nft_ruleset::plan::Counters;
use nft_ruleset::plan::{Comparison, Goal, Plan, PlanError, Subject, Transaction};
use nft_ruleset::validate::{Invalid, structure, validate};
use nft_ruleset::{Family, Ruleset};
use nftwire::feature::Feature;
pub use prepared::Prepared;
use settle::Committed;

/// How long a run retries until a generation lasts from the reading to the commit.
const EXACT: Duration = Duration::from_secs(2);

/// How long a run retries until a reading is proven, where rules are to be kept.
const PROVEN: Duration = Duration::from_secs(5);

/// Why an interception was not applied, checked or removed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The ruleset is wrong in itself. Nothing was changed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The ruleset has something that can only be listed. Nothing was changed.
    #[error(transparent)]
    NotCompiled(#[from] NotCompiled),
    /// There is no plan, for a reason that [`PlanError`] did not know when this was written. Nothing was changed.
    #[error(transparent)]
    Plan(PlanError),
    /// The network namespace cannot be entered. Nothing was changed.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// An address, a policy rule or a route could not be changed. What this run had added was removed again.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The kernel refused the ruleset. Nothing was changed.
    #[error("{}", refused(.subject.as_deref(), .refusal))]
    Refused {
        /// The refused object, as the user knows it
        subject: Option<Box<Subject>>,
        /// The feature that it needs and that a kernel may lack
        feature: Option<&'static Feature>,
        /// The kernel's reply
        refusal: Box<Refusal>,
    },
    /// The ruleset could not be sent or read. With [`nftwire::Error::Receive`] and
    /// [`nftwire::Error::Unconfirmed`], it is not known whether it was applied.
    #[error("nf_tables: {0}")]
    Netlink(nftwire::Error),
    /// The ruleset is applied or removed, but an address, a policy rule or a route of an earlier run could not be removed.
    #[error("the rules are {done}, but routes or addresses of an earlier run could not be removed: {error}")]
    Leftover {
        /// `applied` or `removed`
        done: &'static str,
        /// What could not be removed, and why
        error: RouteError,
    },
    /// The ruleset is removed, but not what iptables may have left in its place.
    #[error("the rules are removed, but not what iptables may have left: {0}")]
    LeftoversOfOthers(nftwire::Error),
    /// The ruleset is applied, but other writers were active, and it could neither be verified nor written again.
    #[error("the rules are applied, but could not be read back: {0}")]
    Unproven(Box<ApplyError>),
    /// Removing what this run had added failed, too.
    #[error("{error}; and what was added before could not be removed: {undo}")]
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
            Self::NotCompiled(_) | Self::Plan(_) => Explanation::default(),
            Self::Namespace(error) => error.explanation(),
            Self::Route(error) | Self::Leftover { error, .. } => error.explanation(),
            Self::Netlink(error) | Self::LeftoversOfOthers(error) => error.explanation(),
            Self::Unproven(error) => error.explanation(),
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
                        explanation =
                            explanation.at("rule", JsonValue(json!({ "number": index + 1, "text": text })));
                    }
                }
                explanation
            }
            Self::NotUndone { error, undo } => error
                .explanation()
                .at("left", undo.explanation().location())
                .help("routes and addresses that this run added remain")
                .remedy(Remedy::CleanUp),
        }
    }
}

impl Prepared<'_> {
    fn apply_all(
        &self,
        nft: &mut Socket,
        routes: &mut RouteSocket,
        counters: Counters,
    ) -> Result<Applied, ApplyError> {
        self.validate()?;
        let interception = self.interception();
        let (lock, without_lock) = Lock::take_or_reason(routes);
        let network = interception.network.possible_here(routes)?;
        let (mut is_added, mut added) = (false, Network::default());
        let mut add = || -> Result<(), RouteError> {
            if !is_added {
                network.add(routes, &mut added)?;
                is_added = true;
            }
            Ok(())
        };
        let committed = commit_all(nft, interception, self.goal(), counters, lock.as_ref(), &mut add);
        let result = committed.and_then(|committed| {
            // The rules were in force, so the network most likely is, too.
            let restored = if is_added { Ok(()) } else { network.restore(routes, &mut added) };
            restored.map(|()| committed).map_err(ApplyError::from)
        });
        match result {
            Ok((applied, replaces)) => {
                let owned = &interception.owned_network;
                let leftover =
                    if replaces { owned.without(&interception.network) } else { Network::default() };
                let committed = Committed {
                    desired: interception.desired(),
                    network: &network,
                    leftover: &leftover,
                    alone: lock.is_some(),
                };
                let settled = match is_added {
                    true => committed.settle(nft, routes),
                    false => committed.finish(nft, routes, &added),
                };
                settled.map_err(still_there("applied"))?;
                Ok(Applied { without_lock, ..applied })
            }
            Err(error) if error.outcome_is_unknown() => Err(error),
            Err(error) => match added.remove(routes, &mut Network::default()) {
                Ok(()) => Err(error),
                Err(undo) => Err(ApplyError::NotUndone { error: Box::new(error), undo }),
            },
        }
    }
}

impl Interception {
    fn check_all(&self, nft: &mut Socket) -> Result<Commit, ApplyError> {
        validate(&self.ruleset)?;
        retry(|| {
            let plan = Plan::read_for(nft, self.desired(), Counters::Reset, EXACT)?;
            let mut transaction = plan.transaction(Counters::Reset)?;
            let checked = nft.check(transaction.batch());
            checked.map_err(|error| explain(&transaction, error))
        })
    }

    /// Removes all of it: the owned tables, then routes, policy rules and addresses. What no longer exists is skipped.
    ///
    /// # Errors
    /// As [`Interception::apply`]; what was removed before the failure stays removed.
    pub fn remove(&self, nft: &mut Socket, routes: &mut RouteSocket) -> Result<Applied, ApplyError> {
        let (lock, without_lock) = Lock::take_or_reason(routes);
        let (nothing, owned) = (Ruleset::default(), self.owned.clone().and(&self.ruleset));
        let desired = Desired::new(&nothing, &owned);
        let (applied, _) = commit(nft, desired.into(), Counters::Reset, None, &mut nothing_else)?;
        let committed = Committed {
            desired,
            network: &Network::default(),
            leftover: &self.owned_network,
            alone: lock.is_some(),
        };
        committed.settle(nft, routes).map_err(still_there("removed"))?;
        Ok(Applied { without_lock, ..applied })
    }
}

impl ApplyError {
    /// The same, and where in the ruleset, if something of it cannot be compiled.
    fn located(self, ruleset: &Ruleset) -> Self {
        match self {
            Self::NotCompiled(_) => validate(ruleset).map_or_else(Self::from, |()| self),
            _ => self,
        }
    }

    /// Whether the kernel may have applied the ruleset nevertheless.
    #[must_use]
    pub fn outcome_is_unknown(&self) -> bool {
        matches!(
            self,
            Self::Netlink(nftwire::Error::Receive(_) | nftwire::Error::Unconfirmed) | Self::Unproven(_)
        )
    }
}

impl LostRace for ApplyError {
    fn is_lost_race(&self) -> bool {
        match self {
            Self::Netlink(error) => error.is_lost_race(),
            // What goes is gone already, or what comes exists: others were faster.
            Self::Refused { subject: Some(subject), refusal, .. } => {
                let is = |errno: Errno| refusal.errno == errno as i32;
                if subject.is_removal { is(Errno::ENOENT) || is(Errno::EBUSY) } else { is(Errno::EEXIST) }
            }
            _ => false,
        }
    }
}

impl From<PlanError> for ApplyError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Read(error) => error.into(),
            PlanError::NotCompiled(error) => error.into(),
            error => Self::Plan(error),
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

/// Applies the rules of an interception that needs no routes or addresses.
///
/// # Errors
/// As [`Interception::apply`].
pub(crate) fn apply_ruleset(
    nft: &mut Socket,
    interception: &Interception,
    counters: Counters,
) -> Result<Applied, ApplyError> {
    structure(&interception.ruleset)?;
    let goal = interception.desired().into();
    Ok(commit_all(nft, interception, goal, counters, None, &mut nothing_else)?.0)
}

/// Brings about what rules need before the first of them is sent.
type Needs<'a> = &'a mut dyn FnMut() -> Result<(), RouteError>;

fn nothing_else() -> Result<(), RouteError> {
    Ok(())
}

/// As [`commit`], in two commits where a base chain has a successor. What cannot be compiled is an error that says where it is.
fn commit_all(
    nft: &mut Socket,
    interception: &Interception,
    goal: Goal<'_>,
    counters: Counters,
    lock: Option<&Lock>,
    needs: Needs<'_>,
) -> Result<(Applied, bool), ApplyError> {
    if retry(|| holds_predecessor(nft, interception))? {
        // The second commit may not fail where the first one did not.
        validate(&interception.handover)?;
        validate(&interception.ruleset)?;
        commit(nft, interception.handed_over().into(), Counters::Keep, None, needs)?;
    }
    commit(nft, goal, counters, lock, needs).map_err(|error| error.located(&interception.ruleset))
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

/// Returns whether desired or owned tables existed before, too. With the lock, nobody else makes some at the same
/// time. `needs` is called before a transaction is sent, and not where none is needed.
fn commit(
    nft: &mut Socket,
    goal: Goal<'_>,
    counters: Counters,
    lock: Option<&Lock>,
    needs: Needs<'_>,
) -> Result<(Applied, bool), ApplyError> {
    if lock.is_some()
        && let Some(plan) = Plan::initial(nft, goal)?
    {
        match send(nft, &plan, Counters::Reset, needs) {
            // Somebody without the lock, such as nft, made one of the tables meanwhile.
            Err(error) if error.is_lost_race() => {}
            sent => {
                let (commit, _) = sent?;
                let may_have_leftovers = plan
                    .other_families()
                    .is_none_or(|families| families.iter().copied().any(leftovers::is_of_iptables));
                return Ok((Applied { may_have_leftovers, ..commit.into() }, false));
            }
        }
    }
    let limit = if counters == Counters::Keep { PROVEN } else { EXACT };
    let sent = retry_for(limit, || -> Result<_, ApplyError> {
        let plan = match counters {
            Counters::Reset => Plan::read_for(nft, goal, counters, limit)?,
            Counters::Keep => match Plan::compare_for(nft, goal, limit)? {
                // What is proven to hold needs no transaction, and no second proof.
                Comparison::Held { replaces } => return Ok((Commit::default().into(), 0, replaces)),
                Comparison::Differs(plan) => *plan,
            },
        };
        let (commit, kept) = send(nft, &plan, counters, needs)?;
        let emptied = plan.emptied().map(|(family, name)| (family, name.clone())).collect();
        Ok((Applied { emptied, ..commit.into() }, kept, plan.replaces()))
    });
    let mut is_applied = sent.is_ok();
    match sent {
        Ok((applied, kept, replaces)) => {
            if kept == 0 || holds(nft, goal) {
                return Ok((applied, replaces));
            }
        }
        // Where many commit, each waits for the others, and no generation lasts until a commit; where many check, no
        // reading can be proven. Where all rules are new, what was read matters little.
        Err(ApplyError::Netlink(error)) if error.is_lost_race() => {}
        Err(error) => return Err(error),
    }
    let rewritten = retry(|| -> Result<_, ApplyError> {
        let plan = Plan::rewrite(nft, goal)?;
        let (commit, _) = send(nft, &plan, Counters::Reset, needs)?;
        is_applied = true;
        // The commit keeps what other writers added after the reading.
        if Plan::rewrite(nft, goal)?.has_undesired() {
            return Err(nftwire::Error::GenerationChanged.into());
        }
        Ok((commit, plan.replaces()))
    });
    let unproven = |error| if is_applied { ApplyError::Unproven(Box::new(error)) } else { error };
    let (commit, replaces) = rewritten.map_err(unproven)?;
    Ok((Applied { lost_counters: counters == Counters::Keep, ..commit.into() }, replaces))
}

/// Whether the kernel is known to hold what is desired.
fn holds(nft: &mut Socket, goal: Goal<'_>) -> bool {
    matches!(Plan::compare_for(nft, goal, PROVEN), Ok(Comparison::Held { .. }))
}

/// Returns how many rules stayed, too.
fn send(
    nft: &mut Socket,
    plan: &Plan<'_>,
    counters: Counters,
    needs: Needs<'_>,
) -> Result<(Commit, usize), ApplyError> {
    let mut transaction = plan.transaction(counters)?;
    needs()?;
    let committed = nft.commit(transaction.batch());
    let kept = transaction.kept_rules();
    committed.map(|commit| (commit, kept)).map_err(|error| explain(&transaction, error))
}

fn still_there(done: &'static str) -> impl FnOnce(RouteError) -> ApplyError {
    move |error| ApplyError::Leftover { done, error }
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
