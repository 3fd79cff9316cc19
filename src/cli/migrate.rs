//! `meshwire migrate MESH FLAGS…`: from rules of another kind to ours, without a gap.

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use nftwire::Socket;
use serde_json::json;

use super::action::{Action, legacy_commands, report};
use super::failure::{Failure, USAGE, end};
use super::flag::shared::Output;
use super::flag::{Flag, Values, argument};
use super::log::Log;
use super::pod::{NODE_ROOT, POD};
use super::{ambient, istio_iptables, pod, progress, proxy_init};
use crate::diagnostic::{Explain, Explanation};
use crate::interception::Interception;
use crate::migrate::{MigrateError, Migrated, MigrationPlan};
use crate::network::RouteSocket;
use crate::reset::Readings;

/// The command's name.
pub(super) const NAME: &str = "migrate";

static DRY_RUN: Flag<bool> =
    Flag::switch("dry-run").help("Print the steps and the counters, and change nothing");

const NOTES: &str = "\
Pass the settings of the current rules. Takes the place of rules that Istio's and Linkerd's commands made with \
iptables-nft, of Istio's native tables, and of another version of meshwire's own. The first transaction adds the new rules, an \
RCU grace period passes, and the second one removes the old rules if nobody has changed the ruleset meanwhile; so no connection \
passes unintercepted, and none is cut. Routes, policy rules and addresses that both need stay. Prints what the old rules have \
counted. It is refused where marks, zones of connection tracking or routing tables differ, and where legacy iptables has \
tables. Needs CAP_NET_ADMIN, with --dry-run too.

Exit codes: 0 done, or nothing to do; 1 failed; 2 wrong usage. Unless the error says that the new rules are applied, the old \
ones are in effect.";

pub(super) fn command() -> Command {
    Command::new(NAME)
        .about("Replaces rules of iptables-nft, or of another version, while connections are open")
        .after_help(NOTES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args([argument(&DRY_RUN), argument(&POD), argument(&NODE_ROOT)])
        .subcommand(
            istio_iptables::command_with(NOTES)
                .about("Migrates to what `meshwire istio-iptables` makes of these flags and variables"),
        )
        .subcommand(
            proxy_init::command_with(NOTES)
                .about("Migrates to what `meshwire proxy-init` makes of these flags"),
        )
        .subcommand(ambient::verify_command(NOTES).about("Migrates to what `meshwire ambient` makes"))
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let values = Values::new(matches);
    let read = || -> Result<_, Failure> { Ok((values.read(&DRY_RUN)?, pod::given(&values)?)) };
    let (is_dry, netns) = match read() {
        Ok(read) => read,
        Err(error) => return end(Err(error), Log::Plain),
    };
    match matches.subcommand() {
        Some((istio_iptables::NAME, matches)) => istio_iptables::migrate(matches, netns.as_ref(), is_dry),
        Some((proxy_init::NAME, matches)) => proxy_init::migrate(matches, netns.as_ref(), is_dry),
        Some((ambient::NAME, matches)) => ambient::migrate(matches, netns.as_ref(), is_dry),
        _ => ExitCode::from(USAGE),
    }
}

/// A removal was asked for.
#[derive(Debug, thiserror::Error)]
#[error("a cleanup removes rules, and a migration puts rules in their place: give one of the two")]
pub(super) struct RemovalAskedError;

impl Explain for RemovalAskedError {
    fn explanation(&self) -> Explanation {
        Explanation::default()
    }
}

/// Refuses what is a removal.
pub(super) fn refuse_removal(action: Action) -> Result<(), Failure> {
    match action {
        Action::Remove | Action::CheckRemoval | Action::PrintRemoval => {
            Err(Failure::new(RemovalAskedError, USAGE))
        }
        _ => Ok(()),
    }
}

/// Does it, or shows how it would be done, in the network namespace that the thread is in.
pub(super) fn perform(desired: &Interception, is_dry: bool, output: Output) -> Result<ExitCode, Failure> {
    let (mut nft, mut routes) = (Socket::open()?, RouteSocket::open()?);
    if is_dry {
        let plan = MigrationPlan::read(desired, &mut nft, &mut routes)?;
        report("nothing was changed", &plan_text(&plan, output))?;
        plan.is_possible().map_err(RefusedError::new)?;
        return Ok(ExitCode::SUCCESS);
    }
    let migrated = progress::during("migrating", || desired.migrate(&mut nft, &mut routes));
    let migrated = migrated.map_err(RefusedError::new)?;
    for warning in migrated.applied.warnings() {
        Log::for_output(output == Output::Json).warn(&warning);
    }
    report("migrated", &migrated_text(&migrated, output))?;
    Ok(ExitCode::SUCCESS)
}

fn plan_text(plan: &MigrationPlan, output: Output) -> String {
    match output {
        Output::Text => format!("{plan}{}", counters_text(&plan.counters())),
        Output::Json => format!("{}\n", plan.to_json()),
    }
}

fn migrated_text(Migrated { applied, removed, counters }: &Migrated, output: Output) -> String {
    let microseconds = applied.commit.elapsed.as_micros();
    if output == Output::Json {
        let removed: Vec<_> = removed.iter().map(ToString::to_string).collect();
        let object = json!({
            "result": "migrated",
            "microseconds": u64::try_from(microseconds).unwrap_or(u64::MAX),
            "removed": removed,
            "counters": counters.to_json().0["counters"],
        });
        return format!("{object}\n");
    }
    let removed: String = removed.iter().map(|leftover| format!("removed: {leftover}\n")).collect();
    format!(
        "migrated: bytes {}, µs {microseconds}\n{removed}{}",
        applied.commit.bytes,
        counters_text(counters)
    )
}

/// Only those that counted something; they cannot be read afterwards.
fn counters_text(counters: &Readings) -> String {
    let moved = counters.0.iter().filter(|reading| reading.packets > 0).cloned().collect();
    let moved = Readings(moved);
    if moved.0.is_empty() { String::new() } else { format!("counters of the old rules:\n{}", moved.text()) }
}

/// A migration that was refused, or failed, and what to type then.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct RefusedError(MigrateError);

impl RefusedError {
    fn new(error: MigrateError) -> Self {
        Self(error)
    }
}

impl Explain for RefusedError {
    fn explanation(&self) -> Explanation {
        let explanation = self.0.explanation();
        match &self.0 {
            MigrateError::LegacyIptables { tables } => {
                let commands: Vec<_> = tables.iter().map(|table| legacy_commands(table)).collect();
                explanation.help(commands.join("; "))
            }
            _ => explanation,
        }
    }
}
