//! `meshwire node status`: each pod of the mesh on this node, and what it lacks.

use std::process::ExitCode;

use serde_json::Value;

use super::{NOT_AS_DESIRED, SOCKET, state};
use crate::cli::failure::{Failure, write_result};
use crate::cli::flag::Values;
use crate::cli::flag::shared::{OUTPUT, Output};

pub(super) fn status(values: &Values<'_>) -> Result<ExitCode, Failure> {
    let output = values.read(&OUTPUT)?;
    let state = state(&values.read(&SOCKET)?)?;
    match output {
        Output::Json => write_result(&format!("{state}\n"))?,
        Output::Text => write_result(&text(&state))?,
    }
    Ok(if is_as_desired(&state) { ExitCode::SUCCESS } else { ExitCode::from(NOT_AS_DESIRED) })
}

pub(super) fn is_as_desired(state: &Value) -> bool {
    let enabled = |pod: &Value| pod["state"] == "enabled";
    let pods = state["pods"].as_array().is_some_and(|pods| pods.iter().all(enabled));
    pods && state["ready"] == true && state["host"]["rules"] == true
}

/// A line for the node, and one for each pod, with what it lacks.
pub(super) fn text(state: &Value) -> String {
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
