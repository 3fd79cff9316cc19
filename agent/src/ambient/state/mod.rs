//! What is to be done for the node's pods: a state machine without I/O.
//!
//! It compares two things. Desired is what the API server says: which pods of this node belong to the mesh. Actual is
//! what was seen: a pod's network namespace, the rules in it, ztunnel's acknowledgement on the newest connection, the
//! elements of the host's probe set that have the pod's UID, and the annotation. [`State::actions`] names what may be
//! started now to make the one the other, and marks it as under way; [`State::handle`] takes the results, and what
//! else happens. Nothing depends on the order of what happens: a lost, repeated or failed step leaves a difference, and a
//! difference leads to the step.
//!
//! Three rules keep a stale or partial view of the cluster from taking a pod out of the mesh:
//! - An absence from a list counts once a bookmark has confirmed the list: lists come from the API server's cache,
//!   which may lag. So do the labels that take a pod out of the mesh, which are the pod's and its namespace's. Until then
//!   ztunnel is asked to keep the pod's proxy.
//! - An API server sends no bookmark of a collection in which nothing has changed since the list, for as long as that
//!   lasts: for days where nobody creates a namespace. So where something of a pod would have to go, and only the
//!   confirmation is missing, the API server is asked for that pod and its namespace, which it reads from etcd.
//! - ztunnel is accepted once all pods that are listed have been looked for.
//! - A pod that leaves the mesh loses its rules first, then its proxy: in the other order its traffic would be cut.

mod compare;
mod handle;
mod steps;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use meshwire::mesh::istio::ambient::PodInterception;

use super::backoff::{Moment, Repairs, Retry};
use crate::zds::{ConnectionId, Request};
pub use values::{
    Action, Heals, Input, NetnsId, PodState, PodStatus, PodView, Redirection, Report, Uid, Writer,
};

/// How long a pod may differ, without a failure, before its annotation says `pending`. A restart of the agent or of
/// ztunnel should not take every pod's HBONE away for a moment.
const GRACE: Duration = Duration::from_secs(10);
/// How long the host's ruleset has to be left alone before it is read: others may be in the middle of a series.
const QUIET: Duration = Duration::from_millis(100);
/// How often the same is reported of a pod, or of the host.
const REPORTS: Duration = Duration::from_secs(300);

/// What is known of all pods, of the host and of the connections.
#[derive(Debug, Default)]
pub struct State {
    pods: BTreeMap<Uid, Pod>,
    /// The pods that have an address, mostly one
    holders: BTreeMap<IpAddr, BTreeSet<Uid>>,
    connections: BTreeMap<ConnectionId, Connection>,
    host: Host,
    listed: bool,
    /// Of pods and namespaces
    confirmed: bool,
    /// Of pods alone: which of them exist
    pods_confirmed: bool,
    may_accept: bool,
    /// The pods that the scan under way is to find
    scanning: BTreeSet<Uid>,
    scan_under_way: bool,
    /// Counts claims of addresses
    claims: u64,
    heals: Heals,
    /// The pods of which something has changed since they were looked at
    changed: BTreeSet<Uid>,
    /// Something has changed that concerns all of them
    all_changed: bool,
    /// When they were looked at
    looked_at: Moment,
    /// When one of them is to be looked at again although nothing happens
    next_time: Option<Moment>,
    /// The pods of which a ztunnel may have to hear
    unsent: BTreeSet<Uid>,
}

#[derive(Debug, Default)]
struct Pod {
    /// `None`: known only by what it has left in the probe set
    view: Option<PodView>,
    presence: Presence,
    /// The plugin knows them before the API server does
    addresses: BTreeSet<IpAddr>,
    /// Of two pods with one address the later claim counts
    claim: u64,
    netns: Option<NetnsId>,
    rules: Rules,
    inspection_due: bool,
    scan_due: bool,
    probes: BTreeSet<IpAddr>,
    annotation: Option<Redirection>,
    /// A step in the kernel is under way
    busy: bool,
    patching: bool,
    patch_failed: bool,
    /// The API server is asked for it
    asking: bool,
    /// It has answered that the pod does not belong to the mesh, since the last lists
    asked: bool,
    attempted: bool,
    tickets: Vec<(u64, Moment)>,
    failure: Option<String>,
    differs_since: Option<Moment>,
    retry: Retry,
    scan_retry: Retry,
    patch_retry: Retry,
    ask_retry: Retry,
    repairs: Repairs,
    reported: Option<Moment>,
    contest_reported: Option<Moment>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Presence {
    /// The last list had it, or the watch
    Listed,
    /// The last list did not have it
    #[default]
    Unlisted,
    /// The watch reported its deletion
    Deleted,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Rules {
    #[default]
    Unknown,
    Absent,
    Present(PodInterception),
    /// They existed, and have changed
    Damaged,
}

#[derive(Debug, Default)]
struct Connection {
    snapshot_sent: bool,
    in_flight: Option<(Request, Option<NetnsId>)>,
    announced: BTreeMap<Uid, Announced>,
}

#[derive(Debug, Default)]
struct Announced {
    /// `None` is Keep
    netns: Option<NetnsId>,
    accepted: bool,
    retry: Retry,
}

#[derive(Debug, Default)]
struct Host {
    rules: bool,
    ever: bool,
    read: bool,
    busy: bool,
    /// When it is to be read
    read_at: Option<Moment>,
    retry: Retry,
    repairs: Repairs,
    failure: Option<String>,
    writer: Option<Writer>,
    contest_reported: Option<Moment>,
}

impl State {
    /// Nothing is known. The host's ruleset is to be read at once.
    #[must_use]
    pub fn new() -> Self {
        let host = Host { read_at: Some(Moment::ZERO), ..Host::default() };
        Self { host, ..Self::default() }
    }

    /// Whether ztunnel may be accepted: from here on a snapshot lists every pod.
    #[must_use]
    pub fn may_accept(&self) -> bool {
        self.may_accept
    }

    /// How many ztunnels are connected.
    #[must_use]
    pub fn ztunnels(&self) -> usize {
        self.connections.len()
    }

    /// The namespaces that are still of use. Descriptors of others are to be closed: they would keep alive what the runtime has
    /// ended, for as long as the pod of a finished job is listed.
    pub fn namespaces(&self) -> impl Iterator<Item = NetnsId> {
        self.pods.values().filter(|pod| !self.gone(pod)).filter_map(|pod| pod.netns)
    }

    /// The pod as the API server has it.
    #[must_use]
    pub fn view(&self, uid: &Uid) -> Option<&PodView> {
        self.pods.get(uid)?.view.as_ref()
    }

    /// The pod's addresses, from the plugin or the API server.
    #[must_use]
    pub fn addresses(&self, uid: &Uid) -> Option<&BTreeSet<IpAddr>> {
        Some(&self.pods.get(uid)?.addresses)
    }

    /// Whether the host's rules are in place.
    #[must_use]
    pub fn host_is_intact(&self) -> bool {
        self.host.rules
    }

    /// Why the host's rules are not in place.
    #[must_use]
    pub fn host_failure(&self) -> Option<&str> {
        self.host.failure.as_deref()
    }

    /// How many times rules had to be repaired that others had removed.
    #[must_use]
    pub fn heals(&self) -> Heals {
        self.heals
    }

    /// Who changed the host's ruleset last, as far as that is known.
    #[must_use]
    pub fn host_writer(&self) -> Option<&Writer> {
        self.host.writer.as_ref()
    }

    /// For how many pods, or the host, repairs have become so frequent that they wait.
    #[must_use]
    pub fn backing_off(&self, now: Moment) -> usize {
        let pods = self.pods.values().map(|pod| &pod.repairs);
        pods.chain([&self.host.repairs]).filter(|repairs| repairs.is_backing_off(now)).count()
    }

    /// The pods of the mesh, and the rules that they are to have.
    pub fn members(&self) -> impl Iterator<Item = (&Uid, &PodInterception)> {
        self.pods.iter().filter_map(|(uid, pod)| Some((uid, self.wanted(pod)?)))
    }

    /// The pods of the mesh, and those that are leaving it.
    pub fn status(&self) -> impl Iterator<Item = PodStatus<'_>> {
        self.pods.iter().filter_map(|(uid, pod)| {
            let state = if self.wanted(pod).is_some() {
                let captured = self.captured(uid, pod);
                match (&pod.failure, captured && pod.annotation == Some(Redirection::Enabled)) {
                    (_, true) => PodState::Enabled,
                    (None, false) => PodState::Pending,
                    (Some(_), false) => PodState::Failed,
                }
            } else if self.has_traces(uid, pod) {
                PodState::Leaving
            } else {
                return None;
            };
            Some(PodStatus {
                uid,
                workload: pod.view.as_ref().map(|view| &view.workload),
                state,
                netns: pod.netns,
                rules: matches!(pod.rules, Rules::Present(_)),
                ztunnel: self.acknowledged(uid, pod),
                probes: &pod.probes,
                failure: pod.failure.as_deref(),
            })
        })
    }
}

#[cfg(test)]
mod tests;
