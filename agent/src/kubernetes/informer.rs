//! Lists a collection and watches it, for as long as someone listens.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use http_body_util::BodyExt;
use kube::core::params::{ListParams, WatchParams};
use kube::core::request::Error as RequestError;
use kube::core::{Request, Status};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::{ApiError, Call, Client, PATIENCE, Verb, fail};

/// How long a watch lasts. Less than what load balancers allow a silent connection.
const WATCH_SECONDS: u32 = 290;
/// A watch that brings nothing, not even a bookmark, for so long has lost its connection.
const SILENCE: Duration = Duration::from_secs(330);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Objects of one kind, narrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    path: &'static str,
    /// A field selector.
    pub fields: String,
    /// A label selector.
    pub labels: String,
}

impl Collection {
    /// Pods of all namespaces.
    pub fn pods(fields: impl Into<String>, labels: impl Into<String>) -> Self {
        Self { path: "/api/v1/pods", fields: fields.into(), labels: labels.into() }
    }

    /// All namespaces.
    pub fn namespaces() -> Self {
        Self { path: "/api/v1/namespaces", fields: String::new(), labels: String::new() }
    }

    fn uri(
        &self,
        verb: Verb,
        request: Result<hyper::Request<Vec<u8>>, RequestError>,
    ) -> Result<String, ApiError> {
        let request = request.map_err(|error| fail(verb, self.path, kube::Error::BuildRequest(error)))?;
        Ok(request.uri().to_string())
    }

    fn fail(&self, verb: Verb, error: kube::Error) -> ApiError {
        fail(verb, self.path, error)
    }
}

/// What happened to a collection.
#[derive(Clone, Debug)]
pub enum Change<T> {
    /// All objects that there are
    Listed(Vec<T>),
    /// An object is new or changed
    Applied(T),
    /// An object is deleted
    Deleted(T),
    /// A bookmark: the watch has caught up. Lists come from the API server's cache, which may be out of date.
    Confirmed,
}

/// Why a watch ended.
enum Ended {
    /// It goes on from the last version
    Resume,
    /// The version is too old
    Expired,
    /// Nobody listens
    Stopped,
}

#[derive(Deserialize)]
pub(super) struct Listed<T> {
    #[serde(default)]
    metadata: Version,
    #[serde(default = "Vec::new")]
    pub(super) items: Vec<T>,
}

/// All that a bookmark has.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Versioned {
    metadata: Version,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Version {
    resource_version: String,
}

/// Sends all changes until nobody listens.
pub async fn follow<T: DeserializeOwned>(
    client: Client,
    collection: Collection,
    changes: mpsc::Sender<Change<T>>,
) {
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

pub(super) async fn list<T: DeserializeOwned>(
    client: &Client,
    collection: &Collection,
) -> Result<Listed<T>, ApiError> {
    let Collection { path, fields, labels } = collection;
    let params = ListParams {
        field_selector: Some(fields.clone()).filter(|text| !text.is_empty()),
        label_selector: Some(labels.clone()).filter(|text| !text.is_empty()),
        ..ListParams::default()
    };
    // Any version will do: without this the API server reads all of etcd with a quorum, once for each node.
    let uri = collection.uri(Verb::List, Request::new(*path).list(&params.match_any()))?;
    client.send(Call { verb: Verb::List, path, uri: &uri, body: None }, PATIENCE).await
}

/// One line of a watch.
#[derive(Deserialize)]
struct Line<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// One watch, from `version` on, which it moves ahead.
async fn watch<T: DeserializeOwned>(
    client: &Client,
    collection: &Collection,
    version: &mut String,
    changes: &mpsc::Sender<Change<T>>,
    pauses: &mut Pauses,
) -> Ended {
    let mut body = match open(client, collection, version).await {
        Ok(body) => body,
        Err(error) if error.code() == Some(410) => return Ended::Expired,
        Err(error) => {
            pauses.wait(&error).await;
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
                pauses.wait(&collection.fail(Verb::Watch, error)).await;
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
            match event(collection, &line, version) {
                Ok(change) => {
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

/// Only the beginning has a time limit: what follows takes as long as it takes.
async fn open(
    client: &Client,
    collection: &Collection,
    version: &str,
) -> Result<kube::client::Body, ApiError> {
    let Collection { path, fields, labels } = collection;
    let params = WatchParams {
        field_selector: Some(fields.clone()).filter(|text| !text.is_empty()),
        label_selector: Some(labels.clone()).filter(|text| !text.is_empty()),
        ..WatchParams::default().timeout(WATCH_SECONDS)
    };
    let uri = collection.uri(Verb::Watch, Request::new(*path).watch(&params, version))?;
    let opened =
        timeout(PATIENCE, client.open(Call { verb: Verb::Watch, path, uri: &uri, body: None })).await;
    let late = |_| ApiError::Timeout { verb: Verb::Watch, path: (*path).to_owned(), after: PATIENCE };
    opened.map_err(late)?
}

/// What a line of a watch says.
fn event<T: DeserializeOwned>(
    collection: &Collection,
    line: &[u8],
    version: &mut String,
) -> Result<Change<T>, ApiError> {
    let unreadable = |error| collection.fail(Verb::Watch, kube::Error::SerdeError(error));
    let Line { r#type, object } = serde_json::from_slice(line).map_err(unreadable)?;
    let text = object.get();
    if r#type == "ERROR" {
        let status: Status = serde_json::from_str(text).map_err(unreadable)?;
        return Err(collection.fail(Verb::Watch, kube::Error::Api(status.boxed())));
    }
    let change = match r#type {
        "BOOKMARK" => Change::Confirmed,
        "DELETED" => Change::Deleted(serde_json::from_str(text).map_err(unreadable)?),
        _ => Change::Applied(serde_json::from_str(text).map_err(unreadable)?),
    };
    let Versioned { metadata } = serde_json::from_str(text).map_err(unreadable)?;
    *version = metadata.resource_version;
    Ok(change)
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
        let error = ApiError::Timeout { verb: Verb::List, path: "/api/v1/pods".into(), after: PATIENCE };
        let mut pauses = Pauses::default();
        for expected in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let pause = pauses.next(&error);
            assert!((expected / 2..=expected).contains(&pause.as_millis()), "{pause:?} of {expected}");
        }
    }
}
