//! `meshwire ambient pod`: pods, one or many at once.

use std::process::ExitCode;

use clap::{ArgAction, ArgMatches, Command};
use nftwire::Socket;
use serde_json::json;

use super::{APPLY, CHECK, DRY_RUN, IPV6, OUTPUT, PROBE_IPV4, PROBE_IPV6, REMOVE, VERIFY};
use super::{Kind, Setting, Values, action, arguments, group, output, probe_addresses, setting, values};
use crate::cli::failure::Failure;
use crate::cli::log::Log;
use crate::cli::place::{self, NETNS, namespace};
use crate::cli::profile::{self, Action, Output, carry_out, of, print, refuse_host_network, tell};
use crate::cli::settings::UsageError;
use crate::cli::verify;
use crate::interception::Interception;
use crate::mesh::istio::Interface;
use crate::mesh::istio::ambient::PodInterception;
use crate::netns::{in_each, inside};
use crate::network::RouteSocket;
use crate::verify::Differences;

/// The command's name.
pub(super) const NAME: &str = "pod";

const DNS: Setting = setting("dns", Kind::Switch, "DNS goes to ztunnel");
const INGRESS: Setting =
    setting("ingress", Kind::Switch, "Leave inbound traffic alone, as a gateway wants it");
const VIRTUAL_INTERFACE: Setting = setting(
    "virtual-interface",
    Kind::List("NAME"),
    "Interface of a virtual machine, whose traffic counts as outbound; may be given again, or as a list",
);
const ALLOW_HOST_NETWORK: Setting = setting(
    "allow-host-network",
    Kind::Switch,
    "Work in the machine's own network namespace even if pods hang on it",
);

const SETTINGS: &[Setting] = &[
    IPV6,
    DNS,
    INGRESS,
    VIRTUAL_INTERFACE,
    PROBE_IPV4,
    PROBE_IPV6,
    profile::OPTIMIZE,
    profile::ELEMENT_COUNTERS,
    DRY_RUN,
    CHECK,
    ALLOW_HOST_NETWORK,
    OUTPUT,
];
const REMOVE_SETTINGS: &[Setting] = &[DRY_RUN, ALLOW_HOST_NETWORK, OUTPUT];
const VERIFY_SETTINGS: &[Setting] = &[
    IPV6,
    DNS,
    INGRESS,
    VIRTUAL_INTERFACE,
    PROBE_IPV4,
    PROBE_IPV6,
    profile::OPTIMIZE,
    profile::ELEMENT_COUNTERS,
    OUTPUT,
];

fn settings(subcommand: &str) -> &'static [Setting] {
    match subcommand {
        APPLY => SETTINGS,
        VERIFY => VERIFY_SETTINGS,
        _ => REMOVE_SETTINGS,
    }
}

pub(super) fn command() -> Command {
    let netns = place::netns().action(ArgAction::Append).help(
        "The pod's network namespace: a file such as /var/run/netns/NAME, or a process in it [default: here]; may be \
         given again, for many pods at once",
    );
    let command = |name, about| arguments(Command::new(name).about(about).arg(netns.clone()), settings(name));
    group(NAME, "A pod's traffic goes to ztunnel, which listens inside the pod")
        .after_help("Exit codes: 0 done, 1 failed (in at least one of the pods), 2 wrong usage, 3 different (verify).")
        .subcommands([
            command(APPLY, "Makes it so, whatever was there; all of it or, in a pod where that fails, nothing"),
            command(REMOVE, "Takes the rules, the policy rules and the routes away"),
            command(VERIFY, "Shows what differs from what apply would make; changes nothing"),
        ])
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let Some((subcommand, matches)) = matches.subcommand() else { return Ok(ExitCode::from(super::USAGE)) };
    let values = values(settings(subcommand), matches);
    let task = Task {
        action: action(subcommand, &values).map_err(Failure::usage)?,
        interception: pod(subcommand, &values).map_err(Failure::usage)?,
        allow_host_network: subcommand == VERIFY
            || values.switch("allow-host-network").map_err(Failure::usage)?,
    };
    let output = output(&values)?;
    match task.action {
        Some(Action::Print) => {
            print(&task.interception.ruleset, output)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Action::PrintRemoval) => {
            Log::beside(output == Output::Json)
                .info("a removal takes away the pod's tables, policy rules and routes; nothing is changed");
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let namespaces: Vec<_> = matches.get_many::<String>(NETNS).into_iter().flatten().collect();
    match namespaces.as_slice() {
        [] => {
            let outcome = task.carry_out(&mut Socket::open()?, &mut RouteSocket::open()?)?;
            tell("done", &outcome.text(output, None))?;
            Ok(if outcome.differs() { verify::exit_code(false) } else { ExitCode::SUCCESS })
        }
        several => in_several(&task, several, output),
    }
}

/// What the settings come to. What is removed does not depend on them.
fn pod(subcommand: &str, values: &Values<'_>) -> Result<Interception, UsageError> {
    if subcommand == REMOVE {
        return Ok(PodInterception::default().interception());
    }
    let interface = |name: &str| name.parse::<Interface>().map_err(|error| format!("{name:?}: {error}"));
    let (probe_v4, probe_v6) = probe_addresses(values)?;
    let pod = PodInterception {
        ipv6: values.switch("ipv6")?,
        dns: values.switch("dns")?,
        ingress: values.switch("ingress")?,
        virtual_interfaces: values.all("virtual-interface", interface)?,
        probe_v4,
        probe_v6,
    };
    Ok(pod.interception().optimized(profile::optimization(values)?))
}

/// What is to be done in each of the pods.
struct Task {
    /// `None` is to compare
    action: Option<Action>,
    interception: Interception,
    allow_host_network: bool,
}

/// What came of it in one of them.
enum Outcome {
    Done(profile::Done),
    Compared(Differences),
}

impl Task {
    fn carry_out(&self, nft: &mut Socket, routes: &mut RouteSocket) -> Result<Outcome, Failure> {
        if !self.allow_host_network {
            refuse_host_network(routes)?;
        }
        Ok(match self.action {
            Some(action) => Outcome::Done(carry_out(action, &self.interception, nft, routes)?),
            None => Outcome::Compared(crate::verify::verify(&self.interception, nft, routes)?),
        })
    }
}

impl Outcome {
    fn differs(&self) -> bool {
        matches!(self, Self::Compared(differences) if !differences.is_empty())
    }

    fn text(&self, output: Output, netns: Option<&str>) -> String {
        match self {
            Self::Done(done) => done.line(output, netns) + "\n",
            Self::Compared(differences) => verify::text(differences, output == Output::Json, netns),
        }
    }
}

/// In all of them at the same time; the results in the order in which they were given.
fn in_several(task: &Task, namespaces: &[&String], output: Output) -> Result<ExitCode, Failure> {
    let outcomes = in_each(namespaces, |netns| {
        let namespace = namespace(netns)?;
        inside(&namespace, |nft, routes| task.carry_out(nft, routes))
    });
    let (mut failed, mut differs, mut text) = (None, false, String::new());
    for (netns, outcome) in namespaces.iter().zip(outcomes) {
        match outcome {
            Ok(outcome) => {
                differs |= outcome.differs();
                text += &outcome.text(output, Some(netns));
            }
            Err(failure) => {
                if output == Output::Json {
                    let object = json!({ "result": "failed", "error": failure.to_json() });
                    text += &format!("{}\n", of(Some(netns), object));
                }
                failed = Some(failure.at(netns).report(Log::beside(output == Output::Json)));
            }
        }
    }
    tell("done", &text)?;
    Ok(failed.unwrap_or_else(|| verify::exit_code(!differs)))
}
