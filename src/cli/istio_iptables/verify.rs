//! `meshwire verify istio-iptables`: the command's own settings, against what the kernel holds.

use std::process::ExitCode;

use super::{Options, sidecar_here};
use crate::cli::differences::compare;
use crate::cli::failure::Failure;
use crate::cli::log::Log;
use crate::interception::Interception;
use crate::network::RouteSocket;

pub(super) fn verify_here(options: &Options, log: Log) -> Result<ExitCode, Failure> {
    let mut routes = RouteSocket::open()?;
    let desired = desired_here(options, &mut routes, log)?;
    compare(&desired, &mut routes, options.output, |text| log.warn(text))
}

/// What the settings come to here; with `--cleanup-only`, that nothing of an earlier run is left.
pub(super) fn desired_here(
    options: &Options,
    routes: &mut RouteSocket,
    log: Log,
) -> Result<Interception, Failure> {
    if options.action.is_removal() {
        return Ok(options.sidecar.interception().to_remove());
    }
    Ok(sidecar_here(options, routes, log)?.0.interception().optimized(options.optimize))
}
