//! The Kubernetes API, as much of it as the agent needs.
//!
//! No proxy is ever used, lists are served from the API server's cache, and a refused token is read again once.

mod events;
mod informer;
mod interception;
mod object;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Method;
use hyper::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use kube::Config;
use kube::core::Status;
use kube::core::response::StatusDetails;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::metrics::Counters;
pub(crate) use events::event_name;
pub use events::{Events, Involved};
pub use informer::{Change, Collection, follow};
pub use object::{ContainerStatus, Metadata, Owner, Pod, PodStatus, Terminated};

/// How long a request may take, but for watches.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the API server is, and who asks.
#[derive(Clone, Debug)]
pub struct Access {
    /// Its URL.
    pub server: String,
    /// The folder with `token` and `ca.crt`.
    pub service_account: PathBuf,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The URL is none
    #[error("{0:?} is not the URL of an API server")]
    Url(String),
    /// The client cannot be made: mostly a CA that is none
    #[error("cannot use the service account in {}: {error}", folder.display())]
    Credentials {
        /// Where it is
        folder: PathBuf,
        /// What is wrong
        error: Box<kube::Error>,
    },
    /// The API server refused it
    #[error("the API server refused to {verb} {path}: {} ({})", status.message, status.code)]
    Refused {
        /// What was tried
        verb: Verb,
        /// On what
        path: String,
        /// What it replied
        status: Box<Status>,
    },
    /// No reply, or none that can be read
    #[error("cannot {verb} {path}: {}", causes(error))]
    Exchange {
        /// What was tried
        verb: Verb,
        /// On what
        path: String,
        /// What went wrong
        error: Box<kube::Error>,
    },
    /// No reply in time
    #[error("cannot {verb} {path}: no reply within {} s", after.as_secs())]
    Timeout {
        /// What was tried
        verb: Verb,
        /// On what
        path: String,
        /// How long it was waited for
        after: Duration,
    },
}

/// The error with all that caused it: the first one alone says little about TLS.
fn causes(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

impl ApiError {
    /// The HTTP status code, if there was a reply.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(status.code),
            _ => None,
        }
    }

    /// How long the server asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        let Self::Refused { status, .. } = self else { return None };
        let seconds = status.details.as_ref()?.retry_after_seconds;
        (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
    }

    /// Whether it was the time.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }
}

/// A client that outlives its tokens.
#[derive(Clone)]
pub struct Client {
    access: Access,
    current: Arc<RwLock<kube::Client>>,
    requests: Counters,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("access", &self.access).finish_non_exhaustive()
    }
}

impl Client {
    /// A client for the service account's folder. It has to be called in a runtime.
    ///
    /// # Errors
    /// The URL or the CA cannot be used.
    pub fn new(access: Access) -> Result<Self, ApiError> {
        let current = Arc::new(RwLock::new(connect(&access)?));
        Ok(Self { access, current, requests: Counters::default() })
    }

    fn kube(&self) -> kube::Client {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the token and the CA again.
    fn renew(&self) -> Result<(), ApiError> {
        let client = connect(&self.access)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = client;
        Ok(())
    }

    /// Counts of requests, by verb and code.
    pub fn requests(&self) -> Counters {
        self.requests.clone()
    }

    /// Gets an object.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.send(Call { verb: Verb::Get, path, uri: path, body: None }, PATIENCE).await
    }

    /// Gets all objects of a collection, from the API server's cache.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn list<T: DeserializeOwned>(&self, collection: &Collection) -> Result<Vec<T>, ApiError> {
        informer::list(self, collection).await.map(|listed| listed.items)
    }

    /// Deletes an object, if it still is the one that was seen.
    ///
    /// # Errors
    /// See [`ApiError`]; 409 if it is not.
    pub async fn delete(&self, pod: &Pod, grace: Option<u32>, patience: Duration) -> Result<(), ApiError> {
        let Metadata { uid, resource_version, .. } = &pod.metadata;
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions",
            "preconditions": {"uid": uid, "resourceVersion": resource_version}});
        if let Some(grace) = grace {
            options["gracePeriodSeconds"] = grace.into();
        }
        let path = pod.path();
        let call = Call { verb: Verb::Delete, path: &path, uri: &path, body: Some(&options) };
        self.change(call, patience).await
    }

    /// Merges a patch into an object.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn patch(&self, path: &str, patch: &Value) -> Result<(), ApiError> {
        let call = Call { verb: Verb::Patch, path, uri: path, body: Some(patch) };
        self.change(call, PATIENCE).await
    }

    /// Creates an object in a collection.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn create(&self, path: &str, object: &Value, patience: Duration) -> Result<(), ApiError> {
        let call = Call { verb: Verb::Create, path, uri: path, body: Some(object) };
        self.change(call, patience).await
    }

    /// One request, and what its reply is read as.
    async fn send<T: DeserializeOwned>(&self, call: Call<'_>, patience: Duration) -> Result<T, ApiError> {
        let bytes = self.exchange(call, patience).await?;
        serde_json::from_slice(&bytes).map_err(|error| call.failed(kube::Error::SerdeError(error)))
    }

    /// One request whose reply says nothing more than that it succeeded: it repeats the object.
    async fn change(&self, call: Call<'_>, patience: Duration) -> Result<(), ApiError> {
        self.exchange(call, patience).await.map(drop)
    }

    /// One request, and its whole reply, in one piece: serde_json reads a slice several times as fast as a stream, and a
    /// list has some megabytes.
    async fn exchange(&self, call: Call<'_>, patience: Duration) -> Result<Vec<u8>, ApiError> {
        let exchange = async {
            let mut body = self.open(call).await?;
            let mut bytes = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| call.failed(error))?;
                bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
            }
            Ok(bytes)
        };
        timeout(patience, exchange).await.unwrap_or_else(|_| {
            self.count(call.verb, "timeout");
            Err(ApiError::Timeout { verb: call.verb, path: call.path.to_owned(), after: patience })
        })
    }

    /// Sends a request, and returns the body of its reply, if that is a success. A token that is refused is read again
    /// once: it may have expired since.
    async fn open(&self, call: Call<'_>) -> Result<kube::client::Body, ApiError> {
        match self.attempt(call).await {
            Err(error) if error.code() == Some(401) => {
                self.renew()?;
                self.attempt(call).await
            }
            other => other,
        }
    }

    async fn attempt(&self, call: Call<'_>) -> Result<kube::client::Body, ApiError> {
        let bytes = call.body.map(Value::to_string).unwrap_or_default().into_bytes();
        let request = hyper::Request::builder().method(call.verb.method()).uri(call.uri);
        let request =
            request.header(CONTENT_TYPE, call.verb.content_type()).header(ACCEPT, "application/json");
        let request = request.body(bytes.into());
        let request = request.map_err(|error| call.failed(kube::Error::HttpError(error)))?;
        let response = match self.kube().send(request).await {
            Ok(response) => response,
            Err(error) => {
                self.count(call.verb, "error");
                return Err(call.failed(error));
            }
        };
        self.count(call.verb, response.status().as_str());
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| call.failed(error))?.to_bytes();
        let status = refusal(&head, &body);
        Err(ApiError::Refused { verb: call.verb, path: call.path.to_owned(), status: status.boxed() })
    }

    fn count(&self, verb: Verb, code: &str) {
        let labels = vec![("verb", verb.to_string()), ("code", code.to_owned())];
        self.requests.get_or_create(&labels).inc();
    }
}

/// The status in a reply that is not a success.
fn refusal(head: &hyper::http::response::Parts, body: &[u8]) -> Status {
    // What limits requests in front of the API server replies with a text.
    let mut status: Status = serde_json::from_slice(body)
        .unwrap_or_else(|_| Status::failure(String::from_utf8_lossy(body).trim(), head.status.as_str()));
    status.code = head.status.as_u16();
    let seconds = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    if let Some(seconds) = seconds {
        let details = status.details.get_or_insert_with(|| StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        });
        details.retry_after_seconds = seconds;
    }
    status
}

/// What a request does, in the words of Kubernetes' roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reads an object
    Get,
    /// Reads a collection
    List,
    /// Waits for changes of a collection
    Watch,
    /// Adds an object to a collection
    Create,
    /// Changes an object
    Patch,
    /// Deletes an object
    Delete,
}

impl Verb {
    fn method(self) -> Method {
        match self {
            Self::Get | Self::List | Self::Watch => Method::GET,
            Self::Create => Method::POST,
            Self::Patch => Method::PATCH,
            Self::Delete => Method::DELETE,
        }
    }

    fn content_type(self) -> &'static str {
        if self == Self::Patch { "application/merge-patch+json" } else { "application/json" }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Delete => "delete",
        })
    }
}

/// A request.
#[derive(Clone, Copy)]
struct Call<'a> {
    verb: Verb,
    /// What it is about, for errors
    path: &'a str,
    /// The path with its query
    uri: &'a str,
    body: Option<&'a Value>,
}

impl Call<'_> {
    fn failed(self, error: kube::Error) -> ApiError {
        fail(self.verb, self.path, error)
    }
}

fn fail(verb: Verb, path: &str, error: kube::Error) -> ApiError {
    match error {
        kube::Error::Api(status) => ApiError::Refused { verb, path: path.to_owned(), status },
        error => ApiError::Exchange { verb, path: path.to_owned(), error: Box::new(error) },
    }
}

fn connect(access: &Access) -> Result<kube::Client, ApiError> {
    let uri = access.server.parse().map_err(|_| ApiError::Url(access.server.clone()))?;
    let mut config = Config::new(uri);
    let file = |name: &str| access.service_account.join(name);
    if access.server.starts_with("https:") {
        config.root_cert_file = Some(file("ca.crt"));
    }
    config.auth_info.token_file = Some(file("token").to_string_lossy().into_owned());
    // kube takes it from HTTPS_PROXY, which is for traffic that leaves the cluster.
    config.proxy_url = None;
    // Its pauses grow to a quarter of an hour.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    kube::Client::try_from(config).map_err(|error| ApiError::Credentials {
        folder: access.service_account.clone(),
        error: Box::new(error),
    })
}

/// The namespace of the pod whose service account this is.
pub fn namespace(service_account: &Path) -> Option<String> {
    let namespace = std::fs::read_to_string(service_account.join("namespace")).ok()?;
    Some(namespace.trim().to_owned()).filter(|namespace| !namespace.is_empty())
}
