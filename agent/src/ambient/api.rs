//! What the agent asks of the API server besides lists and watches.

use std::time::Duration;

use kube::core::params::{GetParams, Patch, PatchParams};
use kube::core::{Request, Status};
use kube::{Client, Error};
use serde_json::{Value, json};

use super::objects::{Namespace, Pod, annotation};
use super::state::{PodView, Redirection};

/// Writes a pod's annotation, if it is still the same pod; a pod that is gone is no error.
///
/// A merge patch of the status is what the chart's role allows; the status's own endpoint takes annotations, too. Never
/// server-side apply: it would fight istiod for the field.
///
/// # Errors
/// The API server's; and how long to wait, at least, before the next attempt.
pub(super) async fn annotate(
    client: &Client,
    pod: &PodView,
    annotation: Option<Redirection>,
) -> Result<(), (Error, Duration)> {
    let value = match annotation {
        Some(Redirection::Enabled) => Value::from("enabled"),
        Some(Redirection::Pending) => Value::from("pending"),
        None => Value::Null,
    };
    // Another pod may have the name by now: the UID makes a precondition of it.
    let metadata = json!({ "uid": pod.uid.as_ref(), "annotations": { annotation::REDIRECTION: value } });
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    let path = format!("/api/v1/namespaces/{}/pods", pod.workload.namespace);
    let request =
        Request::new(path).patch_subresource("status", &pod.workload.name, &PatchParams::default(), &patch);
    let request = request.map_err(|error| (Error::BuildRequest(error), Duration::ZERO))?;
    match client.request::<Value>(request).await {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => {
            let pause = retry_after(&error).unwrap_or_default();
            Err((error, pause))
        }
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
) -> Result<(Pod, Namespace), Error> {
    let get = |path: String, name: &str| {
        Request::new(path).get(name, &GetParams::default()).map_err(Error::BuildRequest)
    };
    let pod = client.request(get(format!("/api/v1/namespaces/{namespace}/pods"), name)?).await?;
    let namespace = client.request(get("/api/v1/namespaces".to_owned(), namespace)?).await?;
    Ok((pod, namespace))
}

/// How long the server asks to wait.
pub(super) fn retry_after(error: &Error) -> Option<Duration> {
    let Error::Api(status) = error else { return None };
    let Status { details: Some(details), .. } = &**status else { return None };
    (details.retry_after_seconds > 0).then(|| Duration::from_secs(details.retry_after_seconds.into()))
}
