//! Lists a kind of object and watches it, for as long as the agent runs.
//!
//! The first list, and each after an expired watch, asks with `resourceVersion=0`: the API server answers from its cache,
//! while without it every agent's start would be a quorum read of all pods. The cache may be behind, so a list counts as
//! confirmed when the watch after it brings a bookmark.

use std::time::Duration;

use futures_util::{StreamExt, pin_mut};
use kube::core::params::{ListParams, WatchParams};
use kube::core::{Request, WatchEvent};
use kube::{Client, Error};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::api::retry_after;
use super::cluster::Change;
use super::objects::{List, Object};

/// How long a watch lasts: less than what load balancers allow a silent connection.
const WATCH_SECONDS: u32 = 290;
/// `410 Gone`: the version is too old.
const GONE: u16 = 410;

/// What is listed and watched.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    /// The path, such as `/api/v1/pods`
    pub(super) path: &'static str,
    /// A field selector
    pub(super) fields: Option<String>,
}

impl Kind {
    /// The pods of a node.
    #[must_use]
    pub(super) fn pods_of(node: &str) -> Self {
        Self { path: "/api/v1/pods", fields: Some(format!("spec.nodeName={node}")) }
    }

    /// All namespaces.
    #[must_use]
    pub(super) fn namespaces() -> Self {
        Self { path: "/api/v1/namespaces", fields: None }
    }
}

/// Why a watch has to begin with a list again, or does not.
enum Ended {
    /// It can go on from the last version
    Resumable,
    /// The version is too old, or something in the stream was no object
    Expired,
    /// The receiver is gone
    Stopped,
}

/// Sends all changes until the receiver is gone.
pub(super) async fn inform<T>(client: Client, kind: Kind, changes: mpsc::Sender<Change<T>>)
where
    T: Object + Clone + DeserializeOwned + 'static,
{
    let mut backoff = Backoff::default();
    while !changes.is_closed() {
        let List { metadata, items } = match list::<T>(&client, &kind).await {
            Ok(list) => list,
            Err(error) => {
                backoff.pause(kind.path, "list", &error).await;
                continue;
            }
        };
        backoff = Backoff::default();
        if changes.send(Change::Listed(items)).await.is_err() {
            return;
        }
        let mut version = metadata.resource_version;
        loop {
            match watch(&client, &kind, &mut version, &changes, &mut backoff).await {
                Ended::Resumable => {}
                Ended::Expired => break,
                Ended::Stopped => return,
            }
        }
        // All agents of a cluster may have been thrown out at once.
        sleep(jitter(Duration::from_millis(500))).await;
    }
}

async fn list<T: DeserializeOwned>(client: &Client, kind: &Kind) -> Result<List<T>, Error> {
    let params = ListParams { field_selector: kind.fields.clone(), ..ListParams::default().match_any() };
    let request = Request::new(kind.path).list(&params).map_err(Error::BuildRequest)?;
    client.request(request).await
}

/// One watch, from `version` on, which it moves ahead.
async fn watch<T>(
    client: &Client,
    kind: &Kind,
    version: &mut String,
    changes: &mpsc::Sender<Change<T>>,
    backoff: &mut Backoff,
) -> Ended
where
    T: Object + Clone + DeserializeOwned + 'static,
{
    let params =
        WatchParams { field_selector: kind.fields.clone(), ..WatchParams::default().timeout(WATCH_SECONDS) };
    let events = match Request::new(kind.path).watch(&params, version).map_err(Error::BuildRequest) {
        Ok(request) => client.request_events::<T>(request).await,
        Err(error) => Err(error),
    };
    let events = match events {
        Ok(events) => events,
        Err(Error::Api(status)) if status.code == GONE => return Ended::Expired,
        Err(error) => {
            backoff.pause(kind.path, "watch", &error).await;
            return Ended::Resumable;
        }
    };
    pin_mut!(events);
    while let Some(event) = events.next().await {
        let change = match event {
            Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => Change::Applied(object),
            Ok(WatchEvent::Deleted(object)) => Change::Deleted(object),
            Ok(WatchEvent::Bookmark(bookmark)) => {
                *version = bookmark.metadata.resource_version;
                Change::Confirmed
            }
            Ok(WatchEvent::Error(status)) if status.code == GONE => return Ended::Expired,
            Ok(WatchEvent::Error(status)) => {
                backoff.pause(kind.path, "watch", &Error::Api(status)).await;
                return Ended::Resumable;
            }
            // A connection that breaks, half a line, or a line that is no event: from the last whole one on.
            Err(error) => {
                backoff.pause(kind.path, "watch", &error).await;
                return Ended::Resumable;
            }
        };
        *backoff = Backoff::default();
        if let Change::Applied(object) | Change::Deleted(object) = &change {
            version.clone_from(&object.metadata().resource_version);
        }
        if changes.send(change).await.is_err() {
            return Ended::Stopped;
        }
    }
    // A watch that ends at once should not be tried without a pause.
    sleep(jitter(Backoff::FIRST)).await;
    Ended::Resumable
}

/// Pauses between attempts: doubling, or as long as the server asks for.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(10);

    async fn pause(&mut self, path: &str, verb: &str, error: &Error) {
        let pause = self.next(error);
        tracing::warn!(target: "cni-agent", "cannot {verb} {path}, trying again in {} ms: {error}", pause.as_millis());
        sleep(pause).await;
    }

    fn next(&mut self, error: &Error) -> Duration {
        let doubled = Self::FIRST.saturating_mul(1 << self.failures.min(16)).min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        retry_after(error).unwrap_or_else(|| jitter(doubled))
    }
}

/// Half of it, and some more: many agents fail at the same moment.
fn jitter(pause: Duration) -> Duration {
    let noise = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    pause / 2 + pause.mul_f64(f64::from(noise.subsec_nanos() % 1000) / 2000.0)
}
