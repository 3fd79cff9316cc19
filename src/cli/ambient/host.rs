//! `meshwire ambient host`: the node's own network namespace.

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use nftwire::Socket;

use super::{APPLY, CHECK, DESTROY, DRY_RUN, IPV6, OUTPUT, PROBE_IPV4, PROBE_IPV6, REMOVE, VERIFY};
use super::{Kind, Setting, Values, action, arguments, group, output, probe_addresses, setting, values};
use crate::cli::failure::Failure;
use crate::cli::log::Log;
use crate::cli::place;
use crate::cli::profile::{Action, Output, perform};
use crate::cli::settings::number;
use crate::cli::verify::report;
use crate::interception::Interception;
use crate::kubelet;
use crate::mesh::istio::ambient::HostInterception;
use crate::network::RouteSocket;
use crate::verify::verify;

/// The command's name.
pub(super) const NAME: &str = "host";

const KUBELET_UID: Setting = setting("kubelet-uid", Kind::Number("UID"), "The uid that the kubelet has");
const PROC: Setting = setting(
    "proc",
    Kind::Text("PATH"),
    "The node's proc file system, to find the kubelet in, instead of its uid [default: /proc]",
);

const SETTINGS: &[Setting] = &[IPV6, KUBELET_UID, PROC, PROBE_IPV4, PROBE_IPV6, DRY_RUN, CHECK, OUTPUT];
const VERIFY_SETTINGS: &[Setting] = &[IPV6, KUBELET_UID, PROC, PROBE_IPV4, PROBE_IPV6, OUTPUT];
const REMOVE_SETTINGS: &[Setting] = &[DRY_RUN, OUTPUT];

fn settings(subcommand: &str) -> &'static [Setting] {
    match subcommand {
        APPLY => SETTINGS,
        VERIFY => VERIFY_SETTINGS,
        _ => REMOVE_SETTINGS,
    }
}

pub(super) fn command() -> Command {
    let command = |name, about| {
        let command = arguments(Command::new(name).about(about), settings(name)).arg(place::netns());
        match name {
            APPLY | VERIFY => command.mut_arg("proc", |proc| proc.conflicts_with("kubelet-uid")),
            _ => command,
        }
    };
    group(NAME, "The kubelet's probes of pods leave the node with an address by which the pods know them")
        .after_help("Exit codes: 0 done, 1 failed and nothing changed, 2 wrong usage, 3 different (verify).")
        .subcommands([
            command(APPLY, "Makes it so, whatever was there; the probe set keeps what is in it"),
            command(REMOVE, "Takes the rules away; the probe set stays"),
            command(VERIFY, "Shows what differs from what apply would make; changes nothing"),
            command(DESTROY, "Takes the rules and the probe set away"),
        ])
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let Some((subcommand, matches)) = matches.subcommand() else { return Ok(ExitCode::from(super::USAGE)) };
    let values = values(settings(subcommand), matches);
    let action = action(subcommand, &values).map_err(Failure::usage)?;
    let output = output(&values)?;
    let interception = match subcommand {
        REMOVE => HostInterception::nothing(),
        DESTROY => HostInterception::nothing().without_kept_sets(),
        _ => host(&values)?.interception(),
    };
    if action == Some(Action::PrintRemoval) {
        let sets = if subcommand == DESTROY { " and the probe set" } else { ", not the probe set" };
        Log::beside(output == Output::Json)
            .info(&format!("it takes away the host's rules{sets}; nothing is changed"));
        return Ok(ExitCode::SUCCESS);
    }
    let work = || execute(action, &interception, output);
    if action == Some(Action::Print) { work() } else { place::at_netns(matches, work) }
}

fn execute(action: Option<Action>, interception: &Interception, output: Output) -> Result<ExitCode, Failure> {
    let mut routes = RouteSocket::open()?;
    match action {
        Some(action) => {
            perform(action, interception, &mut routes, output)?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let differences = verify(interception, &mut Socket::open()?, &mut routes)?;
            Ok(report(&differences, output == Output::Json)?)
        }
    }
}

fn host(values: &Values<'_>) -> Result<HostInterception, Failure> {
    let (probe_v4, probe_v6) = probe_addresses(values).map_err(Failure::usage)?;
    let ipv6 = values.switch("ipv6").map_err(Failure::usage)?;
    let kubelet_uid = match values.get("kubelet-uid") {
        Some(given) => given.one(number).map_err(Failure::usage)?,
        None => kubelet::uid(values.get("proc").map_or_else(|| "/proc".to_owned(), |given| given.text))?,
    };
    Ok(HostInterception { kubelet_uid, ipv6, probe_v4, probe_v6 })
}
