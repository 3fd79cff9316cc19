//! The proof by a token: whoever connects to an address that leads nowhere must receive what our own listener sends.
//!
//! It is what Linkerd's network validator does. There is one connection: when it does not arrive, whoever started the
//! validator starts it again.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nftwire::io_text;

use super::{accept, is_unreachable, listener, start_connecting, wait};
use crate::diagnostic::{Explain, Explanation};

/// What has to be redirected, and where it has to arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenValidation {
    /// Where to listen: the address to which outbound connections are redirected
    pub listen: SocketAddr,
    /// Where to connect to: an address at which nobody answers
    pub connect: SocketAddr,
    /// How long to wait; longer by a moment at most
    pub timeout: Duration,
}

/// As Linkerd's validator does it: the proxy's outbound port on all addresses, and an address of TEST-NET-1 (RFC 5737).
impl Default for TokenValidation {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 4140)),
            connect: SocketAddr::from(([192, 0, 2, 2], 1404)),
            timeout: Duration::from_secs(10),
        }
    }
}

/// Why connections are not known to be redirected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {}", io_text(error))]
    Listen {
        /// The address
        address: SocketAddr,
        /// What the system call said
        error: io::Error,
    },
    /// A system call on the listener failed, for want of descriptors or memory.
    #[error("cannot accept connections: {}", io_text(.0))]
    Accept(io::Error),
    /// The connection failed.
    #[error("a connection to {connect} was not redirected to {listen}: {}", io_text(error))]
    Failed {
        /// Where it was made to
        connect: SocketAddr,
        /// Where it had to arrive
        listen: SocketAddr,
        /// What the system call said
        error: io::Error,
    },
    /// No connection could be made, for want of a route or of an address.
    #[error(
        "cannot determine whether connections are redirected: {connect} cannot be reached: {}",
        io_text(error)
    )]
    Unreachable {
        /// Where it was to be made to
        connect: SocketAddr,
        /// What the system call said
        error: io::Error,
    },
    /// Somebody else answered.
    #[error("a connection to {connect} was not redirected to {listen}: something else answered")]
    AnsweredElsewhere {
        /// Where it was made to
        connect: SocketAddr,
        /// Where it had to arrive
        listen: SocketAddr,
    },
    /// Nothing arrived.
    #[error("a connection to {connect} was not redirected to {listen} within {timeout:?}")]
    NoAnswer {
        /// Where it was made to
        connect: SocketAddr,
        /// Where it had to arrive
        listen: SocketAddr,
        /// How long it was waited for
        timeout: Duration,
    },
}

/// What to do about it.
const HELP: &str = "has proxy-init run in this pod, or the CNI plugin on this node before the pod was scheduled there? \
                    If not, delete the pod, so that it is created again. (Connections of the proxy's own user are \
                    never redirected: does this run as another one?)";

impl Explain for TokenError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::Listen { address, error } => error
                .explanation()
                .at("address", address.to_string())
                .help("is the proxy running already, or another program at its port?"),
            Self::Accept(error) => error.explanation(),
            Self::Unreachable { connect, error } => error
                .explanation()
                .at("destination", connect.to_string())
                .help("the pod needs a route there, usually its default route, even though nothing replies there"),
            Self::Failed { connect, error, .. } => {
                error.explanation().at("destination", connect.to_string()).help(HELP)
            }
            Self::AnsweredElsewhere { connect, .. } | Self::NoAnswer { connect, .. } => {
                Explanation::default().at("destination", connect.to_string()).help(HELP)
            }
        }
    }
}

/// Listens, connects, and waits for the token.
///
/// # Errors
/// See [`TokenError`].
pub fn run(validation: &TokenValidation) -> Result<(), TokenError> {
    let &TokenValidation { listen, connect, timeout } = validation;
    let started = Instant::now();
    let listener = listener(listen).map_err(|error| TokenError::Listen { address: listen, error })?;
    let failed = |error| match is_unreachable(&error) {
        true => TokenError::Unreachable { connect, error },
        false => TokenError::Failed { connect, listen, error },
    };
    let connection = start_connecting(None, connect).map_err(failed)?;
    let token = token();
    let mut received = Vec::new();
    loop {
        let left = timeout.saturating_sub(started.elapsed());
        wait([listener.as_fd(), connection.as_fd()], left).map_err(TokenError::Accept)?;
        hand_out(&token, &listener).map_err(TokenError::Accept)?;
        let open = receive(&connection, &mut received).map_err(failed)?;
        if received == token {
            return Ok(());
        }
        if !open || !token.starts_with(&received) {
            return Err(TokenError::AnsweredElsewhere { connect, listen });
        }
        if left.is_zero() {
            return Err(TokenError::NoAnswer { connect, listen, timeout });
        }
    }
}

/// What nobody else can know: the standard library's hasher starts from the kernel's random numbers.
fn token() -> Vec<u8> {
    let random = || RandomState::new().hash_one(0);
    format!("{:016x}{:016x}\n", random(), random()).into_bytes()
}

/// Sends the token to the peer of a new connection, and closes it.
fn hand_out(token: &[u8], listener: &TcpListener) -> io::Result<()> {
    if let Some(mut connection) = accept(listener)? {
        // A new connection has room for so little. One that is gone already was not ours.
        let _ = connection.write_all(token);
    }
    Ok(())
}

/// Takes what has arrived. False at the connection's end.
fn receive(mut connection: &TcpStream, received: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 64];
    match connection.read(&mut buffer) {
        Ok(0) => Ok(false),
        Ok(length) => {
            received.extend_from_slice(&buffer[..length]);
            Ok(true)
        }
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(true),
            _ => Err(error),
        },
    }
}
