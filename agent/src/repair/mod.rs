//! Repairs pods that were started without their rules, because the plugin was not there at that moment.

pub mod istio;
pub mod linkerd;

use std::time::Duration;

use serde_json::{Value, json};

use crate::kubernetes::{ApiError, Client, Pod};

/// The RFC 3339 time of now, in the precision that the API has for events.
fn now() -> String {
    humantime::format_rfc3339_micros(std::time::SystemTime::now()).to_string()
}

/// Writes core/v1 Events on pods. Charts allow them or do not: a refusal is logged once.
#[derive(Debug)]
pub struct Events {
    client: Client,
    component: &'static str,
    refused: std::sync::atomic::AtomicBool,
}

impl Events {
    /// How long an event may take.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// As this component.
    pub fn new(client: Client, component: &'static str) -> Self {
        Self { client, component, refused: false.into() }
    }

    /// Writes one.
    pub async fn warn(&self, pod: &Pod, reason: &str, message: &str) {
        use std::sync::atomic::Ordering;
        if self.refused.load(Ordering::Relaxed) {
            return;
        }
        let event = self.event(pod, reason, message);
        let path = format!("/api/v1/namespaces/{}/events", pod.metadata.namespace);
        match self.client.create(&path, &event, Self::PATIENCE).await {
            Ok(()) => {}
            Err(error) if error.code() == Some(403) => {
                self.refused.store(true, Ordering::Relaxed);
                tracing::warn!(target: "cni-agent", "no events will be written: {error}");
            }
            Err(error) => tracing::warn!(target: "cni-agent", "cannot write an event: {error}"),
        }
    }

    fn event(&self, pod: &Pod, reason: &str, message: &str) -> Value {
        let time = now();
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": format!("{}.", pod.metadata.name), "namespace": pod.metadata.namespace},
            "involvedObject": pod.reference(),
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

/// Whether the pod is gone or another one by now: there is nothing left to repair.
fn is_moot(error: &ApiError) -> bool {
    matches!(error.code(), Some(404 | 409))
}
