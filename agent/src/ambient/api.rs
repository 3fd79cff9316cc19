//! What the agent asks of the API server besides lists and watches.

use serde_json::{Value, json};

use super::objects::{Namespace, Pod, annotation};
use super::state::{PodView, Redirection};
use crate::kubernetes::{ApiError, Client};

/// Writes a pod's annotation, if it is still the same pod; a pod that no longer exists is skipped.
///
/// A merge patch of the status is what the chart's role allows; the status's own endpoint takes annotations, too. Never
/// server-side apply: it would fight istiod for the field.
///
/// # Errors
/// The API server's.
pub(super) async fn annotate(
    client: &Client,
    pod: &PodView,
    annotation: Option<Redirection>,
) -> Result<(), ApiError> {
    let value = match annotation {
        Some(Redirection::Enabled) => Value::from("enabled"),
        Some(Redirection::Pending) => Value::from("pending"),
        None => Value::Null,
    };
    // Another pod may have the name by now: the UID makes a precondition of it.
    let metadata = json!({ "uid": pod.uid.as_ref(), "annotations": { annotation::REDIRECTION: value } });
    let path = format!("{}/status", path(&pod.workload.namespace, &pod.workload.name));
    match client.patch(&path, &json!({ "metadata": metadata })).await {
        Err(error) if matches!(error.code(), Some(404 | 409)) => Ok(()),
        other => other,
    }
}

/// A pod and its namespace, as the API server has them now.
///
/// # Errors
/// The API server's.
pub(super) async fn pod_and_namespace(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<(Pod, Namespace), ApiError> {
    let pod = client.get(&path(namespace, name)).await?;
    let namespace = client.get(&format!("/api/v1/namespaces/{namespace}")).await?;
    Ok((pod, namespace))
}

/// Names are those of DNS (RFC 1123), which need no escaping in a URL; whatever else a plugin sends is not a request.
fn path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{name}")
}
