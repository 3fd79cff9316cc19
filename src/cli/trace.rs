//! `meshwire trace`: the way of real packets through the rules.

use std::collections::HashMap;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{ArgMatches, Command};
use nft_ruleset::Protocol;
use serde_json::json;

use super::failure::{Failure, end, write_part};
use super::flag::shared::{NETNS, OUTPUT, Output};
use super::flag::value::{address, duration, listening_port, number};
use super::flag::{Flag, Flags, UsageError, Values, with_flags};
use super::interfaces::interfaces;
use super::log::Log;
use super::netns;
use super::pod::{NODE_ROOT, POD};
use crate::trace::{Direction, Filter, PacketHeader, Position, Step, Tracer};

/// The command's name.
pub(super) const NAME: &str = "trace";

/// Exit code when there was no packet.
const NOTHING: u8 = 4;

/// How many packets a second the kernel marks: enough to see the flows, not enough to be felt.
const RATE: u32 = 100;

/// How long the last flow's packets are waited for.
const REST: Duration = Duration::from_millis(500);

static DPORT: Flag<Option<u16>> =
    Flag::number("dport", "PORT", || None, |given| given.one(listening_port).map(Some))
        .help("Only flows to this port, as the client sees it")
        .show(|_| "any".to_owned());

static TO: Flag<Option<IpAddr>> = Flag::text("to", "ADDRESS", || None, |given| given.one(address).map(Some))
    .help("Only flows to this address, as the client sees it")
    .show(|_| "any".to_owned());

static FROM: Flag<Option<IpAddr>> =
    Flag::text("from", "ADDRESS", || None, |given| given.one(address).map(Some))
        .help("Only flows from this address")
        .show(|_| "any".to_owned());

static PROTOCOL: Flag<Option<u8>> = Flag::text(
    "protocol",
    "PROTOCOL",
    || None,
    |given| given.choice(&[("tcp", Some(Protocol::TCP)), ("udp", Some(Protocol::UDP))]),
)
.help("Only flows of this protocol")
.show(|_| "both".to_owned())
.choices(&["tcp", "udp"]);

static COUNT: Flag<u32> = Flag::number("count", "FLOWS", || 20, |given| given.one(number))
    .help("End after this many flows")
    .shown();

static TIMEOUT: Flag<Duration> =
    Flag::number("timeout", "DURATION", || Duration::from_secs(30), |given| given.one(duration))
        .help("End after this time")
        .show(|timeout| humantime::format_duration(*timeout).to_string());

static FLAGS: Flags = &[&DPORT, &TO, &FROM, &PROTOCOL, &COUNT, &TIMEOUT, &NETNS, &POD, &NODE_ROOT, &OUTPUT];

pub(super) fn command() -> Command {
    with_flags(Command::new(NAME), FLAGS)
        .about("Shows which rules the first packets of new flows meet, and those of their replies")
        .after_help(format!(
            "Marks the packets by a table of its own, {}, which belongs to this process: it is gone when the process \
             ends, however it ends. No other table is touched. The kernel marks at most {RATE} packets a second. Needs \
             CAP_NET_ADMIN and Linux 5.12 or later.\n\n\
             Exit codes: 0 flows were shown; 4 there were none; 1 cannot trace; 2 wrong usage.",
            crate::trace::NAME
        ))
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let values = Values::new(matches);
    let log = Log::for_output(Output::is_json(&values));
    end(execute(&values), log)
}

fn execute(values: &Values<'_>) -> Result<ExitCode, Failure> {
    let filter = filter(values)?;
    let count = usize::try_from(values.read(&COUNT)?).unwrap_or(usize::MAX);
    let timeout = values.read(&TIMEOUT)?;
    let output = values.read(&OUTPUT)?;
    let netns = netns::chosen(values)?;
    let flows = netns::inside(netns.as_ref(), || {
        let mut tracer = Tracer::start(&filter, RATE)?;
        let printer = Printer { output, devices: interfaces()? };
        let mut deadline = Instant::now() + timeout;
        while let Some(step) = tracer.next(deadline.saturating_duration_since(Instant::now()))? {
            if step.flow > count {
                break;
            }
            if !write_part(&printer.line(&step))? {
                break;
            }
            if tracer.flows() >= count {
                deadline = deadline.min(Instant::now() + REST);
            }
        }
        Ok(tracer.flows())
    })?;
    Ok(if flows == 0 { ExitCode::from(NOTHING) } else { ExitCode::SUCCESS })
}

fn filter(values: &Values<'_>) -> Result<Filter, UsageError> {
    Ok(Filter {
        protocol: values.read(&PROTOCOL)?,
        source: values.read(&FROM)?,
        destination: values.read(&TO)?,
        port: values.read(&DPORT)?,
    })
}

struct Printer {
    output: Output,
    /// The names of devices, by their indices
    devices: HashMap<u32, String>,
}

impl Printer {
    fn line(&self, step: &Step) -> String {
        match self.output {
            Output::Text => self.text(step),
            Output::Json => self.json(step),
        }
    }

    fn text(&self, step: &Step) -> String {
        let direction = match step.direction {
            Direction::Original => '>',
            Direction::Reply => '<',
        };
        let head = format!("{} {direction} ", step.flow);
        let packet = step.packet.map_or_else(String::new, |packet| {
            let PacketHeader { source, destination, is_inbound, .. } = packet;
            let way = if is_inbound { "in" } else { "out" };
            let device = self.device(&packet);
            format!(
                "{head}{} {source} > {destination}{} {way} by {device}\n",
                protocol(&packet),
                flags(&packet)
            )
        });
        let at = step.at.as_ref().map_or_else(String::new, |at| {
            let Position { family, table, chain, rule, verdict } = at;
            let rule = rule.as_ref().map_or_else(String::new, |rule| format!("{rule} -> "));
            format!("{head}  {family} {table} {chain}: {rule}{verdict}\n")
        });
        packet + &at
    }

    fn json(&self, step: &Step) -> String {
        let direction = match step.direction {
            Direction::Original => "original",
            Direction::Reply => "reply",
        };
        let mut object = json!({ "flow": step.flow, "direction": direction });
        if let Some(packet) = step.packet {
            object["packet"] = json!({
                "protocol": protocol(&packet),
                "source": packet.source.to_string(),
                "destination": packet.destination.to_string(),
                "flags": packet.flags,
                "way": if packet.is_inbound { "in" } else { "out" },
                "device": self.device(&packet),
            });
        }
        if let Some(at) = &step.at {
            object["family"] = json!(at.family.to_string());
            object["table"] = json!(at.table);
            object["chain"] = json!(at.chain);
            object["rule"] = json!(at.rule);
            object["verdict"] = json!(at.verdict);
        }
        format!("{object}\n")
    }

    fn device(&self, packet: &PacketHeader) -> String {
        let name = self.devices.get(&packet.device).cloned();
        name.unwrap_or_else(|| format!("device {}", packet.device))
    }
}

fn protocol(packet: &PacketHeader) -> &'static str {
    if packet.protocol == Protocol::UDP { "udp" } else { "tcp" }
}

/// ` [syn,ack]`
fn flags(packet: &PacketHeader) -> String {
    const NAMES: [&str; 6] = ["fin", "syn", "rst", "psh", "ack", "urg"];
    let set: Vec<_> = NAMES
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| packet.flags & (1 << bit) != 0)
        .map(|(_, name)| name)
        .collect();
    if set.is_empty() { String::new() } else { format!(" [{}]", set.join(",")) }
}
