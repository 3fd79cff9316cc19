//! What a pod's specification says that decides about its interception. The names are those of Kubernetes' API (core/v1).

use std::collections::BTreeMap;

use super::value::{ValueError, boolean};

/// The parts of a pod that decide about its interception.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// metadata.labels
    pub labels: BTreeMap<String, String>,
    /// metadata.annotations
    pub annotations: BTreeMap<String, String>,
    /// spec.hostNetwork: the pod has no network namespace of its own
    pub host_network: bool,
    /// spec.initContainers, native sidecars among them
    pub init_containers: Vec<Container>,
    /// spec.containers
    pub containers: Vec<Container>,
}

/// The parts of a container that decide about its pod's interception.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// name
    pub name: String,
    /// args
    pub args: Vec<String>,
    /// env: names and values; the last one of a name counts, and a value from elsewhere is empty
    pub env: BTreeMap<String, String>,
    /// securityContext.runAsUser
    pub run_as_user: Option<u32>,
    /// securityContext.runAsGroup
    pub run_as_group: Option<u32>,
}

impl Pod {
    /// The container or init container of this name.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().chain(&self.init_containers).find(|container| container.name == name)
    }

    /// The init container of this name.
    #[must_use]
    pub fn init_container(&self, name: &str) -> Option<&Container> {
        self.init_containers.iter().find(|container| container.name == name)
    }

    /// An annotation's value.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }

    /// A label's value.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }
}

impl Container {
    /// A variable's value.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str)
    }

    /// A variable as a switch, off without it.
    ///
    /// # Errors
    /// The value is neither true nor false.
    pub fn switch(&self, name: &str) -> Result<bool, ValueError> {
        self.variable(name).map_or(Ok(false), boolean)
    }
}
