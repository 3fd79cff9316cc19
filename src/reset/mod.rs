//! Setting counters to zero: named ones, those inside rules, and those inside elements of sets.
//!
//! From Linux 6.2 on, the kernel dumps a rule's counters and sets them to zero in one step (`NFT_MSG_GETRULE_RESET`).
//! Before, a rule is replaced by itself with its counters at zero, see [`replace_rules`]. That is also the way where
//! the kernel's own would set back more than counters: a quota that a rule has used up would open again.

mod elements;
mod reading;
mod replace;

use std::collections::HashMap;

use nftwire::expr::Counter;
use nftwire::{Dump, Error, Expr, Family, Name, ObjectData, ObjectKind, Rule, Socket, Text};
use nix::errno::Errno;

use crate::diagnostic::{self, Explain, Explanation, Remedy};
use crate::retry::retry;
use nft_ruleset::nft::decompile::{Decompiler, Sets};
use nft_ruleset::snapshot::{Depth, Scope, Snapshot};

pub use reading::{CounterLocation, Reading, Readings};
pub use replace::replace_rules;

/// Why counters were not reset; some may have been.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResetError {
    /// The kernel answered EPERM
    #[error("cannot reset counters: {}", Errno::EPERM)]
    NotPermitted,
    /// There is no such table
    #[error("there is no table {family} {name}")]
    NoSuchTable {
        /// Its family
        family: Family,
        /// Its name
        name: String,
    },
    /// The ruleset could not be read or changed
    #[error("cannot reset counters: {0}")]
    Netlink(Error),
}

impl From<Error> for ResetError {
    fn from(error: Error) -> Self {
        if refused_with(&error, &[Errno::EPERM]) { Self::NotPermitted } else { Self::Netlink(error) }
    }
}

impl Explain for ResetError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::NotPermitted => diagnostic::not_permitted(),
            Self::NoSuchTable { family, name } => Explanation::of_errno(Errno::ENOENT as i32)
                .at("family", family.to_string())
                .at("table", name.as_str())
                .remedy(Remedy::ListTables),
            Self::Netlink(error) => error.explanation(),
        }
    }
}

/// Sets the counters of one table, or of all, to zero, and adds what they were to `readings`: also where it fails
/// later, because it cannot be read again.
///
/// # Errors
/// See [`ResetError`].
pub fn reset_counters(
    socket: &mut Socket,
    table: Option<(Family, Text<'_>)>,
    readings: &mut Readings,
) -> Result<(), ResetError> {
    let scope = table.map_or(Scope::Family(Family::Unspec), |(family, name)| Scope::Table(family, name));
    let snapshot = Snapshot::read(socket, scope, Depth::Tables)?;
    let tables: Vec<_> =
        snapshot.tables().iter().map(|table| (table.head().family, table.head().name.clone())).collect();
    if let (Some((family, name)), []) = (table, tables.as_slice()) {
        return Err(ResetError::NoSuchTable { family, name: name.to_string() });
    }
    for (family, name) in tables {
        let reset = reset_objects(socket, family, &name, readings)
            .and_then(|()| reset_sets_and_rules(socket, family, &name, readings));
        match reset {
            // It was deleted meanwhile.
            Err(error) if table.is_none() && refused_with(&error, &[Errno::ENOENT]) => {}
            result => result?,
        }
    }
    Ok(())
}

fn reset_objects(
    socket: &mut Socket,
    family: Family,
    table: &Name,
    readings: &mut Readings,
) -> Result<(), Error> {
    let mut seen = HashMap::new();
    retry(|| {
        socket.reset_objects(family, Some(table.into()), Some(ObjectKind::Counter), |object| {
            if let ObjectData::Counter(counter) = object.data {
                let location = CounterLocation::Named(object.name.to_string());
                readings.add(&mut seen, (object.handle, 0), Reading::new(family, table, location, counter));
            }
            Ok(())
        })
    })
}

fn reset_sets_and_rules(
    socket: &mut Socket,
    family: Family,
    table: &Name,
    readings: &mut Readings,
) -> Result<(), Error> {
    let snapshot = Snapshot::read(socket, Scope::Table(family, table.as_text()), Depth::All)?;
    let Some(found) = snapshot.tables().first() else { return Ok(()) };
    let (sets, chains) = (found.decompiled_sets()?, counting_chains(found.rules())?);
    elements::reset_elements(socket, &sets, (family, table), readings)?;
    let mut rest = Vec::new();
    for (chain, state) in chains {
        if state == State::Counters {
            match reset_chain(socket, &sets, (family, table, &chain), readings) {
                // A message that this kernel does not know.
                Err(error) if refused_with(&error, &[Errno::EINVAL, Errno::EOPNOTSUPP]) => {}
                result => {
                    result?;
                    continue;
                }
            }
        }
        rest.push(chain);
    }
    if rest.is_empty() {
        return Ok(());
    }
    replace::replace(socket, family, table, |chain| rest.iter().any(|name| *name == chain), readings)
}

/// What the rules of a chain remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing that the kernel would set back but counters
    Counters,
    /// More than that
    More,
}

/// The chains that have counters in their rules, in order.
fn counting_chains(rules: &Dump) -> Result<Vec<(Name, State)>, Error> {
    let mut chains: Vec<(Name, bool, State)> = Vec::new();
    for rule in rules.decode(Rule::decode) {
        let rule = rule?;
        // Rules come chain by chain.
        if chains.last().is_none_or(|(name, ..)| *name != rule.chain) {
            chains.push((rule.chain.to_name(), false, State::Counters));
        }
        for expression in rule.expressions() {
            let expression = expression?;
            if let Some((_, counts, state)) = chains.last_mut() {
                match expression {
                    Expr::Counter(_) => *counts = true,
                    Expr::Quota(_) | Expr::Last(_) => *state = State::More,
                    _ => {}
                }
            }
        }
    }
    Ok(chains.into_iter().filter(|(_, counts, _)| *counts).map(|(name, _, state)| (name, state)).collect())
}

fn reset_chain(
    socket: &mut Socket,
    sets: &Sets,
    (family, table, chain): (Family, &Name, &Name),
    readings: &mut Readings,
) -> Result<(), Error> {
    let mut seen = HashMap::new();
    let mut decompiler = Decompiler::new(family, sets);
    retry(|| {
        let mut number = 0;
        socket.reset_rules(family, table, Some(chain.into()), |rule| {
            number += 1;
            let expressions: Vec<_> = rule.expressions().collect::<Result<_, _>>()?;
            let mut counters = counters(&expressions).enumerate().peekable();
            if counters.peek().is_some() {
                let text = decompiler.rule(&rule)?.to_string();
                for (index, counter) in counters {
                    let chain = chain.to_string();
                    let location =
                        CounterLocation::Rule { chain, number, handle: rule.handle, text: text.clone() };
                    let reading = Reading::new(family, table, location, counter);
                    readings.add(&mut seen, (rule.handle, index), reading);
                }
            }
            Ok(())
        })
    })
}

fn counters<'e>(expressions: &'e [Expr<'_>]) -> impl Iterator<Item = Counter> + 'e {
    expressions.iter().filter_map(|expression| match expression {
        Expr::Counter(counter) => Some(*counter),
        _ => None,
    })
}

fn refused_with(error: &Error, errnos: &[Errno]) -> bool {
    match error {
        Error::Refused(refusal) => errnos.iter().any(|errno| *errno as i32 == refusal.errno),
        _ => false,
    }
}
