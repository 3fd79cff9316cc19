//! The socket on which the CNI plugin reports new pods, and operators ask for the state: HTTP over a Unix socket that only
//! root's processes may use.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::metrics::AmbientMetrics;

/// An event has some hundred bytes.
const LONGEST_EVENT: usize = 64 << 10;

/// Something asked on the socket.
#[derive(Debug)]
pub(super) enum Call {
    /// A pod's sandbox was made: program it, and reply with the result
    Add(Event, oneshot::Sender<Result<(), String>>),
    /// The state of all pods, as JSON
    Status(oneshot::Sender<String>),
    /// Make rules of this backend from now on, and convert all that there are
    Release(Backend, oneshot::Sender<()>),
}

/// Whose rules pods and the host have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    /// Exactly those of Istio's native backend, which its own agent knows
    Nft,
    /// What the agent's settings say
    Meshwire,
}

/// What the plugin reports, with the names of Istio's own.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Event {
    /// The namespace's file, as the runtime sees it
    pub(super) netns: PathBuf,
    /// The pod
    pub(super) pod_name: String,
    /// Its namespace in Kubernetes
    pub(super) pod_namespace: String,
    /// Its addresses
    #[serde(rename = "IPs", default)]
    ips: Option<Vec<IpConfig>>,
    /// Its UID, from our own plugin alone
    #[serde(rename = "PodUID", default)]
    pub(super) pod_uid: Option<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
struct IpConfig {
    address: IpNetwork,
}

/// Go's net.IPNet; the mask is of no interest.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct IpNetwork {
    #[serde(rename = "IP")]
    ip: IpAddr,
}

impl Event {
    /// The pod's addresses, in canonical form: Go writes IPv4 addresses as mapped ones at times.
    #[must_use]
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        let ips = self.ips.iter().flatten();
        ips.map(|config| config.address.ip.to_canonical()).collect()
    }

    /// The pod's UID, if the plugin knows it.
    #[must_use]
    pub(super) fn uid(&self) -> Option<&str> {
        self.pod_uid.as_deref().filter(|uid| !uid.is_empty())
    }
}

/// Takes the place of what an earlier agent left at this path, and listens there, for root alone.
///
/// # Errors
/// The directory cannot be made, or the socket.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Passes calls on until the receiver is gone.
pub(super) async fn serve(listener: UnixListener, calls: mpsc::Sender<Call>, metrics: AmbientMetrics) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = calls.closed() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, calls.clone(), metrics.clone()));
            }
            Err(error) => {
                tracing::warn!(target: "cni-agent", "cannot accept a connection of the plugin's: {error}");
                // Too many open files, most likely: others have to end first.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, calls: mpsc::Sender<Call>, metrics: AmbientMetrics) {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == 0 => {}
        Ok(peer) => {
            tracing::warn!(target: "cni-agent", "user {} may not use the socket", peer.uid());
            return;
        }
        Err(_) => return,
    }
    let service = service_fn(|request| {
        let (calls, metrics) = (calls.clone(), metrics.clone());
        async move { Ok::<_, Infallible>(respond(request, calls, &metrics).await) }
    });
    // A peer may close the connection at any time.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(
    request: Request<Incoming>,
    calls: mpsc::Sender<Call>,
    metrics: &AmbientMetrics,
) -> Response<Full<Bytes>> {
    let method = request.method().clone();
    match (method, request.uri().path()) {
        (Method::POST, "/cmdadd") => {
            let response = add(request, &calls).await;
            metrics.replied(response.status());
            response
        }
        (Method::GET, "/status") => match ask(&calls, Call::Status).await {
            Some(status) => reply(StatusCode::OK, status),
            None => stopping(),
        },
        (Method::POST, "/release/nft") => release(&calls, Backend::Nft).await,
        (Method::POST, "/release/meshwire") => release(&calls, Backend::Meshwire).await,
        (method, path) => reply(StatusCode::NOT_FOUND, format!("{method} {path} is not served here")),
    }
}

async fn add(request: Request<Incoming>, calls: &mpsc::Sender<Call>) -> Response<Full<Bytes>> {
    let body = match Limited::new(request.into_body(), LONGEST_EVENT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return reply(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let event = match serde_json::from_slice(&body) {
        Ok(event) => event,
        Err(error) => return reply(StatusCode::BAD_REQUEST, format!("not an event: {error}")),
    };
    match ask(calls, |answer| Call::Add(event, answer)).await {
        Some(Ok(())) => reply(StatusCode::OK, String::new()),
        Some(Err(error)) => reply(StatusCode::INTERNAL_SERVER_ERROR, error),
        None => stopping(),
    }
}

async fn release(calls: &mpsc::Sender<Call>, backend: Backend) -> Response<Full<Bytes>> {
    match ask(calls, |answer| Call::Release(backend, answer)).await {
        Some(()) => reply(StatusCode::OK, String::new()),
        None => stopping(),
    }
}

/// `None` if the agent stops meanwhile.
async fn ask<T>(calls: &mpsc::Sender<Call>, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> Option<T> {
    let (sender, answer) = oneshot::channel();
    calls.send(call(sender)).await.ok()?;
    answer.await.ok()
}

fn stopping() -> Response<Full<Bytes>> {
    reply(StatusCode::SERVICE_UNAVAILABLE, "the node agent is stopping".to_owned())
}

fn reply(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_istios_plugin_sends() {
        let event: Event = serde_json::from_str(
            r#"{"Netns":"/var/run/netns/cni-1","PodName":"p","PodNamespace":"n","IPs":[
                {"Interface":0,"Address":{"IP":"10.0.0.5","Mask":"////AA=="},"Gateway":"10.0.0.1"},
                {"Interface":null,"Address":{"IP":"::ffff:10.0.0.6","Mask":"////AA=="},"Gateway":""},
                {"Address":{"IP":"fd00::5","Mask":"//////////8AAAAAAAAAAA=="}}]}"#,
        )
        .unwrap();
        let addresses: Vec<_> = event.addresses().iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.5", "10.0.0.6", "fd00::5"]);
        assert_eq!(event.uid(), None);
        let event: Event = serde_json::from_str(
            r#"{"Netns":"/n","PodName":"p","PodNamespace":"n","IPs":null,"PodUID":"u"}"#,
        )
        .unwrap();
        assert_eq!((event.addresses().len(), event.uid()), (0, Some("u")));
    }
}
