//! `meshwire node`: what the node agent on this node knows.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, Command};
use nftwire::io_text;
use serde_json::Value;

use super::failure::{Failure, USAGE, end, write_result};
use super::flag::shared::{OUTPUT, Output};
use super::flag::{Flag, Flags, Values, with_flags};
use super::log::Log;
use crate::diagnostic::{Explain, Explanation};

/// The command's name.
pub(super) const NAME: &str = "node";
const STATUS: &str = "status";

/// Some pods are not as desired.
const NOT_AS_DESIRED: u8 = 3;
/// The agent answers at once, or not at all.
const LIMIT: Duration = Duration::from_secs(5);
/// The state of a node with the most pods that Kubernetes allows is far below.
const LONGEST: u64 = 16 << 20;

const DEFAULT: &str = "/var/run/istio-cni/pluginevent.sock";

static SOCKET: Flag<PathBuf> = Flag::text("socket", "PATH", || DEFAULT.into(), |given| given.one(str::parse))
    .help("The agent's socket, which only root may use")
    .show(|_| DEFAULT.to_owned());

static FLAGS: Flags = &[&OUTPUT, &SOCKET];

/// Why the agent's state is not known.
#[derive(Debug, thiserror::Error)]
enum StatusError {
    /// Nobody answers on the socket
    #[error("cannot ask the node agent on {}: {}", path.display(), io_text(source))]
    Socket {
        /// Its path
        path: PathBuf,
        /// What the system call said
        source: io::Error,
    },
    /// What it answers is not its state
    #[error("the node agent on {} does not tell its state: {reply}", path.display())]
    Reply {
        /// The socket's path
        path: PathBuf,
        /// The beginning of the reply
        reply: String,
    },
}

impl Explain for StatusError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::Socket { path, source } => source
                .explanation()
                .at("file", path.display().to_string())
                .help("run it as root on the node, where the agent of ambient mode runs, or in the agent's container"),
            Self::Reply { path, .. } => Explanation::default()
                .at("file", path.display().to_string())
                .help("the socket belongs to another program, such as Istio's own agent"),
        }
    }
}

pub(super) fn command() -> Command {
    Command::new(NAME)
        .about("Shows what the node agent of ambient mode knows")
        .subcommand_required(true)
        .subcommand(
            with_flags(Command::new(STATUS), FLAGS)
                .about("Shows each pod of the mesh on this node, and what it lacks")
                .after_help(format!("Exits with {NOT_AS_DESIRED} if something is not as desired.")),
        )
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    match matches.subcommand() {
        Some((STATUS, matches)) => {
            let values = Values::new(matches);
            end(status(&values), Log::beside(Output::is_json(&values)))
        }
        _ => ExitCode::from(USAGE),
    }
}

fn status(values: &Values<'_>) -> Result<ExitCode, Failure> {
    let output = values.read(&OUTPUT)?;
    let path = values.read(&SOCKET)?;
    let failed = |source| StatusError::Socket { path: path.clone(), source };
    let reply = ask(&path).map_err(failed)?;
    let wrong =
        |reply: &str| StatusError::Reply { path: path.clone(), reply: reply.chars().take(200).collect() };
    let (head, body) = reply.split_once("\r\n\r\n").ok_or_else(|| wrong(&reply))?;
    let is_ok = head.split(' ').nth(1) == Some("200");
    let state: Value = serde_json::from_str(body).map_err(|_| wrong(&reply))?;
    if !is_ok || !state["pods"].is_array() {
        return Err(wrong(&reply).into());
    }
    match output {
        Output::Json => write_result(&format!("{state}\n"))?,
        Output::Text => write_result(&text(&state))?,
    }
    Ok(if is_as_desired(&state) { ExitCode::SUCCESS } else { ExitCode::from(NOT_AS_DESIRED) })
}

/// HTTP/1.0, so that the reply ends with the connection.
fn ask(path: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(b"GET /status HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut reply = Vec::new();
    stream.take(LONGEST).read_to_end(&mut reply)?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

fn is_as_desired(state: &Value) -> bool {
    let enabled = |pod: &Value| pod["state"] == "enabled";
    let pods = state["pods"].as_array().is_some_and(|pods| pods.iter().all(enabled));
    pods && state["ready"] == true && state["host"]["rules"] == true
}

/// A line for the node, and one for each pod, with what it lacks.
fn text(state: &Value) -> String {
    use std::fmt::Write as _;

    let host = match (&state["host"]["rules"], state["host"]["failure"].as_str()) {
        (Value::Bool(true), _) => "in place".to_owned(),
        (_, Some(failure)) => format!("missing: {failure}"),
        (_, None) => "missing".to_owned(),
    };
    let ready = if state["ready"] == true { "ready" } else { "not ready" };
    let count = |what: &str| state["repairs"][what].as_u64().unwrap_or_default();
    let (ztunnels, repairs) = (&state["ztunnels"], count("host") + count("pods"));
    let mut text = format!("agent {ready}, host rules {host}, ztunnels {ztunnels}, repairs {repairs}\n");
    for pod in state["pods"].as_array().into_iter().flatten() {
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let (namespace, name, state) = (word(&pod["namespace"]), word(&pod["name"]), word(&pod["state"]));
        let _ = write!(text, "{state} {namespace}/{name} {}", word(&pod["uid"]));
        let lacks = [
            ("netns", pod["netns"].is_null()),
            ("rules", pod["rules"] == false),
            ("ztunnel", pod["ztunnel"] == false),
        ];
        let lacks: Vec<_> = lacks.iter().filter(|(_, lacks)| *lacks).map(|(what, _)| *what).collect();
        if !lacks.is_empty() {
            let _ = write!(text, ", lacks {}", lacks.join(", "));
        }
        if let Some(failure) = pod["failure"].as_str() {
            let _ = write!(text, ": {failure}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_for_each_pod() {
        let mut state = json!({
            "ready": true, "ztunnels": 1, "repairs": { "host": 1, "pods": 1 }, "host": { "rules": true, "failure": null },
            "pods": [
                { "namespace": "n", "name": "p", "uid": "u", "state": "enabled", "netns": 7, "rules": true, "ztunnel": true },
            ],
        });
        assert!(is_as_desired(&state));
        assert_eq!(text(&state), "agent ready, host rules in place, ztunnels 1, repairs 2\nenabled n/p u\n");
        state["host"] = json!({ "rules": false, "failure": "no kubelet" });
        state["pods"] = json!([
            { "namespace": null, "name": null, "uid": "u", "state": "failed", "netns": null, "rules": false, "ztunnel": false,
              "failure": "its network namespace was not found" },
        ]);
        assert!(!is_as_desired(&state));
        assert_eq!(
            text(&state),
            "agent ready, host rules missing: no kubelet, ztunnels 1, repairs 2\n\
             failed -/- u, lacks netns, rules, ztunnel: its network namespace was not found\n"
        );
    }
}
