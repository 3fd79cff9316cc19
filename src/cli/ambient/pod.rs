//! `meshwire ambient pod`: pods, one or many at once.

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::{ArgMatches, Command};
use nftwire::Socket;
use serde_json::json;

use super::{APPLY, DRY_RUN, IPV6, NATIVE_NFTABLES, PROBE_IPV4, PROBE_IPV6, REMOVE, VERIFY, action, group};
use crate::apply::Prepared;
use crate::cli::action::{
    Action, Done, HOST_UNKNOWN, Place, carry_out, of, print, refuse_host_network, report,
};
use crate::cli::differences;
use crate::cli::failure::{Failure, USAGE};
use crate::cli::flag::shared::{
    ALLOW_HOST_NETWORK, CHECK, EACH_NETNS, ELEMENT_COUNTERS, OPTIMIZE, OUTPUT, Output, PLAN, optimization,
};
use crate::cli::flag::{Flag, Flags, Given, UsageError, Values, with_flags};
use crate::cli::log::Log;
use crate::cli::migrate::perform;
use crate::cli::plan::{Planned, plan};
use crate::cli::pod_spec::Desired;
use crate::cli::verify::compare_here;
use crate::cli::watch::report_all;
use crate::cli::{netns, signals};
use crate::interception::Interception;
use crate::mesh::istio::Interface;
use crate::mesh::istio::ambient::PodInterception;
use crate::netns::{in_each, inside_with, named};
use crate::network::{RouteError, RouteSocket};
use crate::preflight::{Host, is_initial_namespace};
use crate::verify::{PossibleDifferences, verify_possible};
use crate::watch;

/// The command's name.
pub(super) const NAME: &str = "pod";

static DNS: Flag<bool> = Flag::switch("dns").help("Redirect DNS to ztunnel");

static INGRESS: Flag<bool> = Flag::switch("ingress").help("Leave inbound traffic alone, as for a gateway");

static VIRTUAL_INTERFACE: Flag<Vec<Interface>> = Flag::list("virtual-interface", "NAME", |given| {
    given.list(|name| name.parse().map_err(|error| format!("{name:?}: {error}")))
})
.help("Interface of a virtual machine, whose traffic counts as outbound; can be repeated, or a list");

static APPLY_FLAGS: Flags = &[
    &EACH_NETNS,
    &IPV6,
    &DNS,
    &INGRESS,
    &VIRTUAL_INTERFACE,
    &PROBE_IPV4,
    &PROBE_IPV6,
    &NATIVE_NFTABLES,
    &OPTIMIZE,
    &ELEMENT_COUNTERS,
    &DRY_RUN,
    &CHECK,
    &PLAN,
    &ALLOW_HOST_NETWORK,
    &OUTPUT,
];
static REMOVE_FLAGS: Flags = &[&EACH_NETNS, &DRY_RUN, &PLAN, &ALLOW_HOST_NETWORK, &OUTPUT];
static VERIFY_FLAGS: Flags = &[
    &EACH_NETNS,
    &IPV6,
    &DNS,
    &INGRESS,
    &VIRTUAL_INTERFACE,
    &PROBE_IPV4,
    &PROBE_IPV6,
    &NATIVE_NFTABLES,
    &OPTIMIZE,
    &ELEMENT_COUNTERS,
    &OUTPUT,
];

pub(super) fn command() -> Command {
    let command = |name, flags, about| with_flags(Command::new(name), flags).about(about);
    group(NAME, "Redirects a pod's traffic to ztunnel, which listens inside the pod")
        .after_help(
            "--netns can be repeated, for many pods at once.\n\
             Exit codes: 0 done, 1 failed (in at least one of the pods), 2 wrong usage, 3 different (verify).",
        )
        .subcommands([
            command(
                APPLY,
                APPLY_FLAGS,
                "Creates or replaces the rules and routes; in each pod all of them, or none if that fails",
            ),
            command(REMOVE, REMOVE_FLAGS, "Removes the rules, the policy rules and the routes"),
            verify_command(VERIFY),
        ])
}

pub(super) fn verify_command(name: &'static str) -> Command {
    with_flags(Command::new(name), VERIFY_FLAGS)
        .about("Shows what differs from what `ambient pod apply` would make; changes nothing")
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let Some((subcommand, matches)) = matches.subcommand() else { return Ok(ExitCode::from(USAGE)) };
    execute(subcommand, matches)
}

pub(super) fn execute(subcommand: &str, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let values = Values::new(matches);
    let task = Task::new(subcommand, &values)?;
    let output = values.read(&OUTPUT)?;
    match task.action {
        Some(Action::Print) => {
            print(&task.interception.ruleset, output)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Action::PrintRemoval) => {
            Log::for_output(output == Output::Json)
                .info("a removal deletes the pod's tables, policy rules and routes; nothing is changed");
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let _deferred = signals::defer();
    let namespaces: Vec<_> = values.each(&EACH_NETNS).collect();
    match namespaces.as_slice() {
        [] => {
            if task.is_guarded() {
                let warn = |text: &str| Log::for_output(output == Output::Json).warn(text);
                refuse_host_network(is_initial_namespace(), warn)?;
            }
            let prepared = Prepared::once(&task.interception);
            let outcome = task.carry_out(&prepared, &mut Socket::open()?, &mut task.route_socket()?)?;
            for warning in outcome.warnings() {
                Log::for_output(output == Output::Json).warn(&warning);
            }
            report("done", &outcome.text(output, None))?;
            Ok(differences::exit_code(!outcome.differs()))
        }
        several => in_several(&task, several, output),
    }
}

/// Compares in this namespace.
pub(super) fn verify_in(matches: &ArgMatches, netns: Option<&Given>) -> Result<ExitCode, Failure> {
    let values = Values::new(matches);
    let output = values.read(&OUTPUT)?;
    let desired = desired_of(matches)?;
    netns::inside(netns, || compare_here(&desired, output, Log::for_output(output == Output::Json)))
}

pub(super) fn desired_of(matches: &ArgMatches) -> Result<Desired, Failure> {
    let desired = pod(VERIFY, &Values::new(matches))?;
    Ok(Box::new(move |_, _| Ok(desired.clone())))
}

pub(super) fn watch(
    matches: &ArgMatches,
    netns: Option<&Given>,
    options: watch::Options,
) -> Result<ExitCode, Failure> {
    let values = Values::new(matches);
    let (desired, output) = (pod(VERIFY, &values)?, values.read(&OUTPUT)?);
    let _deferred = signals::defer();
    let given = one_namespace(&values)?;
    netns::inside(netns.or(given.as_ref()), || report_all(desired, options, output))
}

pub(super) fn migrate(
    matches: &ArgMatches,
    netns: Option<&Given>,
    is_dry: bool,
) -> Result<ExitCode, Failure> {
    let values = Values::new(matches);
    let (desired, output) = (pod(VERIFY, &values)?, values.read(&OUTPUT)?);
    let _deferred = signals::defer();
    let given = one_namespace(&values)?;
    let warn = |text: &str| Log::for_output(output == Output::Json).warn(text);
    netns::inside_pod(netns.or(given.as_ref()), !is_dry, warn, || perform(&desired, is_dry, output))
}

/// The one that was given, where no more than one can be.
fn one_namespace(values: &Values<'_>) -> Result<Option<Given>, UsageError> {
    match values.read(&EACH_NETNS)?.as_slice() {
        [_, second, ..] => Err(second.fault("this takes one network namespace: run it for each of them")),
        given => Ok(given.first().cloned()),
    }
}

/// What the settings come to. What is removed does not depend on them.
fn pod(subcommand: &str, values: &Values<'_>) -> Result<Interception, UsageError> {
    if subcommand == REMOVE {
        return Ok(PodInterception::default().interception());
    }
    let pod = PodInterception {
        ipv6: values.read(&IPV6)?,
        dns: values.read(&DNS)?,
        ingress: values.read(&INGRESS)?,
        virtual_interfaces: values.read(&VIRTUAL_INTERFACE)?,
        probe_v4: values.read(&PROBE_IPV4)?,
        probe_v6: values.read(&PROBE_IPV6)?,
        native_nftables: values.read(&NATIVE_NFTABLES)?,
    };
    Ok(pod.interception().optimized(optimization(values)?))
}

/// What is to be done in each of the pods.
struct Task {
    /// `None` is to compare
    action: Option<Action>,
    interception: Interception,
    allow_host_network: bool,
}

/// The result in one of them.
enum Outcome {
    Done(Done),
    Compared(PossibleDifferences),
    Planned(Planned),
}

impl Task {
    fn new(subcommand: &str, values: &Values<'_>) -> Result<Self, UsageError> {
        Ok(Self {
            action: action(subcommand, values)?,
            interception: pod(subcommand, values)?,
            allow_host_network: subcommand == VERIFY || values.read(&ALLOW_HOST_NETWORK)?,
        })
    }

    /// Whether it is not done in the machine's own network namespace.
    fn is_guarded(&self) -> bool {
        !self.allow_host_network && self.action.is_some_and(Action::is_for_pods)
    }

    fn route_socket(&self) -> Result<RouteSocket, RouteError> {
        self.action.map_or_else(RouteSocket::open, Action::route_socket)
    }

    /// Does it with its interception, which is prepared for as many pods as there are.
    fn carry_out(
        &self,
        prepared: &Prepared<'_>,
        nft: &mut Socket,
        routes: &mut RouteSocket,
    ) -> Result<Outcome, Failure> {
        Ok(match self.action {
            Some(action) if action.is_plan() => {
                Outcome::Planned(plan(action, &self.interception, Place::Pod, nft, routes)?)
            }
            Some(action) => Outcome::Done(carry_out(action, prepared, Place::Pod, nft, routes)?),
            None => Outcome::Compared(verify_possible(&self.interception, nft, routes)?),
        })
    }
}

impl Outcome {
    fn differs(&self) -> bool {
        matches!(self, Self::Compared(compared) if !compared.differences.is_empty())
    }

    fn text(&self, output: Output, netns: Option<&str>) -> String {
        match self {
            Self::Done(done) => done.line(output, netns) + "\n",
            Self::Compared(compared) => differences::text(&compared.differences, output, netns),
            Self::Planned(planned) => planned.text(output, netns),
        }
    }

    /// What is not as it should be.
    fn warnings(&self) -> Vec<String> {
        match self {
            Self::Done(done) => done.warnings.clone(),
            Self::Compared(compared) => compared.warnings(),
            Self::Planned(planned) => planned.warnings.clone(),
        }
    }
}

/// In all of them at the same time; each is reported as soon as it is done.
fn in_several(task: &Task, namespaces: &[&str], output: Output) -> Result<ExitCode, Failure> {
    let host = task.is_guarded().then(Host::query);
    let prepared = task.interception.prepare();
    let reports = Mutex::new(Reports { output, host_is_unknown: false, failed: None, differs: false });
    let written = in_each(namespaces, |netns| {
        let outcome = named(netns).map_err(Failure::from).and_then(|namespace| {
            let is_host = host.map(|host| host.is(&namespace));
            let work = |nft: &mut Socket, routes: &mut RouteSocket| {
                if let Some(is_host) = is_host {
                    let warn =
                        |_: &str| reports.lock().unwrap_or_else(PoisonError::into_inner).warn_of_host();
                    refuse_host_network(is_host.or_else(is_initial_namespace), warn)?;
                }
                task.carry_out(&prepared, nft, routes)
            };
            inside_with(&namespace, || task.route_socket(), work)
        });
        reports.lock().unwrap_or_else(PoisonError::into_inner).add(netns, outcome)
    });
    written.into_iter().collect::<Result<(), _>>()?;
    let Reports { failed, differs, .. } = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(failed.unwrap_or_else(|| differences::exit_code(!differs)))
}

/// The results in those that are done.
struct Reports {
    output: Output,
    host_is_unknown: bool,
    failed: Option<ExitCode>,
    differs: bool,
}

impl Reports {
    fn log(&self) -> Log {
        Log::for_output(self.output == Output::Json)
    }

    /// Says once that the guard cannot do its work.
    fn warn_of_host(&mut self) {
        if !std::mem::replace(&mut self.host_is_unknown, true) {
            self.log().warn(HOST_UNKNOWN);
        }
    }

    /// Writes the result in one of them.
    fn add(&mut self, netns: &str, outcome: Result<Outcome, Failure>) -> Result<(), Failure> {
        match outcome {
            Ok(outcome) => {
                for warning in outcome.warnings() {
                    self.log().warn(&format!("{netns}: {warning}"));
                }
                self.differs |= outcome.differs();
                report("done", &outcome.text(self.output, Some(netns)))
            }
            Err(failure) => {
                let object = json!({ "result": "failed", "error": failure.to_json() });
                self.failed = Some(failure.at(netns).report(self.log()));
                match self.output {
                    Output::Json => report("done", &format!("{}\n", of(Some(netns), object))),
                    Output::Text => Ok(()),
                }
            }
        }
    }
}
