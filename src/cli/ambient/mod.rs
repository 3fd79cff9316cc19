//! `meshwire ambient`: Istio's ambient mode, for pods, for the node, and the set of addresses that the kubelet probes.

mod host;
mod pod;
mod probes;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::USAGE;
use super::failure::{Failure, end};
use super::log::Log;
use super::profile::warn_of_old_kernel;
use super::profile::{self, Action, Output};
use super::settings::{Kind, Setting, UsageError, Values};
use crate::apply::Counters;
use crate::mesh::istio::ambient::{PROBE_V4, PROBE_V6};

/// The command's name.
pub(super) const NAME: &str = "ambient";

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

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let log = Log::beside(wants_json(matches));
    warn_of_old_kernel(|text| log.warn(text));
    let result = match matches.subcommand() {
        Some((pod::NAME, matches)) => pod::run(matches),
        Some((host::NAME, matches)) => host::run(matches),
        Some((probes::NAME, matches)) => probes::run(matches),
        _ => Ok(ExitCode::from(USAGE)),
    };
    end(result, log)
}

fn wants_json(matches: &ArgMatches) -> bool {
    match matches.subcommand() {
        Some((_, matches)) => wants_json(matches),
        None => {
            let output = matches.try_get_one::<String>("output").ok().flatten();
            output.is_some_and(|output| output == "json")
        }
    }
}

fn group(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about).subcommand_required(true).arg_required_else_help(true)
}

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    Setting { name, short: None, kind, environment: &[], help }
}

const IPV6: Setting = setting("ipv6", Kind::Switch, "Rules and routes for IPv6, too");
const PROBE_IPV4: Setting = setting(
    "probe-ipv4",
    Kind::Text("ADDR"),
    "Source address of the kubelet's probes [default: 169.254.7.127]",
);
const PROBE_IPV6: Setting = setting(
    "probe-ipv6",
    Kind::Text("ADDR"),
    "The same for IPv6 [default: fd16:9254:7127:1337:ffff:ffff:ffff:ffff]",
);
const DRY_RUN: Setting =
    setting("dry-run", Kind::Switch, "Print the ruleset in nft's syntax, or as JSON, and change nothing");
const CHECK: Setting =
    setting("check", Kind::Switch, "Let the kernel validate everything, and apply nothing");
const OUTPUT: Setting =
    setting("output", Kind::Text("FORMAT"), "How the result is written: text or json [default: text]");

fn arguments(command: Command, settings: &[Setting]) -> Command {
    command.args(settings.iter().map(Setting::argument))
}

/// No environment variable stands for a setting here.
fn values<'a>(settings: &'static [Setting], flags: &'a ArgMatches) -> Values<'a> {
    Values { settings, flags, environment: BTreeMap::new() }
}

/// What the subcommand and its switches ask for; `None` is to compare.
fn action(subcommand: &str, values: &Values<'_>) -> Result<Option<Action>, UsageError> {
    Ok(Some(match subcommand {
        VERIFY => return Ok(None),
        REMOVE | DESTROY if values.switch("dry-run")? => Action::PrintRemoval,
        REMOVE | DESTROY => Action::Remove,
        // The one that changes least wins.
        _ if values.switch("dry-run")? => Action::Print,
        _ if values.switch("check")? => Action::Check,
        _ => Action::Apply(Counters::Keep),
    }))
}

fn output(values: &Values<'_>) -> Result<Output, Failure> {
    values.parsed("output", Output::Text, profile::output).map_err(Failure::usage)
}

/// The source addresses of the kubelet's probes.
fn probe_addresses(values: &Values<'_>) -> Result<(Ipv4Addr, Ipv6Addr), UsageError> {
    let v4 = |text: &str| text.parse().map_err(|_| format!("{text:?} is not an IPv4 address"));
    let v6 = |text: &str| text.parse().map_err(|_| format!("{text:?} is not an IPv6 address"));
    Ok((
        values.parsed("probe-ipv4", PROBE_V4, |given| given.one(v4))?,
        values.parsed("probe-ipv6", PROBE_V6, |given| given.one(v6))?,
    ))
}
