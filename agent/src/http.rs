//! The agent's small HTTP servers: health, metrics, and the log socket of the plugins.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::time::{sleep, timeout};

/// No request of the plugins is larger.
const LARGEST_BODY: usize = 1 << 20;
/// A connection that is slower does not keep its descriptor.
const PATIENCE: Duration = Duration::from_secs(30);

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

impl Reply {
    /// 200 and a text.
    pub fn ok(body: impl Into<String>) -> Self {
        Self { status: StatusCode::OK, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    /// 200 and JSON.
    pub fn json(body: &serde_json::Value) -> Self {
        Self { status: StatusCode::OK, content_type: "application/json", body: body.to_string() }
    }

    /// A failure, and why.
    pub fn failed(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, ..Self::ok(error) }
    }

    /// 200 and metrics.
    pub fn metrics(body: String) -> Self {
        let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        Self { status: StatusCode::OK, content_type, body }
    }

    /// This status, and its reason as the text.
    pub fn status(status: StatusCode) -> Self {
        let body = status.canonical_reason().unwrap_or_default().to_owned();
        Self { status, content_type: "text/plain; charset=utf-8", body }
    }

    /// 200, or 503 Service Unavailable.
    pub fn ready(ready: bool, text: &str) -> Self {
        if ready { Self::ok(text) } else { Self::status(StatusCode::SERVICE_UNAVAILABLE) }
    }
}

/// Replies to a request by its method, path and body.
pub type Handler =
    Arc<dyn Fn(Method, String, Bytes) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync>;

/// A handler that has its reply at once.
pub fn at_once(reply: impl Fn(&Method, &str, &[u8]) -> Reply + Send + Sync + 'static) -> Handler {
    Arc::new(move |method, path, body| {
        let reply = reply(&method, &path, &body);
        Box::pin(async move { reply })
    })
}

/// A socket that could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// TCP
    #[error("cannot listen on {address} for {purpose}: {error}")]
    Tcp {
        /// What it is for
        purpose: &'static str,
        /// Where
        address: SocketAddr,
        /// What the system call replied
        error: io::Error,
    },
    /// A Unix socket
    #[error("cannot listen on {}: {error}", path.display())]
    Unix {
        /// Where
        path: PathBuf,
        /// What the system call replied
        error: io::Error,
    },
}

/// Binds, and serves until the runtime ends.
///
/// # Errors
/// The address is taken or not ours.
pub async fn listen(
    purpose: &'static str,
    address: SocketAddr,
    handler: Handler,
) -> Result<SocketAddr, BindError> {
    let fail = |error| BindError::Tcp { purpose, address, error };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(connection(stream, Arc::clone(&handler)))),
                // Descriptors have run out; some come back.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    });
    Ok(bound)
}

/// Binds a Unix socket that only root can connect to, in place of one that was left, and serves until the runtime ends.
///
/// # Errors
/// The path cannot be bound.
pub fn listen_unix(path: &Path, handler: Handler) -> Result<(), BindError> {
    use std::os::unix::fs::PermissionsExt;
    let fail = |error| BindError::Unix { path: path.to_owned(), error };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(fail)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(fail)?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(connection(stream, Arc::clone(&handler)))),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    });
    Ok(())
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, handler: Handler) {
    let service = service_fn(|request| reply(request, Arc::clone(&handler)));
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // What goes wrong is the client's matter.
    let _ = timeout(PATIENCE, served).await;
}

async fn reply(request: Request<Incoming>, handler: Handler) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let reply = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => handler(head.method, head.uri.path().to_owned(), body.to_bytes()).await,
        Err(_) => Reply::status(StatusCode::BAD_REQUEST),
    };
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = reply.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    Ok(response)
}
