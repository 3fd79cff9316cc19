//! What the commands of all meshes have in common: what is done with an interception, and how the result is shown.

use std::io::{self, Write};

use nftwire::{Commit, Socket, io_text};
use serde_json::{Value as Json, json};

use super::failure::Failure;
use super::flag::shared::{KEEP_COUNTERS, Output};
use super::flag::{Flag, UsageError, Values};
use super::log::Log;
use crate::apply::{ApplyError, Counters};
use crate::diagnostic::{Explain, Explanation};
use crate::interception::Interception;
use crate::network::RouteSocket;
use crate::preflight::{self, OLDEST};
use nft_ruleset::Ruleset;
use nft_ruleset::validate::validate;
use nftwire::{Version, release};

/// What is done with the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Apply(Counters),
    Check,
    Remove,
    Print,
    /// The profile says what a removal would take away
    PrintRemoval,
    Nothing,
}

/// The result could not be told.
#[derive(Debug, thiserror::Error)]
#[error("{done}, but the result cannot be written to standard output: {}", io_text(source))]
struct OutputError {
    done: &'static str,
    source: io::Error,
}

impl Explain for OutputError {
    fn explanation(&self) -> Explanation {
        self.source.explanation().at("done", self.done)
    }
}

impl Action {
    /// Whether the kernel is asked to do something.
    pub(super) fn needs_kernel(self) -> bool {
        matches!(self, Self::Apply(_) | Self::Check | Self::Remove)
    }
}

/// What the switches ask for, the one first that changes least, which wins; without any, the rules are applied.
pub(super) fn action(values: &Values<'_>, switches: &[(&Flag<bool>, Action)]) -> Result<Action, UsageError> {
    let counters = if values.read(&KEEP_COUNTERS)? { Counters::Keep } else { Counters::Reset };
    let mut given = Vec::new();
    for &(switch, action) in switches {
        if values.read(switch)? {
            given.push(action);
        }
    }
    Ok(match given[..] {
        [] => Action::Apply(counters),
        [Action::Print, .., Action::Remove] => Action::PrintRemoval,
        [first, ..] => first,
    })
}

/// Says that the kernel is older than what this is made for. What it lacks, it refuses by itself.
pub(super) fn warn_of_old_kernel(warn: impl FnOnce(&str)) {
    let release = release();
    if Version::of_release(&release).is_some_and(|version| version < OLDEST) {
        warn(&format!(
            "this kernel is Linux {release}, meshwire is made for {OLDEST} and later: `meshwire doctor` shows what works here"
        ));
    }
}

/// Refuses to work in the machine's own network namespace.
pub(super) fn refuse_host_network(routes: &mut RouteSocket) -> Result<(), Failure> {
    match preflight::host_network(routes)? {
        Some(host) => Err(host.into()),
        None => Ok(()),
    }
}

/// Does it, in the network namespace that the thread is in, and tells the result on standard output.
pub(super) fn perform(
    action: Action,
    interception: &Interception,
    routes: &mut RouteSocket,
    output: Output,
) -> Result<(), Failure> {
    if action == Action::Print {
        return print(&interception.ruleset, output);
    }
    if !action.needs_kernel() {
        return Ok(());
    }
    let done = carry_out(action, interception, &mut Socket::open()?, routes)?;
    for warning in &done.warnings {
        Log::beside(output == Output::Json).warn(warning);
    }
    tell(done.word, &format!("{}\n", done.line(output, None)))
}

/// Writes the result to standard output; where that fails, the error tells what was done nevertheless.
pub(super) fn tell(done: &'static str, text: &str) -> Result<(), Failure> {
    Ok(io::stdout().write_all(text.as_bytes()).map_err(|source| OutputError { done, source })?)
}

/// What was done.
pub(super) struct Done {
    word: &'static str,
    tables: usize,
    chains: usize,
    rules: usize,
    commit: Commit,
    /// What is not as it should be
    pub(super) warnings: Vec<String>,
}

/// Asks the kernel to do it.
pub(super) fn carry_out(
    action: Action,
    interception: &Interception,
    nft: &mut Socket,
    routes: &mut RouteSocket,
) -> Result<Done, ApplyError> {
    let nothing = Ruleset::default();
    let (word, ruleset, applied) = match action {
        Action::Apply(counters) => {
            ("applied", &interception.ruleset, interception.apply(nft, routes, counters)?)
        }
        Action::Remove => ("removed", &nothing, interception.remove(nft, routes)?),
        _ => ("valid", &interception.ruleset, interception.check(nft)?),
    };
    let rest = if applied.without_fib { interception.without_fib() } else { None };
    let ruleset = rest.as_ref().map_or(ruleset, |rest| &rest.ruleset);
    let (tables, chains, rules) = (ruleset.tables.len(), ruleset.chain_count(), ruleset.rule_count());
    Ok(Done { word, tables, chains, rules, commit: applied.commit, warnings: applied.warnings() })
}

/// The ruleset as nft shows it, or as libnftables' JSON.
pub(super) fn print(ruleset: &Ruleset, output: Output) -> Result<(), Failure> {
    validate(ruleset)?;
    let text = match output {
        Output::Text => ruleset.to_string(),
        Output::Json => format!("{}\n", nft_ruleset::nft::json::ruleset(ruleset, &Default::default())),
    };
    tell("nothing was changed", &text)
}

impl Done {
    /// As one line, with the namespace in which it was done where there are several.
    pub(super) fn line(&self, output: Output, netns: Option<&str>) -> String {
        let Self { word, tables, chains, rules, commit, warnings: _ } = self;
        let (bytes, microseconds) = (commit.bytes, commit.elapsed.as_micros());
        if output == Output::Text {
            let place = netns.map_or_else(String::new, |netns| format!("{netns}: "));
            // Nothing of it is left after a removal; counts of that would read as if nothing had been removed.
            let made = match tables {
                0 => String::new(),
                _ => format!("tables {tables}, chains {chains}, rules {rules}, "),
            };
            return format!("{place}{word}: {made}bytes {bytes}, µs {microseconds}");
        }
        let line = json!({
            "result": word,
            "tables": tables,
            "chains": chains,
            "rules": rules,
            "bytes": bytes,
            "microseconds": u64::try_from(microseconds).unwrap_or(u64::MAX),
        });
        of(netns, line).to_string()
    }
}

/// The object, with the namespace that it is about where there are several.
pub(super) fn of(netns: Option<&str>, mut object: Json) -> Json {
    if let Some(netns) = netns {
        object["netns"] = netns.into();
    }
    object
}
