//! `meshwire verify istio-iptables`: the command's own settings, against what the kernel holds.

use std::process::ExitCode;

use super::{Action, Failure, Log, Options, Output, RouteSocket, Sidecar, sidecar, sidecar_here};
use crate::apply::Interception;
use crate::cli::verify::report;
use crate::ruleset::Ruleset;
use crate::verify::verify;

/// With `--cleanup-only`, what an earlier run left.
pub(super) fn verify_here(options: &Options, log: Log) -> Result<ExitCode, Failure> {
    let mut routes = RouteSocket::open()?;
    let (mark, table) = (options.sidecar.tproxy_mark, options.sidecar.tproxy_route_table);
    let possible = Sidecar::network_to_remove(mark, table);
    let (ruleset, network) = if options.action == Action::Remove {
        (Ruleset::default(), Default::default())
    } else {
        let sidecar = sidecar_here(options, &mut routes, log)?;
        (sidecar.ruleset(), sidecar.network())
    };
    let wanted = Interception { layout: sidecar::layout(), ruleset, network };
    let differences = verify(&wanted, &possible, &mut nftwire::Socket::open()?, &mut routes)?;
    Ok(report(&differences, options.output == Output::Json)?)
}
