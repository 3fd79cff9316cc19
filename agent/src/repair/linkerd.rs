//! Linkerd's repair: pods whose validator found no rules are deleted, so that their controllers make new ones.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::is_moot;
use crate::kubernetes::{ApiError, Change, Client, Collection, Pod, event_name, follow};
use crate::log::AGENT;
use crate::metrics::LinkerdMetrics;

/// The init container that validates.
const VALIDATOR: &str = "linkerd-network-validator";
/// Its exit code when there are no rules.
const EXIT_CODE: i32 = 95;
/// How long a deletion or an event may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many pods of the node are deleted within [`WINDOW`].
const LIMIT: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// The pause between two deletions of pods of one owner; it doubles.
const FIRST_OWNER_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_OWNER_PAUSE: Duration = Duration::from_secs(600);
/// The pause after a request that failed; it doubles.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Whether the pod's validator found no rules, and the pod is not on its way out.
pub fn is_broken(pod: &Pod) -> bool {
    let failed = |status: &crate::kubernetes::ContainerStatus| {
        status.name == VALIDATOR && status.last_terminated().is_some_and(|last| last.exit_code == EXIT_CODE)
    };
    let recovered = |status: &crate::kubernetes::ContainerStatus| {
        status.name == VALIDATOR && status.terminated().is_some_and(|now| now.exit_code == 0)
    };
    pod.metadata.deletion_timestamp.is_none()
        && pod.init_statuses().any(failed)
        && !pod.init_statuses().any(recovered)
}

/// How often pods may be deleted: so often on a node, and less and less often for one owner.
#[derive(Debug, Default)]
pub struct Limits {
    recent: VecDeque<Instant>,
    owners: HashMap<String, (Instant, u32)>,
}

impl Limits {
    /// From when on a pod of this owner may be deleted.
    fn due(&mut self, owner: &str, now: Instant) -> Instant {
        self.recent.retain(|deleted| now.duration_since(*deleted) < WINDOW);
        self.owners.retain(|_, (last, _)| now.duration_since(*last) < 2 * LONGEST_OWNER_PAUSE);
        let node = match self.recent.front() {
            Some(&oldest) if self.recent.len() >= LIMIT => oldest + WINDOW,
            _ => now,
        };
        let owner = self.owners.get(owner).map_or(now, |(last, count)| {
            *last + FIRST_OWNER_PAUSE.saturating_mul(1 << (count - 1).min(10)).min(LONGEST_OWNER_PAUSE)
        });
        node.max(owner)
    }

    /// A pod of this owner was deleted.
    fn deleted(&mut self, owner: &str, now: Instant) {
        self.recent.push_back(now);
        let (last, count) = self.owners.entry(owner.to_owned()).or_insert((now, 0));
        *last = now;
        *count = count.saturating_add(1);
    }
}

/// Linkerd's repair controller.
#[derive(Debug)]
pub struct Controller {
    /// The API.
    pub client: Client,
    /// The node whose pods are watched.
    pub node: String,
    /// The controller's own pod, for events.
    pub pod_name: String,
    /// Whether the plugin is installed and verified. While it is not, new pods would be broken, too.
    pub installed: watch::Receiver<bool>,
    /// Whether the pods are listed.
    pub ready: watch::Sender<bool>,
    /// Counters.
    pub metrics: LinkerdMetrics,
}

#[derive(Debug)]
struct Case {
    pod: Pod,
    failures: u32,
    not_before: Instant,
}

impl Controller {
    /// Repairs until the task is dropped. Pods that were broken before are found, too: the first list has them.
    pub async fn run(mut self) {
        let nodes = format!("spec.nodeName={}", self.node);
        let collection = Collection::pods(nodes, "linkerd.io/control-plane-ns");
        let (sender, mut changes) = mpsc::channel(64);
        tokio::spawn(follow(self.client.clone(), collection, sender));
        let mut cases: HashMap<String, Case> = HashMap::new();
        let mut limits = Limits::default();
        loop {
            let installed = *self.installed.borrow_and_update();
            let now = Instant::now();
            let next =
                cases.values().map(|case| case.not_before.max(limits.due(owner(&case.pod), now))).min();
            let next = next.filter(|_| installed);
            tokio::select! {
                change = changes.recv() => match change {
                    Some(change) => self.note(&mut cases, change).await,
                    None => return,
                },
                changed = self.installed.changed() => if changed.is_err() { return },
                () = sleep_until(next.unwrap_or(now)), if next.is_some() => {
                    self.delete_due(&mut cases, &mut limits).await;
                }
            }
        }
    }

    async fn note(&self, cases: &mut HashMap<String, Case>, change: Change<Pod>) {
        match change {
            Change::Listed(pods) => {
                cases.retain(|uid, _| pods.iter().any(|pod| pod.metadata.uid == *uid));
                for pod in pods {
                    self.note_pod(cases, pod).await;
                }
                self.ready.send_replace(true);
            }
            Change::Applied(pod) => self.note_pod(cases, pod).await,
            Change::Deleted(pod) => drop(cases.remove(&pod.metadata.uid)),
            Change::Confirmed => {}
        }
    }

    async fn note_pod(&self, cases: &mut HashMap<String, Case>, pod: Pod) {
        let uid = pod.metadata.uid.clone();
        if !is_broken(&pod) {
            cases.remove(&uid);
            return;
        }
        if let Some(case) = cases.get_mut(&uid) {
            case.pod = pod;
            return;
        }
        if pod.controller().is_none() {
            tracing::warn!(target: AGENT, pod = pod.name(), "pod has no rules and no controller: it is not deleted");
        }
        cases.insert(uid, Case { pod, failures: 0, not_before: Instant::now() });
    }

    /// The first case that may be handled now.
    async fn delete_due(&self, cases: &mut HashMap<String, Case>, limits: &mut Limits) {
        let now = Instant::now();
        let due =
            |case: &Case, limits: &mut Limits| case.not_before.max(limits.due(owner(&case.pod), now)) <= now;
        let Some(uid) = cases.iter().find(|(_, case)| due(case, limits)).map(|(uid, _)| uid.clone()) else {
            return;
        };
        let Some(case) = cases.get_mut(&uid) else { return };
        if case.pod.controller().is_none() {
            self.event(
                &case.pod,
                "Deleting",
                "Pod has no CNI config and no controller: delete and create it by hand",
            )
            .await;
            case.not_before = now + LONGEST_OWNER_PAUSE;
            return;
        }
        let deleted = self.client.delete(&case.pod, Some(0), PATIENCE).await;
        self.metrics.delete_latency.observe(now.elapsed().as_secs_f64());
        // A deletion without a reply may have happened.
        if deleted.as_ref().err().is_none_or(|error| error.code().is_none()) {
            limits.deleted(owner(&case.pod), now);
        }
        match deleted {
            Ok(()) => {
                self.metrics.deleted.inc();
                tracing::info!(target: AGENT, pod = case.pod.name(), "Deleted pod");
                let pod = case.pod.clone();
                cases.remove(&uid);
                self.event(&pod, "Deleting", "Deleting pod to create a new one with proper CNI config").await;
            }
            Err(error) if error.code() == Some(404) => drop(cases.remove(&uid)),
            Err(error) => {
                if !is_moot(&error) {
                    let counter = if error.is_timeout() {
                        &self.metrics.delete_timeouts
                    } else {
                        &self.metrics.delete_errors
                    };
                    counter.inc();
                    tracing::warn!(target: AGENT, "{error}");
                }
                // After 409 the watch brings the pod's new version, or its end.
                case.failures = case.failures.saturating_add(1);
                let pause = FIRST_RETRY.saturating_mul(1 << (case.failures - 1).min(10)).min(LONGEST_RETRY);
                case.not_before = now + error.retry_after().unwrap_or(pause);
            }
        }
    }

    /// events.k8s.io/v1: the chart's role allows nothing else.
    async fn event(&self, pod: &Pod, action: &str, note: &str) {
        let namespace = &pod.metadata.namespace;
        let event = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": event_name(&pod.metadata.name), "namespace": namespace},
            "eventTime": humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
            "type": "Normal",
            "reason": "LinkerdCNINotConfigured",
            "action": action,
            "note": note,
            "reportingController": "linkerd-cni-repair-controller",
            "reportingInstance": self.pod_name,
            "regarding": pod.reference(),
        });
        let begun = Instant::now();
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let written = self.client.create(&path, &event, PATIENCE).await;
        self.metrics.event_latency.observe(begun.elapsed().as_secs_f64());
        if let Err(error) = written {
            self.count_event(&error);
        }
    }

    fn count_event(&self, error: &ApiError) {
        let counter =
            if error.is_timeout() { &self.metrics.event_timeouts } else { &self.metrics.event_errors };
        counter.inc();
        tracing::warn!(target: AGENT, "{error}");
    }
}

/// Whose pods are counted together: those of one controller; a pod without one is its own.
fn owner(pod: &Pod) -> &str {
    pod.controller().map_or(&pod.metadata.uid, |owner| &owner.uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_and_an_owner_have_their_limits() {
        let mut limits = Limits::default();
        let begin = Instant::now();
        for index in 0..LIMIT {
            let owner = format!("owner {index}");
            assert_eq!(limits.due(&owner, begin), begin);
            limits.deleted(&owner, begin);
        }
        assert_eq!(limits.due("another", begin), begin + WINDOW);
        let mut limits = Limits::default();
        let mut time = begin;
        for seconds in [10, 20, 40, 80, 160, 320, 600, 600] {
            limits.deleted("one", time);
            assert_eq!(limits.due("one", time), time + Duration::from_secs(seconds));
            time += Duration::from_secs(seconds);
        }
        assert_eq!(limits.due("two", time), time);
    }

    #[test]
    fn what_counts_as_broken() {
        let pod = |deletion: Option<&str>, state: serde_json::Value, code: i32| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "p", "deletionTimestamp": deletion},
                "status": {"initContainerStatuses": [
                    {"name": VALIDATOR, "state": state, "lastState": {"terminated": {"exitCode": code}}}]},
            }))
            .unwrap()
        };
        assert!(is_broken(&pod(None, json!({"waiting": {}}), 95)));
        assert!(!is_broken(&pod(None, json!({"waiting": {}}), 1)));
        assert!(!is_broken(&pod(Some("2026-01-01T00:00:00Z"), json!({}), 95)));
        assert!(!is_broken(&pod(None, json!({"terminated": {"exitCode": 0}}), 95)));
    }
}
