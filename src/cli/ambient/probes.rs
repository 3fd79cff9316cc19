//! `meshwire ambient probes`: the addresses that the kubelet probes, and whose they are.

use std::io::{self, Read};
use std::net::IpAddr;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use nftwire::Socket;
use serde_json::{Value as Json, json};

use super::{DESTROY, REMOVE, group};
use crate::cli::failure::{Failure, USAGE, write_result};
use crate::cli::flag::shared::{NETNS, OUTPUT, Output};
use crate::cli::flag::value::address;
use crate::cli::flag::{Flag, Flags, Values, argument, with_flags};
use crate::cli::log::Log;
use crate::cli::{netns, progress};
use crate::diagnostic::{Explain, Explanation};
use crate::probes::{self, PodUid, Probe, Removal, Synced};

/// The command's name.
pub(super) const NAME: &str = "probes";

/// Exit code when an address is another pod's.
const NOT_THE_OWNER: u8 = 3;

const ADD: &str = "add";
const LIST: &str = "list";
const FLUSH: &str = "flush";
const SYNC: &str = "sync";
const ADDRESSES: &str = "addresses";
const POD_UID: &str = "pod-uid";

static FLAGS: Flags = &[&OUTPUT, &NETNS];

static ALLOW_EMPTY: Flag<bool> =
    Flag::switch("allow-empty").help("Empty the set where standard input has no address");

/// Whoever writes to standard input may have failed before it wrote anything.
#[derive(Debug, thiserror::Error)]
#[error("standard input has no address, and the set would be emptied")]
struct NothingToSyncError;

impl Explain for NothingToSyncError {
    fn explanation(&self) -> Explanation {
        Explanation::default().help(format!("--{} does that", ALLOW_EMPTY.name()))
    }
}

pub(super) fn command() -> Command {
    let command = |name, about| with_flags(Command::new(name).about(about), FLAGS);
    let pod_uid = || Arg::new(POD_UID).long(POD_UID).value_name("UID").value_parser(uid);
    let addresses = || {
        Arg::new(ADDRESSES)
            .help("An address of the pod")
            .value_name("ADDR")
            .action(ArgAction::Append)
            .num_args(1..)
            .value_parser(address)
    };
    group(NAME, "Changes or shows the addresses of pods that the kubelet probes, in the node's network namespace")
        .after_help(
            "Exit codes: 0 done, 1 failed (nothing changed, unless the error says so), 2 wrong usage, 3 an address is another pod's.",
        )
        .subcommands([
            command(ADD, "Adds addresses; an address of another pod is assigned to this one")
                .arg(addresses().required(true))
                .arg(pod_uid().required(true).help("The pod that has the addresses")),
            command(REMOVE, "Removes addresses, or all that a pod has")
                .arg(addresses().required_unless_present(POD_UID))
                .arg(pod_uid().help("Remove only what this pod has; report whose the others are")),
            command(LIST, "Shows the addresses and their pods"),
            command(FLUSH, "Removes all addresses"),
            command(DESTROY, "Removes the sets; no rule may use them any more"),
            command(
                SYNC,
                "Replaces the content of the set by standard input, in lines of ADDR POD-UID",
            )
            .arg(argument(&ALLOW_EMPTY)),
        ])
}

fn uid(text: &str) -> Result<String, probes::PodUidError> {
    PodUid::new(text).map(|uid| uid.as_str().to_owned())
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let Some((subcommand, matches)) = matches.subcommand() else { return Ok(ExitCode::from(USAGE)) };
    let values = Values::new(matches);
    let output = values.read(&OUTPUT)?;
    let netns = values.read(&NETNS)?;
    let mut text = String::new();
    if subcommand == SYNC {
        io::stdin().read_to_string(&mut text)?;
    }
    let desired = desired(&text).map_err(|error| Failure::new(error, USAGE))?;
    if subcommand == SYNC && desired.is_empty() && !values.read(&ALLOW_EMPTY)? {
        return Err(Failure::new(NothingToSyncError, USAGE));
    }
    let work = || execute(subcommand, matches, desired, output);
    netns::inside(netns.as_ref(), work)
}

fn execute(
    subcommand: &str,
    matches: &ArgMatches,
    desired: Vec<(IpAddr, PodUid<'_>)>,
    output: Output,
) -> Result<ExitCode, Failure> {
    let addresses: Vec<IpAddr> = match subcommand {
        ADD | REMOVE => matches.get_many(ADDRESSES).into_iter().flatten().copied().collect(),
        _ => Vec::new(),
    };
    let pod_uid = match subcommand {
        ADD | REMOVE => matches.get_one::<String>(POD_UID).map(|uid| PodUid::new(uid)).transpose()?,
        _ => None,
    };
    let mut nft = Socket::open()?;
    let nft = &mut nft;
    match (subcommand, pod_uid) {
        (ADD, Some(pod_uid)) => {
            probes::add(nft, &addresses, pod_uid)?;
            report(
                output,
                &format!("added: addresses {}", addresses.len()),
                &json!({
                    "result": "added",
                    "addresses": addresses.len(),
                }),
            )
        }
        (REMOVE, Some(pod_uid)) if addresses.is_empty() => {
            let removed = probes::remove_pod(nft, pod_uid)?;
            removal(output, &Removal { removed, others: Vec::new() }, None)
        }
        (REMOVE, pod_uid) => removal(output, &probes::remove(nft, &addresses, pod_uid)?, pod_uid),
        (LIST, _) => list(output, &probes::list(nft)?),
        (FLUSH, _) => {
            probes::flush(nft)?;
            report(output, "flushed", &json!({ "result": "flushed" }))
        }
        (DESTROY, _) => {
            probes::destroy(nft)?;
            report(output, "destroyed", &json!({ "result": "destroyed" }))
        }
        _ => synced(output, &progress::during("replacing the probe set", || probes::sync(nft, desired))?),
    }
}

fn report(output: Output, text: &str, json: &Json) -> Result<ExitCode, Failure> {
    match output {
        Output::Text => write_result(&format!("{text}\n"))?,
        Output::Json => write_result(&format!("{json}\n"))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn removal(output: Output, removal: &Removal, pod_uid: Option<PodUid<'_>>) -> Result<ExitCode, Failure> {
    let Removal { removed, others } = removal;
    report(
        output,
        &format!("removed: addresses {removed}"),
        &json!({
            "result": "removed",
            "addresses": removed,
            "others": others.iter().map(object).collect::<Vec<_>>(),
        }),
    )?;
    for Probe { address, pod_uid: owner } in others {
        let owner = owner.as_deref().map_or_else(|| "nobody".to_owned(), |owner| format!("pod {owner}"));
        let asked = pod_uid.map_or_else(String::new, |pod_uid| format!(", not to pod {pod_uid}"));
        Log::for_output(output == Output::Json)
            .error(&format!("{address} belongs to {owner}{asked}: it stays"));
    }
    Ok(if others.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NOT_THE_OWNER) })
}

/// The text is what `sync` takes.
fn list(output: Output, probes: &[Probe]) -> Result<ExitCode, Failure> {
    let text = match output {
        Output::Text => probes
            .iter()
            .map(|probe| format!("{} {}\n", probe.address, probe.pod_uid.as_deref().unwrap_or("-")))
            .collect(),
        Output::Json => {
            format!("{}\n", &json!({ "probes": probes.iter().map(object).collect::<Vec<_>>() }))
        }
    };
    write_result(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn object(probe: &Probe) -> Json {
    json!({ "address": probe.address.to_string(), "pod_uid": probe.pod_uid })
}

fn synced(output: Output, synced: &Synced) -> Result<ExitCode, Failure> {
    let Synced { added, changed, removed, commit } = synced;
    let (bytes, time) = commit.map_or((0, 0), |commit| (commit.bytes, commit.elapsed.as_micros()));
    report(
        output,
        &format!("synced: added {added}, changed {changed}, removed {removed}, bytes {bytes}, µs {time}"),
        &json!({
            "result": "synced",
            "added": added,
            "changed": changed,
            "removed": removed,
            "bytes": bytes,
            "microseconds": u64::try_from(time).unwrap_or(u64::MAX),
        }),
    )
}

/// A line of standard input that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("standard input, line {line}: {fault}")]
struct BadLineError {
    /// From 1
    line: usize,
    fault: String,
}

impl Explain for BadLineError {
    fn explanation(&self) -> Explanation {
        Explanation::default().at("line", self.line)
    }
}

/// Reads lines of `ADDR POD-UID`; empty ones are left out. Returns them in the addresses' order.
fn desired(text: &str) -> Result<Vec<(IpAddr, PodUid<'_>)>, BadLineError> {
    let usual_line = "10.0.0.1 00000000-0000-0000-0000-000000000000\n".len();
    let mut probes = Vec::with_capacity(text.len() / usual_line);
    for (line, words) in (1..).zip(text.lines()) {
        let bad = |fault| BadLineError { line, fault };
        let mut words = words.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        let address = address(first).map_err(bad)?;
        let (Some(uid), None) = (words.next(), words.next()) else {
            return Err(bad("it is not an address, a space and a pod's UID".to_owned()));
        };
        let uid = PodUid::new(uid).map_err(|error| bad(format!("{uid:?}: {error}")))?;
        probes.push((address, uid, line));
    }
    probes.sort_unstable();
    for pair in probes.windows(2) {
        let [(address, uid, line), (other_address, other_uid, other_line)] = pair else { continue };
        if address == other_address && uid != other_uid {
            let (line, uid, before, other) = match line < other_line {
                true => (other_line, other_uid, line, uid),
                false => (line, uid, other_line, other_uid),
            };
            let fault = format!("{address} is pod {uid}'s here, and pod {other}'s in line {before}");
            return Err(BadLineError { line: *line, fault });
        }
    }
    Ok(probes.into_iter().map(|(address, uid, _)| (address, uid)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(text: &str, expected: &[&str]) {
        let probes = desired(text).unwrap();
        let found: Vec<_> = probes.iter().map(|(address, uid)| format!("{address} {uid}")).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[track_caller]
    fn refuses(text: &str, error: &str) {
        assert_eq!(
            desired(text).unwrap_err().to_string(),
            format!("standard input, line {error}"),
            "{text:?}"
        );
    }

    #[test]
    fn lines_of_an_address_and_a_pod() {
        reads("", &[]);
        reads("\n \n", &[]);
        reads("10.0.0.2 b\r\n\n  10.0.0.1\ta \nfd00::1 a", &["10.0.0.1 a", "10.0.0.2 b", "fd00::1 a"]);
        reads("::ffff:10.0.0.1 a\n10.0.0.1 a\n", &["10.0.0.1 a", "10.0.0.1 a"]);
    }

    #[test]
    fn an_error_names_the_line() {
        refuses("10.0.0.1 a\n10.0.0 b\n", "2: \"10.0.0\" is not an IP address");
        refuses("\n\n10.0.0.1/32 b\n", "3: \"10.0.0.1/32\" is not an IP address");
        refuses("10.0.0.1\n", "1: it is not an address, a space and a pod's UID");
        refuses("10.0.0.1 a b\n", "1: it is not an address, a space and a pod's UID");
        refuses(
            "10.0.0.1 \"a\"\n",
            "1: \"\\\"a\\\"\": a pod's UID has 1 to 127 letters, digits and signs, without spaces and quotes",
        );
        refuses("10.0.0.1 b\nfd00::1 c\n10.0.0.1 a\n", "3: 10.0.0.1 is pod a's here, and pod b's in line 1");
    }
}
