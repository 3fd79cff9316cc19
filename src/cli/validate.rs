//! `meshwire validate linkerd`: the proof that connections are redirected, as Linkerd's network validator gives it.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, Command};

use super::failure::{Failure, USAGE, end};
use super::flag::value::duration;
use super::flag::{Flag, Flags, Given, UsageError, Values, with_flags};
use super::log::{Filtered, Level, Log};
use crate::redirect_check::token::{self, TokenValidation};

/// The command's name.
pub(super) const NAME: &str = "validate";

/// The mesh whose validator this is.
const LINKERD: &str = "linkerd";

/// Exit code when connections are not redirected: EOPNOTSUPP, as Linkerd has it.
const NOT_REDIRECTED: u8 = 95;

static FLAGS: Flags = &[&LISTEN_ADDR, &CONNECT_ADDR, &TIMEOUT, &LOG_LEVEL, &LOG_FORMAT];

static LISTEN_ADDR: Flag<SocketAddr> = Flag::text(
    "listen-addr",
    "ADDRESS:PORT",
    || TokenValidation::default().listen,
    |given| given.one(address),
)
.help("Where to listen: the proxy's outbound port")
.shown();

static CONNECT_ADDR: Flag<SocketAddr> = Flag::text(
    "connect-addr",
    "ADDRESS:PORT",
    || TokenValidation::default().connect,
    |given| given.one(address),
)
.help("Where to connect to: an address that leads nowhere")
.shown();

static TIMEOUT: Flag<Duration> =
    Flag::number("timeout", "DURATION", || TokenValidation::default().timeout, |given| given.one(duration))
        .help("How long to wait")
        .show(|timeout| humantime::format_duration(*timeout).to_string());

static LOG_LEVEL: Flag<Level> = Flag::text("log-level", "LEVEL", || Level::Info, level)
    .environment(&["LINKERD_VALIDATOR_LOG_LEVEL"])
    .choices(&["off", "error", "warn", "info", "debug", "trace"])
    .help("Log lines at least this important")
    .show(|_| "info".to_owned());

static LOG_FORMAT: Flag<Log> = Flag::text("log-format", "FORMAT", || Log::Plain, format)
    .environment(&["LINKERD_VALIDATOR_LOG_FORMAT"])
    .choices(&["plain", "json"])
    .help("Format of log lines")
    .show(|_| "plain".to_owned());

pub(super) fn command() -> Command {
    Command::new(NAME)
        .about("Proves by a connection that traffic is redirected to the proxy; needs no privilege")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            with_flags(Command::new(LINKERD), FLAGS)
                .about("Does what Linkerd's network validator does, with its flags")
                .after_help("Exit codes: 0 redirected; 95 not redirected, or not known; 2 wrong usage."),
        )
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    match matches.subcommand() {
        Some((LINKERD, matches)) => linkerd(&Values::new(matches)),
        _ => ExitCode::from(USAGE),
    }
}

fn linkerd(values: &Values<'_>) -> ExitCode {
    match values.read(&LOG_FORMAT) {
        Ok(log) => end(validate(values, log), log),
        Err(error) => Failure::from(error).report(Log::Plain),
    }
}

fn validate(values: &Values<'_>, log: Log) -> Result<ExitCode, Failure> {
    let level = values.read(&LOG_LEVEL)?;
    let validation = settings(values)?;
    token::run(&validation).map_err(|error| Failure::new(error, NOT_REDIRECTED))?;
    let TokenValidation { listen, connect, .. } = validation;
    Filtered { log, level }.info(&format!("a connection to {connect} was redirected to {listen}"));
    Ok(ExitCode::SUCCESS)
}

fn settings(values: &Values<'_>) -> Result<TokenValidation, UsageError> {
    Ok(TokenValidation {
        listen: values.read(&LISTEN_ADDR)?,
        connect: values.read(&CONNECT_ADDR)?,
        timeout: values.read(&TIMEOUT)?,
    })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not an address with a port (such as 0.0.0.0:4140 or [::]:4140)"))
}

fn format(given: &Given) -> Result<Log, UsageError> {
    if given.text.is_empty() {
        return Ok(Log::Plain);
    }
    given.choice(&[("plain", Log::Plain), ("json", Log::Json)])
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
