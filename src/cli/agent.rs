//! What the node agent says of its node's pods: where they are, and what their rules are to be.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::failure::{Failure, USAGE};
use super::node::{StatusError, ask};
use super::pod_spec::PodSpec;
use super::verify::FROM_POD_SPEC;
use crate::diagnostic::{Explain, Explanation};
use crate::mesh::istio::ambient::PodInterception;

/// The agent's socket for plugins and for those who look at pods.
const SOCKET: &str = "/var/run/istio-cni/log.sock";

/// What says that a page does not exist: an agent that is older, and Go's servers.
const NOT_FOUND: [&str; 2] = ["Not Found", "404 page not found"];

/// A pod as the agent knows it.
pub(super) struct AgentPod {
    /// A file of its network namespace, in the agent's container
    pub(super) netns: String,
    /// What its rules are to be; none from an agent that only knows where it is
    settings: Option<PodSpec>,
}

/// Why the desired rules of a pod are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSettingsError {
    #[error("what the rules are to be is not known: no node agent has the socket {SOCKET}")]
    NoAgent,
    #[error("what the rules are to be is not known: {0}")]
    Agent(StatusError),
    #[error(
        "what the rules are to be is not known: the program on {SOCKET} does not say, as Istio's own agent or one that is \
         older than this command"
    )]
    Silent,
}

impl From<StatusError> for NoSettingsError {
    fn from(error: StatusError) -> Self {
        Self::Agent(error)
    }
}

impl Explain for NoSettingsError {
    fn explanation(&self) -> Explanation {
        let explanation = match self {
            Self::Agent(error) => error.explanation(),
            _ => Explanation::default().at("file", SOCKET),
        };
        explanation.help(format!(
            "say what they are to be by --{} or by a mesh and its flags; the agent has its socket in the container of the \
             DaemonSet istio-cni-node",
            FROM_POD_SPEC.name()
        ))
    }
}

impl NoSettingsError {
    /// Without an agent, the command lacks a flag.
    pub(super) fn failure(self) -> Failure {
        let exit_code = if matches!(self, Self::NoAgent) { USAGE } else { 1 };
        Failure::new(self, exit_code)
    }
}

impl AgentPod {
    /// None if the object is not this pod's.
    fn new(object: &Value, namespace: &str, name: &str) -> Option<Self> {
        if (object["namespace"].as_str(), object["name"].as_str()) != (Some(namespace), Some(name)) {
            return None;
        }
        let settings = if object["pod"].is_null() { None } else { Some(settings(object)?) };
        Some(Self { netns: object["netns"].as_str()?.to_owned(), settings })
    }

    /// What its rules are to be.
    pub(super) fn settings(self) -> Result<PodSpec, NoSettingsError> {
        self.settings.ok_or(NoSettingsError::Silent)
    }
}

/// What a pod's rules are to be; none if the object does not say it.
fn settings(object: &Value) -> Option<PodSpec> {
    let ambient = match &object["ambient"] {
        Value::Null => None,
        settings => Some(ambient(settings)?),
    };
    let netns = object["netns"].as_str().map(PathBuf::from);
    let native_nftables = object["native_nftables"].as_bool()?;
    let mut pod = PodSpec::new(&object["pod"])?;
    (pod.netns, pod.ambient, pod.native_nftables) = (netns, ambient, native_nftables);
    Some(pod)
}

/// The settings of a pod of the ambient mesh.
fn ambient(settings: &Value) -> Option<PodInterception> {
    let switch = |key: &str| settings[key].as_bool();
    let text = |key: &str| settings[key].as_str();
    let interfaces = settings["virtual_interfaces"].as_array()?;
    Some(PodInterception {
        ipv6: switch("ipv6")?,
        dns: switch("dns")?,
        ingress: switch("ingress")?,
        virtual_interfaces: interfaces
            .iter()
            .map(|name| name.as_str()?.parse().ok())
            .collect::<Option<_>>()?,
        probe_v4: text("probe_ipv4")?.parse().ok()?,
        probe_v6: text("probe_ipv6")?.parse().ok()?,
        native_nftables: switch("native_nftables")?,
    })
}

/// What the agent says of a pod; none where there is no agent.
pub(super) fn pod(namespace: &str, name: &str) -> Option<Result<AgentPod, StatusError>> {
    let socket = Path::new(SOCKET);
    socket.exists().then(|| {
        let reply = ask(socket, "GET", &format!("/pods/{namespace}/{name}"))?;
        let object = serde_json::from_str(&reply).unwrap_or_default();
        AgentPod::new(&object, namespace, name).ok_or_else(|| StatusError::reply(socket, &reply))
    })
}

/// All pods of the agent's node.
pub(super) fn pods() -> Result<Vec<PodSpec>, NoSettingsError> {
    let socket = Path::new(SOCKET);
    if !socket.exists() {
        return Err(NoSettingsError::NoAgent);
    }
    let reply = match ask(socket, "GET", "/pods") {
        // It serves other pages.
        Err(StatusError::Refused { reason, .. }) if NOT_FOUND.contains(&reason.as_str()) => {
            return Err(NoSettingsError::Silent);
        }
        reply => reply?,
    };
    let object: Value = serde_json::from_str(&reply).unwrap_or_default();
    let pods = object["pods"].as_array().and_then(|pods| pods.iter().map(settings).collect());
    pods.ok_or_else(|| StatusError::reply(socket, &reply).into())
}
