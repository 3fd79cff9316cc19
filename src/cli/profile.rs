//! What the commands of all profiles have in common: what is done with an interception, and how the result is told.

use std::io::{self, Write};

use nftwire::{Commit, Socket};
use serde_json::json;

use super::failure::Failure;
use super::settings::{Given, Setting, UsageError, Values};
use crate::apply::Counters;
use crate::interception::Interception;
use crate::preflight;
use crate::route::RouteSocket;
use crate::ruleset::validate::validate;
use crate::ruleset::{self, Ruleset};

pub(super) const CHECK: Setting =
    Setting::switch("check", None, &[], "Let the kernel validate the ruleset, and apply nothing");
pub(super) const KEEP_COUNTERS: Setting = Setting::switch(
    "keep-counters",
    None,
    &[],
    "Leave rules that do not change in place, with their counters",
);
pub(super) const OUTPUT: Setting =
    Setting::text("output", None, "FORMAT", &[], "Format of the result: text or json [default: text]");
pub(super) const ALLOW_HOST_NETWORK: Setting = Setting::switch(
    "allow-host-network",
    None,
    &[],
    "Work in the machine's own network namespace even if other namespaces hang on it",
);

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

/// How the result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Text,
    Json,
}

impl Action {
    /// Whether the kernel is asked to do something.
    pub(super) fn needs_kernel(self) -> bool {
        matches!(self, Self::Apply(_) | Self::Check | Self::Remove)
    }
}

/// What the switches ask for, the one first that changes least, which wins; without any, the rules are applied.
pub(super) fn action(values: &Values<'_>, switches: &[(&str, Action)]) -> Result<Action, UsageError> {
    let counters = if values.switch(KEEP_COUNTERS.name)? { Counters::Keep } else { Counters::Restart };
    let mut given = Vec::new();
    for &(name, action) in switches {
        if values.switch(name)? {
            given.push(action);
        }
    }
    Ok(match given[..] {
        [] => Action::Apply(counters),
        [Action::Print, .., Action::Remove] => Action::PrintRemoval,
        [first, ..] => first,
    })
}

pub(super) fn output(given: &Given) -> Result<Output, UsageError> {
    match given.text.as_str() {
        "text" => Ok(Output::Text),
        "json" => Ok(Output::Json),
        other => Err(given.fault(format_args!("{other:?} is neither text nor json"))),
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
    let ruleset = &interception.ruleset;
    match action {
        Action::Apply(counters) => {
            let commit = interception.apply(&mut Socket::open()?, routes, counters)?;
            report(output, "applied", ruleset, &commit)?;
        }
        Action::Check => {
            let commit = interception.check(&mut Socket::open()?)?;
            report(output, "valid", ruleset, &commit)?;
        }
        Action::Remove => {
            let commit = interception.remove(&mut Socket::open()?, routes)?;
            report(output, "removed", &Ruleset::default(), &commit)?;
        }
        Action::Print => print(ruleset, output)?,
        Action::PrintRemoval | Action::Nothing => {}
    }
    Ok(())
}

/// The ruleset as nft shows it, or as libnftables' JSON.
fn print(ruleset: &Ruleset, output: Output) -> Result<(), Failure> {
    validate(ruleset)?;
    let text = match output {
        Output::Text => ruleset.to_string(),
        Output::Json => format!("{}\n", ruleset::json::ruleset(ruleset, &Default::default())),
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn report(output: Output, done: &str, ruleset: &Ruleset, commit: &Commit) -> io::Result<()> {
    let (tables, chains, rules) = (ruleset.tables.len(), ruleset.chain_count(), ruleset.rule_count());
    let (bytes, microseconds) = (commit.bytes, commit.elapsed.as_micros());
    let line = match output {
        Output::Text => {
            format!(
                "{done}: tables {tables}, chains {chains}, rules {rules}, bytes {bytes}, µs {microseconds}"
            )
        }
        Output::Json => json!({
            "result": done,
            "tables": tables,
            "chains": chains,
            "rules": rules,
            "bytes": bytes,
            "microseconds": u64::try_from(microseconds).unwrap_or(u64::MAX),
        })
        .to_string(),
    };
    writeln!(io::stdout(), "{line}")
}
