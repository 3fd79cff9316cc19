//! `meshwire ambient`: Istio's ambient mode, for pods, for the node, and the set of addresses that the kubelet probes.

mod host;
mod pod;
mod probes;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::action::{Action, contradiction, warn_of_old_kernel};
use super::failure::{Failure, USAGE, end};
use super::flag::shared::{CHECK, Output, PLAN};
use super::flag::{Flag, Given, UsageError, Values};
use super::log::Log;
use super::pod_spec::Desired;
use crate::apply::Counters;
use crate::diagnostic::{Explain, Explanation};
use crate::mesh::istio::ambient::{PROBE_V4, PROBE_V6};
use crate::watch;

/// The command's name.
pub(super) const NAME: &str = "ambient";
/// The command of the node's own namespace.
pub(super) const HOST: &str = host::NAME;

const APPLY: &str = "apply";
const REMOVE: &str = "remove";
const VERIFY: &str = "verify";
const DESTROY: &str = "destroy";

pub(super) fn command() -> Command {
    group(NAME, "Intercepts traffic for Istio's ambient mode, as Istio's node agent does").subcommands([
        pod::command(),
        host::command(),
        probes::command(),
    ])
}

/// `verify ambient`: the same as `ambient pod verify` and `ambient host verify`.
pub(super) fn verify_command(notes: &'static str) -> Command {
    group(NAME, "Shows what differs from what `meshwire ambient` makes; changes nothing").subcommands(
        [pod::verify_command(pod::NAME), host::verify_command(host::NAME)]
            .map(|command| command.after_help(notes)),
    )
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    with_log(matches, || match matches.subcommand() {
        Some((pod::NAME, matches)) => pod::run(matches),
        Some((host::NAME, matches)) => host::run(matches),
        Some((probes::NAME, matches)) => probes::run(matches),
        _ => Ok(ExitCode::from(USAGE)),
    })
}

/// Compares instead of applying.
pub(super) fn verify(matches: &ArgMatches, netns: Option<&Given>) -> ExitCode {
    with_log(matches, || match matches.subcommand() {
        Some((pod::NAME, matches)) if netns.is_some() => pod::verify_in(matches, netns),
        Some((_, _)) if netns.is_some() => Err(PodsOnlyError.into()),
        Some((pod::NAME, matches)) => pod::execute(VERIFY, matches),
        Some((host::NAME, matches)) => host::execute(VERIFY, matches),
        _ => Ok(ExitCode::from(USAGE)),
    })
}

/// What these flags come to in pods.
pub(super) fn desired_of(matches: &ArgMatches) -> Result<Desired, Failure> {
    match matches.subcommand() {
        Some((pod::NAME, matches)) => pod::desired_of(matches),
        _ => Err(PodsOnlyError.into()),
    }
}

/// The node's own rules were asked for, of a pod.
#[derive(Debug, thiserror::Error)]
#[error("the rules of `ambient host` are the node's, and no pod has them: take `ambient pod`")]
struct PodsOnlyError;

impl Explain for PodsOnlyError {
    fn explanation(&self) -> Explanation {
        Explanation::default()
    }
}

/// `watch ambient`: the flags of `verify ambient`.
pub(super) fn watch(matches: &ArgMatches, netns: Option<&Given>, options: watch::Options) -> ExitCode {
    with_log(matches, || match matches.subcommand() {
        Some((pod::NAME, matches)) => pod::watch(matches, netns, options),
        Some((host::NAME, matches)) => host::watch(matches, netns, options),
        _ => Ok(ExitCode::from(USAGE)),
    })
}

/// `migrate ambient`: the flags of `verify ambient`.
pub(super) fn migrate(matches: &ArgMatches, netns: Option<&Given>, is_dry: bool) -> ExitCode {
    with_log(matches, || match matches.subcommand() {
        Some((pod::NAME, matches)) => pod::migrate(matches, netns, is_dry),
        Some((host::NAME, matches)) => host::migrate(matches, netns, is_dry),
        _ => Ok(ExitCode::from(USAGE)),
    })
}

fn with_log(matches: &ArgMatches, work: impl FnOnce() -> Result<ExitCode, Failure>) -> ExitCode {
    let log = Log::for_output(wants_json(matches));
    warn_of_old_kernel(|text| log.warn(text));
    end(work(), log)
}

fn wants_json(matches: &ArgMatches) -> bool {
    match matches.subcommand() {
        Some((_, matches)) => wants_json(matches),
        None => Output::is_json(&Values::new(matches)),
    }
}

fn group(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about).subcommand_required(true).arg_required_else_help(true)
}

pub(super) static IPV6: Flag<bool> = Flag::switch("ipv6").help("Rules and routes for IPv6, too");

static PROBE_IPV4: Flag<Ipv4Addr> = Flag::text(
    "probe-ipv4",
    "ADDR",
    || PROBE_V4,
    |given| given.one(|text| text.parse().map_err(|_| format!("{text:?} is not an IPv4 address"))),
)
.help("Source address of the kubelet's probes")
.shown();

static PROBE_IPV6: Flag<Ipv6Addr> = Flag::text(
    "probe-ipv6",
    "ADDR",
    || PROBE_V6,
    |given| given.one(|text| text.parse().map_err(|_| format!("{text:?} is not an IPv6 address"))),
)
.help("The same for IPv6")
.shown();

static NATIVE_NFTABLES: Flag<bool> = Flag::switch("native-nftables")
    .help("Exactly the rules and priorities of Istio's native backend, with its faults");

static DRY_RUN: Flag<bool> =
    Flag::switch("dry-run").help("Print the ruleset in nft's syntax, or as JSON, and change nothing");

/// What the subcommand and its switches ask for; `None` is to compare.
fn action(subcommand: &str, values: &Values<'_>) -> Result<Option<Action>, UsageError> {
    Ok(Some(match subcommand {
        VERIFY => return Ok(None),
        _ if values.read(&DRY_RUN)? && values.read(&PLAN)? => return Err(contradiction(values, &PLAN)),
        REMOVE | DESTROY if values.read(&DRY_RUN)? => Action::PrintRemoval,
        REMOVE | DESTROY if values.read(&PLAN)? => Action::PlanRemoval,
        REMOVE | DESTROY => Action::Remove,
        _ if values.read(&DRY_RUN)? && values.read(&CHECK)? => return Err(contradiction(values, &CHECK)),
        _ if values.read(&DRY_RUN)? => Action::Print,
        _ if values.read(&PLAN)? => Action::Plan,
        _ if values.read(&CHECK)? => Action::Check,
        _ => Action::Apply(Counters::Keep),
    }))
}
