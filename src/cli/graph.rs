//! `meshwire graph`: the ruleset as a picture.

use std::collections::HashMap;
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use nftwire::{Family, Socket};

use super::failure::{Failure, end, write_result};
use super::flag::shared::{NETNS, OUTPUT_NAME};
use super::flag::{Flag, Flags, Values, with_flags};
use super::interfaces::interfaces;
use super::log::Log;
use super::netns;
use super::progress;
use crate::mesh;
use nft_ruleset::Ruleset;
use nft_ruleset::graph::Graph;
use nft_ruleset::nft::print::Options;
use nft_ruleset::snapshot::{Depth, Scope, Snapshot};

/// The command's name.
pub(super) const NAME: &str = "graph";

/// How the picture is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Svg,
    Dot,
}

/// The name that it has in other commands, too, for formats of its own.
static FORMAT: Flag<Format> = Flag::text(
    OUTPUT_NAME,
    "FORMAT",
    || Format::Svg,
    |given| given.choice(&[("svg", Format::Svg), ("dot", Format::Dot)]),
)
.help("Format of the result: svg, a picture that browsers show, or dot, for graphviz")
.show(|_| "svg".to_owned())
.choices(&["svg", "dot"]);

static ALL: Flag<bool> =
    Flag::switch("all").help("Draw every table, not only those of meshes, and every rule of long chains");

static FLAGS: Flags = &[&NETNS, &FORMAT, &ALL];

pub(super) fn command() -> Command {
    with_flags(Command::new(NAME), FLAGS).about(
        "Draws the ruleset: hooks in the order in which packets traverse them, chains, and arrows for jumps",
    )
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    end(execute(&Values::new(matches)).map(|()| ExitCode::SUCCESS), Log::Plain)
}

fn execute(values: &Values<'_>) -> Result<(), Failure> {
    let all = values.read(&ALL)?;
    let format = values.read(&FORMAT)?;
    let netns = values.read(&NETNS)?;
    let (mut ruleset, interfaces) =
        netns::inside(netns.as_ref(), || progress::during("reading the ruleset", read))?;
    let mut others = Vec::new();
    if !all && ruleset.tables.iter().any(mesh::uses) {
        (ruleset.tables, others) = std::mem::take(&mut ruleset.tables).into_iter().partition(mesh::uses);
    }
    let options = Options { interfaces: Some(&interfaces), ..Options::default() };
    let mut graph = Graph::new(&ruleset, options, all);
    if !others.is_empty() {
        let names: Vec<_> = others.iter().map(ToString::to_string).collect();
        graph = graph.with_note(format!("not drawn without --{}: {}", ALL.name(), names.join(", ")));
    }
    let picture = match format {
        Format::Svg => graph.svg(),
        Format::Dot => graph.dot(),
    };
    Ok(write_result(&picture)?)
}

/// What is in the network namespace of the thread.
fn read() -> Result<(Ruleset, HashMap<u32, String>), Failure> {
    let ruleset =
        Snapshot::read(&mut Socket::open()?, Scope::Family(Family::Unspec), Depth::All)?.listed()?;
    let interfaces = interfaces()?;
    Ok((ruleset, interfaces))
}
