//! The API's objects, with the fields that decide about an interception; everything else is dropped as it is read.

use std::collections::BTreeMap;

use meshwire::mesh::pod::{Container, Pod};
use serde::Deserialize;

/// core/v1 Pod.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PodObject {
    metadata: Option<Metadata>,
    spec: Option<PodSpec>,
}

/// core/v1 Namespace.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Namespace {
    metadata: Option<Metadata>,
}

/// core/v1 Service.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Service {
    spec: Option<ServiceSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Metadata {
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    host_network: Option<bool>,
    init_containers: Option<Vec<ContainerSpec>>,
    containers: Option<Vec<ContainerSpec>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerSpec {
    name: String,
    args: Option<Vec<String>>,
    env: Option<Vec<Variable>>,
    security_context: Option<SecurityContext>,
}

#[derive(Clone, Debug, Deserialize)]
struct Variable {
    name: String,
    value: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecurityContext {
    run_as_user: Option<u32>,
    run_as_group: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct ServiceSpec {
    ports: Option<Vec<ServicePort>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServicePort {
    port: u16,
    target_port: Option<IntOrString>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum IntOrString {
    Int(u16),
    String(#[expect(dead_code, reason = "a name is only a port inside of its pod")] String),
}

impl From<PodObject> for Pod {
    fn from(object: PodObject) -> Self {
        let metadata = object.metadata.unwrap_or_default();
        let spec = object.spec.unwrap_or_default();
        let containers = |specs: Option<Vec<ContainerSpec>>| {
            specs.unwrap_or_default().into_iter().map(Container::from).collect()
        };
        Self {
            labels: metadata.labels.unwrap_or_default(),
            annotations: metadata.annotations.unwrap_or_default(),
            host_network: spec.host_network.unwrap_or(false),
            init_containers: containers(spec.init_containers),
            containers: containers(spec.containers),
        }
    }
}

impl From<ContainerSpec> for Container {
    fn from(spec: ContainerSpec) -> Self {
        let variables = spec.env.unwrap_or_default().into_iter();
        Self {
            name: spec.name,
            args: spec.args.unwrap_or_default(),
            env: variables.map(|variable| (variable.name, variable.value.unwrap_or_default())).collect(),
            run_as_user: spec.security_context.as_ref().and_then(|context| context.run_as_user),
            run_as_group: spec.security_context.as_ref().and_then(|context| context.run_as_group),
        }
    }
}

impl Namespace {
    /// metadata.labels
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.metadata.clone().and_then(|metadata| metadata.labels).unwrap_or_default()
    }

    /// metadata.annotations
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.metadata.clone().and_then(|metadata| metadata.annotations).unwrap_or_default()
    }
}

impl Service {
    /// The ports at which it is called, and those at which its pods are: both, as rules see either.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        let ports = self.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let mut found = Vec::new();
        for port in ports {
            let target = match port.target_port {
                Some(IntOrString::Int(target)) => Some(target),
                _ => None,
            };
            found.extend([Some(port.port), target].into_iter().flatten().filter(|port| *port != 0));
        }
        found.dedup();
        found
    }
}
