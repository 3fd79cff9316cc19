//! `meshwire istio-iptables`: what Istio's command of that name does, without a process.

mod flags;
mod options;
mod validation;
mod verify;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::net::IpAddr;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};

use super::action::{Action, Place, Task, perform, warn_of_legacy_tables, warn_of_old_kernel};
use super::failure::{Failure, end};
use super::flag::shared::Output;
use super::flag::{Given, UsageError, Values, variables_help, with_flags};
use super::log::Log;
use super::pod_spec::{ArgumentsError, Desired};
use super::{lockdown, migrate, netns, progress, signals, watch};
use crate::diagnostic::{Explain, Explanation};
use crate::interception::Interception;
use crate::mesh::istio::sidecar::{DnsCapture, Sidecar, deciding_address};
use crate::network::{Family, RouteSocket};
pub(super) use flags::{CLEANUP_ONLY, FLAGS};
use options::Options;

/// The command's name, and that of Istio's program.
pub(super) const NAME: &str = "istio-iptables";

pub(super) fn command() -> Command {
    command_with(flags::NOTES).about(
        "Intercepts a pod's traffic for Istio's sidecar, with the flags and variables of Istio's own command",
    )
}

/// The same flags and variables, with other notes at the end of the help.
pub(super) fn command_with(notes: &str) -> Command {
    let variables = variables_help(flags::VARIABLES);
    let text = format!("Environment only:\n{variables}\n{}\n\n{notes}", flags::LISTS);
    // Istio's command takes operands, and does nothing with them.
    let ignored = Arg::new(IGNORED).num_args(0..).hide(true).help("Ignored, as Istio's command does");
    with_flags(Command::new(NAME), FLAGS).arg(ignored).after_help(text)
}

/// What is not a flag.
const IGNORED: &str = "ignored";

/// Takes out Istio's logging flags that mean nothing here: `--log_output_level=default:info`, …
pub(super) fn drop_log_flags(arguments: &mut Vec<OsString>) {
    let mut kept = Vec::with_capacity(arguments.len());
    let mut rest = std::mem::take(arguments).into_iter().peekable();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some(flag)
                if flag.starts_with("--vklog")
                    || flag.starts_with("--log_") && !flag.starts_with("--log_as_json") =>
            {
                // What follows and is not a flag is this one's value.
                let is_value = |next: &OsString| !next.as_encoded_bytes().starts_with(b"-");
                if !flag.contains('=') {
                    rest.next_if(is_value);
                }
            }
            _ => kept.push(argument),
        }
    }
    *arguments = kept;
}

/// No interface has an address that could decide.
#[derive(Debug, thiserror::Error)]
#[error(
    "no interface has an address but loopback and link local ones: cannot determine whether the pod is IPv4 or IPv6"
)]
struct NoAddressError;

impl Explain for NoAddressError {
    fn explanation(&self) -> Explanation {
        Explanation::default().help("run it when the pod's network is set up")
    }
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    run_with(&Values::new(matches))
}

pub(super) fn run_with(values: &Values<'_>) -> ExitCode {
    with_settings(values, Task::Act, None, |options, log| {
        execute_here(options, log).map(|()| ExitCode::SUCCESS)
    })
}

/// Compares instead of applying.
pub(super) fn verify(matches: &ArgMatches, netns: Option<&Given>) -> ExitCode {
    with_settings(&Values::new(matches), Task::Verify, netns, verify::verify_here)
}

/// What these words and variables come to, such as an init container's.
pub(super) fn desired_by(
    words: Vec<String>,
    environment: BTreeMap<String, String>,
) -> Result<Desired, ArgumentsError> {
    let mut words = [NAME.to_owned()].into_iter().chain(words).map(OsString::from).collect();
    drop_log_flags(&mut words);
    let matches = command_with("").try_get_matches_from(words)?;
    let mut options = Options::new(&Values::with_environment(&matches, environment))?;
    if matches!(options.sidecar.dns, Some(DnsCapture::Servers(_))) {
        let warning = "the servers whose DNS is redirected are taken from the /etc/resolv.conf of this machine, not of the pod";
        options.warnings.push(warning.to_owned());
    }
    Ok(Box::new(move |routes, log| {
        options.warnings.iter().for_each(|warning| log.warn(warning));
        verify::desired_here(&options, routes, log)
    }))
}

/// What these flags and variables come to.
pub(super) fn desired_of(matches: &ArgMatches) -> Result<Desired, UsageError> {
    let options = Options::new(&Values::new(matches))?;
    Ok(Box::new(move |routes, log| verify::desired_here(&options, routes, log)))
}

/// What a sidecar's settings come to, with what the addresses in the namespace decide.
pub(super) fn with_addresses(
    sidecar: &Sidecar,
    dual_stack: bool,
    routes: &mut RouteSocket,
    log: Log,
) -> Result<Interception, Failure> {
    let (ipv6, _) = families(routes, dual_stack, log)?;
    Ok(Sidecar { ipv6, ..sidecar.clone() }.interception())
}

/// Compares whenever something changes.
pub(super) fn watch(matches: &ArgMatches, netns: Option<&Given>, options: crate::watch::Options) -> ExitCode {
    with_settings(&Values::new(matches), Task::Watch, netns, |settings, log| {
        let desired = verify::desired_here(settings, &mut RouteSocket::open()?, log)?;
        watch::report_all(desired, options, settings.output)
    })
}

/// Replaces other rules, or shows how.
pub(super) fn migrate(matches: &ArgMatches, netns: Option<&Given>, is_dry: bool) -> ExitCode {
    with_settings(&Values::new(matches), Task::Migrate { is_dry }, netns, move |settings, log| {
        migrate::refuse_removal(settings.action)?;
        let desired = verify::desired_here(settings, &mut RouteSocket::open()?, log)?;
        migrate::perform(&desired, is_dry || settings.action == Action::Print, settings.output)
    })
}

/// What is desired of the kernel, or what is wrong with the settings.
#[cfg(fuzzing)]
pub(super) fn desired(
    matches: &ArgMatches,
    environment: BTreeMap<String, String>,
) -> Result<Interception, String> {
    let values = Values::with_environment(matches, environment);
    let options = Options::new(&values).map_err(|error| error.to_string())?;
    Ok(Sidecar { ipv6: options.dual_stack, ..options.sidecar }.interception())
}

/// What is done with the settings, inside the namespace that they name.
trait Work: FnOnce(&Options, Log) -> Result<ExitCode, Failure> + Send {}
impl<W: FnOnce(&Options, Log) -> Result<ExitCode, Failure> + Send> Work for W {}

/// `netns` is where, in place of what the settings say.
fn with_settings(values: &Values<'_>, task: Task, netns: Option<&Given>, work: impl Work) -> ExitCode {
    let log = Log::for_output(Output::is_json(values) || values.read(&flags::LOG_AS_JSON) == Ok(true));
    for argument in values.operands(IGNORED) {
        log.warn(&format!("the argument {argument:?} is ignored"));
    }
    end(execute(values, log, task, netns, work), log)
}

fn execute(
    values: &Values<'_>,
    log: Log,
    task: Task,
    netns: Option<&Given>,
    work: impl Work,
) -> Result<ExitCode, Failure> {
    values.read(&flags::LOG_AS_JSON)?;
    let options = Options::new(values)?;
    for warning in &options.warnings {
        log.warn(warning);
    }
    let _deferred = signals::defer();
    let is_guarded = task.changes() && options.action.is_for_pods() && !options.allow_host_network;
    netns::inside_pod(
        netns.or(options.network_namespace.as_ref()),
        is_guarded,
        |text| log.warn(text),
        || {
            // A file can be opened only before the lockdown.
            if task.is_for_init() && matches!(options.action, Action::Apply(_) | Action::Remove) {
                warn_of_legacy_tables(|text| log.warn(text));
            }
            if options.lockdown && task.is_for_init() {
                progress::prepare();
                lockdown::lock_down(options.validation.is_some())?;
            }
            work(&options, log)
        },
    )
}

fn execute_here(options: &Options, log: Log) -> Result<(), Failure> {
    let mut routes = options.action.route_socket()?;
    if options.action.needs_kernel() {
        warn_of_old_kernel(|text| log.warn(text));
    }
    if options.action == Action::PrintRemoval {
        log.info("a cleanup removes the sidecar's tables, policy rules, routes and its address of lo; nothing is changed");
        return Ok(());
    }
    // What is removed does not depend on the addresses in the namespace, which may be gone already.
    let (sidecar, families) = match options.action.is_removal() {
        true => (options.sidecar.clone(), Vec::new()),
        false => sidecar_here(options, &mut routes, log)?,
    };
    if matches!(options.action, Action::Apply(_) | Action::Check) && sidecar.intercepts_nothing() {
        warn_of_nothing(log);
    }
    // The process ends soon after: rule by rule, it would take a twentieth of its own time to give the memory back.
    let interception = ManuallyDrop::new(sidecar.interception().optimized(options.optimize));
    perform(options.action, &interception, Place::Pod, routes, options.output)?;
    if let Some(probe) = options.validation
        && options.action != Action::Print
        && !options.action.is_removal()
        && !options.action.is_plan()
    {
        signals::allow();
        progress::during("opening connections", || validation::prove(&sidecar, &families, probe))?;
        log.info("traffic is intercepted");
    }
    Ok(())
}

/// Says that nothing is intercepted: what was meant is usually something else.
fn warn_of_nothing(log: Log) {
    let [inbound, networks, ports] =
        [flags::INBOUND_PORTS.name(), flags::SERVICE_CIDR.name(), flags::OUTBOUND_PORTS.name()];
    log.warn(&format!(
        "nothing is intercepted: --{inbound}, --{networks}, --{ports} and what is excluded from them leave nothing"
    ));
}

/// The settings, with what the addresses in the namespace decide.
fn sidecar_here(
    options: &Options,
    routes: &mut RouteSocket,
    log: Log,
) -> Result<(Sidecar, Vec<Family>), Failure> {
    let (ipv6, families) = families(routes, options.dual_stack, log)?;
    let sidecar = Sidecar { ipv6, ..options.sidecar.clone() };
    if sidecar.dns.is_some() && !sidecar.captures_dns() {
        log.warn("DNS is not redirected: all servers in /etc/resolv.conf are IPv6, and IPv6 is off");
    }
    Ok((sidecar, families))
}

/// Whether there are rules for IPv6: the first address of the pod decides, with dual stack any; and which families are to be
/// proved to be intercepted: the one that decides, with dual stack all that the pod has.
fn families(routes: &mut RouteSocket, dual_stack: bool, log: Log) -> Result<(bool, Vec<Family>), Failure> {
    let addresses = routes.interface_addresses()?;
    let addresses: Vec<_> = addresses.iter().map(|interface| interface.address).collect();
    let address = deciding_address(addresses.iter().copied(), dual_stack).ok_or(NoAddressError)?;
    let ipv6 = address.is_ipv6();
    log.info(&match (ipv6, dual_stack) {
        (true, true) => format!("IPv6 on: the pod has an IPv6 address, {address}"),
        (false, true) => "IPv6 off: the pod has no IPv6 address".to_owned(),
        (true, false) => format!("IPv6 on: the pod's first address, {address}, is IPv6"),
        (false, false) => format!("IPv6 off: the pod's first address, {address}, is IPv4"),
    });
    let of_ipv4 = || addresses.iter().copied().filter(IpAddr::is_ipv4);
    let both = ipv6 && dual_stack && deciding_address(of_ipv4(), false).is_some();
    Ok((
        ipv6,
        match (both, ipv6) {
            (true, _) => vec![Family::V4, Family::V6],
            (false, true) => vec![Family::V6],
            (false, false) => vec![Family::V4],
        },
    ))
}
