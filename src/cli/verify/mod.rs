//! `meshwire verify MESH FLAGS…`: what differs between the kernel and what the mesh's command would make.

mod all_pods;

use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::agent::NoSettingsError;
use super::differences::compare;
use super::failure::{Failure, end};
use super::flag::shared::{NETNS, OUTPUT, Output};
use super::flag::{Flag, Given, UsageError, Values, argument};
use super::log::Log;
use super::pod::{NODE_ROOT, POD};
use super::pod_spec::{self, Desired, PodSpec};
use super::{agent, ambient, istio_iptables, netns, pod, proxy_init};
use crate::network::RouteSocket;

/// The command's name.
pub(super) const NAME: &str = "verify";

/// For the end of the help.
pub(super) const NOTES: &str = "\
Pass the flags of the run that created the rules. Needs CAP_NET_ADMIN.
Exit codes: 0 equal, 1 failed, 2 wrong usage, 3 different.";

pub(super) static FROM_POD_SPEC: Flag<Option<Given>> =
    Flag::text("from-pod-spec", "FILE", || None, |given| Ok(Some(given.clone())))
        .help("Take the settings from a pod as kubectl prints it, in YAML or JSON; - is standard input");

static ALL_PODS: Flag<bool> = Flag::switch("all-pods").help(
    "Compare in every pod of this node: with --from-pod-spec in those that it has, with a mesh and its flags in those with \
     rules of a mesh, otherwise in those that the node agent knows",
);

pub(super) fn command() -> Command {
    Command::new(NAME)
        .about("Shows what differs between the kernel and what a mesh's command would make; changes nothing")
        .after_help(format!(
            "{NOTES}\n\n\
             The settings of a pod never come from inside of it. On a node:\n  \
             kubectl get pods -A --field-selector spec.nodeName=NODE -o yaml | meshwire verify --all-pods --from-pod-spec -\n\
             A pod without istio-init or linkerd-init is compared with what its annotations ask of Istio's CNI plugin.\n\
             In the image of Istio's node agent, the agent has the settings of its pods, those of the ambient mesh too:\n  \
             meshwire verify --pod NAMESPACE/NAME\n  \
             meshwire verify --all-pods"
        ))
        .arg_required_else_help(true)
        .args([&FROM_POD_SPEC as _, &ALL_PODS as _, &POD as _, &NODE_ROOT as _, &NETNS as _, &OUTPUT as _].map(argument))
        .subcommand(istio_iptables::command_with(NOTES).about(
            "Shows what differs from what `meshwire istio-iptables` makes of these flags and variables; changes nothing",
        ))
        .subcommand(
            proxy_init::command_with(NOTES)
                .about("Shows what differs from what `meshwire proxy-init` makes of these flags; changes nothing"),
        )
        .subcommand(ambient::verify_command(NOTES))
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let values = Values::new(matches);
    let log = Log::for_output(Output::is_json(&values));
    end(execute(matches, &values, log), log)
}

fn execute(matches: &ArgMatches, values: &Values<'_>, log: Log) -> Result<ExitCode, Failure> {
    let spec = values.read(&FROM_POD_SPEC)?;
    if let (Some(spec), Some((mesh, _))) = (&spec, matches.subcommand()) {
        return Err(spec
            .fault(format_args!("it has the settings, and {mesh} has others: give one of the two"))
            .into());
    }
    if values.read(&ALL_PODS)? {
        return in_all_pods(matches, values, spec.as_ref(), log);
    }
    if spec.is_none() && matches.subcommand().is_none() {
        let Some((netns, settings)) = netns::chosen_with_settings(values)? else {
            return Err(no_settings().into());
        };
        if let Some(origin) = settings.origin() {
            log.info(&format!("the settings are {origin}, as the node agent has them"));
        }
        return compare_in(&settings, Some(&netns), values, log);
    }
    let netns = netns::chosen(values)?;
    match (matches.subcommand(), spec) {
        (Some((istio_iptables::NAME, matches)), _) => Ok(istio_iptables::verify(matches, netns.as_ref())),
        (Some((proxy_init::NAME, matches)), _) => Ok(proxy_init::verify(matches, netns.as_ref())),
        (Some((ambient::NAME, matches)), _) => Ok(ambient::verify(matches, netns.as_ref())),
        (_, Some(spec)) => compare_in(&pod_spec::read_one(&spec.text)?, netns.as_ref(), values, log),
        _ => Err(no_settings().into()),
    }
}

fn compare_in(
    settings: &PodSpec,
    netns: Option<&Given>,
    values: &Values<'_>,
    log: Log,
) -> Result<ExitCode, Failure> {
    let (desired, output) = (settings.desired()?, values.read(&OUTPUT)?);
    netns::inside(netns, || compare_here(&desired, output, log))
}

fn no_settings() -> UsageError {
    UsageError::missing(
        &FROM_POD_SPEC,
        "or a mesh with its flags, or --pod where a node agent runs, which say what the rules are to be",
    )
}

/// Compares in the namespace that the thread is in.
pub(super) fn compare_here(desired: &Desired, output: Output, log: Log) -> Result<ExitCode, Failure> {
    let mut routes = RouteSocket::open()?;
    let desired = desired(&mut routes, log)?;
    compare(&desired, &mut routes, output, |text| log.warn(text))
}

fn in_all_pods(
    matches: &ArgMatches,
    values: &Values<'_>,
    spec: Option<&Given>,
    log: Log,
) -> Result<ExitCode, Failure> {
    for flag in [&POD, &NETNS] {
        if let Some(given) = values.read(flag)? {
            return Err(given.fault(format_args!("--{} compares in all of them", ALL_PODS.name())).into());
        }
    }
    let node = pod::node(values)?;
    let settings = match (matches.subcommand(), spec) {
        (_, Some(spec)) => all_pods::Settings::OfEach(pod_spec::read(&spec.text)?),
        (Some((istio_iptables::NAME, matches)), _) => {
            all_pods::Settings::OfAll(istio_iptables::desired_of(matches)?)
        }
        (Some((proxy_init::NAME, matches)), _) => all_pods::Settings::OfAll(proxy_init::desired_of(matches)?),
        (Some((ambient::NAME, matches)), _) => all_pods::Settings::OfAll(ambient::desired_of(matches)?),
        _ => all_pods::Settings::OfEach(agent::pods().map_err(NoSettingsError::failure)?),
    };
    // The mesh's own flag, where it was given there.
    let output = match matches.subcommand() {
        Some((ambient::NAME, matches)) => {
            matches.subcommand().map(|(_, matches)| Values::new(matches).read(&OUTPUT))
        }
        Some((_, matches)) => Some(Values::new(matches).read(&OUTPUT)),
        None => None,
    };
    let output = match output.transpose()? {
        Some(Output::Json) => Output::Json,
        _ => values.read(&OUTPUT)?,
    };
    if output == Output::Json && log == Log::Plain {
        return all_pods::verify(&node, &settings, output, Log::Json);
    }
    all_pods::verify(&node, &settings, output, log)
}
