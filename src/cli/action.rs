//! What the commands of all meshes have in common: what is done with an interception, and how the result is shown.

use nftwire::{Commit, Socket};
use serde_json::{Value as Json, json};

use super::failure::{Failure, NotWrittenError, write_result};
use super::flag::shared::{
    ALLOW_HOST_NETWORK, ALLOW_HOST_NETWORK_VARIABLE, CHECK, KEEP_COUNTERS, Output, PLAN,
};
use super::flag::{Flag, Given, UsageError, Values};
use super::log::Log;
#[cfg(feature = "tools")]
use super::plan::plan;
use super::progress;
use crate::apply::{ApplyError, Counters, Prepared};
use crate::diagnostic::{Explain, Explanation};
use crate::interception::Interception;
use crate::leftovers::{self, Leftover};
use crate::network::{RouteError, RouteSocket};
use crate::preflight::{HostNetworkError, OLDEST};
use nft_ruleset::Ruleset;
use nft_ruleset::validate::validate;
use nftwire::{Version, release};

/// What is done with the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Apply(Counters),
    Check,
    /// The kernel validates the removal
    CheckRemoval,
    Remove,
    Print,
    /// The profile says what a removal would take away
    PrintRemoval,
    /// It is shown what applying would change
    Plan,
    /// It is shown what a removal would change
    PlanRemoval,
    Nothing,
}

/// What a command does with a mesh's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// What the [`Action`] says
    Act,
    /// Compares once
    Verify,
    /// Compares until it is stopped
    Watch,
    /// Replaces other rules, or shows how
    Migrate { is_dry: bool },
}

impl Task {
    /// Whether it changes rules.
    pub(super) fn changes(self) -> bool {
        matches!(self, Self::Act | Self::Migrate { is_dry: false })
    }

    /// Whether it is an init container's, or needs as little.
    pub(super) fn is_for_init(self) -> bool {
        matches!(self, Self::Act | Self::Verify)
    }
}

/// Where it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a pod, where a mesh's older rules would take effect first
    Pod,
    /// On a node, where they may be in use
    Node,
}

/// The result could not be written, of something that was done nevertheless.
#[derive(Debug, thiserror::Error)]
#[error("{done}, but {error}")]
struct OutputError {
    done: &'static str,
    error: NotWrittenError,
}

impl Explain for OutputError {
    fn explanation(&self) -> Explanation {
        self.error.explanation().at("done", self.done)
    }
}

impl Action {
    /// Whether the kernel is asked to do something.
    pub(super) fn needs_kernel(self) -> bool {
        matches!(self, Self::Apply(_) | Self::Check | Self::CheckRemoval | Self::Remove) || self.is_plan()
    }

    /// Whether it is only shown what would change.
    pub(super) fn is_plan(self) -> bool {
        matches!(self, Self::Plan | Self::PlanRemoval)
    }

    /// A socket for it: one that is the lock where it changes something.
    pub(super) fn route_socket(self) -> Result<RouteSocket, RouteError> {
        if matches!(self, Self::Apply(_) | Self::Remove) {
            RouteSocket::open_as_lock()
        } else {
            RouteSocket::open()
        }
    }

    /// Whether it is about taking everything away.
    pub(super) fn is_removal(self) -> bool {
        matches!(self, Self::Remove | Self::CheckRemoval | Self::PrintRemoval | Self::PlanRemoval)
    }

    /// Whether it is not done in the machine's own network namespace: a removal deletes only what has no use there.
    pub(super) fn is_for_pods(self) -> bool {
        matches!(self, Self::Apply(_) | Self::Check)
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
        // Whether the kernel is to be asked cannot be both.
        [Action::Print, Action::Plan, ..] => return Err(contradiction(values, &PLAN)),
        [Action::Print, Action::Check, ..] => return Err(contradiction(values, &CHECK)),
        [Action::Print, .., Action::Remove] => Action::PrintRemoval,
        [Action::Plan, .., Action::Remove] => Action::PlanRemoval,
        [Action::Check, .., Action::Remove] => Action::CheckRemoval,
        [first, ..] => first,
    })
}

/// One asks the kernel, and the other one does not.
pub(super) fn contradiction(values: &Values<'_>, asks: &Flag<bool>) -> UsageError {
    let given = values.given(asks).unwrap_or_else(|| Given::new(format!("--{}", asks.name()), String::new()));
    given.fault("it asks the kernel, which a dry run does not: give one of the two")
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

/// Refuses what is known to be the machine's own network namespace, and says where that is not known.
pub(super) fn refuse_host_network(is_host: Option<bool>, warn: impl FnOnce(&str)) -> Result<(), OnHostError> {
    match is_host {
        Some(true) => Err(OnHostError(HostNetworkError)),
        Some(false) => Ok(()),
        None => {
            warn(HOST_UNKNOWN);
            Ok(())
        }
    }
}

/// Where the guard cannot do its work.
pub(super) const HOST_UNKNOWN: &str =
    "whether this is the machine's own network namespace cannot be determined";

/// The machine's own network namespace, and how to work there nevertheless.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct OnHostError(#[from] pub(super) HostNetworkError);

impl Explain for OnHostError {
    fn explanation(&self) -> Explanation {
        let flag = ALLOW_HOST_NETWORK.name();
        self.0.explanation().help(format!(
            "run it in the pod's namespace (nsenter --net=…), or, on a virtual machine of the mesh, with --{flag} or the \
             environment variable {ALLOW_HOST_NETWORK_VARIABLE}=true"
        ))
    }
}

/// Does it, in the network namespace that the thread is in, and writes the result to standard output.
pub(super) fn perform(
    action: Action,
    interception: &Interception,
    place: Place,
    mut routes: RouteSocket,
    output: Output,
) -> Result<(), Failure> {
    if action == Action::Print {
        return print(&interception.ruleset, output);
    }
    if !action.needs_kernel() {
        return Ok(());
    }
    // Nothing else of an init container needs it.
    #[cfg(feature = "tools")]
    if action.is_plan() {
        let planned = progress::during("comparing", || {
            plan(action, interception, place, &mut Socket::open()?, &mut routes)
        })?;
        for warning in &planned.warnings {
            Log::for_output(output == Output::Json).warn(warning);
        }
        return report("nothing was changed", &planned.text(output, None));
    }
    let word = match action {
        Action::Apply(_) => "applying",
        Action::Remove => "removing",
        _ => "asking the kernel",
    };
    let prepared = Prepared::once(interception);
    let done =
        progress::during(word, || carry_out(action, &prepared, place, &mut Socket::open()?, &mut routes))?;
    // It may be the lock, and standard output may be slow.
    drop(routes);
    for warning in &done.warnings {
        Log::for_output(output == Output::Json).warn(warning);
    }
    report(done.word, &format!("{}\n", done.line(output, None)))
}

/// Says what iptables has left of a mesh's rules in the thread's network namespace.
pub(super) fn warn_of_leftovers(nft: &mut Socket, mut warn: impl FnMut(&str)) -> Result<(), nftwire::Error> {
    for leftover in leftovers::find(nft)? {
        warn(&leftover_warning(&leftover));
    }
    Ok(())
}

pub(super) fn leftover_warning(leftover: &Leftover) -> String {
    format!(
        "rules of a mesh exist already, and stay in effect: {leftover}; `meshwire migrate` takes their place"
    )
}

/// Says that legacy iptables has tables, whose rules it alone can show and remove.
pub(super) fn warn_of_legacy_tables(mut warn: impl FnMut(&str)) {
    for table in leftovers::legacy_tables() {
        let commands = legacy_commands(&table);
        warn(&format!("legacy iptables has the table {table}, which can hold rules of a mesh: {commands}"));
    }
}

/// What to type about a table of legacy iptables, such as `ip nat`.
pub(super) fn legacy_commands(table: &str) -> String {
    let (family, name) = table.split_once(' ').unwrap_or_default();
    let command = if family == "ip6" { "ip6tables-legacy" } else { "iptables-legacy" };
    format!(
        "`{command} -t {name} -S` shows them, and `{command} -t {name} -F` and `{command} -t {name} -X` remove all that is in it"
    )
}

/// Writes the result to standard output as [`write_result`] does; where that fails, the error says what was done nevertheless.
pub(super) fn report(done: &'static str, text: &str) -> Result<(), Failure> {
    Ok(write_result(text).map_err(|error| OutputError { done, error })?)
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
    prepared: &Prepared<'_>,
    place: Place,
    nft: &mut Socket,
    routes: &mut RouteSocket,
) -> Result<Done, ApplyError> {
    let interception = prepared.interception();
    let nothing = Ruleset::default();
    let (word, ruleset, applied) = match action {
        Action::Apply(counters) => ("applied", &interception.ruleset, prepared.apply(nft, routes, counters)?),
        Action::Remove => ("removed", &nothing, interception.remove(nft, routes)?),
        Action::CheckRemoval => ("valid", &nothing, interception.to_remove().check(nft)?),
        _ => ("valid", &interception.ruleset, interception.check(nft)?),
    };
    let mut warnings = applied.warnings();
    if place == Place::Pod && matches!(action, Action::Apply(_)) && applied.may_have_leftovers {
        let looked = warn_of_leftovers(nft, |text| warnings.push(text.to_owned()));
        // They are only looked for, and the rules are applied.
        warnings.extend(looked.err().map(|error| {
            format!("whether iptables has left rules of a mesh could not be read: nf_tables: {error}")
        }));
    }
    // On a node they may be in use.
    if place == Place::Pod && action == Action::Remove {
        let removed = leftovers::remove(nft).map_err(ApplyError::LeftoversOfOthers)?;
        warnings.extend(removed.iter().map(|leftover| format!("removed, too: {leftover}")));
    }
    let rest = if applied.without_fib { interception.without_fib() } else { None };
    let ruleset = rest.as_ref().map_or(ruleset, |rest| &rest.ruleset);
    let (tables, chains, rules) = (ruleset.tables.len(), ruleset.chain_count(), ruleset.rule_count());
    Ok(Done { word, tables, chains, rules, commit: applied.commit, warnings })
}

/// The ruleset as nft shows it, or as libnftables' JSON.
pub(super) fn print(ruleset: &Ruleset, output: Output) -> Result<(), Failure> {
    validate(ruleset)?;
    let text = match output {
        Output::Text => ruleset.to_string(),
        Output::Json => format!("{}\n", nft_ruleset::nft::json::ruleset(ruleset, &Default::default())),
    };
    report("nothing was changed", &text)
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
