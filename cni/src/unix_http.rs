//! One POST to the node agent over a unix socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The longest reply that is read: an error's text.
const MAX_REPLY: u64 = 64 << 10;

/// A reply: status and body.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Sends JSON, and returns the reply. The time is for all of it.
///
/// HTTP/1.0, so that the reply ends with the connection and comes in one piece.
pub(crate) fn post(socket: &Path, path: &str, json: &str, limit: Duration) -> io::Result<Reply> {
    let end = Instant::now() + limit;
    let left = || match end.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let mut stream = UnixStream::connect(socket)?;
    let length = json.len();
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(json.as_bytes())?;
    let mut reply = Vec::new();
    let mut part = [0; 4096];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut part).map_err(timed_out) {
            // Of a process that was stopped and continued: a socket's time limit ends restarts (signal(7)).
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(0) => break,
            Ok(length) => reply.extend_from_slice(&part[..length]),
        }
        if reply.len() as u64 > MAX_REPLY {
            break;
        }
    }
    parse(&String::from_utf8_lossy(&reply))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the reply is not HTTP"))
}

/// A socket's time limit comes as EAGAIN.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

fn parse(reply: &str) -> Option<Reply> {
    let (head, body) = reply.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Reply { status, body: body.trim().to_owned() })
}
