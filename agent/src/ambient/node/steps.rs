//! How the steps of the state machine are done: on threads that enter namespaces, and in tasks that talk to servers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use meshwire::mesh::istio::ambient::PodInterception;
use meshwire::verify::verify_possible;
use tokio::sync::oneshot;

use super::{Command, ConnectionId, Input, Netns, NetnsId, Node, Step, Uid};
use crate::ambient::netns::NetnsError;
use crate::ambient::scan::{Wanted, scan};
use crate::ambient::state::{Action, Redirection, Report};
use crate::ambient::{api, host, take_over};
use crate::kubernetes::Involved;
use crate::zds;

impl Node {
    pub(super) fn start_action(&mut self, action: Action) {
        match action {
            Action::Scan(uids) => self.scan(uids),
            Action::Program(uid, netns, settings) => self.program(uid, netns, settings),
            Action::Inspect(uid, netns, settings) => self.inspect(uid, netns, settings),
            Action::Unprogram(uid, netns) => self.unprogram(uid, netns),
            Action::AddProbes(uid, addresses) => self.on_host(host::Job::Add(vec![(uid, addresses)])),
            Action::RemoveProbes(uid, addresses) => self.on_host(host::Job::Remove(uid, addresses)),
            Action::ReadHost => self.on_host(host::Job::Read),
            Action::ProgramHost => self.on_host(host::Job::Program),
            Action::Annotate(uid, annotation) => self.annotate(uid, annotation),
            Action::Ask(uid) => self.ask(uid),
            Action::Send(id, request, netns) => self.send(id, &request, netns),
            Action::Answer(ticket, result) => {
                if let Err(error) = &result {
                    tracing::error!(target: "cni-agent", "failed to add pod to ztunnel: pod partially added, annotating with pending status: {error}");
                }
                if let Some(reply) = self.tickets.remove(&ticket) {
                    let _ = reply.send(result);
                }
            }
            Action::Report(report) => self.report(report),
        }
    }

    pub(super) fn on_host(&self, job: host::Job) {
        // The thread ends with the sender, so it still runs.
        let _ = self.host_jobs.send(job);
    }

    fn scan(&self, uids: BTreeSet<Uid>) {
        let wanted: Vec<_> = uids
            .into_iter()
            .filter_map(|uid| {
                Some(Wanted {
                    config_hash: self.cluster.config_hash(&uid).map(str::to_owned),
                    addresses: self.state.addresses(&uid)?.clone(),
                    bound: self.bound.get(&uid).cloned(),
                    uid,
                })
            })
            .collect();
        let (proc, host, steps) = (self.settings.proc.clone(), self.host, self.steps.clone());
        let metrics = self.metrics.clone();
        self.workers.submit(move |thread| {
            let begun = Instant::now();
            let found = thread.map(|()| scan(&proc, host, &wanted)).unwrap_or_else(|error| {
                tracing::error!(target: "cni-agent", "cannot look for pods: {error}");
                BTreeMap::new()
            });
            metrics.took("netns", begun.elapsed());
            let _ = steps.send(Step::Found(found));
        });
    }

    fn program(&self, uid: Uid, netns: NetnsId, settings: PodInterception) {
        let (desired, metrics) = (settings.clone(), self.metrics.clone());
        let annotation = self.state.view(&uid).and_then(|view| view.annotation);
        self.inside(
            netns,
            move |netns| {
                let begun = Instant::now();
                netns.enter(|nft, routes| {
                    let desired = desired.interception();
                    // An agent before this one has made its rules, most likely: to see that they are intact takes one reading.
                    let may_exist = annotation == Some(Redirection::Enabled);
                    if !(may_exist && take_over::is_made(&desired, nft, routes)?) {
                        take_over::make(&desired, nft, routes)?;
                    }
                    metrics.took("rules", begun.elapsed());
                    Ok(())
                })
            },
            move |result| Input::Programmed(uid, netns, settings, result),
        );
    }

    fn inspect(&self, uid: Uid, netns: NetnsId, settings: Option<PodInterception>) {
        let desired = settings.map_or_else(PodInterception::nothing, |settings| settings.interception());
        self.inside(
            netns,
            move |netns| {
                netns.enter(|nft, routes| Ok(verify_possible(&desired, nft, routes)?.differences.is_empty()))
            },
            move |result| Input::Inspected(uid, netns, result),
        );
    }

    fn unprogram(&self, uid: Uid, netns: NetnsId) {
        if let Some(view) = self.state.view(&uid) {
            let (ns, name) = (&view.workload.namespace, &view.workload.name);
            tracing::info!(target: "cni-agent", ns, name, "removing pod from mesh");
        }
        self.inside(
            netns,
            |netns| netns.enter(|nft, routes| Ok(PodInterception::remove(nft, routes)?)).map(drop),
            move |result| Input::Unprogrammed(uid, netns, result),
        );
    }

    /// Does `work` on a thread that enters namespaces, and reports.
    fn inside<T: 'static>(
        &self,
        netns: NetnsId,
        work: impl FnOnce(&Netns) -> Result<T, NetnsError> + Send + 'static,
        report: impl FnOnce(Result<T, String>) -> Input + Send + 'static,
    ) {
        let inputs = self.inputs.clone();
        let Some(netns) = self.namespaces.get(&netns).cloned() else {
            let _ = inputs.send(report(Err("its network namespace is gone".to_owned())));
            return;
        };
        self.workers.submit(move |thread| {
            let result = thread.map_err(NetnsError::Thread).and_then(|()| work(&netns));
            let _ = inputs.send(report(result.map_err(|error| error.to_string())));
        });
    }

    fn annotate(&self, uid: Uid, annotation: Option<Redirection>) {
        let inputs = self.inputs.clone();
        let Some(view) = self.state.view(&uid).cloned() else {
            let _ = inputs.send(Input::Annotated(uid, annotation, Ok(())));
            return;
        };
        let (client, patches, metrics) =
            (self.client.clone(), Arc::clone(&self.patches), self.metrics.clone());
        tokio::spawn(async move {
            let _turn = patches.acquire().await;
            let begun = Instant::now();
            let result = api::annotate(&client, &view, annotation).await.map_err(|error| {
                let (ns, name) = (&view.workload.namespace, &view.workload.name);
                tracing::warn!(target: "cni-agent", ns, name, "cannot write the pod's annotation: {error}");
                error.retry_after().unwrap_or_default()
            });
            metrics.took("annotate", begun.elapsed());
            let _ = inputs.send(Input::Annotated(uid, annotation, result));
        });
    }

    fn ask(&self, uid: Uid) {
        let Some(workload) = self.state.view(&uid).map(|view| view.workload.clone()) else {
            let _ = self.inputs.send(Input::Asked(uid, Ok(false)));
            return;
        };
        let (client, turns, steps) = (self.client.clone(), Arc::clone(&self.patches), self.steps.clone());
        tokio::spawn(async move {
            let _turn = turns.acquire().await;
            let answer = api::pod_and_namespace(&client, &workload.namespace, &workload.name).await;
            let _ = steps.send(Step::Known(uid, answer.map(Box::new)));
        });
    }

    fn send(&self, id: ConnectionId, request: &zds::Request, netns: Option<NetnsId>) {
        let Some(commands) = self.ztunnels.get(&id).cloned() else { return };
        let descriptor = match netns.map(|netns| self.namespaces.get(&netns)) {
            None => None,
            Some(Some(netns)) => Some(Arc::clone(&netns.fd)),
            Some(None) => {
                let ack = zds::Ack::Refused("the pod's network namespace is gone".to_owned());
                let _ = self.inputs.send(Input::Acknowledged(id, ack));
                return;
            }
        };
        let packet = match request.encode() {
            Ok(packet) => packet,
            Err(error) => {
                let _ = self.inputs.send(Input::Acknowledged(id, zds::Ack::Refused(error.to_string())));
                return;
            }
        };
        let (inputs, metrics, begun) = (self.inputs.clone(), self.metrics.clone(), Instant::now());
        let is_add = matches!(request, zds::Request::Add { .. });
        tokio::spawn(async move {
            let (reply, ack) = oneshot::channel();
            if commands.send(Command { packet, netns: descriptor, reply }).await.is_err() {
                return;
            }
            // Without an acknowledgement the connection ends, and that is reported by itself.
            let ack = ack.await;
            metrics.acknowledged(ack.as_ref().ok());
            if let Ok(ack) = ack {
                if is_add {
                    metrics.took("ztunnel", begun.elapsed());
                }
                let _ = inputs.send(Input::Acknowledged(id, ack));
            }
        });
    }

    /// Writes an Event, and does not wait for it.
    fn report(&self, report: Report) {
        let (involved, reason, message) = match report {
            Report::Uncaptured(uid, error) => {
                let Some(pod) = self.involved(&uid) else { return };
                let message = format!("the pod's traffic does not go through ztunnel: {error}");
                (pod, "MeshCaptureFailed", message)
            }
            Report::PodContested(uid) => {
                let Some(pod) = self.involved(&uid) else { return };
                let message = "another program keeps changing the pod's rules: repairs wait for each other";
                (pod, "MeshRulesContested", message.to_owned())
            }
            Report::HostContested(writer) => {
                let by = writer.map_or_else(|| "another program".to_owned(), |writer| writer.to_string());
                let message = format!("{by} keeps changing the node's rules: repairs wait for each other");
                (Involved::node(&self.settings.node), "MeshRulesContested", message)
            }
        };
        let events = Arc::clone(&self.events);
        tokio::spawn(async move { events.warn(&involved, reason, &message).await });
    }

    fn involved(&self, uid: &Uid) -> Option<Involved> {
        let workload = &self.state.view(uid)?.workload;
        Some(Involved::pod(&workload.namespace, &workload.name, uid.as_ref()))
    }
}
