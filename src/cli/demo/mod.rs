//! `meshwire demo`: a pod, an app, a proxy and a world around them, for as long as one connection out and one in take.
//!
//! Everything happens in namespaces that end with the process. The main thread moves into them for good, so nothing
//! else can run in this process.

mod play;
mod report;
mod stage;

use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Instant;

use clap::{ArgMatches, Command};
use nftwire::io_text;
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use super::failure::{Failure, end, write_result};
use super::link;
use super::log::Log;
use crate::apply::Counters;
use crate::diagnostic::{Explain, Explanation};
use crate::mesh::istio::sidecar::{InboundPorts, ServiceCidr, Sidecar};
use crate::network::RouteSocket;
use report::Report;
use stage::Stage;

/// The command's name.
pub(super) const NAME: &str = "demo";

/// Where the outside is (TEST-NET-3 of RFC 5737: no real host has it).
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The pod, on the same wire.
const POD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const PREFIX: u8 = 24;
/// The outside's server.
const SERVER_PORT: u16 = 80;
const APP_PORT: u16 = 8080;

const APP: User = User(1000);
const PROXY: User = User(1337);

/// What [`settings`] are as flags: those that Istio gives by default.
const FLAGS: &str = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -b '*' -d 15090,15021,15020";

fn settings() -> Sidecar {
    Sidecar {
        inbound_ports: InboundPorts::AllExcept([15090, 15021, 15020].map(|port| port..=port).into()),
        service_cidr: ServiceCidr::All,
        ..Sidecar::default()
    }
}

pub(super) fn command() -> Command {
    Command::new(NAME)
        .about("Shows an interception at work, in namespaces of its own; needs no root")
        .long_about(
            "Makes a network namespace with a small app and a small proxy, intercepts its traffic as in a pod, \
             lets one connection go out and one come in, and shows where they arrived and which rules they met. \
             Nothing outside of it changes and nothing stays. As root, the app and the proxy have uids of their own.",
        )
}

/// A step that a system call refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {}", explain(error))]
struct Step {
    what: String,
    error: io::Error,
}

impl Explain for Step {
    fn explanation(&self) -> Explanation {
        self.error.explanation()
    }
}

/// Says of a result what it was that did not work.
trait Context<T> {
    fn context(self, what: impl Into<String>) -> Result<T, Step>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl Into<String>) -> Result<T, Step> {
        self.map_err(|error| Step { what: what.into(), error: error.into() })
    }
}

fn explain(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        // The errors of a socket's timeout (socket(7), SO_RCVTIMEO). EALREADY: that of a connect(2) that was called again
        // (`__inet_stream_connect` in net/ipv4/af_inet.c, Linux 6.18).
        Some(Errno::EAGAIN | Errno::EINPROGRESS | Errno::EALREADY) => "nothing happened in time".to_owned(),
        _ => io_text(error),
    }
}

pub(super) fn run(_: &ArgMatches) -> ExitCode {
    end(perform().map(|()| ExitCode::SUCCESS), Log::Plain)
}

fn perform() -> Result<(), Failure> {
    let started = Instant::now();
    let stage = Stage::set()?;
    let sidecar = settings();
    let interception = sidecar.interception();
    let mut nft = nftwire::Socket::open()?;
    let commit = interception.apply(&mut nft, &mut RouteSocket::open()?, Counters::Reset)?.commit;
    let [outbound, inbound] = play::play(&stage, &sidecar)?;
    let packets = report::packets(&mut nft, &interception.ruleset)?;
    let report = Report {
        users: stage.users,
        ruleset: interception.ruleset,
        commit,
        outbound,
        inbound,
        packets,
        started,
    };
    Ok(write_result(&report.to_string())?)
}

/// A user whose group has the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User(u32);

impl User {
    /// Does something as this user in the eyes of `meta skuid` and `meta skgid`: they compare the file system ids of who
    /// opened the socket. The thread's capabilities for the network stay.
    fn act<T>(self, work: impl FnOnce() -> T) -> T {
        let group = setfsgid(Gid::from_raw(self.0));
        let user = setfsuid(Uid::from_raw(self.0));
        let result = work();
        setfsuid(user);
        setfsgid(group);
        result
    }

    /// Whether that works: it takes CAP_SETUID and CAP_SETGID, and a user namespace that knows the ids.
    fn is_possible(self) -> bool {
        // Neither call reports a failure; both return the id from before, and the invalid id changes nothing.
        let now = || (setfsuid(Uid::from_raw(u32::MAX)).as_raw(), setfsgid(Gid::from_raw(u32::MAX)).as_raw());
        self.act(now) == (self.0, self.0)
    }
}
