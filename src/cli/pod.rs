//! `--pod NAMESPACE/NAME`: the network namespace of a pod of this node.

use std::path::PathBuf;

use super::agent::{self, NoSettingsError};
use super::failure::Failure;
use super::flag::{Flag, Given, UsageError, Values};
use super::node::StatusError;
use super::pod_spec::PodSpec;
use crate::diagnostic::{Explain, Explanation};
use crate::pods::{self, Node, PodsError};

pub(super) static POD: Flag<Option<Given>> =
    Flag::text("pod", "NAMESPACE/NAME", || None, |given| Ok(Some(given.clone()))).help(
        "The network namespace of this pod of the node: found through the node agent, or by the node's processes and \
         the kubelet's folders",
    );

pub(super) static NODE_ROOT: Flag<PathBuf> =
    Flag::text("node-root", "PATH", || "/".into(), |given| given.one(str::parse))
        .help("The node's root file system, such as /host in a pod of `kubectl debug node/NODE`")
        .show(|root| root.display().to_string());

/// A pod that neither the agent nor the node's files show.
#[derive(Debug, thiserror::Error)]
#[error("--{}: {error}{}", POD.name(), asked(.agent.as_deref()))]
struct UnknownPodError {
    agent: Option<Box<StatusError>>,
    error: Box<PodsError>,
}

fn asked(agent: Option<&StatusError>) -> String {
    agent.map_or_else(String::new, |error| format!("; and {error}"))
}

impl Explain for UnknownPodError {
    fn explanation(&self) -> Explanation {
        self.error.explanation()
    }
}

/// The node that is looked at.
pub(super) fn node(values: &Values<'_>) -> Result<Node, UsageError> {
    values.read(&NODE_ROOT).map(Node::new)
}

/// The namespace of the pod, as if it had been named by its file; none where no pod is asked for.
pub(super) fn given(values: &Values<'_>) -> Result<Option<Given>, Failure> {
    let Some(pod) = values.read(&POD)? else { return Ok(None) };
    let (namespace, name) = names(&pod)?;
    let agent = match agent::pod(namespace, name) {
        Some(Ok(found)) => return Ok(Some(located(&pod, found.netns))),
        Some(Err(error)) => Some(Box::new(error)),
        None => None,
    };
    match node(values)?.find(namespace, name) {
        Ok(network) => Ok(Some(located(&pod, network.path.display().to_string()))),
        Err(error) => Err(UnknownPodError { agent, error: Box::new(error) }.into()),
    }
}

/// The namespace of the pod, and what its rules are to be; only the agent says both.
pub(super) fn with_settings(pod: &Given) -> Result<(Given, PodSpec), Failure> {
    let (namespace, name) = names(pod)?;
    let found =
        agent::pod(namespace, name).ok_or(NoSettingsError::NoAgent).map_err(NoSettingsError::failure)?;
    let found = found.map_err(|error| NoSettingsError::from(error).failure())?;
    let netns = located(pod, found.netns.clone());
    Ok((netns, found.settings().map_err(NoSettingsError::failure)?))
}

fn names(pod: &Given) -> Result<(&str, &str), UsageError> {
    pods::namespace_and_name(&pod.text)
        .ok_or_else(|| pod.fault(format_args!("{:?} is not NAMESPACE/NAME", pod.text)))
}

fn located(pod: &Given, path: String) -> Given {
    Given::new(format!("--{} {}", POD.name(), pod.text), path)
}
