//! `meshwire validate linkerd`: the proof that connections are redirected, as Linkerd's network validator gives it.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, Command};

use super::USAGE;
use super::failure::{Failure, end};
use super::log::{Filtered, Level, Log};
use super::settings::{Given, Setting, UsageError, Values, duration};
use crate::redirect_check::token::{self, TokenValidation};

/// The command's name.
pub(super) const NAME: &str = "validate";

/// The mesh whose validator this is.
const LINKERD: &str = "linkerd";

/// Exit code when connections are not redirected: EOPNOTSUPP, as Linkerd has it.
const NOT_REDIRECTED: u8 = 95;

const SETTINGS: &[Setting] = &[
    Setting::text(
        "listen-addr",
        None,
        "ADDRESS:PORT",
        &[],
        "Where to listen: the proxy's outbound port [default: 0.0.0.0:4140]",
    ),
    Setting::text(
        "connect-addr",
        None,
        "ADDRESS:PORT",
        &[],
        "Where to connect to: an address that leads nowhere [default: 192.0.2.2:1404]",
    ),
    Setting::number("timeout", None, "DURATION", &[], "How long to wait [default: 10s]"),
    Setting::text(
        "log-level",
        None,
        "LEVEL",
        &["LINKERD_VALIDATOR_LOG_LEVEL"],
        "Log lines at least this important: off, error, warn, info, debug or trace [default: info]",
    ),
    Setting::text(
        "log-format",
        None,
        "FORMAT",
        &["LINKERD_VALIDATOR_LOG_FORMAT"],
        "Format of log lines: plain or json [default: plain]",
    ),
];

pub(super) fn command() -> Command {
    Command::new(NAME)
        .about("Proves by a connection that traffic is redirected to the proxy; needs no privilege")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new(LINKERD)
                .about("Does what Linkerd's network validator does, with its flags")
                .args(SETTINGS.iter().map(Setting::argument))
                .after_help(
                    "Exit codes: 0 redirected; 95 not redirected, or it cannot be told; 2 wrong usage.",
                ),
        )
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    match matches.subcommand() {
        Some((LINKERD, matches)) => linkerd(&Values::new(SETTINGS, matches)),
        _ => ExitCode::from(USAGE),
    }
}

fn linkerd(values: &Values<'_>) -> ExitCode {
    match values.parsed("log-format", Log::Plain, format) {
        Ok(log) => end(validate(values, log), log),
        Err(error) => Failure::usage(error).report(Log::Plain),
    }
}

fn validate(values: &Values<'_>, log: Log) -> Result<ExitCode, Failure> {
    let level = values.parsed("log-level", Level::Info, level).map_err(Failure::usage)?;
    let validation = settings(values).map_err(Failure::usage)?;
    token::run(&validation).map_err(|error| Failure::new(error, NOT_REDIRECTED))?;
    let TokenValidation { listen, connect, .. } = validation;
    Filtered { log, level }.info(&format!("a connection to {connect} was redirected to {listen}"));
    Ok(ExitCode::SUCCESS)
}

fn settings(values: &Values<'_>) -> Result<TokenValidation, UsageError> {
    let address = |name, default: ([u8; 4], u16)| {
        values.parsed(name, SocketAddr::from(default), |given| given.one(address))
    };
    Ok(TokenValidation {
        listen: address("listen-addr", ([0, 0, 0, 0], 4140))?,
        connect: address("connect-addr", ([192, 0, 2, 2], 1404))?,
        timeout: values.parsed("timeout", Duration::from_secs(10), |given| given.one(duration))?,
    })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not an address with a port (such as 0.0.0.0:4140 or [::]:4140)"))
}

fn format(given: &Given) -> Result<Log, UsageError> {
    match given.text.as_str() {
        "" | "plain" => Ok(Log::Plain),
        "json" => Ok(Log::Json),
        other => Err(given.fault(format_args!("{other:?} is neither plain nor json"))),
    }
}

/// A filter of Linkerd's: a level, and what is about its modules alone (`info,linkerd=debug`), which are not here.
fn level(given: &Given) -> Result<Level, UsageError> {
    let mut level = Level::Info;
    for item in given.text.split(',').map(str::trim).filter(|item| !item.contains('=')) {
        level = match item.to_ascii_lowercase().as_str() {
            "off" | "error" => Level::Error,
            "warn" => Level::Warn,
            "" | "info" | "debug" | "trace" => Level::Info,
            _ => {
                return Err(
                    given.fault(format_args!("{item:?} is none of off, error, warn, info, debug, trace"))
                );
            }
        };
    }
    Ok(level)
}
