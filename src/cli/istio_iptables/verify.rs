//! `meshwire verify istio-iptables`: the command's own settings, against what the kernel holds.

use std::process::ExitCode;

use super::{Options, sidecar_here};
use crate::cli::action::Action;
use crate::cli::differences::report;
use crate::cli::failure::Failure;
use crate::cli::log::Log;
use crate::network::RouteSocket;
use crate::verify::verify_possible;

/// With `--cleanup-only`, what an earlier run left.
pub(super) fn verify_here(options: &Options, log: Log) -> Result<ExitCode, Failure> {
    let mut routes = RouteSocket::open()?;
    let desired = if options.action == Action::Remove {
        options.sidecar.interception().to_remove()
    } else {
        sidecar_here(options, &mut routes, log)?.0.interception().optimized(options.optimize)
    };
    let compared = verify_possible(&desired, &mut nftwire::Socket::open()?, &mut routes)?;
    for warning in compared.warnings() {
        log.warn(&warning);
    }
    Ok(report(&compared.differences, options.output)?)
}
