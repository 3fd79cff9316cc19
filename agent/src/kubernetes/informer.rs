//! Lists a collection and watches it, for as long as someone listens.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use http_body_util::BodyExt;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{Request, Status};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::{ApiError, Client, PATIENCE, Pod, fail};

/// How long a watch lasts. Less than what load balancers allow a silent connection.
const WATCH_SECONDS: u32 = 290;
/// A watch that brings nothing, not even a bookmark, for so long has lost its connection.
const SILENCE: Duration = Duration::from_secs(330);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Pods, narrowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    /// A field selector.
    pub fields: String,
    /// A label selector.
    pub labels: String,
}

/// What happened to a pod.
#[derive(Clone, Debug)]
pub enum Change {
    /// All pods of now
    Listed(Vec<Pod>),
    /// A pod is new or changed
    Applied(Box<Pod>),
    /// A pod is gone
    Deleted(Box<Pod>),
}

/// The path of all pods.
const PODS: &str = "/api/v1/pods";

/// Why a watch ended.
enum Ended {
    /// It goes on from the last version
    Resume,
    /// The version is too old
    Expired,
    /// Nobody listens
    Stopped,
}

/// A list's items have no version of their own that matters.
#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    metadata: ListMetadata,
    #[serde(default)]
    items: Vec<Pod>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ListMetadata {
    resource_version: String,
}

/// Sends all changes until nobody listens.
pub async fn follow(client: Client, collection: Collection, changes: mpsc::Sender<Change>) {
    let mut pauses = Pauses::default();
    while !changes.is_closed() {
        let Listed { metadata, items } = match list(&client, &collection).await {
            Ok(listed) => listed,
            Err(error) => {
                pauses.wait(&error).await;
                continue;
            }
        };
        pauses = Pauses::default();
        if changes.send(Change::Listed(items)).await.is_err() {
            return;
        }
        let mut version = metadata.resource_version;
        loop {
            match watch(&client, &collection, &mut version, &changes, &mut pauses).await {
                Ended::Resume => {}
                Ended::Expired => break,
                Ended::Stopped => return,
            }
        }
        // The agents of all nodes may have been thrown out at the same moment.
        sleep(jitter(Duration::from_secs(1))).await;
    }
}

async fn list(client: &Client, collection: &Collection) -> Result<Listed, ApiError> {
    let params = ListParams {
        field_selector: Some(collection.fields.clone()).filter(|text| !text.is_empty()),
        label_selector: Some(collection.labels.clone()).filter(|text| !text.is_empty()),
        ..ListParams::default()
    };
    // Any version will do: without this the API server reads all of etcd with a quorum, once for each node.
    let request = Request::new(PODS).list(&params.match_any());
    let uri =
        request.map_err(|error| fail("list", PODS, kube::Error::BuildRequest(error)))?.uri().to_string();
    client.send("list", "GET", PODS, &uri, None, PATIENCE).await
}

/// One line of a watch.
#[derive(Deserialize)]
struct Line {
    r#type: String,
    object: serde_json::Value,
}

/// One watch, from `version` on, which it moves ahead.
async fn watch(
    client: &Client,
    collection: &Collection,
    version: &mut String,
    changes: &mpsc::Sender<Change>,
    pauses: &mut Pauses,
) -> Ended {
    let mut body = match timeout(PATIENCE, open(client, collection, version)).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) if error.code() == Some(410) => return Ended::Expired,
        Ok(Err(error)) => {
            pauses.wait(&error).await;
            return Ended::Resume;
        }
        Err(_) => {
            pauses.wait(&ApiError::Timeout { verb: "watch", path: PODS.into(), after: PATIENCE }).await;
            return Ended::Resume;
        }
    };
    let mut unread = Vec::new();
    loop {
        let frame = tokio::select! {
            () = changes.closed() => return Ended::Stopped,
            frame = timeout(SILENCE, body.frame()) => frame,
        };
        match frame {
            Ok(Some(Ok(frame))) => unread.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Ok(Some(Err(error))) => {
                pauses.wait(&fail("watch", PODS, error)).await;
                return Ended::Resume;
            }
            Ok(None) | Err(_) => {
                // One that ends at once is not tried again at once. Half a line is sent again by the next watch.
                sleep(jitter(FIRST_PAUSE)).await;
                return Ended::Resume;
            }
        }
        while let Some(end) = unread.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            match event(&line, version) {
                Ok(None) => {}
                Ok(Some(change)) => {
                    *pauses = Pauses::default();
                    if changes.send(change).await.is_err() {
                        return Ended::Stopped;
                    }
                }
                Err(error) if error.code() == Some(410) => return Ended::Expired,
                Err(error) => {
                    pauses.wait(&error).await;
                    return Ended::Resume;
                }
            }
        }
    }
}

async fn open(
    client: &Client,
    collection: &Collection,
    version: &str,
) -> Result<kube::client::Body, ApiError> {
    let params = WatchParams {
        field_selector: Some(collection.fields.clone()).filter(|text| !text.is_empty()),
        label_selector: Some(collection.labels.clone()).filter(|text| !text.is_empty()),
        ..WatchParams::default().timeout(WATCH_SECONDS)
    };
    let request = Request::new(PODS).watch(&params, version);
    let uri =
        request.map_err(|error| fail("watch", PODS, kube::Error::BuildRequest(error)))?.uri().to_string();
    match client.open("watch", "GET", PODS, &uri, None).await {
        Err(error) if error.code() == Some(401) => {
            client.renew()?;
            client.open("watch", "GET", PODS, &uri, None).await
        }
        other => other,
    }
}

/// What a line of a watch says; nothing if it only moves the version ahead.
fn event(line: &[u8], version: &mut String) -> Result<Option<Change>, ApiError> {
    let unreadable = |error| fail("watch", PODS, kube::Error::SerdeError(error));
    let Line { r#type, object } = serde_json::from_slice(line).map_err(unreadable)?;
    if r#type == "ERROR" {
        let status: Status = serde_json::from_value(object).map_err(unreadable)?;
        return Err(fail("watch", PODS, kube::Error::Api(status.boxed())));
    }
    let pod: Pod = serde_json::from_value(object).map_err(unreadable)?;
    version.clone_from(&pod.metadata.resource_version);
    Ok(match r#type.as_str() {
        "ADDED" | "MODIFIED" => Some(Change::Applied(Box::new(pod))),
        "DELETED" => Some(Change::Deleted(Box::new(pod))),
        _ => None,
    })
}

/// Pauses between attempts: as long as the server asks, or doubling.
#[derive(Debug, Default)]
struct Pauses {
    failures: u32,
}

impl Pauses {
    async fn wait(&mut self, error: &ApiError) {
        let pause = self.next(error);
        tracing::warn!(target: "cni-agent", "{error}; trying again in {} ms", pause.as_millis());
        sleep(pause).await;
    }

    fn next(&mut self, error: &ApiError) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        error.retry_after().unwrap_or_else(|| jitter(doubled))
    }
}

/// Between half of it and all of it.
fn jitter(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    let thousandths = u32::try_from(random % 501).unwrap_or_default() + 500;
    pause.saturating_mul(thousandths) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_have_jitter() {
        let error = ApiError::Timeout { verb: "list", path: PODS.into(), after: PATIENCE };
        let mut pauses = Pauses::default();
        for expected in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let pause = pauses.next(&error);
            assert!((expected / 2..=expected).contains(&pause.as_millis()), "{pause:?} of {expected}");
        }
    }
}
