//! `meshwire bench`: how long it takes on this kernel to load rules, beside the other programs that can, and beside the
//! kernel's own time.
//!
//! Everything happens in a network namespace of its own. In each round every contender runs once, so that what else
//! the machine does meets all of them.

mod contender;
mod plot;
mod progress;
mod report;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::failure::{Failure, end, write_result};
use super::log::Log;
use super::{link, sandbox};
use crate::diagnostic::{Explain, Explanation};
use contender::{Contender, Load};
use nft_ruleset::nft::compile::NotCompiled;
use nft_ruleset::update::UpdateError;
use progress::Progress;
use report::{Measurement, Report};

/// The command's name.
pub(super) const NAME: &str = "bench";

pub(super) fn command() -> Command {
    Command::new(NAME)
        .about("Measures on this kernel how long rules take to load, beside nft and iptables; needs no root")
        .long_about(
            "Loads rules into a network namespace of its own, by itself and by whichever of nft and \
             iptables-nft-restore are installed, and compares: a sidecar's init as a whole process, and lists of \
             rules by their length. The floor is the kernel's own time: the same bytes, ready, on an open socket, until the \
             answer. Without root, net.core.wmem_max bounds how many rules fit into one transaction.",
        )
        .args([
            Arg::new("sizes")
                .long("sizes")
                .value_name("NUMBERS")
                .value_delimiter(',')
                .value_parser(value_parser!(u32).range(1..=1_000_000))
                .default_value("10,100,1000,10000")
                .help("How many rules"),
            Arg::new("runs")
                .long("runs")
                .value_name("NUMBER")
                .value_parser(value_parser!(u32).range(1..=1_000))
                .default_value("7")
                .help("How often each contender runs; medians are told"),
            Arg::new("plot")
                .long("plot")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Draw the times over the number of rules, as SVG"),
            Arg::new("output")
                .long("output")
                .value_name("FORMAT")
                .value_parser(["text", "json"])
                .default_value("text")
                .help("Format of the result"),
        ])
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    end(execute(matches).map(|()| ExitCode::SUCCESS), Log::Plain)
}

/// What went wrong while something was measured.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("{0} cannot be started: {1}")]
    Start(String, io::Error),
    #[error("{0} failed: {1}")]
    Failed(String, String),
    #[error("nf_tables: {0}")]
    Netlink(#[from] nftwire::Error),
    #[error(transparent)]
    NotCompiled(#[from] NotCompiled),
    #[error("nf_tables: {0}")]
    Update(#[from] UpdateError),
    #[error("cannot give the namespace an address: {0}")]
    Address(io::Error),
    #[error("cannot make a second network namespace: {0}")]
    Neighbour(io::Error),
    #[error("cannot write {0}: {1}")]
    Write(String, io::Error),
}

impl Explain for BenchError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::Start(_, error) | Self::Address(error) | Self::Neighbour(error) | Self::Write(_, error) => {
                error.explanation()
            }
            Self::Netlink(error) => error.explanation(),
            Self::Update(UpdateError::Read(error)) => error.explanation(),
            Self::Update(UpdateError::NotCompiled(_)) | Self::NotCompiled(_) | Self::Failed(..) => {
                Explanation::default()
            }
        }
    }
}

fn execute(matches: &ArgMatches) -> Result<(), Failure> {
    let runs = matches.get_one::<u32>("runs").copied().unwrap_or(1);
    let sizes: Vec<u32> = matches.get_many("sizes").into_iter().flatten().copied().collect();
    sandbox::enter(NAME)?;
    // A pod's address, which decides about IPv6.
    link::add_address("lo", contender::POD, 32).map_err(BenchError::Address)?;
    let measured = measure(&sizes, runs)?;
    if let Some(path) = matches.get_one::<PathBuf>("plot") {
        std::fs::write(path, plot::svg(&measured))
            .map_err(|error| BenchError::Write(path.display().to_string(), error))?;
    }
    let json = matches.get_one::<String>("output").is_some_and(|format| format == "json");
    let text = if json { format!("{}\n", measured.json()) } else { measured.to_string() };
    write_result(&text)?;
    Ok(())
}

fn measure(sizes: &[u32], runs: u32) -> Result<Report, BenchError> {
    let installed = contender::installed();
    let _neighbour = contender::neighbour()?;
    let mut loads = vec![Load::Sidecar, Load::Excluded];
    loads.extend(sizes.iter().map(|&size| Load::Rules(size)));
    let mut progress =
        Progress::new(loads.len() * usize::try_from(runs).unwrap_or(1), io::stderr().is_terminal());
    let mut report = Report { runs, measurements: Vec::new(), notes: Vec::new() };
    for load in loads {
        let mut contenders: Vec<(Contender, Vec<Duration>)> =
            Contender::of(load, &installed).into_iter().map(|contender| (contender, Vec::new())).collect();
        let prepared = load.prepare()?;
        for _ in 0..runs {
            progress.step(&load.to_string());
            contenders.retain_mut(|(contender, times)| match prepared.time(*contender) {
                Ok(time) => {
                    times.push(time);
                    true
                }
                // Too many rules for one transaction, for example: the others go on without it.
                Err(error) => {
                    report.notes.push(format!("{contender}, {load}: {error}"));
                    false
                }
            });
        }
        report.measurements.extend(
            contenders.into_iter().filter_map(|(contender, times)| Measurement::new(load, contender, times)),
        );
    }
    Ok(report)
}
