//! The Kubernetes API, as much of it as the installers and the repair controllers need.
//!
//! No proxy is ever used, lists are served from the API server's cache, and a refused token is read again once.

mod informer;
mod object;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use kube::Config;
use kube::core::Status;
use kube::core::response::StatusDetails;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

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
        verb: &'static str,
        /// On what
        path: String,
        /// What it replied
        status: Box<Status>,
    },
    /// No reply, or none that can be read
    #[error("cannot {verb} {path}: {}", causes(error))]
    Exchange {
        /// What was tried
        verb: &'static str,
        /// On what
        path: String,
        /// What went wrong
        error: Box<kube::Error>,
    },
    /// No reply in time
    #[error("cannot {verb} {path}: no reply within {} s", after.as_secs())]
    Timeout {
        /// What was tried
        verb: &'static str,
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
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
        Ok(Self { access, current })
    }

    /// kube's own client.
    pub fn kube(&self) -> kube::Client {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the token and the CA again.
    fn renew(&self) -> Result<(), ApiError> {
        let client = connect(&self.access)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = client;
        Ok(())
    }

    /// Gets an object.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.send("get", "GET", path, path, None, PATIENCE).await
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
        self.send::<Value>("delete", "DELETE", &path, &path, Some(&options), patience).await.map(drop)
    }

    /// Merges a patch into an object.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn patch(&self, path: &str, patch: &Value) -> Result<(), ApiError> {
        self.send::<Value>("patch", "PATCH", path, path, Some(patch), PATIENCE).await.map(drop)
    }

    /// Creates an object in a collection.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn create(&self, path: &str, object: &Value, patience: Duration) -> Result<(), ApiError> {
        self.send::<Value>("create", "POST", path, path, Some(object), patience).await.map(drop)
    }

    /// One request. A token that is refused is read again once: it may have expired since.
    async fn send<T: DeserializeOwned>(
        &self,
        verb: &'static str,
        method: &str,
        path: &str,
        uri: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<T, ApiError> {
        match self.attempt(verb, method, path, uri, body, patience).await {
            Err(error) if error.code() == Some(401) => {
                self.renew()?;
                self.attempt(verb, method, path, uri, body, patience).await
            }
            other => other,
        }
    }

    async fn attempt<T: DeserializeOwned>(
        &self,
        verb: &'static str,
        method: &str,
        path: &str,
        uri: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<T, ApiError> {
        let exchange = async {
            let body = self.open(verb, method, path, uri, body).await?;
            let body = body.collect().await.map_err(|error| fail(verb, path, error))?.to_bytes();
            serde_json::from_slice(&body).map_err(|error| fail(verb, path, kube::Error::SerdeError(error)))
        };
        let late = |_| ApiError::Timeout { verb, path: path.to_owned(), after: patience };
        timeout(patience, exchange).await.map_err(late)?
    }

    /// Sends a request, and returns the body of its reply, if that is a success.
    async fn open(
        &self,
        verb: &'static str,
        method: &str,
        path: &str,
        uri: &str,
        body: Option<&Value>,
    ) -> Result<kube::client::Body, ApiError> {
        let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let bytes = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let request = hyper::Request::builder().method(method).uri(uri).header(CONTENT_TYPE, content);
        let request = request.header(ACCEPT, "application/json").body(bytes.into());
        let request = request.map_err(|error| fail(verb, path, kube::Error::HttpError(error)))?;
        let response = self.kube().send(request).await.map_err(|error| fail(verb, path, error))?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| fail(verb, path, error))?.to_bytes();
        // What limits requests in front of the API server replies with a text.
        let mut status: Status = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Status::failure(String::from_utf8_lossy(&body).trim(), head.status.as_str()));
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
        Err(ApiError::Refused { verb, path: path.to_owned(), status: status.boxed() })
    }
}

fn fail(verb: &'static str, path: &str, error: kube::Error) -> ApiError {
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
