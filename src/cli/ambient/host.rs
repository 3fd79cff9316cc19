//! `meshwire ambient host`: the node's own network namespace.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use nftwire::Socket;

use super::{
    APPLY, DESTROY, DRY_RUN, IPV6, NATIVE_NFTABLES, PROBE_IPV4, PROBE_IPV6, REMOVE, VERIFY, action, group,
};
use crate::cli::action::{Action, Place, perform};
use crate::cli::differences::report;
use crate::cli::failure::{Failure, USAGE};
use crate::cli::flag::shared::{CHECK, NETNS, OUTPUT, Output, PLAN};
use crate::cli::flag::value::number;
use crate::cli::flag::{Flag, Flags, Given, Values, with_flags};
use crate::cli::log::Log;
use crate::cli::watch::report_all;
use crate::cli::{migrate, netns, progress, signals};
use crate::interception::Interception;
use crate::kubelet;
use crate::mesh::istio::ambient::HostInterception;
use crate::network::RouteSocket;
use crate::verify::verify;
use crate::watch;

/// The command's name.
pub(super) const NAME: &str = "host";

/// None: those of the kubelet's processes in [`PROC`].
static KUBELET_UID: Flag<Option<Vec<u32>>> = Flag::number(
    "kubelet-uid",
    "UIDS",
    || None,
    |given| match given.list(number)? {
        uids if uids.is_empty() => Err(given.fault("it names no uid")),
        uids => Ok(Some(uids)),
    },
)
.repeated()
.help("The uids that the kubelet has");

static PROC: Flag<PathBuf> =
    Flag::text("proc", "PATH", || PathBuf::from("/proc"), |given| Ok(PathBuf::from(&given.text)))
        .help("The node's proc file system, to find the kubelet in, instead of its uid")
        .show(|path| path.display().to_string());

static APPLY_FLAGS: Flags = &[
    &IPV6,
    &KUBELET_UID,
    &PROC,
    &PROBE_IPV4,
    &PROBE_IPV6,
    &NATIVE_NFTABLES,
    &DRY_RUN,
    &CHECK,
    &PLAN,
    &OUTPUT,
    &NETNS,
];
static VERIFY_FLAGS: Flags =
    &[&IPV6, &KUBELET_UID, &PROC, &PROBE_IPV4, &PROBE_IPV6, &NATIVE_NFTABLES, &OUTPUT, &NETNS];
static REMOVE_FLAGS: Flags = &[&DRY_RUN, &PLAN, &OUTPUT, &NETNS];

pub(super) fn command() -> Command {
    let remove = |name, about| with_flags(Command::new(name), REMOVE_FLAGS).about(about);
    group(NAME, "Gives the kubelet's probes of pods a source address by which the pods recognize them")
        .after_help("Exit codes: 0 done, 1 failed (nothing changed, unless the error says so), 2 wrong usage, 3 different (verify).")
        .subcommands([
            one_kubelet(with_flags(Command::new(APPLY), APPLY_FLAGS))
                .about("Creates or replaces the rules; the probe set keeps its elements"),
            remove(REMOVE, "Removes the rules and keeps the probe set"),
            verify_command(VERIFY),
            remove(DESTROY, "Removes the rules and the probe set"),
        ])
}

pub(super) fn verify_command(name: &'static str) -> Command {
    one_kubelet(with_flags(Command::new(name), VERIFY_FLAGS))
        .about("Shows what differs from what `ambient host apply` would make; changes nothing")
}

/// It has its uid, or is looked for.
fn one_kubelet(command: Command) -> Command {
    command.mut_arg(PROC.name(), |proc| proc.conflicts_with(KUBELET_UID.name()))
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let Some((subcommand, matches)) = matches.subcommand() else { return Ok(ExitCode::from(USAGE)) };
    execute(subcommand, matches)
}

pub(super) fn execute(subcommand: &str, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let values = Values::new(matches);
    let action = action(subcommand, &values)?;
    let output = values.read(&OUTPUT)?;
    let netns = values.read(&NETNS)?;
    let interception = match subcommand {
        REMOVE => HostInterception::nothing(),
        DESTROY => HostInterception::nothing().without_kept_sets(),
        _ => host(&values, Log::for_output(output == Output::Json))?.interception(),
    };
    if action == Some(Action::PrintRemoval) {
        let sets = if subcommand == DESTROY { " and the probe set" } else { ", not the probe set" };
        Log::for_output(output == Output::Json)
            .info(&format!("a removal deletes the host's rules{sets}; nothing is changed"));
        return Ok(ExitCode::SUCCESS);
    }
    let _deferred = signals::defer();
    let work = || carry_out(action, &interception, output);
    if action == Some(Action::Print) { work() } else { netns::inside(netns.as_ref(), work) }
}

pub(super) fn watch(
    matches: &ArgMatches,
    in_place: Option<&Given>,
    options: watch::Options,
) -> Result<ExitCode, Failure> {
    // On a node, rules of iptables may be in use.
    let options = watch::Options { leftovers: false, ..options };
    with_desired(matches, in_place, |desired, output| report_all(desired, options, output))
}

pub(super) fn migrate(
    matches: &ArgMatches,
    in_place: Option<&Given>,
    is_dry: bool,
) -> Result<ExitCode, Failure> {
    with_desired(matches, in_place, |desired, output| migrate::perform(&desired, is_dry, output))
}

/// Does something with what is desired of the host, in its namespace; `in_place` is where, in place of what the flags say.
fn with_desired(
    matches: &ArgMatches,
    in_place: Option<&Given>,
    work: impl FnOnce(Interception, Output) -> Result<ExitCode, Failure> + Send,
) -> Result<ExitCode, Failure> {
    let values = Values::new(matches);
    let output = values.read(&OUTPUT)?;
    let netns = values.read(&NETNS)?;
    let desired = host(&values, Log::for_output(output == Output::Json))?.interception();
    let _deferred = signals::defer();
    netns::inside(in_place.or(netns.as_ref()), || work(desired, output))
}

fn carry_out(
    action: Option<Action>,
    interception: &Interception,
    output: Output,
) -> Result<ExitCode, Failure> {
    match action {
        Some(action) => {
            perform(action, interception, Place::Node, action.route_socket()?, output)?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let compare = || verify(interception, &mut Socket::open()?, &mut RouteSocket::open()?);
            let differences = progress::during("comparing", compare)?;
            Ok(report(&differences, output)?)
        }
    }
}

fn host(values: &Values<'_>, log: Log) -> Result<HostInterception, Failure> {
    let probe_v4 = values.read(&PROBE_IPV4)?;
    let probe_v6 = values.read(&PROBE_IPV6)?;
    let ipv6 = values.read(&IPV6)?;
    let native_nftables = values.read(&NATIVE_NFTABLES)?;
    let kubelet_uids = match values.read(&KUBELET_UID)? {
        Some(uids) => uids,
        None => {
            let found = kubelet::find(values.read(&PROC)?)?;
            for kubelet in &found {
                log.info(&format!("the kubelet is {kubelet}"));
            }
            found.into_iter().map(|kubelet| kubelet.uid).collect()
        }
    };
    Ok(HostInterception { kubelet_uids, ipv6, probe_v4, probe_v6, native_nftables })
}
