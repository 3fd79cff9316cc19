//! `--all-pods`: every pod of a node, found by the node's processes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use nft_ruleset::Family;
use nft_ruleset::snapshot::{Depth, Scope, Snapshot};
use nftwire::{NamespaceError, Socket};
use serde_json::json;

use crate::cli::action::of;
use crate::cli::differences;
use crate::cli::failure::{Failure, write_result};
use crate::cli::flag::shared::Output;
use crate::cli::log::Log;
use crate::cli::pod_spec::{Desired, PodSpec};
use crate::cli::progress;
use crate::leftovers;
use crate::mesh;
use crate::netns::{Namespace, in_each, inside};
use crate::pods::{Node, PodName, PodNetwork};
use crate::verify::{PossibleDifferences, verify_possible};

/// Where the settings come from.
pub(super) enum Settings {
    /// The same for all
    OfAll(Desired),
    /// Each pod's own
    OfEach(Vec<PodSpec>),
}

/// A pod, or a network namespace that is none's: its name for people, where it is, and what its rules are to be.
struct Target<'a> {
    name: String,
    /// A file of it
    network: Option<PathBuf>,
    desired: Expected<'a>,
}

enum Expected<'a> {
    Of(Desired),
    OfAll(&'a Desired),
    /// Its specification says that there are none, or cannot be used
    Not(Failure),
    /// Nobody says so
    Unknown,
}

/// Pods by their UIDs in hexadecimal digits.
type Names = BTreeMap<String, PodName>;

/// The outcome for one.
enum Outcome {
    Compared(Box<PossibleDifferences>),
    /// It has no rules of a mesh
    NoRules,
    /// It has rules of a mesh, and the desired ones are not known
    NoSettings,
    /// No process of it is on this node
    NotHere,
}

pub(super) fn verify(
    node: &Node,
    settings: &Settings,
    output: Output,
    log: Log,
) -> Result<ExitCode, Failure> {
    let networks = node.networks()?;
    // Without the kubelet's folders, pods have no names here.
    let names = node.names().unwrap_or_default();
    let targets = match settings {
        Settings::OfAll(desired) => {
            let target = |network| Target {
                name: name(&names, &network),
                network: Some(network.path),
                desired: Expected::OfAll(desired),
            };
            networks.into_iter().map(target).collect()
        }
        Settings::OfEach(pods) => of_each(&names, pods, networks),
    };
    let quiet = |target: &Target<'_>| compare(target, log).map_err(|failure| failure.at(&target.name));
    let outcomes = progress::during("comparing in all pods", || in_each(&targets, quiet));
    report(&targets, outcomes, output, log)
}

/// The pods of a list, and what else has a network namespace.
fn of_each<'a>(names: &Names, pods: &'a [PodSpec], networks: Vec<PodNetwork>) -> Vec<Target<'a>> {
    let is_of =
        |network: &PodNetwork, pod: &PodSpec| network.uid.as_ref().is_some_and(|uid| pod.uids.contains(uid));
    let of_pod = |pod: &'a PodSpec| Target {
        name: pod.name.clone(),
        network: pod.netns.clone().or_else(|| {
            networks.iter().find(|network| is_of(network, pod)).map(|network| network.path.clone())
        }),
        desired: pod.desired().map_or_else(Expected::Not, Expected::Of),
    };
    let mut targets: Vec<_> = pods.iter().map(of_pod).collect();
    let others = networks.into_iter().filter(|network| !pods.iter().any(|pod| is_of(network, pod)));
    targets.extend(others.map(|network| Target {
        name: name(names, &network),
        network: Some(network.path),
        desired: Expected::Unknown,
    }));
    targets
}

/// The pod's name where the kubelet's folders have it.
fn name(names: &Names, network: &PodNetwork) -> String {
    match network.uid.as_ref().and_then(|uid| names.get(uid)) {
        Some(pod) => format!("{}/{}", pod.namespace, pod.name),
        None => format!("process {}", network.pid),
    }
}

fn compare(target: &Target<'_>, log: Log) -> Result<Outcome, Failure> {
    let Some(network) = &target.network else { return Ok(Outcome::NotHere) };
    let namespace = match Namespace::from_path(network) {
        // It has ended meanwhile.
        Err(NamespaceError::Gone { .. }) => return Ok(Outcome::NotHere),
        namespace => namespace?,
    };
    inside(&namespace, |nft, routes| {
        let desired = match &target.desired {
            Expected::Of(desired) => desired,
            Expected::OfAll(_) | Expected::Unknown | Expected::Not(_) if !has_rules(nft)? => {
                return Ok(Outcome::NoRules);
            }
            Expected::OfAll(desired) => desired,
            Expected::Unknown | Expected::Not(_) => return Ok(Outcome::NoSettings),
        };
        let desired = desired(routes, log)?;
        Ok(Outcome::Compared(Box::new(verify_possible(&desired, nft, routes)?)))
    })
}

/// Whether a mesh has rules in the socket's namespace.
fn has_rules(nft: &mut Socket) -> Result<bool, nftwire::Error> {
    let tables = Snapshot::read(nft, Scope::Family(Family::Unspec), Depth::Tables)?;
    let is_mesh = tables.tables().iter().any(|table| mesh::owns(table.head()));
    Ok(is_mesh || !leftovers::find(nft)?.is_empty())
}

fn report(
    targets: &[Target<'_>],
    outcomes: Vec<Result<Outcome, Failure>>,
    output: Output,
    log: Log,
) -> Result<ExitCode, Failure> {
    let (mut text, mut failed, mut differs) = (String::new(), None, false);
    for (target, outcome) in targets.iter().zip(outcomes) {
        let name = &target.name;
        let mut say = |result: &str, says: &str| match output {
            Output::Text => text += &format!("{name}: {says}\n"),
            Output::Json => text += &format!("{}\n", of(Some(name), json!({ "result": result }))),
        };
        match outcome {
            Ok(Outcome::Compared(compared)) => {
                for warning in compared.warnings() {
                    log.warn(&format!("{name}: {warning}"));
                }
                differs |= !compared.differences.is_empty();
                text += &differences::text(&compared.differences, output, Some(name));
            }
            Ok(Outcome::NoRules) => say("no_rules", "not compared: no rules of a mesh"),
            Ok(Outcome::NotHere) => {
                say("not_here", "not compared: no network namespace of its own on this node");
            }
            Ok(Outcome::NoSettings) => {
                let reason = match &target.desired {
                    Expected::Not(failure) => failure.text(),
                    _ => "no specification says what its rules are to be".to_owned(),
                };
                say("no_settings", &format!("not compared, and it has rules of a mesh: {reason}"));
            }
            Err(failure) => {
                if output == Output::Json {
                    let object = json!({ "result": "failed", "error": failure.to_json() });
                    text += &format!("{}\n", of(Some(name), object));
                }
                failed = Some(failure.report(log));
            }
        }
    }
    write_result(&text)?;
    Ok(failed.unwrap_or_else(|| differences::exit_code(!differs)))
}
