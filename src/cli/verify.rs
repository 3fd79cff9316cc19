//! `meshwire verify PROFILE FLAGS…`: what differs between the kernel and what the profile's command would make.

use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::failure::{NotWritten, write_result};
use super::profile::of;
use super::{USAGE, istio_iptables, proxy_init};
use crate::verify::Differences;

/// The command's name.
pub(super) const NAME: &str = "verify";

/// For the end of the help.
const NOTES: &str = "\
Give it the flags of the run that made the rules. Needs CAP_NET_ADMIN.
Exit codes: 0 equal, 1 failed, 2 wrong usage, 3 different.";

/// Exit code when something differs.
const DIFFERENT: u8 = 3;

pub(super) fn command() -> Command {
    Command::new(NAME)
        .about(
            "Shows what differs between the kernel and what a profile's command would make; changes nothing",
        )
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
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    match matches.subcommand() {
        Some((istio_iptables::NAME, matches)) => istio_iptables::verify(matches),
        Some((proxy_init::NAME, matches)) => proxy_init::verify(matches),
        _ => ExitCode::from(USAGE),
    }
}

/// Prints the differences; returns the exit code that says whether there are some.
pub(super) fn report(differences: &Differences, json: bool) -> Result<ExitCode, NotWritten> {
    write_result(&text(differences, json, None))?;
    Ok(exit_code(differences.is_empty()))
}

/// What is said of the differences, with the namespace in which they are where there are several.
pub(super) fn text(differences: &Differences, json: bool, netns: Option<&str>) -> String {
    if json {
        return format!("{}\n", of(netns, differences.to_json()));
    }
    let place = netns.map_or_else(String::new, |netns| format!("{netns}: "));
    match differences.is_empty() {
        true => format!("{place}equal: rules, routes and addresses are as the settings want them\n"),
        false => format!("{place}different (- desired, + found, ~ there in another way):\n{differences}"),
    }
}

/// The exit code that says whether all is equal.
pub(super) fn exit_code(equal: bool) -> ExitCode {
    if equal { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) }
}
