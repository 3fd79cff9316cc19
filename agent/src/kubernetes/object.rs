//! Pods as the API server sends them, with the fields that decide about a repair; everything else is dropped as it is read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use meshwire::mesh::pod::{Container, Pod as MeshPod};
use serde::Deserialize;
use serde_json::{Value, json};

/// core/v1 Pod.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Pod {
    /// metadata
    pub metadata: Metadata,
    pub(super) spec: Spec,
    /// status
    pub status: PodStatus,
}

/// metadata
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// name
    pub name: String,
    /// namespace
    pub namespace: String,
    /// uid
    pub uid: String,
    /// resourceVersion
    pub resource_version: String,
    /// deletionTimestamp: when the grace period ends
    pub deletion_timestamp: Option<String>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<Owner>>,
}

/// An item of metadata.ownerReferences
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Owner {
    /// kind
    pub kind: String,
    /// name
    pub name: String,
    /// uid
    pub uid: String,
    controller: bool,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    host_network: bool,
    pub(super) init_containers: Option<Vec<ContainerSpec>>,
    pub(super) containers: Option<Vec<ContainerSpec>>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerSpec {
    pub(super) name: String,
    pub(super) command: Option<Vec<String>>,
    pub(super) args: Option<Vec<String>>,
    pub(super) env: Option<Vec<Variable>>,
    pub(super) security_context: Option<SecurityContext>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SecurityContext {
    pub(super) run_as_user: Option<u32>,
    pub(super) run_as_group: Option<u32>,
}

/// status
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// phase
    pub phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIp>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct PodIp {
    ip: String,
}

/// An item of status.initContainerStatuses
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// name
    pub name: String,
    /// restartCount
    pub restart_count: u32,
    state: State,
    last_state: State,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct State {
    terminated: Option<Terminated>,
}

/// How a container ended
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// exitCode
    pub exit_code: i32,
    /// reason
    pub reason: Option<String>,
    /// message
    pub message: Option<String>,
}

impl ContainerStatus {
    /// How it ended this time.
    pub fn terminated(&self) -> Option<&Terminated> {
        self.state.terminated.as_ref()
    }

    /// How it ended the time before.
    pub fn last_terminated(&self) -> Option<&Terminated> {
        self.last_state.terminated.as_ref()
    }
}

impl Pod {
    /// `namespace/name`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    /// Its path in the API.
    pub fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/pods/{}", self.metadata.namespace, self.metadata.name)
    }

    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// What makes a new pod when this one is deleted. A static pod's node does not.
    pub fn controller(&self) -> Option<&Owner> {
        let owners = self.metadata.owner_references.iter().flatten();
        owners.into_iter().find(|owner| owner.controller && owner.kind != "Node")
    }

    /// Whether it has a container of this name, be it an init container: a native sidecar is one.
    pub fn has_container(&self, name: &str) -> bool {
        let all = self.spec.init_containers.iter().chain(&self.spec.containers).flatten();
        all.into_iter().any(|container| container.name == name)
    }

    /// Whether it shares the node's network namespace.
    pub fn host_network(&self) -> bool {
        self.spec.host_network
    }

    /// The statuses of its init containers.
    pub fn init_statuses(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.status.init_container_statuses.iter().flatten()
    }

    /// Its addresses.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let all = self
            .status
            .pod_ips
            .iter()
            .flatten()
            .map(|ip| ip.ip.as_str())
            .chain(self.status.pod_ip.as_deref());
        all.filter_map(|text| text.parse::<IpAddr>().ok()).map(|address| address.to_canonical()).collect()
    }

    /// What identifies it in an event or a precondition.
    pub fn reference(&self) -> Value {
        let Metadata { name, namespace, uid, resource_version, .. } = &self.metadata;
        json!({"kind": "Pod", "apiVersion": "v1", "name": name, "namespace": namespace, "uid": uid,
            "resourceVersion": resource_version})
    }
}

impl From<&Pod> for MeshPod {
    fn from(pod: &Pod) -> Self {
        let containers =
            |specs: &Option<Vec<ContainerSpec>>| specs.iter().flatten().map(Container::from).collect();
        Self {
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            annotations: pod.metadata.annotations.clone().unwrap_or_default(),
            host_network: pod.spec.host_network,
            init_containers: containers(&pod.spec.init_containers),
            containers: containers(&pod.spec.containers),
        }
    }
}

impl From<&ContainerSpec> for Container {
    fn from(spec: &ContainerSpec) -> Self {
        let variables = spec.env.iter().flatten();
        let context = spec.security_context.as_ref();
        Self {
            name: spec.name.clone(),
            args: spec.args.clone().unwrap_or_default(),
            env: variables
                .map(|variable| (variable.name.clone(), variable.value.clone().unwrap_or_default()))
                .collect(),
            run_as_user: context.and_then(|context| context.run_as_user),
            run_as_group: context.and_then(|context| context.run_as_group),
        }
    }
}
