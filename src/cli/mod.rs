//! One file a command: parse, call the library, print.

mod accounts;
mod ambient;
mod demo;
mod failure;
mod graph;
mod istio_iptables;
mod list;
mod log;
mod place;
mod profile;
mod reset;
mod resolv_conf;
mod settings;
mod verify;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Command;
use clap::error::ErrorKind;

use log::Log;

/// The program's name.
const NAME: &str = "meshwire";

/// Exit code for a wrong command line or environment.
const USAGE: u8 = 2;

/// Runs the command that these arguments ask for; the first one is the name by which the program was called.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments: Vec<_> = arguments.into_iter().collect();
    if called_as(&arguments, istio_iptables::NAME) {
        arguments[0] = NAME.into();
        if arguments.get(1).is_none_or(|command| command != istio_iptables::NAME) {
            arguments.insert(1, istio_iptables::NAME.into());
        }
    }
    if arguments.iter().take(3).skip(1).any(|command| command == istio_iptables::NAME) {
        istio_iptables::drop_log_flags(&mut arguments);
    }
    let json = arguments.iter().any(|flag| flag == "--log_as_json" || flag == "--log_as_json=true");
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return refuse(&error, if json { Log::Json } else { Log::Plain }),
    };
    match matches.subcommand() {
        Some((ambient::NAME, matches)) => ambient::run(matches),
        Some((demo::NAME, _)) => demo::run(),
        Some((graph::NAME, matches)) => graph::run(matches),
        Some((istio_iptables::NAME, matches)) => istio_iptables::run(matches),
        Some((list::NAME, matches)) => list::run(matches),
        Some((reset::NAME, matches)) => reset::run(matches),
        Some((verify::NAME, matches)) => verify::run(matches),
        _ => ExitCode::from(USAGE),
    }
}

/// Says what is wrong with the command line, or gives the help that was asked for.
fn refuse(error: &clap::Error, log: Log) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // Clap knows where each of them belongs; nothing is left to be done where that is closed.
            let _ = error.print();
        }
        _ => log.error(&in_one_line(&error.to_string())),
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Clap's text as one line of a log: what is wrong, its tips, and where the rest of it can be had.
fn in_one_line(text: &str) -> String {
    let lines = text.trim_start_matches("error: ").lines().map(str::trim).filter(|line| !line.is_empty());
    let beside = |line: &&str| line.starts_with("Usage: ") || line.starts_with("For more information");
    lines.filter(|line| !beside(line)).collect::<Vec<_>>().join("; ") + " (see --help)"
}

fn command() -> Command {
    Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about("Programs a service mesh's traffic interception straight into the kernel's nf_tables")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(ambient::command())
        .subcommand(demo::command())
        .subcommand(graph::command())
        .subcommand(istio_iptables::command())
        .subcommand(list::command())
        .subcommand(reset::command())
        .subcommand(verify::command())
}

/// Whether the program was called under this name, by a link for example.
fn called_as(arguments: &[OsString], name: &str) -> bool {
    arguments
        .first()
        .and_then(|program| Path::new(program).file_name())
        .is_some_and(|program| program == name)
}
