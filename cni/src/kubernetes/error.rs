//! Why the API server does not give an object, and whether asking again can help.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use serde::Deserialize;
use ureq::http::StatusCode;

use super::certificate::CertificateFault;
use super::kubeconfig::Kubeconfig;

/// A request that failed for good.
#[derive(Debug)]
pub struct ApiError {
    /// The last attempt's failure
    pub fault: Fault,
    /// How many attempts there were
    pub attempts: u32,
    /// How long they took together
    pub elapsed: Duration,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempts {
            1 => self.fault.fmt(f),
            attempts => {
                write!(f, "{} ({attempts} attempts in {:.1} s)", self.fault, self.elapsed.as_secs_f64())
            }
        }
    }
}

impl std::error::Error for ApiError {}

/// What can help against a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing
    None,
    /// A new token or a new CA: the kubeconfig is read again
    NewKubeconfig,
    /// Some time, as much as the server asks for if it does
    Wait(Option<Duration>),
}

/// Why one attempt failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No connection
    #[error("cannot connect to the API server at {server}: {reason}")]
    Connect {
        /// The API server's URL
        server: String,
        /// What failed
        reason: String,
    },
    /// No reply in time
    #[error("the API server at {server} did not reply in time (limit: {limit})")]
    Timeout {
        /// The API server's URL
        server: String,
        /// What took too long
        limit: String,
    },
    /// The server's certificate, or the CA's
    #[error("the certificate of the API server at {server} is not accepted: {fault}")]
    Certificate {
        /// The API server's URL
        server: String,
        /// What is wrong with it
        fault: CertificateFault,
    },
    /// 401
    #[error("the API server refused the token (401 Unauthorized): {0}")]
    Unauthorized(String),
    /// 403
    #[error("the API server forbids it (403 Forbidden): {0}")]
    Forbidden(String),
    /// 404
    #[error("the API server does not have it (404 Not Found): {0}")]
    NotFound(String),
    /// Any other status
    #[error("the API server replied {code}: {message}")]
    Status {
        /// The status
        code: StatusCode,
        /// What the server says
        message: String,
        /// When the request may be repeated
        retry_after: Option<Duration>,
    },
    /// The reply ended early
    #[error("the API server's reply is not complete: {0}")]
    Incomplete(String),
    /// The reply is not the object
    #[error("the API server's reply is not the object that was asked for: {0}")]
    Body(serde_json::Error),
    /// Anything else
    #[error("cannot ask the API server at {server}: {reason}")]
    Other {
        /// The API server's URL
        server: String,
        /// What failed
        reason: String,
    },
}

impl Fault {
    /// What can help.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Unauthorized(_) | Self::Certificate { .. } => Remedy::NewKubeconfig,
            Self::Forbidden(_) | Self::NotFound(_) | Self::Body(_) => Remedy::None,
            Self::Status { code, retry_after, .. } => match code.is_server_error() || code.as_u16() == 429 {
                true => Remedy::Wait(*retry_after),
                false => Remedy::None,
            },
            Self::Connect { .. } | Self::Timeout { .. } | Self::Incomplete(_) | Self::Other { .. } => {
                Remedy::Wait(None)
            }
        }
    }

    pub(super) fn of_status(status: u16, body: &[u8], retry_after: Option<Duration>) -> Self {
        let message = status_message(body);
        match status {
            401 => Self::Unauthorized(message),
            403 => Self::Forbidden(message),
            404 => Self::NotFound(message),
            status => Self::Status {
                code: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                message,
                retry_after,
            },
        }
    }

    pub(super) fn of_body(error: serde_json::Error) -> Self {
        if error.is_eof() { Self::Incomplete(error.to_string()) } else { Self::Body(error) }
    }

    pub(super) fn of_request(error: ureq::Error, kubeconfig: &Kubeconfig) -> Self {
        let server = kubeconfig.server.clone();
        let reason = |text: &str| text.to_owned();
        match error {
            ureq::Error::Io(error) => Self::of_io(&error, kubeconfig),
            ureq::Error::Rustls(error) => {
                let fault = CertificateFault::new(&error, kubeconfig);
                Self::Certificate { server, fault }
            }
            ureq::Error::Timeout(limit) => Self::Timeout { server, limit: limit.to_string() },
            ureq::Error::HostNotFound => Self::Connect { server, reason: reason("its name has no address") },
            ureq::Error::ConnectionFailed => Self::Connect { server, reason: reason("no address works") },
            ureq::Error::Protocol(error) => Self::Incomplete(error.to_string()),
            error => Self::Other { server, reason: error.to_string() },
        }
    }

    fn of_io(error: &io::Error, kubeconfig: &Kubeconfig) -> Self {
        let server = kubeconfig.server.clone();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match (inner, error.kind()) {
            (Some(error), _) => Self::Certificate { server, fault: CertificateFault::new(error, kubeconfig) },
            (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                Self::Incomplete(format!("the connection was closed: {error}"))
            }
            _ => {
                let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
                Self::Connect { server, reason: cause }
            }
        }
    }
}

/// What a Status object (meta/v1) says, or the beginning of whatever it is.
fn status_message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Status {
        message: Option<String>,
    }
    let message = serde_json::from_slice::<Status>(body).ok().and_then(|status| status.message);
    message.filter(|message| !message.is_empty()).unwrap_or_else(|| {
        let text = String::from_utf8_lossy(body);
        let line: String = text.trim().chars().take(200).collect();
        if line.is_empty() { "without a message".to_owned() } else { line.replace(char::is_control, " ") }
    })
}
