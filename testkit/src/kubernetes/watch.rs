//! Watches: one JSON object a line, until the time is up or the history is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::fault::Effect;
use super::reply::{self, Cut, ReplyBody};
use super::selector::Selector;
use super::status::Failure;
use super::target::{Query, Target};
use super::verbs::selector;
use super::{Expiry, InitialEvents, Shared, State};

/// What one watch was asked for.
#[derive(Debug)]
struct Watch {
    target: Target,
    selector: Selector,
    /// Changes after this revision are still to be sent.
    revision: u64,
    bookmarks: bool,
    /// Whether anything of the collection has changed since it began: as long as nothing has, the real API server sends no
    /// bookmark (cacheWatcher.process of apiserver: only what is newer than the version asked for).
    has_news: bool,
    until: Instant,
    /// Half of the first line, then the connection ends.
    cut: bool,
}

/// Starts a watch.
pub(super) fn start(
    shared: &Arc<Shared>,
    target: Target,
    query: &Query,
    effect: Option<Effect>,
) -> Result<Response<ReplyBody>, Failure> {
    if let Some(Effect::ErrorEvent(code)) = effect {
        return Ok(only(&error_event(&Failure::of_code(code))));
    }
    let selector = selector(&target, query)?;
    let state = shared.lock();
    let mut first = Vec::new();
    let mut revision = match query.get("resourceVersion") {
        // Any state will do: the objects of now come first.
        "" | "0" => {
            first = current(&state, &target, &selector);
            state.store.revision()
        }
        text => {
            text.parse().map_err(|_| Failure::bad_request(format!("invalid resource version: {text}")))?
        }
    };
    if query.is_true("sendInitialEvents") {
        if state.options.initial_events == InitialEvents::Refuse {
            return Err(Failure::invalid(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch".into(),
            ));
        }
        revision = state.store.revision();
        first = current(&state, &target, &selector);
        let mut end = bookmark(&target, revision);
        end["object"]["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        first.push(end.to_string());
    }
    if state.store.changes_since(revision).is_none() {
        return match state.options.expiry {
            Expiry::ErrorEvent => Ok(only(&error_event(&Failure::expired()))),
            Expiry::Status => Err(Failure::expired()),
        };
    }
    let seconds = query.get("timeoutSeconds").parse().unwrap_or(1800);
    let watch = Watch {
        target,
        selector,
        revision,
        bookmarks: query.is_true("allowWatchBookmarks"),
        has_news: false,
        until: Instant::now() + Duration::from_secs(seconds),
        cut: matches!(effect, Some(Effect::ResetMidway | Effect::HalfBody)),
    };
    let bookmark_every = state.options.bookmark_every;
    drop(state);
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(run(Arc::clone(shared), watch, first, bookmark_every, sender));
    Ok(reply::pieces(receiver))
}

/// Sends until the client goes, the time is up, or changes were forgotten.
async fn run(
    shared: Arc<Shared>,
    mut watch: Watch,
    mut lines: Vec<String>,
    bookmark_every: Duration,
    sender: mpsc::Sender<Result<Bytes, Cut>>,
) {
    let mut changes = shared.changes.subscribe();
    let mut bookmarks = interval_at(Instant::now() + bookmark_every, bookmark_every);
    bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        changes.borrow_and_update();
        let expired = !watch.collect(&shared.lock(), &mut lines);
        for line in lines.drain(..) {
            let text = line + "\n";
            if watch.cut {
                let half = Bytes::copy_from_slice(&text.as_bytes()[..text.len() / 2]);
                // The half has to leave before the connection is cut.
                let _ = sender.send(Ok(half)).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                let _ = sender.send(Err(Cut)).await;
                return;
            }
            if sender.send(Ok(Bytes::from(text))).await.is_err() {
                return;
            }
        }
        if expired {
            return;
        }
        tokio::select! {
            () = sleep_until(watch.until) => return,
            () = sender.closed() => return,
            _ = bookmarks.tick(), if watch.bookmarks && watch.has_news => lines.push(bookmark(&watch.target, watch.revision).to_string()),
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

impl Watch {
    /// Adds the events since the last time. False if some of them are forgotten.
    fn collect(&mut self, state: &State, lines: &mut Vec<String>) -> bool {
        let Some(changes) = state.store.changes_since(self.revision) else {
            lines.push(error_event(&Failure::expired()).to_string());
            return false;
        };
        for change in changes.filter(|change| change.key.same_resource(&self.target)) {
            self.has_news = true;
            if let Some((kind, object)) = change.event(&self.selector) {
                lines.push(line(kind, object));
            }
        }
        self.revision = state.store.revision();
        true
    }
}

/// `ADDED` events for what there is now.
fn current(state: &State, target: &Target, selector: &Selector) -> Vec<String> {
    let selected = state.store.list(target).filter(|(_, object)| selector.matches(object));
    selected.map(|(_, object)| line("ADDED", object)).collect()
}

/// An event with an object, which is not copied for it.
fn line(kind: &str, object: &Value) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}")
}

fn bookmark(target: &Target, revision: u64) -> Value {
    json!({"type": "BOOKMARK", "object": {
        "kind": target.kind(),
        "apiVersion": target.group_version,
        "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null},
    }})
}

fn error_event(failure: &Failure) -> Value {
    json!({"type": "ERROR", "object": failure.object()})
}

/// HTTP 200, one event, and the end.
fn only(event: &Value) -> Response<ReplyBody> {
    reply::object(200, event)
}
