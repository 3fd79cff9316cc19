//! `meshwire bench`: how long it takes on this kernel to load rules, compared with the other programs that can, and with the
//! kernel's own time.
//!
//! Everything happens in a network namespace of its own. In each round every contender runs once, so that what else
//! the machine does meets all of them.

mod contender;
mod plot;
mod progress;
mod report;

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, Command};

use super::failure::{Failure, end, write_result};
use super::flag::shared::{OUTPUT, Output};
use super::flag::{Flag, Flags, Values, with_flags};
use super::log::Log;
use super::{link, sandbox};
use crate::diagnostic::{Explain, Explanation};
use contender::{Contender, Load};
use nft_ruleset::nft::compile::NotCompiled;
use nft_ruleset::plan::PlanError;
use nftwire::io_text;
use progress::Progress;
use report::{Measurement, Report};

/// The command's name.
pub(super) const NAME: &str = "bench";

static SIZES: Flag<Vec<u32>> = Flag::text(
    "sizes",
    "NUMBERS",
    || vec![10, 100, 1_000, 10_000],
    |given| given.list(|text| number_within(text, 1..=1_000_000)),
)
.repeated()
.help("How many rules")
.show(|sizes| sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));

static RUNS: Flag<u32> =
    Flag::number("runs", "NUMBER", || 7, |given| given.one(|text| number_within(text, 1..=1_000)))
        .help("How often each contender runs, alternating with the others; at most 5 times as often until its median is stable")
        .shown();

static PLOT: Flag<Option<PathBuf>> =
    Flag::text("plot", "FILE", || None, |given| Ok(Some(PathBuf::from(&given.text))))
        .help("Draw the times over the number of rules, as SVG");

fn number_within(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{text:?} is not a number from {} to {}", range.start(), range.end()))
}

static FLAGS: Flags = &[&SIZES, &RUNS, &PLOT, &OUTPUT];

pub(super) fn command() -> Command {
    with_flags(Command::new(NAME), FLAGS)
        .about("Measures on this kernel how long rules take to load, next to nft and iptables; needs no root")
        .long_about(
            "Loads rules into a network namespace of its own, by meshwire, nft and iptables-nft-restore, as far as these are \
             installed, and compares the times: of a sidecar's init as a whole process, and of lists of rules by their \
             length. The floor is the kernel's own time: the time from sending the same bytes on an open socket to the \
             reply. Without root, net.core.wmem_max bounds how many rules fit into one transaction.",
        )
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let values = Values::new(matches);
    let log = Log::for_output(Output::is_json(&values));
    end(execute(&values, log).map(|()| ExitCode::SUCCESS), log)
}

/// What went wrong while something was measured.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("{0} cannot be started: {1}")]
    Start(String, io::Error),
    #[error("{0} failed: {1}")]
    Failed(String, String),
    #[error("nf_tables: {0}")]
    Netlink(nftwire::Error),
    #[error(transparent)]
    NotCompiled(#[from] NotCompiled),
    #[error("nf_tables: {0}")]
    Plan(PlanError),
    #[error("cannot give the namespace an address: {0}")]
    Address(io::Error),
    #[error("cannot make a second network namespace: {0}")]
    Neighbour(io::Error),
    #[error("cannot write {}: {}", .0.display(), io_text(.1))]
    Write(PathBuf, io::Error),
}

impl From<PlanError> for BenchError {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
    }
}

impl From<nftwire::Error> for BenchError {
    fn from(error: nftwire::Error) -> Self {
        Self::Netlink(error)
    }
}

impl Explain for BenchError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::Start(_, error) | Self::Address(error) | Self::Neighbour(error) | Self::Write(_, error) => {
                error.explanation()
            }
            Self::Netlink(error) => error.explanation(),
            Self::Plan(PlanError::Read(error)) => error.explanation(),
            Self::Plan(_) | Self::NotCompiled(_) | Self::Failed(..) => Explanation::default(),
        }
    }
}

fn execute(values: &Values<'_>, log: Log) -> Result<(), Failure> {
    let runs = values.read(&RUNS)?;
    let sizes = values.read(&SIZES)?;
    let plot = values.read(&PLOT)?;
    let output = values.read(&OUTPUT)?;
    // Before minutes of measuring, and while the process is whom the file's owner knows.
    let plot = plot.map(|path| Picture::create(&path)).transpose()?;
    sandbox::enter(NAME)?;
    // A pod's address, which decides about IPv6.
    link::add_address("lo", contender::POD, 32).map_err(BenchError::Address)?;
    let measured = measure(&sizes, runs)?;
    if let Some(noise) = measured.noise() {
        log.warn(&noise);
    }
    if let Some(picture) = plot {
        picture.write(&plot::svg(&measured))?;
    }
    Ok(write_result(&match output {
        Output::Text => measured.to_string(),
        Output::Json => format!("{}\n", measured.json()),
    })?)
}

/// The file for the picture.
struct Picture {
    path: PathBuf,
    file: File,
    /// Whether it is to be removed: it was made here, and has nothing in it yet
    is_vain: bool,
}

impl Picture {
    /// Keeps what is in the file until there is something to write.
    fn create(path: &Path) -> Result<Self, BenchError> {
        let is_vain = !path.exists();
        let file = File::options().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| BenchError::Write(path.to_owned(), error))?;
        Ok(Self { path: path.to_owned(), file, is_vain })
    }

    fn write(mut self, text: &str) -> Result<(), BenchError> {
        self.is_vain = false;
        let is_file = self.file.metadata().is_ok_and(|metadata| metadata.is_file());
        let emptied = if is_file { self.file.set_len(0) } else { Ok(()) };
        let written = emptied.and_then(|()| self.file.write_all(text.as_bytes()));
        written.map_err(|error| BenchError::Write(self.path.clone(), error))
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        if self.is_vain {
            // This run created it and it is empty: an error to remove it is harmless.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn measure(sizes: &[u32], runs: u32) -> Result<Report, BenchError> {
    let installed = contender::installed();
    let _neighbour = contender::neighbour()?;
    let mut loads = vec![Load::Sidecar, Load::Excluded];
    loads.extend(sizes.iter().map(|&size| Load::Rules(size)));
    let progress = Progress::new(loads.len(), io::stderr().is_terminal());
    let mut report = Report { runs, measurements: Vec::new(), notes: Vec::new() };
    for (done, load) in loads.into_iter().enumerate() {
        let mut contenders: Vec<(Contender, Vec<Duration>)> =
            Contender::of(load, &installed).into_iter().map(|contender| (contender, Vec::new())).collect();
        let prepared = load.prepare()?;
        for _ in 0..ROUNDS {
            for _ in 0..runs {
                progress.show(done, &load.to_string());
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
            if measurements(load, &contenders).all(|measurement| measurement.is_stable()) {
                break;
            }
        }
        report.measurements.extend(measurements(load, &contenders));
    }
    Ok(report)
}

/// How often the runs are repeated until all medians are stable.
const ROUNDS: usize = 5;

fn measurements(load: Load, contenders: &[(Contender, Vec<Duration>)]) -> impl Iterator<Item = Measurement> {
    contenders.iter().filter_map(move |(contender, times)| Measurement::new(load, *contender, times))
}
