//! One file a command: parse, call the library, print.

mod accounts;
mod graph;
mod istio_iptables;
mod list;
mod log;
mod reset;
mod resolv_conf;
mod settings;
mod verify;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Command;

/// Exit code for a wrong command line or environment.
const USAGE: u8 = 2;

/// Runs the command that these arguments ask for; the first one is the name by which the program was called.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments: Vec<_> = arguments.into_iter().collect();
    if called_as(&arguments, istio_iptables::NAME) {
        arguments.insert(1, istio_iptables::NAME.into());
    }
    if arguments.iter().take(3).skip(1).any(|command| command == istio_iptables::NAME) {
        istio_iptables::drop_log_flags(&mut arguments);
    }
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // Clap prints help to stdout and errors to stderr, and knows which of them is a failure.
            let _ = error.print();
            if error.use_stderr() {
                log::termination_message(&error.to_string());
            }
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    match matches.subcommand() {
        Some((graph::NAME, matches)) => graph::run(matches),
        Some((istio_iptables::NAME, matches)) => istio_iptables::run(matches),
        Some((list::NAME, matches)) => list::run(matches),
        Some((reset::NAME, matches)) => reset::run(matches),
        Some((verify::NAME, matches)) => verify::run(matches),
        _ => ExitCode::from(USAGE),
    }
}

fn command() -> Command {
    Command::new("meshwire")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Programs a service mesh's traffic interception straight into the kernel's nf_tables")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(graph::command())
        .subcommand(istio_iptables::command())
        .subcommand(list::command())
        .subcommand(reset::command())
        .subcommand(verify::command())
}

/// Whether the program was called under this name, by a link for example.
fn called_as(arguments: &[OsString], name: &str) -> bool {
    arguments.first().and_then(|program| Path::new(program).file_name()).is_some_and(|program| program == name)
}
