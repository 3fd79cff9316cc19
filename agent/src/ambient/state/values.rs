//! What the state machine takes in and gives out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use meshwire::mesh::istio::ambient::PodInterception;

use super::Moment;
use crate::zds::{Ack, ConnectionId, Request, Workload};

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
    /// Its names, as ztunnel gets them
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
    /// A bookmark has confirmed the list of pods
    PodsConfirmed,
    /// Bookmarks have confirmed all lists
    Confirmed,
    /// The result of [`Action::Ask`]: whether the pod exists, which was handed over before then as it is; if that failed, how long
    /// to wait at least
    Asked(Uid, Result<bool, Duration>),
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
    /// The result of [`Action::Scan`]
    Scanned(BTreeMap<Uid, NetnsId>),
    /// The result of [`Action::Program`]
    Programmed(Uid, NetnsId, PodInterception, Result<(), String>),
    /// The result of [`Action::Inspect`]: whether the namespace holds exactly what was desired
    Inspected(Uid, NetnsId, Result<bool, String>),
    /// The result of [`Action::Unprogram`]
    Unprogrammed(Uid, NetnsId, Result<(), String>),
    /// The result of [`Action::AddProbes`]
    ProbesAdded(Uid, BTreeSet<IpAddr>, Result<(), String>),
    /// The result of [`Action::RemoveProbes`]
    ProbesRemoved(Uid, BTreeSet<IpAddr>, Result<(), String>),
    /// The result of [`Action::Annotate`]; if it failed, how long to wait at least
    Annotated(Uid, Option<Redirection>, Result<(), Duration>),
    /// The result of [`Action::ReadHost`]: whether the host's rules are as desired, and the probe set
    HostRead(Result<(bool, Vec<(IpAddr, Uid)>), String>),
    /// The result of [`Action::ProgramHost`]
    HostProgrammed(Result<(), String>),
    /// The host's ruleset has changed; by whom, as far as that is known
    HostChanged(Option<Writer>),
    /// Other rules are desired of the host from now on
    HostOutdated,
    /// A ztunnel has connected
    Connected(ConnectionId),
    /// The result of [`Action::Send`]
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
    /// Ask the API server for the pod and its namespace, as they are now
    Ask(Uid),
    /// See whether the host's rules are intact, and read the probe set
    ReadHost,
    /// Make the host's rules
    ProgramHost,
    /// Ask a ztunnel, and hand it the namespace
    Send(ConnectionId, Request, Option<NetnsId>),
    /// Answer the plugin
    Answer(u64, Result<(), String>),
    /// Let users know; it has no result
    Report(Report),
}

/// What users are to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A pod's traffic does not go through ztunnel, and why
    Uncaptured(Uid, String),
    /// A pod's rules are removed so often that repairs wait for each other
    PodContested(Uid),
    /// The host's are, and who changed them last
    HostContested(Option<Writer>),
}

/// Who changed a ruleset. The kernel reports a thread, by a number and a name that any program can choose: a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The thread's name
    pub name: String,
    /// Its ID in the initial PID namespace
    pub thread: Option<u32>,
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.thread {
            Some(thread) => write!(f, "{} (thread {thread})", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// How many times rules were repaired that others had removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heals {
    /// Those of the host
    pub host: u64,
    /// Those of pods
    pub pods: u64,
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
    /// Whether it has its rules
    pub rules: bool,
    /// Whether ztunnel has acknowledged it on the newest connection
    pub ztunnel: bool,
    /// Its elements in the probe set
    pub probes: &'a BTreeSet<IpAddr>,
    /// What failed last
    pub failure: Option<&'a str>,
}
