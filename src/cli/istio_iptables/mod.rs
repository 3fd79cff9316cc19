//! `meshwire istio-iptables`: what Istio's command of that name does, without a process.

mod flags;
mod options;
mod verify;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::action::{Action, perform, refuse_host_network, warn_of_old_kernel};
use super::failure::{Failure, end};
use super::flag::shared::Output;
use super::flag::{Values, variables_help, with_flags};
use super::log::Log;
use super::{lockdown, netns};
use crate::diagnostic::{Explain, Explanation};
use crate::mesh::istio::sidecar::{PASSTHROUGH_V4, PASSTHROUGH_V6, Sidecar, deciding_address};
use crate::network::RouteSocket;
use crate::redirect_check::{self, RedirectCheck, RedirectCheckError};
pub(super) use flags::FLAGS;
use options::{Options, Probe};

/// The command's name, and that of Istio's program.
pub(super) const NAME: &str = "istio-iptables";

/// Exit code when traffic is not intercepted; Istio's repair controller looks for it.
const NOT_INTERCEPTED: u8 = 126;

pub(super) fn command() -> Command {
    command_with(flags::NOTES).about(
        "Intercepts a pod's traffic for Istio's sidecar, with the flags and variables of Istio's own command",
    )
}

/// The same flags and variables, with other notes at the end of the help.
pub(super) fn command_with(notes: &str) -> Command {
    let variables = variables_help(flags::VARIABLES);
    let text = format!("Environment only:\n{variables}\n{}\n\n{notes}", flags::LISTS);
    with_flags(Command::new(NAME), FLAGS).after_help(text)
}

/// Takes out Istio's logging flags that mean nothing here: `--log_output_level=default:info`, …
pub(super) fn drop_log_flags(arguments: &mut Vec<OsString>) {
    let mut kept = Vec::with_capacity(arguments.len());
    let mut rest = std::mem::take(arguments).into_iter().peekable();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some(flag) if flag.starts_with("--log_") && !flag.starts_with("--log_as_json") => {
                // The command takes no operands, so what follows and is no flag is this one's value.
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
    "no interface has an address but loopback and link local ones, so it cannot be told whether the pod is IPv4 or IPv6"
)]
struct NoAddress;

impl Explain for NoAddress {
    fn explanation(&self) -> Explanation {
        Explanation::default().help("run it when the pod's network is set up")
    }
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    with_settings(matches, |options, log| execute_here(options, log).map(|()| ExitCode::SUCCESS))
}

/// Compares instead of applying.
pub(super) fn verify(matches: &ArgMatches) -> ExitCode {
    with_settings(matches, verify::verify_here)
}

/// What is desired of the kernel, or what is wrong with the settings.
#[cfg(fuzzing)]
pub(super) fn desired(
    matches: &ArgMatches,
    environment: std::collections::BTreeMap<String, String>,
) -> Result<crate::interception::Interception, String> {
    let values = Values::with_environment(matches, environment);
    let options = Options::new(&values).map_err(|error| error.to_string())?;
    Ok(Sidecar { ipv6: options.dual_stack, ..options.sidecar }.interception())
}

/// What is done with the settings, inside the namespace that they name.
type Work = fn(&Options, Log) -> Result<ExitCode, Failure>;

fn with_settings(matches: &ArgMatches, work: Work) -> ExitCode {
    let values = Values::new(matches);
    let log = Log::beside(Output::is_json(&values) || values.read(&flags::LOG_AS_JSON) == Ok(true));
    end(execute(&values, log, work), log)
}

fn execute(values: &Values<'_>, log: Log, work: Work) -> Result<ExitCode, Failure> {
    values.read(&flags::LOG_AS_JSON)?;
    let options = Options::new(values)?;
    for warning in &options.warnings {
        log.warn(warning);
    }
    netns::inside(options.network_namespace.as_ref(), || {
        if options.lockdown {
            lockdown::lock_down(options.validation.is_some())?;
        }
        work(&options, log)
    })
}

fn execute_here(options: &Options, log: Log) -> Result<(), Failure> {
    let mut routes = RouteSocket::open()?;
    if options.action.needs_kernel() {
        warn_of_old_kernel(|text| log.warn(text));
    }
    if options.action.needs_kernel() && !options.allow_host_network {
        refuse_host_network(&mut routes)?;
    }
    if options.action == Action::PrintRemoval {
        log.info("a cleanup removes the sidecar's tables, policy rules, routes and its address of lo; nothing is changed");
        return Ok(());
    }
    // What is removed does not depend on the addresses in the namespace, which may be gone already.
    let sidecar = match options.action {
        Action::Remove => options.sidecar.clone(),
        _ => sidecar_here(options, &mut routes, log)?,
    };
    let interception = sidecar.interception().optimized(options.optimize);
    perform(options.action, &interception, &mut routes, options.output)?;
    if let Some(probe) = options.validation
        && !matches!(options.action, Action::Print | Action::Remove)
    {
        prove(&sidecar, probe).map_err(|error| Failure::new(error, NOT_INTERCEPTED))?;
        log.info("traffic is intercepted");
    }
    Ok(())
}

/// The settings, with what the addresses in the namespace decide.
fn sidecar_here(options: &Options, routes: &mut RouteSocket, log: Log) -> Result<Sidecar, Failure> {
    let ipv6 = decide_ipv6(routes, options.dual_stack, log)?;
    let sidecar = Sidecar { ipv6, ..options.sidecar.clone() };
    if sidecar.dns.is_some() && !sidecar.captures_dns() {
        log.warn("DNS is not redirected: all servers in /etc/resolv.conf are IPv6, and IPv6 is off");
    }
    Ok(sidecar)
}

/// Whether there are rules for IPv6: the first address of the pod decides, with dual stack any.
fn decide_ipv6(routes: &mut RouteSocket, dual_stack: bool, log: Log) -> Result<bool, Failure> {
    let addresses = routes.interface_addresses()?;
    let addresses = addresses.iter().map(|interface| interface.address);
    let address = deciding_address(addresses, dual_stack).ok_or(NoAddress)?;
    let ipv6 = address.is_ipv6();
    let state = if ipv6 { "on" } else { "off" };
    log.info(&format!("IPv6 is {state}: {address} decides"));
    Ok(ipv6)
}

/// A connection to the passthrough address must arrive at the proxy.
fn prove(sidecar: &Sidecar, probe: Probe) -> Result<(), RedirectCheckError> {
    let (loopback, destination): (IpAddr, IpAddr) = match sidecar.ipv6 {
        true => (Ipv6Addr::LOCALHOST.into(), PASSTHROUGH_V6.into()),
        false => (Ipv4Addr::LOCALHOST.into(), PASSTHROUGH_V4.into()),
    };
    redirect_check::run(&RedirectCheck {
        listen_ports: vec![sidecar.envoy_port, sidecar.inbound_capture_port],
        loopback,
        destination,
        probe_port: probe.port,
        timeout: probe.timeout,
    })
}
