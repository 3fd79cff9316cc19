//! `meshwire node`: what the node agent on this node knows, and handing its pods to another agent.

mod release;
mod status;

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{ArgMatches, Command};
use nftwire::io_text;
use serde_json::Value;

use super::failure::{USAGE, end};
use super::flag::shared::{OUTPUT, Output};
use super::flag::{Flag, Flags, Values, with_flags};
use super::log::Log;
use super::progress;
use crate::diagnostic::{Explain, Explanation};

/// The command's name.
pub(super) const NAME: &str = "node";
const STATUS: &str = "status";
const RELEASE: &str = "release";

/// Some pods are not as desired.
const NOT_AS_DESIRED: u8 = 3;
/// The agent may have to ask the API server, for which it takes 10 seconds at most.
const LIMIT: Duration = Duration::from_secs(15);
/// The state of a node with the most pods that Kubernetes allows is far below.
const LONGEST: usize = 16 << 20;

const DEFAULT: &str = "/var/run/istio-cni/pluginevent.sock";

static SOCKET: Flag<PathBuf> = Flag::text("socket", "PATH", || DEFAULT.into(), |given| given.one(str::parse))
    .help("The agent's socket, which only root may use")
    .show(|_| DEFAULT.to_owned());

static FLAGS: Flags = &[&OUTPUT, &SOCKET];

/// Why the agent's state is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum StatusError {
    /// Nobody answers on the socket
    #[error("cannot ask the node agent on {}: {}", path.display(), io_text(error))]
    Socket {
        /// Its path
        path: PathBuf,
        /// What the system call said
        error: io::Error,
    },
    /// It has no answer
    #[error("the node agent on {}: {reason}", path.display())]
    Refused {
        /// The socket's path
        path: PathBuf,
        /// What it says
        reason: String,
    },
    /// It does not answer in time
    #[error("the node agent on {} did not reply within {} s", path.display(), LIMIT.as_secs())]
    Slow {
        /// The socket's path
        path: PathBuf,
    },
    /// It does not stop
    #[error("the node agent on {} replied with more than {} MiB", path.display(), LONGEST >> 20)]
    Long {
        /// The socket's path
        path: PathBuf,
    },
    /// What it answers is not its state
    #[error("the node agent on {} gave an unknown reply: {reply}", path.display())]
    Reply {
        /// The socket's path
        path: PathBuf,
        /// The beginning of the reply
        reply: String,
    },
}

impl StatusError {
    pub(super) fn reply(path: &Path, reply: &str) -> Self {
        Self::Reply { path: path.to_owned(), reply: beginning(reply) }
    }
}

/// Text of another program, without the control characters that a terminal would interpret.
fn beginning(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().take(500).map(shown).collect()
}

impl Explain for StatusError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::Socket { path, error } => error
                .explanation()
                .at("file", path.display().to_string())
                .help("run it as root on the node, where the agent of ambient mode runs, or in the agent's container"),
            Self::Refused { path, .. } | Self::Slow { path } | Self::Long { path } => {
                Explanation::default().at("file", path.display().to_string())
            }
            Self::Reply { path, .. } => Explanation::default()
                .at("file", path.display().to_string())
                .help("the socket belongs to another program, such as Istio's own agent"),
        }
    }
}

pub(super) fn command() -> Command {
    Command::new(NAME)
        .about("Shows what the node agent of ambient mode knows, or hands its pods to Istio's own agent")
        .subcommand_required(true)
        .subcommand(
            with_flags(Command::new(STATUS), FLAGS)
                .about("Shows each pod of the mesh on this node, and what it lacks")
                .after_help(format!("Exits with {NOT_AS_DESIRED} if something is not as desired.")),
        )
        .subcommand(release::command(RELEASE))
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    match matches.subcommand() {
        Some((STATUS, matches)) => {
            let values = Values::new(matches);
            end(status::status(&values), Log::for_output(Output::is_json(&values)))
        }
        Some((RELEASE, matches)) => end(release::release(&Values::new(matches)), Log::for_output(false)),
        _ => ExitCode::from(USAGE),
    }
}

/// What the agent knows.
fn state(path: &Path) -> Result<Value, StatusError> {
    let reply = ask(path, "GET", "/status")?;
    let state: Value = serde_json::from_str(&reply).unwrap_or_default();
    if state["pods"].is_array() { Ok(state) } else { Err(StatusError::reply(path, &reply)) }
}

/// The body of a reply with the status 200. HTTP/1.0, so that it ends with the connection.
pub(super) fn ask(path: &Path, method: &str, target: &str) -> Result<String, StatusError> {
    progress::during("asking the node agent", || exchange(path, method, target, Instant::now() + LIMIT))
}

fn exchange(path: &Path, method: &str, target: &str, deadline: Instant) -> Result<String, StatusError> {
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => StatusError::Slow { path: path.to_owned() },
        _ => StatusError::Socket { path: path.to_owned(), error },
    };
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    stream.set_write_timeout(Some(LIMIT)).map_err(failed)?;
    let request = format!("{method} {target} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let reply = read(&mut stream, deadline).map_err(failed)?;
    if reply.len() > LONGEST {
        return Err(StatusError::Long { path: path.to_owned() });
    }
    let reply = String::from_utf8_lossy(&reply);
    let parts = reply.split_once("\r\n\r\n");
    match parts.map(|(head, body)| (head.split(' ').nth(1).unwrap_or_default(), body)) {
        Some(("200", body)) => Ok(body.to_owned()),
        Some(("400" | "404" | "500" | "502" | "503", body)) if !body.is_empty() => {
            Err(StatusError::Refused { path: path.to_owned(), reason: beginning(body.trim_end()) })
        }
        _ => Err(StatusError::reply(path, &reply)),
    }
}

/// All that comes until the deadline, or somewhat more than is allowed: a limit for each read alone would never end.
fn read(stream: &mut UnixStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let (mut reply, mut part) = (Vec::new(), [0; 16 << 10]);
    while reply.len() <= LONGEST {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(length) => reply.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(reply)
}
