//! The state for operators, as JSON.

use serde_json::{Value, json};

use super::backoff::Moment;
use super::plugin::Backend;
use super::state::{PodState, PodStatus, State};

/// All pods of the mesh, the host and the ztunnels.
pub(super) fn json(state: &State, backend: Backend, now: Moment) -> String {
    let backend = match backend {
        Backend::Nft => "nft",
        Backend::Meshwire => "meshwire",
    };
    let host = json!({
        "rules": state.host_is_intact(),
        "failure": state.host_failure(),
        "writer": state.host_writer().map(ToString::to_string),
    });
    let status = json!({
        "ready": state.may_accept(),
        "backend": backend,
        "ztunnels": state.ztunnels(),
        "host": host,
        "repairs": { "host": state.heals().host, "pods": state.heals().pods },
        "backing_off": state.backing_off(now),
        "pods": state.status().map(|pod| object(&pod)).collect::<Vec<_>>(),
    });
    status.to_string()
}

fn object(pod: &PodStatus<'_>) -> Value {
    let state = match pod.state {
        PodState::Enabled => "enabled",
        PodState::Pending => "pending",
        PodState::Failed => "failed",
        PodState::Leaving => "leaving",
    };
    json!({
        "namespace": pod.workload.map(|workload| &workload.namespace),
        "name": pod.workload.map(|workload| &workload.name),
        "uid": pod.uid.as_ref(),
        "state": state,
        "netns": pod.netns.map(|netns| netns.ino),
        "rules": pod.rules,
        "ztunnel": pod.ztunnel,
        "probes": pod.probes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "failure": pod.failure,
    })
}
