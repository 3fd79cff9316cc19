//! `meshwire graph`: the ruleset as a picture.

use std::collections::HashMap;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use nftwire::{Family, Socket};

use super::failure::{Failure, end, write_result};
use super::log::Log;
use super::place;
use crate::mesh;
use nft_ruleset::graph::Graph;
use nft_ruleset::nft::print::Options;
use nft_ruleset::{Ruleset, listing};

/// The command's name.
pub(super) const NAME: &str = "graph";

pub(super) fn command() -> Command {
    Command::new(NAME)
        .about(
            "Draws the ruleset: hooks in the order in which packets meet them, chains, and arrows for jumps",
        )
        .arg(place::netns())
        .arg(
            Arg::new("output")
                .long("output")
                .value_name("FORMAT")
                .value_parser(PossibleValuesParser::new(["svg", "dot"]))
                .default_value("svg")
                .help("svg, a picture that browsers show, or dot, for graphviz"),
        )
        .arg(
            Arg::new("all")
                .long("all")
                .action(ArgAction::SetTrue)
                .help("Draws every table, not only those of meshes, and every rule of long chains"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    end(execute(matches).map(|()| ExitCode::SUCCESS), Log::Plain)
}

fn execute(matches: &ArgMatches) -> Result<(), Failure> {
    let all = matches.get_flag("all");
    let (mut ruleset, interfaces) = place::at_netns(matches, read)?;
    if !all && ruleset.tables.iter().any(mesh::uses) {
        ruleset.tables.retain(mesh::uses);
    }
    let options = Options { interfaces: Some(&interfaces), ..Options::default() };
    let graph = Graph::new(&ruleset, options, all);
    let dot = matches.get_one::<String>("output").is_some_and(|output| output == "dot");
    let picture = if dot { graph.dot() } else { graph.svg() };
    Ok(write_result(&picture)?)
}

/// What is in the network namespace of the thread.
fn read() -> Result<(Ruleset, HashMap<u32, String>), Failure> {
    let ruleset = listing::read(&mut Socket::open()?, Family::Unspec)?;
    let interfaces = place::interfaces()?;
    Ok((ruleset, interfaces))
}
