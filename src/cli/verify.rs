//! `meshwire verify MESH FLAGS…`: what differs between the kernel and what the mesh's command would make.

use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::failure::USAGE;
use super::{ambient, istio_iptables, proxy_init};

/// The command's name.
pub(super) const NAME: &str = "verify";

/// For the end of the help.
pub(super) const NOTES: &str = "\
Pass the flags of the run that created the rules. Needs CAP_NET_ADMIN.
Exit codes: 0 equal, 1 failed, 2 wrong usage, 3 different.";

pub(super) fn command() -> Command {
    Command::new(NAME)
        .about("Shows what differs between the kernel and what a mesh's command would make; changes nothing")
        .after_help(NOTES)
        .subcommand_required(true)
        .arg_required_else_help(true)
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
    match matches.subcommand() {
        Some((istio_iptables::NAME, matches)) => istio_iptables::verify(matches),
        Some((proxy_init::NAME, matches)) => proxy_init::verify(matches),
        Some((ambient::NAME, matches)) => ambient::verify(matches),
        _ => ExitCode::from(USAGE),
    }
}
