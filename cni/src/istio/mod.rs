//! `istio-cni`: sidecars get their rules here, pods of ambient mode are handed to the node agent.
//!
//! The order of the steps is that of istio/istio cni/pkg/plugin/plugin.go at 86c9f01fd735, but that the pods that need no
//! API server pass before the kubeconfig is read, and one GET of the pod serves both modes.

mod ambient;
mod config;
mod log;

use std::os::unix::net::UnixStream;
use std::path::Path;

use meshwire::mesh::istio::sidecar::Sidecar;
use meshwire::mesh::istio::sidecar::pod::{Decision, PodSidecar, decide};
use meshwire::mesh::pod::Pod;
use serde::de::DeserializeOwned;

use crate::add::{AddError, Agent, Given, get};
use crate::kubernetes::{Client, Namespace, PodName, PodObject, Source};
use crate::program::program;
use crate::protocol::{Invocation, Previous};
pub use ambient::EventError;
use config::Config;
pub use config::ConfigError as IstioConfigError;
use log::Log;

/// The plugin's name.
pub const NAME: &str = "istio-cni";
/// The beginning of the names of the node agent's pods.
const AGENT: &str = "istio-cni-node-";
/// The kubeconfig that the node agent writes, in its folder.
const KUBECONFIG: &str = "istio-cni-kubeconfig";

/// Where the node agent's pods are.
fn agent(namespace: Option<String>) -> Agent {
    Agent { pods: AGENT, label: "istio-cni-node", role: NAME, namespace }
}

/// Everything that the steps need.
struct Call<'a> {
    config: Config,
    netns: &'a str,
    given: &'a Given,
    agent: Agent,
    log: Log,
}

/// ADD: makes the pod's rules, or hands it to the node agent, or leaves it alone; returns the result of the plugins before.
///
/// # Errors
/// See [`AddError`]: the pod must not be started.
pub fn add(invocation: &Invocation) -> Result<String, AddError> {
    let config = Config::parse(&invocation.config)?;
    let given = Given::new(invocation)?;
    let agent = agent(config.pod_namespace.clone());
    if agent.is(&given.arguments) {
        return Ok(given.result);
    }
    let log = Log::new(&config, &given.arguments);
    let call = Call { config, netns: &invocation.netns, given: &given, agent, log };
    if let Err(error) = call.intercept() {
        call.log.error(&format!("istio-cni cmdAdd error: {error}"));
        return Err(error);
    }
    drop(call);
    Ok(given.result)
}

impl Call<'_> {
    fn intercept(&self) -> Result<(), AddError> {
        let Some(name) = self.given.pod()? else {
            self.log.info("not a pod of Kubernetes");
            return Ok(());
        };
        if self.config.exclude_namespaces.iter().any(|excluded| excluded == name.namespace()) {
            self.log.info(&format!("pod namespace {} excluded", name.namespace()));
            return Ok(());
        }
        let mut client = self.client()?;
        let pod: Pod = self.get::<PodObject>(&mut client, &name.path(), &format!("pod {name}"))?.into();
        if self.is_ambient(&mut client, &name, &pod)? {
            return self.hand_over();
        }
        match decide(&pod) {
            Ok(Decision::Leave(reason)) => {
                self.log.info(&reason.to_string());
                Ok(())
            }
            Ok(Decision::Intercept(settings)) => self.program(name, *settings),
            Err(error) => Err(AddError::SidecarAnnotation { pod: name, error }),
        }
    }

    fn client(&self) -> Result<Client, AddError> {
        let path = self.config.run_dir.join(KUBECONFIG);
        let source = Source { path, context: None, server: None };
        Client::new(source, self.config.limits, concat!("istio-cni/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| AddError::Kubeconfig { error: Box::new(error), agent: self.agent.clone() })
    }

    fn get<T: DeserializeOwned>(&self, client: &mut Client, path: &str, object: &str) -> Result<T, AddError> {
        get(client, &self.agent, || agent_replies(&self.config.run_dir), path, object)
    }

    /// Whether one of ambient mode's selectors chooses the pod.
    fn is_ambient(&self, client: &mut Client, name: &PodName, pod: &Pod) -> Result<bool, AddError> {
        if !self.config.ambient_enabled || !ambient::is_eligible(pod) {
            return Ok(false);
        }
        let path = name.namespace_path();
        let namespace: Namespace = self.get(client, &path, &format!("namespace {}", name.namespace()))?;
        let labels = namespace.labels();
        Ok(self.config.selectors.iter().any(|selector| selector.matches(&pod.labels, &labels)))
    }

    fn hand_over(&self) -> Result<(), AddError> {
        let addresses = self.given.previous.as_ref().map(Previous::addresses).transpose()?;
        let event = ambient::Event::new(self.netns, &self.given.arguments, addresses.as_deref());
        event
            .send(&self.config.run_dir)
            .map_err(|error| AddError::Event { error, agent: self.agent.clone() })?;
        self.log.info("the node agent added the pod to the mesh");
        Ok(())
    }

    fn program(&self, pod: PodName, mut settings: PodSidecar) -> Result<(), AddError> {
        for (variable, fault) in &settings.ignored {
            self.log.warn(&format!("istio-proxy's variable {variable} counts as false: {fault}"));
        }
        settings.sidecar.native_nftables = self.config.native_nftables;
        let interception = |addresses: &[std::net::IpAddr]| {
            settings.with_addresses(addresses.iter().copied()).as_ref().map(Sidecar::interception)
        };
        let warnings = program(self.netns, interception)
            .map_err(|error| AddError::Program { pod, error: Box::new(error) })?;
        for warning in &warnings {
            self.log.warn(warning);
        }
        self.log.info("the pod's traffic is intercepted");
        Ok(())
    }
}

/// Whether the node agent runs: it listens for the plugins' log lines and, in ambient mode, for their pods.
fn agent_replies(run_dir: &Path) -> bool {
    [log::SOCKET, ambient::SOCKET].iter().any(|socket| UnixStream::connect(run_dir.join(socket)).is_ok())
}
