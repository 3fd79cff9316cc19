//! One file a command: parse, call the library, print.
//!
//! Without the feature `tools` only the commands of init containers can be called; the linker drops the others.

#![cfg_attr(not(feature = "tools"), allow(dead_code, reason = "what only the other commands use"))]

mod accounts;
mod ambient;
mod bench;
mod demo;
mod failure;
mod graph;
mod istio_iptables;
mod link;
mod list;
mod log;
mod place;
mod privileges;
mod profile;
mod proxy_init;
mod reset;
mod resolv_conf;
mod sandbox;
mod settings;
mod validate;
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
    privileges::raise();
    let mut arguments: Vec<_> = arguments.into_iter().collect();
    if let Some(command) = called_as(&arguments) {
        arguments[0] = NAME.into();
        if arguments.get(1).is_none_or(|first| first != command) {
            arguments.insert(1, command.into());
        }
    }
    if arguments.iter().take(3).skip(1).any(|command| command == istio_iptables::NAME) {
        istio_iptables::drop_log_flags(&mut arguments);
    }
    let json = wants_json(&arguments);
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return refuse(&error, if json { Log::Json } else { Log::Plain }),
    };
    match matches.subcommand() {
        Some((istio_iptables::NAME, matches)) => istio_iptables::run(matches),
        Some((proxy_init::NAME, matches)) => proxy_init::run(matches),
        Some((validate::NAME, matches)) => validate::run(matches),
        #[cfg(feature = "tools")]
        Some((name, matches)) => run_tool(name, matches),
        _ => ExitCode::from(USAGE),
    }
}

#[cfg(feature = "tools")]
fn run_tool(name: &str, matches: &clap::ArgMatches) -> ExitCode {
    match name {
        ambient::NAME => ambient::run(matches),
        bench::NAME => bench::run(matches),
        demo::NAME => demo::run(),
        graph::NAME => graph::run(matches),
        list::NAME => list::run(matches),
        reset::NAME => reset::run(matches),
        verify::NAME => verify::run(matches),
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
    let command = Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about("Programs a service mesh's traffic interception straight into the kernel's nf_tables")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([istio_iptables::command(), proxy_init::command(), validate::command()]);
    #[cfg(feature = "tools")]
    let command = command.subcommands([
        ambient::command(),
        bench::command(),
        demo::command(),
        graph::command(),
        list::command(),
        reset::command(),
        verify::command(),
    ]);
    command
}

/// The command whose name the program was called under, by a link for example.
fn called_as(arguments: &[OsString]) -> Option<&'static str> {
    let names = [
        (istio_iptables::NAME, istio_iptables::NAME),
        (proxy_init::NAME, proxy_init::NAME),
        (proxy_init::LINKERDS_NAME, proxy_init::NAME),
    ];
    let program = Path::new(arguments.first()?).file_name()?;
    names.into_iter().find(|(name, _)| program == *name).map(|(_, command)| command)
}

/// Whether Istio's flag or Linkerd's asks for log lines in JSON, where the command line itself cannot be read.
fn wants_json(arguments: &[OsString]) -> bool {
    let one = |flag: &OsString| {
        ["--log_as_json", "--log_as_json=true", "--log-format=json"].iter().any(|json| flag == json)
    };
    let two = |pair: &[OsString]| pair[0] == "--log-format" && pair[1] == "json";
    arguments.iter().any(one) || arguments.windows(2).any(two)
}
