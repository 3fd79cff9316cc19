//! `meshwire reset counters [table FAMILY NAME]`: what the counters were; from then on they count from zero.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use nftwire::{Family, Socket};

use super::USAGE;
use super::failure::{Failure, end, write_result};
use super::log::Log;
use super::place;
use crate::reset::{Readings, ResetError, reset_counters};

/// The command's name.
pub(super) const NAME: &str = "reset";

const COUNTERS: &str = "counters";
const TABLE: &str = "table";

pub(super) fn command() -> Command {
    let output = Arg::new("output")
        .help("How they are shown")
        .long("output")
        .value_name("FORMAT")
        .value_parser(["text", "json"])
        .default_value("text");
    let table = Command::new(TABLE)
        .about("Only those of this table")
        .arg(place::family())
        .arg(Arg::new("name").help("The table's name").value_name("NAME").required(true));
    let counters = Command::new(COUNTERS)
        .about("Shows what all counters were, named ones and those inside rules and elements, and sets them to zero")
        .arg(place::netns().global(true))
        .arg(output.global(true))
        .subcommand(table);
    Command::new(NAME)
        .about("Shows what the counters were and sets them to zero")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(counters)
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let Some((COUNTERS, matches)) = matches.subcommand() else { return ExitCode::from(USAGE) };
    let json = matches.get_one::<String>("output").is_some_and(|output| output == "json");
    end(place::at_netns(matches, || reset_here(matches, json)).map(|()| ExitCode::SUCCESS), Log::beside(json))
}

fn reset_here(matches: &ArgMatches, json: bool) -> Result<(), Failure> {
    let table = matches.subcommand_matches(TABLE);
    let table = table.and_then(|table| {
        Some((*table.get_one::<Family>(place::FAMILY)?, table.get_one::<String>("name")?.as_str()))
    });
    let mut readings = Readings::default();
    let outcome = Socket::open()
        .map_err(ResetError::from)
        .and_then(|mut socket| reset_counters(&mut socket, table, &mut readings));
    // What was set to zero before a failure can be read nowhere else any more.
    if outcome.is_ok() || !readings.0.is_empty() {
        let text = if json { format!("{}\n", readings.to_json()) } else { readings.to_string() };
        write_result(&text)?;
    }
    Ok(outcome?)
}
