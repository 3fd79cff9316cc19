//! `linkerd-cni`: pods with Linkerd's proxy get their rules here.
//!
//! The order of the steps is that of linkerd/linkerd2-proxy-init cni-plugin/main.go at 183e791d99dc, but that the
//! installer's own pod passes before the kubeconfig is read, and the namespace is asked for at most once.

mod config;
mod log;

use std::collections::BTreeMap;

use meshwire::mesh::linkerd::ProxyInit;
use meshwire::mesh::linkerd::pod::{Annotations, is_control_plane, is_intercepted, needs_namespace};
use meshwire::mesh::pod::Pod;
use serde::de::DeserializeOwned;

use crate::add::{AddError, Agent, Given, get};
use crate::kubernetes::{Client, Namespace, PodName, PodObject, Service, Source};
use crate::program::program;
use crate::protocol::Invocation;
use config::Config;
pub use config::ConfigError as LinkerdConfigError;
use log::Log;

/// The plugin's name.
pub const NAME: &str = "linkerd-cni";
/// The beginning of the names of the installer's pods.
const AGENT: &str = "linkerd-cni-";
/// The kubeconfig's context.
const CONTEXT: &str = "linkerd-cni-context";
/// Where the API server is called from inside of the cluster.
const API_SERVICE: &str = "/api/v1/namespaces/default/services/kubernetes";
/// Its ports where it does not say.
const API_PORTS: [u16; 2] = [443, 6443];

/// Everything that the steps need.
struct Call<'a> {
    config: Config,
    netns: &'a str,
    agent: Agent,
    log: Log,
}

/// ADD: makes the pod's rules, or leaves it alone; returns the result of the plugins before.
///
/// # Errors
/// See [`AddError`]: the pod must not be started.
pub fn add(invocation: &Invocation) -> Result<String, AddError> {
    let config = Config::parse(&invocation.config)?;
    let given = Given::new(invocation)?;
    let namespace = config.pod_namespace.clone();
    let agent = Agent { pods: AGENT, label: NAME, role: NAME, namespace };
    if agent.is(&given.arguments) {
        return Ok(given.result);
    }
    let log = Log::new(config.log_level, &given.arguments, &invocation.container_id);
    let call = Call { config, netns: &invocation.netns, agent, log };
    if let Err(error) = given.pod().and_then(|pod| call.intercept(pod)) {
        call.log.error(&error.to_string());
        return Err(error);
    }
    Ok(given.result)
}

impl Call<'_> {
    fn intercept(&self, pod: Option<PodName>) -> Result<(), AddError> {
        let Some(name) = pod else {
            self.log.info("not a pod of Kubernetes, skipping");
            return Ok(());
        };
        let mut client = self.client()?;
        let pod: Pod = self.get::<PodObject>(&mut client, &name.path(), &format!("pod {name}"))?.into();
        if !is_intercepted(&pod) {
            self.log.info("skipping: no linkerd-proxy, or a linkerd-init that makes the rules");
            return Ok(());
        }
        let settings = self.settings(&mut client, &name, &pod)?;
        self.program(name, &settings)
    }

    fn client(&self) -> Result<Client, AddError> {
        let path = self.config.kubeconfig.clone();
        let source = Source { path, context: Some(CONTEXT), server: self.config.api_root.clone() };
        Client::new(source, config::LIMITS, concat!("linkerd-cni/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| AddError::Kubeconfig { error: Box::new(error), agent: self.agent.clone() })
    }

    fn get<T: DeserializeOwned>(&self, client: &mut Client, path: &str, object: &str) -> Result<T, AddError> {
        // The installer listens nowhere; what it does when a token is renewed takes no longer than the wait for that.
        get(client, &self.agent, || false, path, object)
    }

    fn settings(&self, client: &mut Client, name: &PodName, pod: &Pod) -> Result<ProxyInit, AddError> {
        let namespace = match needs_namespace(pod) {
            true => {
                let object = format!("namespace {}", name.namespace());
                self.get::<Namespace>(client, &name.namespace_path(), &object)?.annotations()
            }
            false => BTreeMap::new(),
        };
        let annotations = Annotations { pod: &pod.annotations, namespace: &namespace };
        let changed = self.config.proxy_init.clone().with_annotations(annotations);
        let (mut settings, skipped) =
            changed.map_err(|error| AddError::LinkerdAnnotation { pod: name.clone(), error })?;
        for fault in
            self.config.skipped.iter().map(ToString::to_string).chain(skipped.iter().map(ToString::to_string))
        {
            self.log.error(&format!("left out: {fault}"));
        }
        if is_control_plane(pod) {
            let ports = self.api_ports(client);
            settings.outbound_ports_to_ignore.extend(ports.into_iter().map(|port| port..=port));
        }
        Ok(settings)
    }

    /// The ports at which the control plane calls the API server, before its proxies run.
    fn api_ports(&self, client: &mut Client) -> Vec<u16> {
        match client.get::<Service>(API_SERVICE, || false) {
            Ok(service) => service.ports(),
            Err(error) => {
                let [https, other] = API_PORTS;
                self.log.error(&format!(
                    "cannot get service default/kubernetes, taking {https} and {other}: {error}"
                ));
                API_PORTS.to_vec()
            }
        }
    }

    fn program(&self, pod: PodName, settings: &ProxyInit) -> Result<(), AddError> {
        for subnet in settings.left_out_subnets() {
            self.log.warn(&format!("{subnet} is left out: without IPv6 there are no rules for it"));
        }
        if self.config.simulate {
            self.log.info(&format!(
                "simulate is set, nothing is changed; these would be the rules:\n{}",
                settings.ruleset()
            ));
            return Ok(());
        }
        let warnings = program(self.netns, |_| Some(settings.interception()))
            .map_err(|error| AddError::Program { pod, error: Box::new(error) })?;
        for warning in &warnings {
            self.log.warn(warning);
        }
        self.log.info("the pod's traffic is intercepted");
        Ok(())
    }
}
