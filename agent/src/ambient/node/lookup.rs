//! What the plugin reports, until its pod is known: the watch may be slower than the runtime.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Event, Input, Moment, Netns, Node, Pod, Step, Uid};
use crate::ambient::api;
use crate::ambient::cluster::Found;
use crate::ambient::netns::NetnsError;
use crate::kubernetes::Change;

/// The plugin gives up after five seconds; it should hear why before.
const ANSWER: Duration = Duration::from_millis(4500);
/// How long a pod that the plugin reports is awaited from the watch, before the API server is asked.
const WATCH: Duration = Duration::from_secs(1);
/// When it is asked again after a failure.
const AGAIN: Duration = Duration::from_millis(500);

/// An event whose pod is not known yet.
pub(super) struct Lookup {
    pub(super) event: Event,
    pub(super) netns: Netns,
    pub(super) deadline: Moment,
    /// When the API server is to be asked; `None` once it was
    pub(super) ask_at: Option<Moment>,
    pub(super) reply: oneshot::Sender<Result<(), String>>,
}

impl Node {
    /// Opens an event's namespace, and sees whether it is the pod's.
    pub(super) fn open(&self, event: Event, reply: oneshot::Sender<Result<(), String>>) {
        let roots = [self.settings.host_root.clone(), self.settings.proc.join("1/root")];
        let (host, steps, metrics) = (self.host, self.steps.clone(), self.metrics.clone());
        self.workers.submit(move |thread| {
            let begun = Instant::now();
            let below = |root: &PathBuf| root.join(event.netns.strip_prefix("/").unwrap_or(&event.netns));
            // The chart mounts /var/run/netns alone; other runtimes have other directories.
            let opened = Netns::open(&below(&roots[0]), host).or_else(|error| match error {
                NetnsError::Open { .. } => Netns::open(&below(&roots[1]), host).map_err(|_| error),
                error => Err(error),
            });
            let checked = opened.and_then(|netns| {
                thread.map_err(NetnsError::Thread)?;
                netns.belongs_to(&event.addresses())?;
                metrics.took("netns", begun.elapsed());
                Ok(netns)
            });
            match checked {
                Ok(netns) => {
                    let _ = steps.send(Step::Opened(event, netns, reply));
                }
                Err(error) => {
                    let _ = reply.send(Err(error.to_string()));
                }
            }
        });
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Opened(event, netns, reply) => {
                let now = self.now();
                let number = self.number();
                let lookup =
                    Lookup { event, netns, deadline: now + ANSWER, ask_at: Some(now + WATCH), reply };
                self.lookups.insert(number, lookup);
            }
            Step::Asked(number, Ok(found)) => {
                let (pod, namespace) = *found;
                self.namespaces(Change::Applied(namespace));
                if pod.spec.node_name == self.settings.node {
                    self.answered(pod);
                }
                self.give_up(number, "the API server does not have the pod on this node");
            }
            Step::Asked(number, Err(error)) if error.code() == Some(404) => {
                self.give_up(number, "the API server does not have the pod");
            }
            Step::Asked(number, Err(error)) => {
                tracing::warn!(target: "cni-agent", "{error}");
                let again = self.now() + AGAIN;
                if let Some(lookup) = self.lookups.get_mut(&number) {
                    lookup.ask_at = Some(again);
                }
            }
            Step::Known(uid, Ok(found)) => {
                let (pod, namespace) = *found;
                // Another pod may have its name by now.
                let exists = pod.metadata.uid == uid.as_ref();
                self.namespaces(Change::Applied(namespace));
                if exists {
                    self.answered(pod);
                }
                self.handle(Input::Asked(uid, Ok(exists)));
            }
            Step::Known(uid, Err(error)) if error.code() == Some(404) => {
                self.handle(Input::Asked(uid, Ok(false)));
            }
            Step::Known(uid, Err(error)) => {
                tracing::warn!(target: "cni-agent", "cannot see whether pod {uid} still belongs to the mesh: {error}");
                self.handle(Input::Asked(uid, Err(error.retry_after().unwrap_or_default())));
            }
            Step::Found(found) => {
                let ids = found.iter().map(|(uid, netns)| (uid.clone(), netns.id)).collect();
                self.namespaces.extend(found.into_values().map(|netns| (netns.id, netns)));
                self.handle(Input::Scanned(ids));
            }
        }
    }

    fn answered(&mut self, pod: Pod) {
        for input in self.cluster.answered(pod) {
            self.handle(input);
        }
    }

    /// Hands the events over whose pods are known by now, and asks for those that the watch does not bring.
    pub(super) fn look_up(&mut self) {
        let now = self.now();
        let numbers: Vec<_> = self.lookups.keys().copied().collect();
        for number in numbers {
            let Some(lookup) = self.lookups.get_mut(&number) else { continue };
            let Event { pod_namespace, pod_name, .. } = &lookup.event;
            if let Found::Pod(uid) = self.cluster.find(pod_namespace, pod_name, lookup.event.uid()) {
                if let Some(lookup) = self.lookups.remove(&number) {
                    self.hand_over(uid, lookup);
                }
            } else if lookup.deadline <= now {
                self.give_up(number, "the pod is not known");
            } else if lookup.ask_at.is_some_and(|at| at <= now) {
                lookup.ask_at = None;
                let (client, steps) = (self.client.clone(), self.steps.clone());
                let (namespace, name) = (pod_namespace.clone(), pod_name.clone());
                tokio::spawn(async move {
                    let asked = api::pod_and_namespace(&client, &namespace, &name).await;
                    let _ = steps.send(Step::Asked(number, asked.map(Box::new)));
                });
            }
        }
    }

    /// Answers an event whose pod is still unknown.
    fn give_up(&mut self, number: u64, error: &str) {
        let Some(lookup) = self.lookups.get(&number) else { return };
        let Event { pod_namespace, pod_name, .. } = &lookup.event;
        if let Found::Pod(_) = self.cluster.find(pod_namespace, pod_name, lookup.event.uid()) {
            return;
        }
        let text = format!("pod {pod_namespace}/{pod_name}: {error}");
        if let Some(lookup) = self.lookups.remove(&number) {
            let _ = lookup.reply.send(Err(text));
        }
    }

    fn hand_over(&mut self, uid: Uid, lookup: Lookup) {
        let Lookup { event, netns, deadline, reply, .. } = lookup;
        tracing::info!(target: "cni-agent", ns = event.pod_namespace, name = event.pod_name, "adding pod to the mesh");
        let ticket = self.number();
        self.tickets.insert(ticket, reply);
        let root = &self.settings.host_root;
        let path = root.join(event.netns.strip_prefix("/").unwrap_or(&event.netns));
        self.bound.insert(uid.clone(), (path, netns.id));
        let addresses = self.cluster.of_the_mesh(event.addresses().into_iter());
        let id = netns.id;
        self.namespaces.insert(id, netns);
        self.handle(Input::Event { uid, netns: id, addresses, ticket, deadline });
    }
}
