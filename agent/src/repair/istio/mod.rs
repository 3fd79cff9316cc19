//! Istio's repair: pods whose validation found no rules get them, are deleted, or are labelled.

mod guard;
mod netns;

use std::collections::HashMap;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::is_moot;
use crate::kubernetes::{Change, Client, Collection, Events, Involved, Pod, follow};
use crate::log::AGENT;
use crate::metrics::IstioMetrics;
use guard::{Guarded, Mesh};
pub use netns::RepairError;

/// How often a repair is tried before the pod has to change.
const ATTEMPTS: u32 = 5;
/// The pause after the first failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// How often it is seen whether all pods with a sidecar have rules; for the first time soon after the first list.
const GUARD: Duration = Duration::from_secs(30);
const FIRST_GUARD: Duration = Duration::from_secs(5);

/// What is done with a broken pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Its rules are made in place; it heals when its init container is restarted
    Repair {
        /// The host's proc file system
        proc: PathBuf,
        /// Whether the rules have Istio's native form
        native_nftables: bool,
    },
    /// It is deleted
    Delete,
    /// It gets a label
    Label {
        /// The label's key
        key: String,
        /// Its value
        value: String,
    },
}

/// What a broken pod looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The annotation of injected pods.
    pub annotation: String,
    /// The init container that validates; empty for any.
    pub init_container: String,
    /// Its exit code; 0 for any.
    pub exit_code: i32,
    /// Its termination message; empty for any.
    pub message: String,
}

impl Default for Broken {
    fn default() -> Self {
        Self {
            annotation: "sidecar.istio.io/status".into(),
            init_container: "istio-validation".into(),
            exit_code: 126,
            message: String::new(),
        }
    }
}

impl Broken {
    /// Whether the pod is broken: how often the init container was restarted, which grows with each failure.
    pub fn restarts(&self, pod: &Pod) -> Option<u32> {
        pod.annotation(&self.annotation)?;
        if pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let status = pod.init_statuses().find(|status| {
            (self.init_container.is_empty() || status.name == self.init_container)
                && status.last_terminated().is_some_and(|last| {
                    (self.exit_code == 0 || last.exit_code == self.exit_code)
                        && (self.message.is_empty()
                            || last.message.as_deref().unwrap_or_default().trim() == self.message.trim())
                })
        })?;
        let succeeded = status
            .terminated()
            .is_some_and(|now| now.exit_code == 0 || now.reason.as_deref() == Some("Completed"));
        (!succeeded).then_some(status.restart_count)
    }
}

/// Istio's repair controller.
#[derive(Debug)]
pub struct Controller {
    /// The API.
    pub client: Client,
    /// Pods of this node, and the chart's further selectors.
    pub collection: Collection,
    /// What a broken pod looks like.
    pub broken: Broken,
    /// What is done.
    pub action: Action,
    /// Counters.
    pub metrics: IstioMetrics,
}

/// What is known of a broken pod.
#[derive(Debug)]
struct Case {
    pod: Pod,
    attempts: u32,
    due: Option<Instant>,
    /// Restarts of its init container when it was handled last
    handled: Option<u32>,
}

impl Controller {
    /// Repairs until the task is dropped. Pods that were broken before are found, too: the first list has them.
    pub async fn run(self) {
        let (sender, mut changes) = mpsc::channel(64);
        tokio::spawn(follow(self.client.clone(), self.collection.clone(), sender));
        let events = Events::new(self.client.clone(), "cni-repair");
        let mut cases: HashMap<String, Case> = HashMap::new();
        let (mut guarded, mut guard_at) = (Guarded::default(), Instant::now() + FIRST_GUARD);
        loop {
            let due = cases.values().filter_map(|case| case.due).min();
            tokio::select! {
                change = changes.recv() => match change {
                    Some(change) => {
                        note_guarded(&mut guarded, &change);
                        self.note(&mut cases, change);
                    }
                    None => return,
                },
                () = sleep_until(guard_at) => {
                    self.guard(&guarded).await;
                    guard_at = Instant::now() + GUARD;
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            let now = Instant::now();
            for case in cases.values_mut().filter(|case| case.due.is_some_and(|due| due <= now)) {
                self.handle(case, &events).await;
            }
        }
    }

    /// Counts pods without rules, where the host's /proc is mounted.
    async fn guard(&self, guarded: &Guarded) {
        let Action::Repair { proc, .. } = &self.action else { return };
        let (sender, receiver) = oneshot::channel();
        let (proc, pods) = (proc.clone(), guarded.pods());
        let look = move || drop(sender.send(guard::unprotected(&proc, &pods)));
        if let Err(error) = thread::Builder::new().name("guard".into()).spawn(look) {
            tracing::warn!(target: AGENT, "cannot look at the pods with a sidecar: {error}");
            return;
        }
        let Ok(found) = receiver.await else { return };
        for (mesh, name) in Mesh::ALL {
            self.metrics.unprotected(name, found.iter().filter(|found| **found == mesh).count());
        }
    }

    fn note(&self, cases: &mut HashMap<String, Case>, change: Change<Pod>) {
        match change {
            Change::Listed(pods) => {
                cases.retain(|uid, _| pods.iter().any(|pod| pod.metadata.uid == *uid));
                for pod in pods {
                    self.note_pod(cases, pod);
                }
            }
            Change::Applied(pod) => self.note_pod(cases, pod),
            Change::Deleted(pod) => drop(cases.remove(&pod.metadata.uid)),
            Change::Confirmed => {}
        }
    }

    /// By UID: another pod of the same name is another case.
    fn note_pod(&self, cases: &mut HashMap<String, Case>, pod: Pod) {
        let Some(restarts) = self.broken.restarts(&pod) else {
            // It is kept for a moment that it looks well in: what was handled stays handled.
            if let Some(case) = cases.get_mut(&pod.metadata.uid) {
                case.due = None;
            }
            return;
        };
        let case = cases.entry(pod.metadata.uid.clone()).or_insert_with(|| Case {
            pod: pod.clone(),
            attempts: 0,
            due: None,
            handled: None,
        });
        let is_new = case.pod != pod || case.handled.is_none();
        case.pod = pod;
        // One that failed once more since it was handled was not repaired.
        if case.handled.is_none_or(|handled| restarts > handled) && is_new {
            case.attempts = 0;
            case.due = Some(Instant::now());
        }
    }

    async fn handle(&self, case: &mut Case, events: &Events) {
        case.due = None;
        let done = match &self.action {
            Action::Repair { proc, native_nftables } => {
                tracing::info!(target: AGENT, pod = case.pod.name(), "Repairing pod...");
                let repaired = netns::repair(&case.pod, proc.clone(), *native_nftables).await;
                self.note_repair(&case.pod, repaired)
            }
            Action::Delete => self.delete(&case.pod, events).await,
            Action::Label { key, value } => self.label(&case.pod, key, value, events).await,
        };
        if done {
            case.handled = self.broken.restarts(&case.pod);
            return;
        }
        case.attempts += 1;
        if case.attempts < ATTEMPTS {
            case.due = Some(Instant::now() + FIRST_PAUSE.saturating_mul(1 << (case.attempts - 1)));
        }
    }

    fn note_repair(&self, pod: &Pod, repaired: Result<netns::Repaired, RepairError>) -> bool {
        match repaired {
            Ok(netns::Repaired::Done) => {
                self.metrics.repair("repair", "success");
                tracing::info!(target: AGENT, pod = pod.name(), "pod repaired");
                true
            }
            Ok(netns::Repaired::Left(reason)) => {
                self.metrics.repair("repair", "skip");
                tracing::info!(target: AGENT, pod = pod.name(), "pod is left alone: {reason}");
                true
            }
            Err(error) => {
                self.metrics.repair("repair", "fail");
                tracing::error!(target: AGENT, pod = pod.name(), "failed to repair pod: {error}");
                false
            }
        }
    }

    async fn delete(&self, pod: &Pod, events: &Events) -> bool {
        tracing::info!(target: AGENT, "Pod detected as broken, deleting: {}", pod.name());
        match self.client.delete(pod, None, Duration::from_secs(10)).await {
            Ok(()) => {
                self.metrics.repair("delete", "success");
                events.warn(&Involved::from(pod), "DeleteBrokenPod", "pod detected as broken, deleted").await;
                true
            }
            Err(error) if is_moot(&error) => {
                self.metrics.repair("delete", "skip");
                true
            }
            Err(error) => {
                self.metrics.repair("delete", "fail");
                tracing::error!(target: AGENT, "{error}");
                let message = format!("pod detected as broken, but failed to delete: {error}");
                events.warn(&Involved::from(pod), "DeleteBrokenPod", &message).await;
                false
            }
        }
    }

    async fn label(&self, pod: &Pod, key: &str, value: &str, events: &Events) -> bool {
        if pod.label(key).is_some() {
            self.metrics.repair("label", "skip");
            return true;
        }
        tracing::info!(target: AGENT, "Pod detected as broken, adding label: {}", pod.name());
        let patch = json!({"metadata": {"uid": pod.metadata.uid, "labels": {key: value}}});
        match self.client.patch(&format!("{}/status", pod.path()), &patch).await {
            Ok(()) => {
                self.metrics.repair("label", "success");
                events.warn(&Involved::from(pod), "LabelBrokenPod", "pod detected as broken, labeled").await;
                true
            }
            Err(error) if is_moot(&error) => {
                self.metrics.repair("label", "skip");
                true
            }
            Err(error) => {
                self.metrics.repair("label", "fail");
                tracing::error!(target: AGENT, "{error}");
                let message = format!("pod detected as broken, but failed to label: {error}");
                events.warn(&Involved::from(pod), "LabelBrokenPod", &message).await;
                false
            }
        }
    }
}

fn note_guarded(guarded: &mut Guarded, change: &Change<Pod>) {
    match change {
        Change::Listed(pods) => {
            guarded.clear();
            pods.iter().for_each(|pod| guarded.note(pod));
        }
        Change::Applied(pod) => guarded.note(pod),
        Change::Deleted(pod) => guarded.remove(pod),
        Change::Confirmed => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(annotations: &Value, status: &Value) -> Pod {
        let metadata = json!({"name": "p", "namespace": "a", "uid": "u", "annotations": annotations});
        serde_json::from_value(json!({"metadata": metadata, "status": {"initContainerStatuses": [status]}}))
            .unwrap()
    }

    #[test]
    fn what_counts_as_broken() {
        let injected = json!({"sidecar.istio.io/status": "{}"});
        let failed = |code: i32| {
            json!({"name": "istio-validation", "restartCount": 3, "state": {"waiting": {}},
                "lastState": {"terminated": {"exitCode": code, "message": " no rules\n"}}})
        };
        let broken = Broken::default();
        assert_eq!(broken.restarts(&pod(&injected, &failed(126))), Some(3));
        assert_eq!(broken.restarts(&pod(&json!({}), &failed(126))), None);
        assert_eq!(broken.restarts(&pod(&injected, &failed(1))), None);
        assert_eq!(Broken { exit_code: 0, ..broken.clone() }.restarts(&pod(&injected, &failed(1))), Some(3));
        let message = |text: &str| Broken { message: text.into(), ..broken.clone() };
        assert_eq!(message("no rules").restarts(&pod(&injected, &failed(126))), Some(3));
        assert_eq!(message("others").restarts(&pod(&injected, &failed(126))), None);
        let other = Broken { init_container: "istio-init".into(), ..broken.clone() };
        assert_eq!(other.restarts(&pod(&injected, &failed(126))), None);
        for now in [json!({"exitCode": 0}), json!({"exitCode": 1, "reason": "Completed"})] {
            let mut status = failed(126);
            status["state"] = json!({"terminated": now});
            assert_eq!(broken.restarts(&pod(&injected, &status)), None);
        }
    }
}
