//! `meshwire node release`: hands the node's pods to Istio's own agent.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Command;
use nftwire::io_text;

use super::status::{is_as_desired, text};
use super::{NOT_AS_DESIRED, SOCKET, ask, state};
use crate::apply::ApplyError;
use crate::cli::failure::{Failure, write_result};
use crate::cli::flag::{Flag, Flags, Values, value, with_flags};
use crate::diagnostic::{Explain, Explanation};
use crate::netns::{Namespace, inside};
use crate::release::{Released, release_beside_iptables};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

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

/// Why the pods cannot be released.
#[derive(Debug, thiserror::Error)]
enum ReleaseError {
    /// The processes cannot be listed
    #[error("cannot list the processes in {}: {}", path.display(), io_text(error))]
    Proc {
        /// The folder
        path: PathBuf,
        /// What the system call returned
        error: io::Error,
    },
    /// A namespace's rules cannot be read or removed
    #[error("the network namespace {}: {error}", path.display())]
    Namespace {
        /// The namespace's file
        path: PathBuf,
        /// What failed
        error: ApplyError,
    },
}

impl Explain for ReleaseError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::Proc { path, error } => {
                error.explanation().at("file", path.display().to_string()).help("pass the node's with --proc")
            }
            Self::Namespace { path, error } => error.explanation().at("file", path.display().to_string()),
        }
    }
}

pub(super) fn command(name: &'static str) -> Command {
    with_flags(Command::new(name), FLAGS)
        .about("Hands the pods of this node to Istio's own agent")
        .after_help(format!(
            "nft: before the image is changed. The agent gives every pod and the node exactly the rules of Istio's\n\
             nftables backend, which Istio's agent knows; connections go on.\n\
             iptables: after the image was changed. Removes meshwire's tables from each network namespace in which\n\
             Istio's agent has made its own chains; others stay as they are.\n\
             meshwire: takes `nft` back.\n\
             Exits with {NOT_AS_DESIRED} if some pods are not converted."
        ))
}

pub(super) fn release(values: &Values<'_>) -> Result<ExitCode, Failure> {
    match values.read(&BACKEND)? {
        Backend::Nft => convert(values, "nft"),
        Backend::Own => convert(values, "meshwire"),
        Backend::Iptables => remove(&values.read(&PROC)?),
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

/// Removes what is superfluous now.
fn remove(proc: &Path) -> Result<ExitCode, Failure> {
    let (mut lines, mut is_complete) = (String::new(), true);
    for path in namespaces(proc)? {
        // A process that ended meanwhile takes its namespace with it.
        let Ok(namespace) = Namespace::from_path(&path) else { continue };
        let released = inside(&namespace, release_beside_iptables);
        let line = match released.map_err(|error| ReleaseError::Namespace { path: path.clone(), error })? {
            Released::Nothing => continue,
            Released::Removed(leftovers) => {
                let chains: Vec<_> = leftovers.iter().map(ToString::to_string).collect();
                format!("released {}, in force is {}\n", path.display(), chains.join("; "))
            }
            Released::NotTakenOver => {
                is_complete = false;
                format!("kept {}: no chains of Istio's agent are there\n", path.display())
            }
        };
        lines.push_str(&line);
    }
    write_result(&lines)?;
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::from(NOT_AS_DESIRED) })
}

/// One file for each network namespace that a process is in.
fn namespaces(proc: &Path) -> Result<Vec<PathBuf>, ReleaseError> {
    let failed = |error| ReleaseError::Proc { path: proc.to_owned(), error };
    let mut seen = BTreeSet::new();
    let mut paths = Vec::new();
    for entry in fs::read_dir(proc).map_err(failed)? {
        let process = entry.map_err(failed)?;
        if process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            let path = process.path().join("ns/net");
            if let Ok(file) = path.metadata()
                && seen.insert((file.dev(), file.ino()))
            {
                paths.push(path);
            }
        }
    }
    Ok(paths)
}
