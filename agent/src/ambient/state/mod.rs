//! What is to be done for the node's pods: a state machine without I/O.
//!
//! It compares two things. Desired is what the API server says: which pods of this node belong to the mesh. Actual is
//! what was seen: a pod's network namespace, the rules in it, ztunnel's acknowledgement on the newest connection, the
//! elements of the host's probe set that have the pod's UID, and the annotation. [`State::actions`] names what may be
//! started now to make the one the other, and marks it as under way; [`State::handle`] takes what came of it, and what
//! else happens. Nothing depends on the order of what happens: a lost, repeated or failed step leaves a difference, and a
//! difference leads to the step.
//!
//! Three rules keep a stale or partial view of the cluster from taking a pod out of the mesh:
//! - An absence from a list counts once a bookmark has confirmed the list: lists come from the API server's cache,
//!   which may be behind. Until then ztunnel is asked to keep the pod's proxy.
//! - ztunnel is accepted once all pods that are listed have been looked for.
//! - A pod that leaves the mesh loses its rules first, then its proxy: in the other order its traffic would be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use meshwire::mesh::istio::ambient::PodInterception;

use super::backoff::{Moment, Repairs, Retry};
use crate::zds::{Ack, ConnectionId, Request, Workload};

/// How long a pod may differ, without a failure, before its annotation says `pending`. A restart of the agent or of
/// ztunnel should not take every pod's HBONE away for a moment.
const GRACE: Duration = Duration::from_secs(10);
/// How long the host's ruleset has to be left alone before it is read: others may be in the middle of a series.
const QUIET: Duration = Duration::from_millis(100);

/// A pod's UID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Arc<str>);

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl AsRef<str> for Uid {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which network namespace: its file's device and inode. They are not used again while a descriptor is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetnsId {
    /// The device of nsfs
    pub dev: u64,
    /// The namespace's inode
    pub ino: u64,
}

/// What the annotation `ambient.istio.io/redirection` says to istiod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirection {
    /// The pod's traffic goes through ztunnel
    Enabled,
    /// It is to, and does not yet
    Pending,
}

/// A pod as the API server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    /// Its UID
    pub uid: Uid,
    /// Its names, as ztunnel wants to know them
    pub workload: Workload,
    /// Its addresses, of the families that the mesh has on this node
    pub addresses: BTreeSet<IpAddr>,
    /// The rules that it is to have; `None` outside the mesh
    pub member: Option<PodInterception>,
    /// Whether its network namespace may be entered: it has one of its own
    pub own_network: bool,
    /// All its containers have ended, for good
    pub terminal: bool,
    /// What its annotation says
    pub annotation: Option<Redirection>,
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A pod was added, changed or listed
    Pod(PodView),
    /// The watch reported the deletion of a pod
    Deleted(Uid),
    /// A list of all pods is complete; these are in it
    Listed(BTreeSet<Uid>),
    /// The namespaces were listed again: what follows from their labels is not certain
    Unconfirmed,
    /// Bookmarks have confirmed the lists
    Confirmed,
    /// The runtime has made a namespace for a pod, and waits for an answer by this number
    Event {
        /// The pod
        uid: Uid,
        /// Its new namespace
        netns: NetnsId,
        /// The addresses that it has there
        addresses: BTreeSet<IpAddr>,
        /// The number of the answer
        ticket: u64,
        /// When the plugin gives up
        deadline: Moment,
    },
    /// Came of [`Action::Scan`]
    Scanned(BTreeMap<Uid, NetnsId>),
    /// Came of [`Action::Program`]
    Programmed(Uid, NetnsId, PodInterception, Result<(), String>),
    /// Came of [`Action::Inspect`]: whether the namespace holds exactly what was desired
    Inspected(Uid, NetnsId, Result<bool, String>),
    /// Came of [`Action::Unprogram`]
    Unprogrammed(Uid, NetnsId, Result<(), String>),
    /// Came of [`Action::AddProbes`]
    ProbesAdded(Uid, BTreeSet<IpAddr>, Result<(), String>),
    /// Came of [`Action::RemoveProbes`]
    ProbesRemoved(Uid, BTreeSet<IpAddr>, Result<(), String>),
    /// Came of [`Action::Annotate`]; if it failed, how long to wait at least
    Annotated(Uid, Option<Redirection>, Result<(), Duration>),
    /// Came of [`Action::ReadHost`]: whether the host's rules are as desired, and the probe set
    HostRead(Result<(bool, Vec<(IpAddr, Uid)>), String>),
    /// Came of [`Action::ProgramHost`]
    HostProgrammed(Result<(), String>),
    /// The host's ruleset has changed, or the kubelet
    HostChanged,
    /// A ztunnel has connected
    Connected(ConnectionId),
    /// Came of [`Action::Send`]
    Acknowledged(ConnectionId, Ack),
    /// A connection has ended
    Disconnected(ConnectionId),
    /// It is time to look at everything
    Pass,
}

/// Something may be started now.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Look for the network namespaces of these pods
    Scan(BTreeSet<Uid>),
    /// Make a pod's rules
    Program(Uid, NetnsId, PodInterception),
    /// See whether a pod's rules are these, or are absent
    Inspect(Uid, NetnsId, Option<PodInterception>),
    /// Remove a pod's rules
    Unprogram(Uid, NetnsId),
    /// Put a pod's addresses into the probe set
    AddProbes(Uid, BTreeSet<IpAddr>),
    /// Take a pod's addresses out of the probe set, unless they have become another pod's
    RemoveProbes(Uid, BTreeSet<IpAddr>),
    /// Write the pod's annotation; `None` removes it
    Annotate(Uid, Option<Redirection>),
    /// See whether the host's rules are intact, and read the probe set
    ReadHost,
    /// Make the host's rules
    ProgramHost,
    /// Ask a ztunnel, and hand it the namespace
    Send(ConnectionId, Request, Option<NetnsId>),
    /// Answer the plugin
    Answer(u64, Result<(), String>),
}

/// How it is with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodState {
    /// All is as desired
    Enabled,
    /// Something is still to be done
    Pending,
    /// Something has failed, and is tried again
    Failed,
    /// It has left the mesh, and something of it is still there
    Leaving,
}

/// A pod for operators.
#[derive(Clone, Debug)]
pub struct PodStatus<'a> {
    /// The UID
    pub uid: &'a Uid,
    /// Its names, as far as they are known
    pub workload: Option<&'a Workload>,
    /// How it is
    pub state: PodState,
    /// Its namespace
    pub netns: Option<NetnsId>,
    /// Whether its rules are there
    pub rules: bool,
    /// Whether ztunnel has acknowledged it on the newest connection
    pub ztunnel: bool,
    /// Its elements in the probe set
    pub probes: &'a BTreeSet<IpAddr>,
    /// What failed last
    pub failure: Option<&'a str>,
}

/// What is known of all pods, of the host and of the connections.
#[derive(Debug, Default)]
pub struct State {
    pods: BTreeMap<Uid, Pod>,
    connections: BTreeMap<ConnectionId, Connection>,
    host: Host,
    listed: bool,
    confirmed: bool,
    may_accept: bool,
    /// The pods that the scan under way is to find
    scanning: BTreeSet<Uid>,
    scan_under_way: bool,
    /// Counts claims of addresses
    claims: u64,
    repairs: u64,
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
    attempted: bool,
    tickets: Vec<(u64, Moment)>,
    failure: Option<String>,
    differs_since: Option<Moment>,
    retry: Retry,
    scan_retry: Retry,
    patch_retry: Retry,
    repairs: Repairs,
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
    /// They were there, and are not as they were
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
}

impl State {
    /// Nothing is known. The host's ruleset is to be read at once.
    #[must_use]
    pub fn new() -> Self {
        let host = Host { read_at: Some(Moment::ZERO), ..Host::default() };
        Self { host, ..Self::default() }
    }

    /// Whether ztunnel may be accepted: from here on a snapshot leaves out nobody.
    #[must_use]
    pub fn may_accept(&self) -> bool {
        self.may_accept
    }

    /// How many ztunnels are connected.
    #[must_use]
    pub fn ztunnels(&self) -> usize {
        self.connections.len()
    }

    /// The namespaces that are still of use; descriptors of others can be closed.
    pub fn namespaces(&self) -> impl Iterator<Item = NetnsId> {
        self.pods.values().filter_map(|pod| pod.netns)
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

    /// How many times rules had to be repaired that others had removed, on the host and in pods.
    #[must_use]
    pub fn repairs(&self) -> u64 {
        self.repairs
    }

    /// For how many pods, or the host, repairs have become so frequent that they wait.
    #[must_use]
    pub fn backing_off(&self, now: Moment) -> usize {
        let pods = self.pods.values().map(|pod| &pod.repairs);
        pods.chain([&self.host.repairs]).filter(|repairs| repairs.is_backing_off(now)).count()
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

    /// Takes note of what happened.
    pub fn handle(&mut self, now: Moment, input: Input) {
        match input {
            Input::Pod(view) => self.seen(view),
            Input::Deleted(uid) => self.with(&uid, |pod| pod.presence = Presence::Deleted),
            Input::Listed(uids) => {
                for (uid, pod) in &mut self.pods {
                    if pod.presence == Presence::Listed && !uids.contains(uid) {
                        pod.presence = Presence::Unlisted;
                    }
                }
                self.listed = true;
                self.confirmed = false;
            }
            Input::Unconfirmed => self.confirmed = false,
            Input::Confirmed => self.confirmed = self.listed,
            Input::Event { uid, netns, addresses, ticket, deadline } => {
                self.event(&uid, netns, addresses, (ticket, deadline));
            }
            Input::Scanned(found) => self.scanned(now, &found),
            Input::Programmed(uid, netns, settings, result) => {
                self.programmed(now, &uid, netns, settings, result);
            }
            Input::Inspected(uid, netns, result) => self.inspected(now, &uid, netns, result),
            Input::Unprogrammed(uid, netns, result) => self.with(&uid, |pod| {
                pod.busy = false;
                if pod.netns == Some(netns) && pod.note(now, result) {
                    pod.rules = Rules::Absent;
                }
            }),
            Input::ProbesAdded(uid, addresses, result) => {
                self.probes_added(now, &uid, &addresses, result.is_ok());
            }
            Input::ProbesRemoved(uid, addresses, result) => self.with(&uid, |pod| {
                pod.busy = false;
                if pod.note(now, result) {
                    pod.probes.retain(|address| !addresses.contains(address));
                }
            }),
            Input::Annotated(uid, annotation, result) => self.with(&uid, |pod| {
                pod.patching = false;
                match result {
                    Ok(()) => {
                        pod.annotation = annotation;
                        (pod.patch_retry, pod.patch_failed) = (Retry::default(), false);
                    }
                    Err(pause) => {
                        pod.patch_retry.failed_for(now, pause);
                        pod.patch_failed = true;
                    }
                }
            }),
            Input::HostRead(result) => self.host_read(now, result),
            Input::HostProgrammed(result) => self.host_programmed(now, result),
            Input::HostChanged => {
                // A series of changes without a pause is looked at when the pass comes.
                self.host.read_at = Some(now + QUIET);
            }
            Input::Connected(id) => {
                self.connections.insert(id, Connection::default());
            }
            Input::Acknowledged(id, ack) => self.replied(now, id, ack),
            Input::Disconnected(id) => {
                self.connections.remove(&id);
            }
            Input::Pass => {
                self.host.read_at = Some(now);
                for pod in self.pods.values_mut() {
                    pod.inspection_due = true;
                    pod.scan_due = true;
                }
            }
        }
        self.forget();
    }

    fn with(&mut self, uid: &Uid, change: impl FnOnce(&mut Pod)) {
        if let Some(pod) = self.pods.get_mut(uid) {
            change(pod);
        }
    }

    fn seen(&mut self, view: PodView) {
        let pod = self.pods.entry(view.uid.clone()).or_default();
        // A stale list or watch may show a pod whose deletion is known.
        if pod.presence != Presence::Deleted {
            pod.presence = Presence::Listed;
        }
        let before = pod.view.as_ref().map(|view| &view.addresses);
        if before != Some(&view.addresses) && !view.addresses.is_empty() && pod.addresses != view.addresses {
            pod.addresses.clone_from(&view.addresses);
            self.claims += 1;
            pod.claim = self.claims;
        }
        pod.annotation = view.annotation;
        pod.view = Some(view);
    }

    fn event(&mut self, uid: &Uid, netns: NetnsId, addresses: BTreeSet<IpAddr>, ticket: (u64, Moment)) {
        // A scan that is under way may have seen the sandbox before this one.
        self.scanning.remove(uid);
        self.claims += 1;
        let pod = self.pods.entry(uid.clone()).or_default();
        pod.claim = self.claims;
        if pod.netns != Some(netns) {
            pod.netns = Some(netns);
            pod.rules = Rules::Unknown;
        }
        if !addresses.is_empty() {
            pod.addresses = addresses;
        }
        pod.tickets.push(ticket);
        pod.failure = None;
        (pod.retry, pod.patch_retry, pod.patch_failed) = (Retry::default(), Retry::default(), false);
    }

    fn scanned(&mut self, now: Moment, found: &BTreeMap<Uid, NetnsId>) {
        for uid in std::mem::take(&mut self.scanning) {
            let Some(pod) = self.pods.get_mut(&uid) else { continue };
            match found.get(&uid) {
                Some(netns) => {
                    pod.scan_retry = Retry::default();
                    if pod.netns != Some(*netns) {
                        pod.netns = Some(*netns);
                        pod.rules = Rules::Unknown;
                    }
                }
                None => {
                    pod.netns = None;
                    pod.rules = Rules::Unknown;
                    pod.attempted = true;
                    pod.scan_retry.failed(now);
                    if pod.view.as_ref().is_some_and(|view| view.member.is_some()) {
                        pod.failure = Some("its network namespace was not found".to_owned());
                    }
                }
            }
        }
        self.scan_under_way = false;
    }

    fn programmed(
        &mut self,
        now: Moment,
        uid: &Uid,
        netns: NetnsId,
        settings: PodInterception,
        result: Result<(), String>,
    ) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        pod.busy = false;
        pod.attempted = true;
        if pod.netns != Some(netns) {
            return;
        }
        if pod.note(now, result) {
            if pod.rules == Rules::Damaged {
                pod.repairs.repaired(now);
                self.repairs += 1;
            }
            pod.rules = Rules::Present(settings);
        } else {
            // The namespace may be that of a sandbox that is gone.
            pod.scan_due = true;
        }
    }

    fn inspected(&mut self, now: Moment, uid: &Uid, netns: NetnsId, result: Result<bool, String>) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        pod.busy = false;
        if pod.netns != Some(netns) {
            return;
        }
        match result {
            Ok(true) if pod.rules == Rules::Unknown => pod.rules = Rules::Absent,
            Ok(true) => {}
            Ok(false) => pod.rules = Rules::Damaged,
            Err(error) => {
                pod.note(now, Err(error));
                pod.scan_due = true;
            }
        }
        pod.attempted = true;
    }

    fn probes_added(&mut self, now: Moment, uid: &Uid, addresses: &BTreeSet<IpAddr>, added: bool) {
        self.with(uid, |pod| {
            pod.busy = false;
            if added {
                pod.probes.extend(addresses);
            } else {
                // The set is missing, most likely, and comes back with the host's rules: no fault of the pod's.
                pod.retry.failed(now);
            }
        });
        if added {
            // An element has one owner.
            for (other, pod) in &mut self.pods {
                if other != uid {
                    pod.probes.retain(|address| !addresses.contains(address));
                }
            }
        } else {
            self.host.read_at.get_or_insert(now);
        }
    }

    fn host_read(&mut self, now: Moment, result: Result<(bool, Vec<(IpAddr, Uid)>), String>) {
        self.host.busy = false;
        let (intact, probes) = match result {
            Ok(read) => read,
            Err(error) => {
                self.host.failed(now, error);
                self.host.read_at = Some(self.host.retry.due());
                return;
            }
        };
        self.host.read = true;
        self.host.rules = intact;
        self.host.ever |= intact;
        if intact {
            (self.host.failure, self.host.retry) = (None, Retry::default());
        }
        for pod in self.pods.values_mut() {
            pod.probes.clear();
        }
        for (address, uid) in probes {
            self.pods.entry(uid).or_default().probes.insert(address);
        }
    }

    fn host_programmed(&mut self, now: Moment, result: Result<(), String>) {
        self.host.busy = false;
        match result {
            Ok(()) => {
                if self.host.ever {
                    self.host.repairs.repaired(now);
                    self.repairs += 1;
                }
                self.host = Host {
                    rules: true,
                    ever: true,
                    failure: None,
                    retry: Retry::default(),
                    // Somebody may have been faster, and the sets may be new.
                    read_at: Some(now),
                    ..std::mem::take(&mut self.host)
                };
            }
            Err(error) => self.host.failed(now, error),
        }
    }

    fn replied(&mut self, now: Moment, id: ConnectionId, ack: Ack) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some((request, netns)) = connection.in_flight.take() else { return };
        let Some(uid) = request.uid().map(Uid::from) else {
            // What refuses the end of a snapshot is in no state to go on; but it says so by closing the connection.
            connection.snapshot_sent = true;
            return;
        };
        if matches!(request, Request::Del { .. }) && ack == Ack::Accepted {
            connection.announced.remove(&uid);
            return;
        }
        let announced = connection.announced.entry(uid.clone()).or_default();
        announced.netns = netns;
        announced.accepted = ack == Ack::Accepted;
        match ack {
            Ack::Accepted => {
                announced.retry = Retry::default();
                self.with(&uid, |pod| pod.failure = None);
            }
            Ack::Refused(error) => {
                announced.retry.failed(now);
                self.with(&uid, |pod| pod.failure = Some(format!("ztunnel: {error}")));
            }
        }
    }

    /// Drops pods that are gone without a trace.
    fn forget(&mut self) {
        let gone: Vec<Uid> = self
            .pods
            .iter()
            .filter(|(uid, pod)| {
                let idle = !pod.busy && !pod.patching && pod.tickets.is_empty();
                let known = pod.view.is_none() || self.gone(pod);
                self.host.read && idle && known && self.gone(pod) && !self.has_traces(uid, pod)
            })
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in gone {
            self.pods.remove(&uid);
        }
    }
}

/// What is desired, and what of it is there.
impl State {
    /// Whether its containers have ended for good, or will be.
    fn gone(&self, pod: &Pod) -> bool {
        match pod.presence {
            Presence::Deleted => true,
            Presence::Unlisted => self.confirmed,
            Presence::Listed => pod.view.as_ref().is_some_and(|view| view.terminal),
        }
    }

    /// The rules of a pod that belongs to the mesh.
    fn wanted<'a>(&self, pod: &'a Pod) -> Option<&'a PodInterception> {
        let view = pod.view.as_ref()?;
        view.member.as_ref().filter(|_| view.own_network && !self.gone(pod))
    }

    /// Whether it lives on outside the mesh, for certain.
    fn leaves(&self, pod: &Pod) -> bool {
        let outside = pod.view.as_ref().is_some_and(|view| view.own_network && view.member.is_none());
        outside && self.confirmed && !self.gone(pod)
    }

    fn programmed_as(pod: &Pod, settings: &PodInterception) -> bool {
        pod.netns.is_some() && matches!(&pod.rules, Rules::Present(present) if present == settings)
    }

    fn acknowledged(&self, uid: &Uid, pod: &Pod) -> bool {
        let newest = self.connections.values().next_back();
        let announced = newest.and_then(|connection| connection.announced.get(uid));
        announced.is_some_and(|announced| announced.accepted && announced.netns == pod.netns)
            && pod.netns.is_some()
    }

    /// The pod's addresses without those that have become another pod's.
    fn own_addresses(&self, uid: &Uid, pod: &Pod) -> BTreeSet<IpAddr> {
        let claimed = |address: &IpAddr| {
            self.pods.iter().any(|(other, rival)| {
                other != uid
                    && rival.claim > pod.claim
                    && rival.addresses.contains(address)
                    && self.wanted(rival).is_some()
            })
        };
        pod.addresses.iter().filter(|address| !claimed(address)).copied().collect()
    }

    fn missing_probes(&self, uid: &Uid, pod: &Pod) -> BTreeSet<IpAddr> {
        if pod.addresses.is_subset(&pod.probes) {
            return BTreeSet::new();
        }
        self.own_addresses(uid, pod).difference(&pod.probes).copied().collect()
    }

    /// Whether its traffic goes through ztunnel, and its probes do not.
    fn captured(&self, uid: &Uid, pod: &Pod) -> bool {
        self.wanted(pod).is_some_and(|settings| {
            Self::programmed_as(pod, settings)
                && self.acknowledged(uid, pod)
                && self.missing_probes(uid, pod).is_empty()
        })
    }

    /// Whether ztunnel is to keep the pod's proxy, if it has one.
    fn keeps_proxy(&self, pod: &Pod) -> bool {
        if self.wanted(pod).is_some() {
            return true;
        }
        let traces = !pod.probes.is_empty() || pod.annotation.is_some();
        match pod.rules {
            _ if self.gone(pod) => false,
            Rules::Present(_) | Rules::Damaged => true,
            Rules::Unknown => traces,
            Rules::Absent => traces && !self.leaves(pod),
        }
    }

    fn announced_anywhere(&self, uid: &Uid) -> bool {
        self.connections.values().any(|connection| {
            let sent = connection.in_flight.as_ref().and_then(|(request, _)| request.uid());
            connection.announced.contains_key(uid) || sent == Some(uid.as_ref())
        })
    }

    /// Whether something of the pod is still there that leaves with it.
    fn has_traces(&self, uid: &Uid, pod: &Pod) -> bool {
        let inside = !self.gone(pod)
            && (pod.annotation.is_some() || matches!(pod.rules, Rules::Present(_) | Rules::Damaged));
        inside || !pod.probes.is_empty() || self.announced_anywhere(uid)
    }
}

/// What is to be done.
impl State {
    /// Everything that may be started now. It counts as started; what comes of it is to be handed to
    /// [`State::handle`], whatever it is.
    pub fn actions(&mut self, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        self.answer(now, &mut actions);
        self.host_step(now, &mut actions);
        for (uid, step) in self.pod_steps(now) {
            self.with(&uid, |pod| pod.start(&step));
            actions.push(step);
        }
        self.scan(now, &mut actions);
        self.requests(now, &mut actions);
        self.may_accept |= self.listed && self.host.read && self.all_attempted();
        actions
    }

    /// When [`State::actions`] may have something new although nothing happened.
    #[must_use]
    pub fn deadline(&self, now: Moment) -> Option<Moment> {
        let pods = self.pods.values().flat_map(|pod| {
            let grace = pod.differs_since.map(|since| since + GRACE);
            let tickets = pod.tickets.iter().map(|(_, deadline)| *deadline);
            let retries = [pod.retry.due(), pod.scan_retry.due(), pod.patch_retry.due(), pod.repairs.due()];
            grace.into_iter().chain(tickets).chain(retries)
        });
        let host = [self.host.retry.due(), self.host.repairs.due()];
        let announced = self.connections.values().flat_map(|connection| connection.announced.values());
        let announced = announced.map(|announced| announced.retry.due());
        let all = pods.chain(host).chain(self.host.read_at).chain(announced);
        all.filter(|due| *due > now).min()
    }

    fn answer(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let mut answers = Vec::new();
        for (uid, pod) in &self.pods {
            // Before its sandbox is made there is nothing to do.
            let exists = pod.netns.is_some() || !pod.addresses.is_empty();
            let differs = exists && self.wanted(pod).is_some() && !self.captured(uid, pod);
            let finished = pod.annotation == Some(Redirection::Enabled) || pod.patch_failed;
            let result = if self.wanted(pod).is_none() {
                Some(Err("the pod does not belong to the mesh any more".to_owned()))
            } else if !differs && finished {
                Some(Ok(()))
            } else {
                pod.failure.clone().map(Err)
            };
            answers.push((uid.clone(), differs, result, self.lacks(uid, pod)));
        }
        for (uid, differs, result, lacks) in answers {
            self.with(&uid, |pod| {
                pod.differs_since = if differs { pod.differs_since.or(Some(now)) } else { None };
                pod.tickets.retain(|(ticket, deadline)| {
                    let late = (*deadline <= now).then(|| Err(lacks.to_owned()));
                    match result.clone().or(late) {
                        Some(result) => {
                            actions.push(Action::Answer(*ticket, result));
                            false
                        }
                        None => true,
                    }
                });
            });
        }
    }

    /// What a pod waits for, in words.
    fn lacks(&self, uid: &Uid, pod: &Pod) -> &'static str {
        if self.wanted(pod).is_none_or(|settings| !Self::programmed_as(pod, settings)) {
            "its rules are not in place yet"
        } else if self.connections.is_empty() {
            "no ztunnel connection"
        } else if !self.acknowledged(uid, pod) {
            "ztunnel has not acknowledged the pod yet"
        } else if !self.missing_probes(uid, pod).is_empty() {
            "its addresses are not in the host's probe set yet"
        } else {
            "its annotation is not written yet"
        }
    }

    fn host_step(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let host = &mut self.host;
        if host.busy {
            return;
        }
        let due = if host.ever { host.repairs.due().max(host.retry.due()) } else { host.retry.due() };
        if host.read_at.is_some_and(|at| at <= now) {
            host.read_at = None;
            host.busy = true;
            actions.push(Action::ReadHost);
        } else if host.read && !host.rules && due <= now {
            host.busy = true;
            actions.push(Action::ProgramHost);
        }
    }

    /// At most one step in the kernel and one patch for each pod.
    fn pod_steps(&self, now: Moment) -> Vec<(Uid, Action)> {
        let mut steps = Vec::new();
        for (uid, pod) in &self.pods {
            if !pod.busy
                && let Some(step) = self.kernel_step(uid, pod, now)
            {
                steps.push((uid.clone(), step));
            }
            if !pod.patching
                && pod.patch_retry.due() <= now
                && let Some(annotation) = self.patch(uid, pod, now)
            {
                steps.push((uid.clone(), Action::Annotate(uid.clone(), annotation)));
            }
        }
        steps
    }

    fn kernel_step(&self, uid: &Uid, pod: &Pod, now: Moment) -> Option<Action> {
        if pod.retry.due() > now {
            return None;
        }
        let settings = self.wanted(pod);
        let inside = pod.netns.and_then(|netns| match (settings, &pod.rules) {
            (Some(settings), Rules::Present(present)) if present == settings => {
                pod.inspection_due.then(|| Action::Inspect(uid.clone(), netns, Some(settings.clone())))
            }
            (Some(_), Rules::Damaged) if pod.repairs.due() > now => None,
            (Some(settings), _) => Some(Action::Program(uid.clone(), netns, settings.clone())),
            (None, _) if self.gone(pod) => None,
            (None, Rules::Unknown) => Some(Action::Inspect(uid.clone(), netns, None)),
            (None, Rules::Present(_) | Rules::Damaged) if self.leaves(pod) => {
                Some(Action::Unprogram(uid.clone(), netns))
            }
            (None, _) => None,
        });
        inside.or_else(|| self.probe_step(uid, pod))
    }

    fn probe_step(&self, uid: &Uid, pod: &Pod) -> Option<Action> {
        if !self.host.read || !self.host.rules {
            return None;
        }
        if let Some(settings) = self.wanted(pod) {
            let missing = self.missing_probes(uid, pod);
            if Self::programmed_as(pod, settings) && !missing.is_empty() {
                return Some(Action::AddProbes(uid.clone(), missing));
            }
            let surplus: BTreeSet<_> = pod.probes.difference(&pod.addresses).copied().collect();
            let is_known = self.confirmed && !pod.addresses.is_empty();
            return (is_known && !surplus.is_empty()).then(|| Action::RemoveProbes(uid.clone(), surplus));
        }
        let is_out = self.leaves(pod) && pod.rules == Rules::Absent && !self.announced_anywhere(uid);
        ((self.gone(pod) || is_out) && !pod.probes.is_empty())
            .then(|| Action::RemoveProbes(uid.clone(), pod.probes.clone()))
    }

    /// The annotation to write, if it is another one.
    fn patch(&self, uid: &Uid, pod: &Pod, now: Moment) -> Option<Option<Redirection>> {
        if self.wanted(pod).is_some() {
            let is_late = pod.differs_since.is_some_and(|since| since + GRACE <= now);
            let annotation = if self.captured(uid, pod) {
                Redirection::Enabled
            } else if pod.failure.is_some() || is_late {
                Redirection::Pending
            } else {
                return None;
            };
            return (pod.annotation != Some(annotation)).then_some(Some(annotation));
        }
        let is_out = self.leaves(pod)
            && pod.rules == Rules::Absent
            && pod.probes.is_empty()
            && !self.announced_anywhere(uid);
        (is_out && pod.annotation.is_some()).then_some(None)
    }

    fn scan(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.scan_under_way {
            return;
        }
        let needed = |pod: &Pod| {
            let Some(view) = &pod.view else { return false };
            // The runtime has made no sandbox before there are addresses.
            let may_exist = view.own_network && !self.gone(pod) && !pod.addresses.is_empty();
            // Outside the mesh a pod is looked for until it is known to have none of our rules.
            let of_use = view.member.is_some()
                || pod.rules != Rules::Absent && !pod.attempted
                || pod.annotation.is_some()
                || !pod.probes.is_empty();
            let due = pod.netns.is_none() && pod.scan_retry.due() <= now || pod.scan_due;
            may_exist && of_use && due && pod.tickets.is_empty()
        };
        let uids: BTreeSet<Uid> =
            self.pods.iter().filter(|(_, pod)| needed(pod)).map(|(uid, _)| uid.clone()).collect();
        if uids.is_empty() {
            return;
        }
        for uid in &uids {
            self.with(uid, |pod| pod.scan_due = false);
        }
        self.scanning.clone_from(&uids);
        self.scan_under_way = true;
        actions.push(Action::Scan(uids));
    }

    /// One request for each connection that waits for none.
    fn requests(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let newest = self.connections.keys().next_back().copied();
        let requests: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.in_flight.is_none())
            .filter_map(|(id, connection)| {
                let request = if connection.snapshot_sent {
                    self.live_request(connection, newest == Some(*id), now)
                } else {
                    Some(self.snapshot_request(connection))
                };
                Some((*id, request?))
            })
            .collect();
        for (id, (request, netns)) in requests {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.in_flight = Some((request.clone(), netns));
                actions.push(Action::Send(id, request, netns));
            }
        }
    }

    fn snapshot_request(&self, connection: &Connection) -> (Request, Option<NetnsId>) {
        let mut rest = self.pods.iter().filter(|(uid, _)| !connection.announced.contains_key(*uid));
        let next = rest.find_map(|(uid, pod)| match self.add(uid, pod) {
            Some(add) => Some(add),
            None => self.keeps_proxy(pod).then(|| (Request::Keep { uid: uid.to_string() }, None)),
        });
        next.unwrap_or((Request::SnapshotSent, None))
    }

    fn live_request(
        &self,
        connection: &Connection,
        is_newest: bool,
        now: Moment,
    ) -> Option<(Request, Option<NetnsId>)> {
        let leaving = connection.announced.iter().find(|(uid, announced)| {
            announced.retry.due() <= now && self.pods.get(*uid).is_none_or(|pod| !self.keeps_proxy(pod))
        });
        if let Some((uid, _)) = leaving {
            return Some((Request::Del { uid: uid.to_string() }, None));
        }
        let mut pods = self.pods.iter().filter(|_| is_newest);
        pods.find_map(|(uid, pod)| {
            let announced = connection.announced.get(uid);
            let is_due = announced.is_none_or(|announced| announced.retry.due() <= now);
            if is_due && !self.acknowledged(uid, pod) { self.add(uid, pod) } else { None }
        })
    }

    /// Hands over a pod whose rules are there.
    fn add(&self, uid: &Uid, pod: &Pod) -> Option<(Request, Option<NetnsId>)> {
        let settings = self.wanted(pod)?;
        let view = pod.view.as_ref()?;
        Self::programmed_as(pod, settings).then(|| {
            let add = Request::Add { uid: uid.to_string(), workload: view.workload.clone() };
            (add, pod.netns)
        })
    }

    fn all_attempted(&self) -> bool {
        self.pods.values().all(|pod| {
            let exists = pod.view.as_ref().is_some_and(|view| view.own_network);
            pod.attempted || !exists || self.gone(pod) || pod.addresses.is_empty()
        })
    }
}

impl Pod {
    /// Notes how a step in the kernel ended; returns whether it succeeded.
    fn note(&mut self, now: Moment, result: Result<(), String>) -> bool {
        match result {
            Ok(()) => {
                self.failure = None;
                self.retry = Retry::default();
                true
            }
            Err(error) => {
                self.failure = Some(error);
                self.retry.failed(now);
                false
            }
        }
    }

    fn start(&mut self, action: &Action) {
        match action {
            Action::Annotate(..) => self.patching = true,
            Action::Inspect(..) => (self.busy, self.inspection_due) = (true, false),
            _ => self.busy = true,
        }
    }
}

impl Host {
    fn failed(&mut self, now: Moment, error: String) {
        self.failure = Some(error);
        self.retry.failed(now);
    }
}

#[cfg(test)]
mod tests;
