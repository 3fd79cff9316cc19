//! `meshwire reset counters [table FAMILY NAME]`: what the counters were; from then on they count from zero.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use nftwire::{Family, Socket};

use super::arguments::{self, FAMILY, family};
use super::failure::{Failure, USAGE, end, write_result};
use super::flag::shared::{ALLOW_HOST_NETWORK, NETNS, OUTPUT, Output};
use super::flag::{AnyFlag, Values, argument};
use super::log::Log;
use super::netns;
use super::progress;
use crate::reset::{Readings, ResetError, reset_counters};

/// The command's name.
pub(super) const NAME: &str = "reset";

const COUNTERS: &str = "counters";
const TABLE: &str = "table";

pub(super) fn command() -> Command {
    let table = Command::new(TABLE).about("Only those of this table").arg(family()).arg(arguments::table());
    let counters = Command::new(COUNTERS)
        .about("Prints all counters (named, in rules and in set elements), then resets them")
        .args([&NETNS as &dyn AnyFlag, &OUTPUT, &ALLOW_HOST_NETWORK].map(|flag| argument(flag).global(true)))
        .subcommand(table);
    Command::new(NAME)
        .about("Prints counters, then resets them")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(counters)
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let Some((COUNTERS, matches)) = matches.subcommand() else { return ExitCode::from(USAGE) };
    let values = Values::new(matches);
    let log = Log::for_output(Output::is_json(&values));
    end(execute(matches, &values, log).map(|()| ExitCode::SUCCESS), log)
}

fn execute(matches: &ArgMatches, values: &Values<'_>, log: Log) -> Result<(), Failure> {
    let output = values.read(&OUTPUT)?;
    let netns = values.read(&NETNS)?;
    let is_guarded = !values.read(&ALLOW_HOST_NETWORK)?;
    let reset = || progress::during("resetting counters", || reset_here(matches, output));
    netns::inside_pod(netns.as_ref(), is_guarded, |text| log.warn(text), reset)
}

fn reset_here(matches: &ArgMatches, output: Output) -> Result<(), Failure> {
    let table = matches.subcommand_matches(TABLE);
    let table = table.and_then(|table| {
        Some((*table.get_one::<Family>(FAMILY)?, table.get_one::<String>(arguments::TABLE)?.into()))
    });
    let mut readings = Readings::default();
    let outcome = Socket::open()
        .map_err(ResetError::from)
        .and_then(|mut socket| reset_counters(&mut socket, table, &mut readings));
    // What was set to zero before a failure can be read nowhere else any more.
    if outcome.is_ok() || !readings.0.is_empty() {
        let text = match output {
            Output::Text => readings.to_string(),
            Output::Json => format!("{}\n", readings.to_json()),
        };
        if let Err(error) = write_result(&text) {
            // Nothing is left to be done where standard error is closed, too.
            let _ = io::stderr().write_all(text.as_bytes());
            return Err(error.into());
        }
    }
    Ok(outcome?)
}
