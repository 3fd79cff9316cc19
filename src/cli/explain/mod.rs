//! `meshwire explain`: what the rules do to a connection.

mod json;
mod text;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use nft_ruleset::snapshot::{Depth, Scope, Snapshot};
use nft_ruleset::{Family, Protocol};
use nftwire::Socket;

use super::failure::{Failure, end, write_result};
use super::flag::shared::{NETNS, OUTPUT, Output};
use super::flag::value::number;
use super::flag::{Flag, Flags, UsageError, Values, with_flags};
use super::log::Log;
use super::netns;
use super::pod::{NODE_ROOT, POD};
use super::progress;
use crate::explain::{Explanation, Flow, Machine, Origin, Verdict, explain};

/// The command's name.
pub(super) const NAME: &str = "explain";

/// Exit code when the connection is not intercepted.
const NOT_INTERCEPTED: u8 = 4;
/// Exit code when it is redirected to a port on which nobody listens.
const NO_LISTENER: u8 = 5;

static TO: Flag<Option<SocketAddr>> =
    Flag::text("to", "ADDRESS:PORT", || None, |given| given.one(socket_address).map(Some))
        .help("Where the connection goes, such as 10.0.0.5:443 or [fd00::5]:443");

static FROM: Flag<Option<Source>> =
    Flag::text("from", "ADDRESS[:PORT]", || None, |given| given.one(source).map(Some))
        .help("Where it comes from")
        .show(|_| "as the kernel chooses".to_owned());

static UID: Flag<u32> = Flag::number("uid", "UID", || 0, |given| given.one(number))
    .help("The user of the process that connects, in the user namespace of the network namespace")
    .shown();

static GID: Flag<Option<u32>> = Flag::number("gid", "GID", || None, |given| given.one(number).map(Some))
    .help("Its group")
    .show(|_| "the same number as --uid".to_owned());

static UDP: Flag<bool> = Flag::switch("udp").help("A datagram, not a TCP connection");

static IN: Flag<bool> =
    Flag::switch("in").help("A connection that comes in from outside; without it, one of a process in here");

static FLAGS: Flags = &[&TO, &FROM, &UID, &GID, &UDP, &IN, &NETNS, &POD, &NODE_ROOT, &OUTPUT];

/// An address, with or without a port.
#[derive(Clone, Copy, Debug)]
struct Source {
    address: IpAddr,
    port: Option<u16>,
}

pub(super) fn command() -> Command {
    with_flags(Command::new(NAME), FLAGS)
        .about("Explains what the rules do to a connection: each hook, chain and rule, and where it ends")
        .after_help(
            "Reads the rules of every table, the addresses, the routes and the sockets, and sends nothing. Needs \
             CAP_NET_ADMIN: the kernel shows rules to nobody else.\n\n\
             Exit codes: 0 intercepted; 4 not intercepted, or it depends; 5 redirected to a port on which nobody \
             listens; 1 it cannot be read; 2 wrong usage.",
        )
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let values = Values::new(matches);
    let log = Log::for_output(Output::is_json(&values));
    end(execute(&values), log)
}

fn execute(values: &Values<'_>) -> Result<ExitCode, Failure> {
    let flow = flow(values)?;
    let output = values.read(&OUTPUT)?;
    let netns = netns::chosen(values)?;
    let (shown, verdict) = netns::inside(netns.as_ref(), || {
        progress::during("reading the ruleset", || {
            let ruleset =
                Snapshot::read(&mut Socket::open()?, Scope::Family(Family::Unspec), Depth::All)?.listed()?;
            let explanation = explain(&ruleset, &Machine::open()?, &flow)?;
            Ok((show(&flow, &explanation, output), explanation.verdict()))
        })
    })?;
    write_result(&shown)?;
    Ok(match verdict {
        Verdict::Intercepted => ExitCode::SUCCESS,
        Verdict::NotIntercepted => ExitCode::from(NOT_INTERCEPTED),
        Verdict::NoListener => ExitCode::from(NO_LISTENER),
    })
}

fn show(flow: &Flow, explanation: &Explanation<'_>, output: Output) -> String {
    match output {
        Output::Text => text::explanation(flow, explanation),
        Output::Json => json::explanation(flow, explanation),
    }
}

fn flow(values: &Values<'_>) -> Result<Flow, UsageError> {
    let destination =
        values.read(&TO)?.ok_or_else(|| UsageError::missing(&TO, "the address and the port to explain"))?;
    let from = values.read(&FROM)?;
    if let (Some(from), Some(given)) = (from, values.given(&FROM))
        && from.address.is_ipv4() != destination.is_ipv4()
    {
        return Err(given.fault("it is not of the same address family as --to"));
    }
    let origin = if values.read(&IN)? {
        if let Some(given) = values.given(&UID).or_else(|| values.given(&GID)) {
            return Err(given.fault("a connection from outside has no user; leave it out, or leave out --in"));
        }
        Origin::Outside
    } else {
        let uid = values.read(&UID)?;
        Origin::Process { uid, gid: values.read(&GID)?.unwrap_or(uid) }
    };
    Ok(Flow {
        protocol: if values.read(&UDP)? { Protocol::UDP } else { Protocol::TCP },
        origin,
        source: from.map(|from| from.address),
        source_port: from.and_then(|from| from.port),
        destination,
    })
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is not an address with a port (such as 10.0.0.5:443 or [fd00::5]:443)")
    })
}

fn source(text: &str) -> Result<Source, String> {
    if let Ok(address) = text.parse() {
        return Ok(Source { address, port: None });
    }
    let address = socket_address(text)?;
    Ok(Source { address: address.ip(), port: Some(address.port()) })
}
