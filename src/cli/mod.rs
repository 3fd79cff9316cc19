//! One file a command: parse, call the library, print.
//!
//! Without the feature `tools` only the commands of init containers can be called; the linker drops the others.

#![cfg_attr(not(feature = "tools"), allow(dead_code, reason = "what only the other commands use"))]

mod accounts;
mod action;
mod agent;
mod ambient;
mod arguments;
mod bench;
mod demo;
mod differences;
mod doctor;
mod explain;
mod failure;
mod flag;
#[cfg(fuzzing)]
pub mod fuzzing;
mod graph;
mod interfaces;
mod istio_iptables;
mod link;
mod list;
mod lockdown;
mod log;
mod migrate;
mod netns;
#[cfg(feature = "nft")]
mod nft;
mod node;
mod plan;
mod pod;
mod pod_spec;
mod pre_stop;
mod privileges;
mod program;
mod progress;
mod proxy_init;
mod remedy;
mod reset;
mod resolv_conf;
mod sandbox;
mod signals;
#[cfg(feature = "tools")]
mod spans;
mod trace;
mod validate;
mod verify;
mod watch;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command};

use failure::{NotWrittenError, USAGE};
use flag::{Flags, Plain, Values};
use log::Log;
pub use program::aliases;

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

/// A command: its name, its flags, and what it does.
struct Subcommand {
    name: &'static str,
    /// Where it is called in each pod
    in_pods: Option<InPods>,
    define: fn() -> Command,
    run: fn(&ArgMatches) -> ExitCode,
}

/// A command that is called in each pod.
#[derive(Clone, Copy)]
struct InPods {
    flags: Flags,
    run: fn(&Values<'_>) -> ExitCode,
}

macro_rules! subcommands {
    ($($(#[$feature:meta])? $module:ident $(($flags:expr, $run:expr))?,)*) => {
        /// All commands, in the order of the help text.
        const COMMANDS: &[Subcommand] = &[
            $($(#[$feature])? Subcommand {
                name: $module::NAME,
                in_pods: [$(Some(InPods { flags: $flags, run: $run }),)? None][0],
                define: $module::command,
                run: $module::run,
            },)*
        ];
    };
}

subcommands! {
    istio_iptables(istio_iptables::FLAGS, istio_iptables::run_with),
    proxy_init(proxy_init::FLAGS, proxy_init::run_with),
    validate,
    #[cfg(feature = "tools")] ambient,
    #[cfg(feature = "tools")] bench,
    #[cfg(feature = "tools")] demo,
    #[cfg(feature = "tools")] doctor,
    #[cfg(feature = "tools")] explain,
    #[cfg(feature = "tools")] graph,
    #[cfg(feature = "tools")] list,
    #[cfg(feature = "tools")] migrate,
    #[cfg(feature = "nft")] nft,
    #[cfg(feature = "tools")] node,
    #[cfg(feature = "tools")] reset,
    #[cfg(feature = "tools")] trace,
    #[cfg(feature = "tools")] verify,
    #[cfg(feature = "tools")] watch,
}

fn named(name: &str) -> Option<&'static Subcommand> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// Runs the command that these arguments ask for; the first one is the name by which the program was called.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    privileges::raise();
    #[cfg(feature = "tools")]
    spans::show();
    let mut arguments: Vec<_> = arguments.into_iter().collect();
    if let Some(code) = pre_stop::as_shell(&arguments) {
        return code;
    }
    if let Err(error) = program::by_name(&mut arguments) {
        Log::Plain.error(&error.to_string());
        return ExitCode::from(USAGE);
    }
    drop_log_flags(&mut arguments);
    run_plain(&arguments).unwrap_or_else(|| run_parsed(arguments))
}

/// Runs the command that clap finds in the arguments. By itself, since a pod's command has no use for the two KiB of stack that it
/// takes.
#[inline(never)]
fn run_parsed(arguments: Vec<OsString>) -> ExitCode {
    let matches = match parse(arguments) {
        Ok(matches) => matches,
        Err((error, log)) => return refuse(&error, log),
    };
    let Some((name, matches)) = matches.subcommand() else { return ExitCode::from(USAGE) };
    named(name).map_or(ExitCode::from(USAGE), |command| (command.run)(matches))
}

/// Takes out Istio's logging flags where Istio's command is called.
fn drop_log_flags(arguments: &mut Vec<OsString>) {
    if arguments.iter().take(3).skip(1).any(|command| command == istio_iptables::NAME) {
        istio_iptables::drop_log_flags(arguments);
    }
}

/// Runs the command that the arguments ask for, if it is called in each pod and they are plain.
fn run_plain(arguments: &[OsString]) -> Option<ExitCode> {
    let command = named(arguments.get(1)?.to_str()?)?.in_pods?;
    let plain = Plain::new(command.flags, arguments.get(2..)?)?;
    Some((command.run)(&Values::from(&plain)))
}

/// What the arguments ask for, or what is wrong with them and how to say it.
fn parse(arguments: Vec<OsString>) -> Result<ArgMatches, (clap::Error, Log)> {
    let log = if wants_json(&arguments) { Log::Json } else { Log::Plain };
    // Defining all of them takes longer than all that one of them does until it asks the kernel.
    let called = arguments.get(1).and_then(|name| named(name.to_str()?));
    let known = called.map_or(COMMANDS, std::slice::from_ref);
    command_with(known).try_get_matches_from(arguments).map_err(|error| (error, log))
}

/// Says what is wrong with the command line, or gives the help that was asked for.
fn refuse(error: &clap::Error, log: Log) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // Clap knows where each of them belongs.
            let printed = error.print().and_then(|()| io::stdout().flush());
            if let Err(unwritten) = printed
                && unwritten.kind() != io::ErrorKind::BrokenPipe
            {
                log.error(&NotWrittenError::from(unwritten).to_string());
                return ExitCode::FAILURE;
            }
        }
        _ => log.error(&in_one_line(&error.to_string())),
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Clap's text as one line of a log: what is wrong, its tips, and where the rest of it can be had.
fn in_one_line(text: &str) -> String {
    let lines = text.trim_start_matches("error: ").lines().map(str::trim).filter(|line| !line.is_empty());
    // No command takes a flag as a value.
    let is_dropped = |line: &&str| {
        ["Usage: ", "For more information", "tip: to pass "].iter().any(|start| line.starts_with(start))
    };
    let lines = lines.filter(|line| !is_dropped(line)).collect::<Vec<_>>();
    lines.join("; ").replace(":; ", ": ") + " (see --help)"
}

/// For the end of the help.
const NOTES: &str = "\
To see what a pod would get, which changes nothing:
  meshwire istio-iptables -b '*' -i '*' --dry-run
  meshwire proxy-init -p 4143 -o 4140 --simulate

Invoked as istio-iptables, linkerd2-proxy-init or proxy-init, meshwire runs that command.";

/// The command line: what is parsed, and what manual pages and completions are made of.
#[must_use]
pub fn command() -> Command {
    command_with(COMMANDS)
}

fn command_with(commands: &[Subcommand]) -> Command {
    Command::new(NAME)
        .version(VERSION)
        .about("Programs a service mesh's traffic interception straight into the kernel's nf_tables")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(NOTES)
        .subcommands(commands.iter().map(|command| (command.define)()))
}

/// Whether a flag asks for log lines or for the result in JSON, where the command line itself cannot be read.
fn wants_json(arguments: &[OsString]) -> bool {
    let one = |flag: &OsString| {
        ["--log_as_json", "--log_as_json=true", "--log-format=json", "--output=json"]
            .iter()
            .any(|json| flag == json)
    };
    let two = |pair: &[OsString]| {
        ["--log-format", "--output"].iter().any(|flag| pair[0] == *flag) && pair[1] == "json"
    };
    arguments.iter().any(one) || arguments.windows(2).any(two)
}
