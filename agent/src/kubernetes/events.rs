//! core/v1 Events, by which users see what the agent did, or could not do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{Client, Pod};

/// How long an event may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Involved {
    /// Where the event is kept: the object's namespace; `default` for a node's
    pub namespace: String,
    /// The object's name
    pub name: String,
    /// core/v1 ObjectReference
    pub reference: Value,
}

impl Involved {
    /// A pod, by its names and UID.
    pub fn pod(namespace: &str, name: &str, uid: &str) -> Self {
        let reference =
            json!({"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": uid});
        Self { namespace: namespace.to_owned(), name: name.to_owned(), reference }
    }

    /// A node. Its UID is its name, as the kubelet writes it in events.
    pub fn node(name: &str) -> Self {
        let reference = json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": name});
        Self { namespace: "default".to_owned(), name: name.to_owned(), reference }
    }
}

impl From<&Pod> for Involved {
    fn from(pod: &Pod) -> Self {
        let metadata = &pod.metadata;
        Self {
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            reference: pod.reference(),
        }
    }
}

/// Writes Events. Charts allow them or do not: a refusal is logged once.
#[derive(Debug)]
pub struct Events {
    client: Client,
    component: &'static str,
    refused: AtomicBool,
}

impl Events {
    /// As this component.
    pub fn new(client: Client, component: &'static str) -> Self {
        Self { client, component, refused: false.into() }
    }

    /// Writes a warning.
    pub async fn warn(&self, involved: &Involved, reason: &str, message: &str) {
        if self.refused.load(Ordering::Relaxed) {
            return;
        }
        let event = self.event(involved, reason, message);
        let path = format!("/api/v1/namespaces/{}/events", involved.namespace);
        match self.client.create(&path, &event, PATIENCE).await {
            Ok(()) => {}
            Err(error) if error.code() == Some(403) => {
                self.refused.store(true, Ordering::Relaxed);
                tracing::warn!(target: "cni-agent", "no events will be written: {error}");
            }
            Err(error) => tracing::warn!(target: "cni-agent", "cannot write an event: {error}"),
        }
    }

    fn event(&self, involved: &Involved, reason: &str, message: &str) -> Value {
        let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": event_name(&involved.name), "namespace": involved.namespace},
            "involvedObject": involved.reference,
            "reason": reason,
            "message": message,
            "type": "Warning",
            "source": {"component": self.component},
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        })
    }
}

/// A name for an event about this object, as Kubernetes' own components make it: the object's, and the time in nanoseconds. The
/// API server takes no `generateName` that ends with a dot.
pub(crate) fn event_name(object: &str) -> String {
    let time = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    let time = format!("{time:x}");
    // A name has at most 253 characters (RFC 1123), those of Kubernetes' objects are ASCII.
    let object = object.get(..LONGEST_NAME - 1 - time.len()).unwrap_or(object).trim_end_matches(['-', '.']);
    format!("{object}.{time}")
}

/// Of an object (apimachinery, DNS1123SubdomainMaxLength).
const LONGEST_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_name_is_its_objects_and_short_enough() {
        let name = event_name("web-0");
        assert!(name.starts_with("web-0.") && name.len() > 16, "{name}");
        for object in ["a".repeat(253), format!("{}.{}", "a".repeat(235), "b".repeat(17))] {
            let name = event_name(&object);
            assert!(
                (240..=253).contains(&name.len()) && !name.contains("..") && !name.contains("-."),
                "{name}"
            );
        }
    }
}
