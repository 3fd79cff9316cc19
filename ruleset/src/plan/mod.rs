//! The difference between what the kernel holds and what is desired, to be shown or to be sent.
//!
//! A plan is made of a [`Snapshot`] and a [`Desired`]. [`Plan::differences`] shows it, [`Plan::transaction`] is the batch
//! after which the kernel holds what is desired. The batch requires the generation that was read; the caller starts over
//! when another writer was faster.
//!
//! Base chains stay. A packet reads the ruleset's generation once for each base chain that it crosses, so with kept base
//! chains it sees each one all old or all new. A base chain that is deleted and added again in one batch is registered
//! twice for a moment: a packet passes the new one while that is still empty, and then finds that the old one accepts
//! everything (`nf_remove_net_hook` in net/netfilter/core.c, Linux 6.18). So a base chain goes only where its type,
//! hook or priority is another.
//!
//! Where nothing exists nothing is deleted, and that makes a new pod's first commit fast: after a deletion the kernel
//! lets the socket's close wait for an RCU grace period (`nft_rcv_nl_event` in net/netfilter/nf_tables_api.c, Linux 6.18).
//! Where many rules of a chain go, and more than stay, all go: a deletion for each is quadratic in the kernel. So is reading
//! them: a table with thousands of rules that are not desired is emptied without a look at its rules.

mod current;
mod difference;
mod fingerprint;
mod listed;
mod matching;
mod shared;
mod transaction;

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::Duration;

use nftwire::{DecodeError, Error, Position, Query, Socket};

use self::current::{CurrentChain, CurrentSet, CurrentTable, Same};
pub use self::difference::{
    ChainDifference, ChangedChain, ChangedTable, KeptDifference, RuleDifference, SetDifference,
    TableDifference,
};
use self::fingerprint::{Fingerprint, desired_fingerprints};
use self::matching::matching;
use self::shared::Parts;
pub use self::shared::{Goal, Shared};
pub(crate) use self::transaction::add_anonymous_set;
pub use self::transaction::{Subject, Transaction};
use crate::desired::Desired;
use crate::model::statement::ObjectKind;
use crate::nft::compile::NotCompiled;
use crate::snapshot::{Depth, Scope, Snapshot};
use crate::{Chain, Family, Name, Table};

/// What to do with desired rules that exist already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counters {
    /// All rules are new and count from zero
    Reset,
    /// Rules that do not change stay where they are, with their counters
    Keep,
}

/// Why there is no plan: nothing else can be wrong with one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// What exists cannot be read
    #[error(transparent)]
    Read(#[from] Error),
    /// A rule has something that cannot be compiled
    #[error(transparent)]
    NotCompiled(#[from] NotCompiled),
}

impl From<DecodeError> for PlanError {
    fn from(error: DecodeError) -> Self {
        Self::Read(error.into())
    }
}

/// The difference between what the kernel holds and what is desired.
#[derive(Debug)]
#[must_use = "it does nothing before it is sent"]
pub struct Plan<'a> {
    desired: Desired<'a>,
    /// What it has in common with other plans
    parts: Option<&'a Parts>,
    snapshot: Snapshot,
    /// One for each table of the snapshot
    current: Vec<CurrentTable>,
    /// For each desired table and each of its chains, what exists of it
    matches: Vec<Vec<Option<Match<'a>>>>,
    /// Whether the snapshot has rules
    compared: bool,
    /// Whether the desired tables must not exist yet
    exclusive: bool,
    /// The families of the tables that are not the desired's, where they were listed
    other_families: Option<Vec<Family>>,
}

/// What the kernel holds, compared with what is desired.
#[derive(Debug)]
pub enum Comparison<'a> {
    /// It is what is desired
    Held {
        /// As [`Plan::replaces`] says it
        replaces: bool,
    },
    /// It is not
    Differs(Box<Plan<'a>>),
}

/// A desired chain that exists.
#[derive(Debug)]
struct Match<'a> {
    /// Its index among the table's current chains
    current: usize,
    /// What its rules are to be
    desired: Cow<'a, [Fingerprint]>,
    /// Which current rules are which desired ones
    pairs: Vec<(usize, usize)>,
}

impl<'a> Plan<'a> {
    /// Reads the current state and compares it.
    ///
    /// # Errors
    /// See [`PlanError`]; [`Error::GenerationChanged`] if no reading could be proven for 10 seconds.
    pub fn read(socket: &mut Socket, goal: impl Into<Goal<'a>>) -> Result<Self, PlanError> {
        let goal = goal.into();
        let snapshot = Snapshot::read(socket, Scope::Desired(goal.desired), Depth::Rules)?;
        Self::new(snapshot, goal, true)
    }

    /// As [`Plan::read`] for as long as `limit` says; with [`Counters::Reset`], rules are neither read nor compared. With
    /// [`Counters::Keep`] those of [crowded tables](Plan::emptied) are not: they are to go, and that needs no proof of what
    /// they are.
    ///
    /// # Errors
    /// As [`Plan::read`].
    pub fn read_for(
        socket: &mut Socket,
        goal: impl Into<Goal<'a>>,
        counters: Counters,
        limit: Duration,
    ) -> Result<Self, PlanError> {
        let goal = goal.into();
        let depth = if counters == Counters::Keep { Depth::KeptRules } else { Depth::Objects };
        let snapshot = Snapshot::read_within(socket, Scope::Desired(goal.desired), depth, limit)?;
        Self::new(snapshot, goal, depth == Depth::KeptRules)
    }

    /// As [`Plan::read_for`] with [`Counters::Keep`], where no plan is needed if it [is empty](Plan::is_empty). With a
    /// [`Shared`] goal only the first reading that holds what is desired is decoded, and those that differ from it by more
    /// than handles and counts.
    ///
    /// # Errors
    /// As [`Plan::read`].
    pub fn compare_for(
        socket: &mut Socket,
        goal: impl Into<Goal<'a>>,
        limit: Duration,
    ) -> Result<Comparison<'a>, PlanError> {
        let goal = goal.into();
        let snapshot = Snapshot::read_within(socket, Scope::Desired(goal.desired), Depth::KeptRules, limit)?;
        let held = goal.parts.map(|parts| &parts.held);
        if let Some(held) = held.and_then(OnceLock::get)
            && held.is_alike(&snapshot)?
        {
            return Ok(Comparison::Held { replaces: !snapshot.tables().is_empty() });
        }
        let plan = Self::new(snapshot, goal, true)?;
        if !plan.is_empty() {
            return Ok(Comparison::Differs(Box::new(plan)));
        }
        let replaces = plan.replaces();
        held.map(|held| held.get_or_init(|| plan.snapshot));
        Ok(Comparison::Held { replaces })
    }

    /// A plan that replaces everything in the desired tables, for any generation and without a proof: for when others disturb
    /// every reading, or change the ruleset so often that no generation lasts until a commit.
    ///
    /// What others change between this reading and the commit, and the transaction does not touch, stays as if they had
    /// done it after the commit: chains without their rules, sets and whole tables ([`Plan::has_undesired`]). Where they
    /// removed what it removes, the kernel refuses it with ENOENT.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn rewrite(socket: &mut Socket, goal: impl Into<Goal<'a>>) -> Result<Self, PlanError> {
        let goal = goal.into();
        let snapshot = Snapshot::read_unproven(socket, Scope::Desired(goal.desired), Depth::Objects)?;
        Self::new(snapshot, goal, false)
    }

    /// A plan for a namespace without any of the desired tables, as most new pods are; it takes one request. `None` where a desired table exists. The
    /// kernel refuses the transaction with EEXIST where a desired one has come meanwhile; that no other comes is for
    /// the caller to see to.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn initial(socket: &mut Socket, goal: impl Into<Goal<'a>>) -> Result<Option<Self>, PlanError> {
        let goal = goal.into();
        let (mut is_there, mut others) = (false, Vec::new());
        let read = socket.dump(Family::Unspec, Query::Tables, |received| {
            for message in received.messages() {
                let table = nftwire::Table::decode(&message?)?;
                is_there |= goal.desired.owns(table.family, table.name);
                others.push(table.family);
            }
            Ok(received.into_buffer())
        });
        match read {
            Ok(()) if !is_there => {
                Ok(Some(Self { other_families: Some(others), ..Self::from_nothing(goal)? }))
            }
            Ok(()) | Err(Error::GenerationChanged) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The same without that request: the kernel refuses the transaction with EEXIST where a desired table is.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn from_nothing(goal: impl Into<Goal<'a>>) -> Result<Self, PlanError> {
        let plan = Self::new(Snapshot::nothing(), goal.into(), true)?;
        Ok(Self { exclusive: true, ..plan })
    }

    fn new(snapshot: Snapshot, goal: Goal<'a>, compared: bool) -> Result<Self, PlanError> {
        let Goal { desired, parts } = goal;
        let tables = snapshot.tables().iter();
        let current: Vec<_> =
            tables.map(|table| CurrentTable::new(table, desired, compared)).collect::<Result<_, _>>()?;
        let mut matches = Vec::new();
        for (table_index, table) in desired.ruleset().tables.iter().enumerate() {
            let there = current.iter().find(|there| there.is_same_table(table));
            let chains = table.chains.iter().enumerate().map(|(index, chain)| match there {
                Some(there) if compared && !there.is_crowded => {
                    let shared = parts.map(|parts| parts.fingerprints(desired)).transpose()?;
                    let shared = shared.map(|tables| tables[table_index][index].as_slice());
                    Match::new(table, chain, &there.chains, shared)
                }
                _ => Ok(None),
            });
            matches.push(chains.collect::<Result<_, _>>()?);
        }
        let (exclusive, other_families) = (false, None);
        Ok(Self { desired, parts, snapshot, current, matches, compared, exclusive, other_families })
    }

    /// What was read.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The generation that was read; 0 where it is not known.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.snapshot.generation()
    }

    /// Whether any desired table exists now.
    #[must_use]
    pub fn replaces(&self) -> bool {
        !self.current.is_empty()
    }

    /// Whether the owned tables hold anything that the transaction deletes. Rules and the elements of sets are not compared.
    /// A plan that is read after the commit of a [rewriting](Plan::rewrite) one shows what other writers added before that commit.
    #[must_use]
    pub fn has_undesired(&self) -> bool {
        self.current.iter().any(|there| match self.desired_table(there) {
            Some(table) => there.has_undesired(table),
            None => !there.has_only_sets_that_stay(),
        })
    }

    fn desired_table(&self, there: &CurrentTable) -> Option<&'a Table> {
        self.desired.ruleset().tables.iter().find(|table| there.is_same_table(table))
    }

    /// The desired tables that the transaction empties without a comparison although counters are to be kept, because they
    /// are [crowded](crate::snapshot::TableSnapshot::is_crowded): all their rules are new and count from zero.
    pub fn emptied(&self) -> impl Iterator<Item = (Family, &Name)> {
        let is_desired = |there: &&CurrentTable| there.is_crowded && self.desired_table(there).is_some();
        self.current.iter().filter(is_desired).map(|there| (there.family, &there.name))
    }

    /// The families of the tables that are not the desired's; `None` where they were not listed, as only [`Plan::initial`]
    /// does. What is missing from it does not exist: a list of one part gets shorter only at places after its first.
    #[must_use]
    pub fn other_families(&self) -> Option<&[Family]> {
        self.other_families.as_deref()
    }

    /// The transaction after which the desired tables hold exactly what is desired.
    ///
    /// # Errors
    /// A rule has something that cannot be compiled.
    pub fn transaction(&self, counters: Counters) -> Result<Transaction<'a>, NotCompiled> {
        let desired = self.desired.ruleset();
        // Where nothing exists, all namespaces are alike.
        let initial = self.parts.filter(|_| self.exclusive).map(|parts| &parts.initial);
        if let Some(compiled) = initial.and_then(OnceLock::get) {
            return Ok(compiled.transaction(desired));
        }
        let mut transaction = Transaction::new(desired, self.generation());
        let goes =
            |there: &&CurrentTable| self.desired_table(there).is_none_or(|table| there.comes_anew(table));
        for table in self.current.iter().filter(goes) {
            let subject = Subject::table(table.family, &table.name);
            if self.desired_table(table).is_some() || !table.named_sets.iter().any(|set| set.stays) {
                transaction.remove(subject, |batch| batch.del_table(table.family, &table.name));
            } else {
                transaction.remove(subject, |batch| batch.flush_table(table.family, &table.name));
                remove_all_but(&mut transaction, table, &[], false);
            }
        }
        for (index, table) in desired.tables.iter().enumerate() {
            let there =
                self.current.iter().filter(|there| !goes(there)).find(|there| there.is_same_table(table));
            if self.exclusive {
                transaction.create_table(index)?;
            } else {
                transaction.add_table(index)?;
            }
            self.update_table(&mut transaction, index, there, counters)?;
        }
        if let Some(initial) = initial {
            initial.get_or_init(|| transaction.compiled());
        }
        Ok(transaction)
    }

    fn update_table(
        &self,
        transaction: &mut Transaction<'_>,
        table_index: usize,
        there: Option<&CurrentTable>,
        counters: Counters,
    ) -> Result<(), NotCompiled> {
        let table = &self.desired.ruleset().tables[table_index];
        let (family, name) = (table.family, &table.name);
        let replaces_used = there.is_some_and(|there| there.replaces_used(table));
        let keep_rules = counters == Counters::Keep
            && self.compared
            && !replaces_used
            && !there.is_some_and(|there| there.is_crowded);
        if there.is_some() && !keep_rules {
            transaction.remove(Subject::table(family, name), |batch| batch.flush_table(family, name));
        }
        let steps: Vec<_> = table
            .chains
            .iter()
            .zip(&self.matches[table_index])
            .map(|(chain, matched)| match (there, matched) {
                (Some(there), Some(matched)) if keep_rules => {
                    Steps::new(chain, &there.chains[matched.current], matched)
                }
                _ => Steps::all_new(chain.rules.len()),
            })
            .collect();

        // Rules go before the chains that they jump to.
        for (chain, steps) in table.chains.iter().zip(&steps) {
            let subject = || Subject::table(family, name).chain(&chain.name);
            if steps.flush {
                transaction.remove(subject(), |batch| batch.flush_chain(family, name, &chain.name));
            }
            for &handle in &steps.deleted {
                transaction.remove(subject(), |batch| batch.del_rule(family, name, &chain.name, handle));
            }
        }
        if let Some(there) = there {
            if keep_rules {
                for chain in there.chains_but(&table.chains).filter(|chain| !chain.handles.is_empty()) {
                    let subject = Subject::table(family, name).chain(&chain.name);
                    transaction.remove(subject, |batch| batch.flush_chain(family, name, &chain.name));
                }
            }
            remove_all_but(transaction, there, &table.chains, keep_rules);
        }
        // What is named comes before what names it: objects and chains before maps that lead there, all of them before rules.
        for object in 0..table.objects.len() {
            transaction.add_object(table_index, object)?;
        }
        for flowtable in 0..table.flowtables.len() {
            transaction.add_flowtable(table_index, flowtable);
        }
        for chain in 0..table.chains.len() {
            transaction.add_chain(table_index, chain)?;
        }
        for (index, set) in table.sets.iter().enumerate() {
            let same =
                there.filter(|_| keep_rules).map_or(Same::Nothing, |there| there.same_of_set(&set.name));
            match same {
                _ if there.is_some_and(|there| there.keeps(&set.name)) => {}
                Same::All => {}
                Same::Kind => transaction.add_elements(table_index, index)?,
                Same::Nothing => transaction.add_set(table_index, index)?,
            }
        }
        for (chain, steps) in steps.iter().enumerate() {
            for &(rule, place) in &steps.added {
                transaction.add_rule(table_index, chain, rule, place)?;
            }
            transaction.kept_rules += table.chains[chain].rules.len() - steps.added.len();
        }
        Ok(())
    }
}

impl<'a> Match<'a> {
    /// `shared` is what the rules are to be, where that is known.
    fn new(
        table: &Table,
        chain: &Chain,
        there: &[CurrentChain],
        shared: Option<&'a [Fingerprint]>,
    ) -> Result<Option<Self>, NotCompiled> {
        let Some(current) = there.iter().position(|there| there.name == chain.name) else { return Ok(None) };
        let desired = match shared {
            Some(shared) => Cow::Borrowed(shared),
            None => Cow::Owned(desired_fingerprints(table, chain)?),
        };
        let pairs = matching(&there[current].fingerprints, &desired);
        Ok(Some(Self { current, desired, pairs }))
    }
}

/// Removes what a table holds, except for these chains, the sets that stay and, with `keep`, what is desired as it is. No
/// rule uses any of it any more, and a map's elements, which may jump to a chain or lead to an object, go before that.
fn remove_all_but(transaction: &mut Transaction<'_>, there: &CurrentTable, chains: &[Chain], keep: bool) {
    let (family, name) = (there.family, &there.name);
    let subject = || Subject::table(family, name);
    let stays = |set: &CurrentSet| set.stays || keep && set.same != Same::Nothing;
    for set in there.named_sets.iter().filter(|set| !stays(set)) {
        transaction.remove(subject().set(&set.name), |batch| batch.del_set(family, name, &set.name));
    }
    for object in there.objects.iter().filter(|object| !(keep && object.is_desired)) {
        let kind = ObjectKind::from_number(object.kind.number());
        transaction.remove(subject().object(kind, &object.name), |batch| {
            batch.del_object(family, name, object.kind, &object.name);
        });
    }
    for flowtable in there.flowtables.iter().filter(|flowtable| !(keep && flowtable.is_desired)) {
        transaction.remove(subject().flowtable(&flowtable.name), |batch| {
            batch.del_flowtable(family, name, &flowtable.name);
        });
    }
    for chain in there.chains_but(chains) {
        transaction.remove(subject().chain(&chain.name), |batch| batch.del_chain(family, name, &chain.name));
    }
}

/// How many rules of a chain are deleted one by one, even if fewer stay. Each costs the kernel a walk along the chain.
const FLUSH: usize = 256;

/// How the rules of one chain become those that are desired.
struct Steps {
    /// Whether all rules go
    flush: bool,
    /// Handles of the rules that go, otherwise
    deleted: Vec<u64>,
    /// Numbers of the desired rules that are new, and where they go
    added: Vec<(usize, Position)>,
}

impl Steps {
    fn all_new(rules: usize) -> Self {
        let added = (0..rules).map(|rule| (rule, Position::Append)).collect();
        Self { flush: false, deleted: Vec::new(), added }
    }

    fn new(chain: &Chain, there: &CurrentChain, matched: &Match) -> Self {
        if !there.is_same_chain(chain) {
            // It goes with its rules, and comes back.
            return Self::all_new(chain.rules.len());
        }
        let handles = &there.handles;
        let (stay, go) = (matched.pairs.len(), handles.len() - matched.pairs.len());
        if go > stay && go > FLUSH {
            return Self { flush: true, ..Self::all_new(chain.rules.len()) };
        }
        let mut steps = Self { flush: false, deleted: Vec::new(), added: Vec::new() };
        let (mut old, mut new) = (0, 0);
        let end = (handles.len(), chain.rules.len());
        for &(old_stays, new_stays) in matched.pairs.iter().chain([&end]) {
            steps.deleted.extend(&handles[old..old_stays]);
            // What comes after a change stays, so new rules go before it; at the end they go to the end.
            let place = handles.get(old_stays).map_or(Position::Append, |&next| Position::Before(next));
            steps.added.extend((new..new_stays).map(|rule| (rule, place)));
            (old, new) = (old_stays + 1, new_stays + 1);
        }
        steps
    }
}
