//! One file a command: parse, call the library, print.
//!
//! Without the feature `tools` only the commands of init containers can be called; the linker drops the others.

#![cfg_attr(not(feature = "tools"), allow(dead_code, reason = "what only the other commands use"))]

mod accounts;
mod ambient;
mod bench;
mod demo;
mod doctor;
mod failure;
#[cfg(fuzzing)]
pub mod fuzzing;
mod graph;
mod istio_iptables;
mod link;
mod list;
mod lockdown;
mod log;
mod place;
mod privileges;
mod profile;
mod program;
mod proxy_init;
mod reset;
mod resolv_conf;
mod sandbox;
mod settings;
mod validate;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command};

use log::Log;

/// The program's name.
const NAME: &str = "meshwire";

/// The version, the commit that it was built from, and the features that it was built with.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("MESHWIRE_COMMIT"),
    ", features: ",
    env!("MESHWIRE_FEATURES"),
    ")"
);

/// Exit code for a wrong command line or environment.
const USAGE: u8 = 2;

/// Runs the command that these arguments ask for; the first one is the name by which the program was called.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    privileges::raise();
    let mut arguments: Vec<_> = arguments.into_iter().collect();
    if let Err(error) = program::by_name(&mut arguments) {
        Log::Plain.error(&error.to_string());
        return ExitCode::from(USAGE);
    }
    let matches = match parse(arguments) {
        Ok(matches) => matches,
        Err((error, log)) => return refuse(&error, log),
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
fn run_tool(name: &str, matches: &ArgMatches) -> ExitCode {
    match name {
        ambient::NAME => ambient::run(matches),
        bench::NAME => bench::run(matches),
        demo::NAME => demo::run(),
        doctor::NAME => doctor::run(matches),
        graph::NAME => graph::run(matches),
        list::NAME => list::run(matches),
        reset::NAME => reset::run(matches),
        verify::NAME => verify::run(matches),
        _ => ExitCode::from(USAGE),
    }
}

/// What the arguments ask for, or what is wrong with them and how to say it.
fn parse(mut arguments: Vec<OsString>) -> Result<ArgMatches, (clap::Error, Log)> {
    if arguments.iter().take(3).skip(1).any(|command| command == istio_iptables::NAME) {
        istio_iptables::drop_log_flags(&mut arguments);
    }
    let log = if wants_json(&arguments) { Log::Json } else { Log::Plain };
    command().try_get_matches_from(arguments).map_err(|error| (error, log))
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

/// The command line: what is parsed, and what manual pages and completions are made of.
#[must_use]
pub fn command() -> Command {
    let command = Command::new(NAME)
        .version(VERSION)
        .about("Programs a service mesh's traffic interception straight into the kernel's nf_tables")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([istio_iptables::command(), proxy_init::command(), validate::command()]);
    #[cfg(feature = "tools")]
    let command = command.subcommands([
        ambient::command(),
        bench::command(),
        demo::command(),
        doctor::command(),
        graph::command(),
        list::command(),
        reset::command(),
        verify::command(),
    ]);
    command
}

/// Whether Istio's flag or Linkerd's asks for log lines in JSON, where the command line itself cannot be read.
fn wants_json(arguments: &[OsString]) -> bool {
    let one = |flag: &OsString| {
        ["--log_as_json", "--log_as_json=true", "--log-format=json"].iter().any(|json| flag == json)
    };
    let two = |pair: &[OsString]| pair[0] == "--log-format" && pair[1] == "json";
    arguments.iter().any(one) || arguments.windows(2).any(two)
}
