//! `meshwire node release`: hands the node's pods to Istio's own agent.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Command;

use super::status::{is_as_desired, text};
use super::{NOT_AS_DESIRED, SOCKET, ask, state};
use crate::apply::ApplyError;
use crate::cli::failure::{Failure, write_result};
use crate::cli::flag::{Flag, Flags, Values, value, with_flags};
use crate::diagnostic::{Explain, Explanation};
use crate::netns::{Namespace, inside};
use crate::pods::all_networks;
use crate::release::{Released, release_beside_iptables};

/// Between two looks at the agent's state.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two looks into all network namespaces.
const LONG_PAUSE: Duration = Duration::from_secs(1);

/// What Istio's agent is going to make rules with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    /// NATIVE_NFTABLES=true
    Nft,
    /// NATIVE_NFTABLES=false
    Iptables,
    /// None: the agent here goes on
    Own,
}

static BACKEND: Flag<Backend> = Flag::text(
    "backend",
    "BACKEND",
    || Backend::Nft,
    |given| {
        given.choice(&[("nft", Backend::Nft), ("iptables", Backend::Iptables), ("meshwire", Backend::Own)])
    },
)
.choices(&["nft", "iptables", "meshwire"])
.help("The backend of the agent that takes over")
.show(|_| "nft".to_owned());

static WAIT: Flag<Duration> =
    Flag::text("wait", "DURATION", || Duration::from_secs(60), |given| given.one(value::duration))
        .help("How long to wait until all pods are converted")
        .show(|_| "60s".to_owned());

static PROC: Flag<PathBuf> = Flag::text("proc", "PATH", || "/proc".into(), |given| given.one(str::parse))
    .help("The node's proc file system, by which pods are found; for iptables")
    .show(|_| "/proc".to_owned());

static FLAGS: Flags = &[&BACKEND, &WAIT, &PROC, &SOCKET];

/// A namespace's rules cannot be read or removed.
#[derive(Debug, thiserror::Error)]
#[error("the network namespace {}: {error}", path.display())]
struct ReleaseError {
    path: PathBuf,
    error: ApplyError,
}

impl Explain for ReleaseError {
    fn explanation(&self) -> Explanation {
        self.error.explanation().at("file", self.path.display().to_string())
    }
}

pub(super) fn command(name: &'static str) -> Command {
    with_flags(Command::new(name), FLAGS)
        .about("Hands the pods of this node to Istio's own agent")
        .after_help(format!(
            "nft: before the image is changed. The agent gives every pod and the node exactly the rules of Istio's\n\
             nftables backend, which Istio's agent knows; connections go on.\n\
             iptables: after the image was changed. Removes meshwire's tables from each network namespace in which\n\
             the rules of Istio's agent are in force, for IPv6 too if meshwire's are, and waits for the others.\n\
             meshwire: takes `nft` back.\n\
             Exits with {NOT_AS_DESIRED} if some pods are not converted."
        ))
}

pub(super) fn release(values: &Values<'_>) -> Result<ExitCode, Failure> {
    match values.read(&BACKEND)? {
        Backend::Nft => convert(values, "nft"),
        Backend::Own => convert(values, "meshwire"),
        Backend::Iptables => remove(&values.read(&PROC)?, Instant::now() + values.read(&WAIT)?),
    }
}

/// The running agent converts them, and keeps them so.
fn convert(values: &Values<'_>, backend: &str) -> Result<ExitCode, Failure> {
    let path = values.read(&SOCKET)?;
    ask(&path, "POST", &format!("/release/{backend}"))?;
    let deadline = Instant::now() + values.read(&WAIT)?;
    loop {
        let state = state(&path)?;
        let is_converted = state["backend"] == backend && is_as_desired(&state);
        if is_converted || Instant::now() >= deadline {
            write_result(&text(&state))?;
            return Ok(if is_converted { ExitCode::SUCCESS } else { ExitCode::from(NOT_AS_DESIRED) });
        }
        sleep(PAUSE);
    }
}

/// Removes what is superfluous by now, until nothing is left to remove.
fn remove(proc: &Path, deadline: Instant) -> Result<ExitCode, Failure> {
    let mut lines = String::new();
    loop {
        let kept = remove_once(proc, &mut lines)?;
        if kept.is_empty() || Instant::now() >= deadline {
            write_result(&(lines + &kept))?;
            return Ok(if kept.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NOT_AS_DESIRED) });
        }
        sleep(LONG_PAUSE.min(deadline.saturating_duration_since(Instant::now())));
    }
}

/// Adds a line for each namespace that is released; returns those of the others.
fn remove_once(proc: &Path, lines: &mut String) -> Result<String, Failure> {
    let mut kept = String::new();
    for network in all_networks(proc)? {
        let path = network.path;
        // A process that ended meanwhile takes its namespace with it.
        let Ok(namespace) = Namespace::from_path(&path) else { continue };
        let released = inside(&namespace, release_beside_iptables);
        match released.map_err(|error| ReleaseError { path: path.clone(), error })? {
            Released::Nothing => {}
            Released::Removed(leftovers) => {
                let chains: Vec<_> = leftovers.iter().map(ToString::to_string).collect();
                lines.push_str(&format!("released {}, in force is {}\n", path.display(), chains.join("; ")));
            }
            Released::NotTakenOver(family) => {
                kept +=
                    &format!("kept {}: no {family} rules of Istio's agent are in force\n", path.display());
            }
        }
    }
    Ok(kept)
}
