//! ztunnel's side of ZDS: it answers as the real one does, and notes everything that the real one would not forgive.
//!
//! Source: istio/ztunnel 62d826530e5c, `src/inpod/{protocol,packet,workloadmanager,statemanager}.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use prost::Message;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, Shutdown,
    SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, send, shutdown, socket_with,
};

/// Both sides' buffer, in bytes.
const BUFFER: usize = 1024;

/// `proto/zds.proto`, for prost.
mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ZdsHello {
        #[prost(int32, tag = "1")]
        pub(super) version: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct WorkloadRequest {
        #[prost(oneof = "Payload", tags = "1, 2, 3, 5")]
        pub(super) payload: Option<Payload>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Payload {
        #[prost(message, tag = "1")]
        Add(AddWorkload),
        #[prost(message, tag = "2")]
        Del(DelWorkload),
        #[prost(message, tag = "3")]
        SnapshotSent(SnapshotSent),
        #[prost(message, tag = "5")]
        Keep(KeepWorkload),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct AddWorkload {
        #[prost(string, tag = "1")]
        pub(super) uid: String,
        #[prost(message, optional, tag = "2")]
        pub(super) workload_info: Option<WorkloadInfo>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct WorkloadInfo {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) namespace: String,
        #[prost(string, tag = "3")]
        pub(super) service_account: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct KeepWorkload {
        #[prost(string, tag = "1")]
        pub(super) uid: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct DelWorkload {
        #[prost(string, tag = "2")]
        pub(super) uid: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct SnapshotSent {}

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct WorkloadResponse {
        #[prost(message, optional, tag = "1")]
        pub(super) ack: Option<Ack>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Ack {
        #[prost(string, tag = "1")]
        pub(super) error: String,
    }
}

use proto::{AddWorkload, Payload};

/// A proxy that runs in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// The pod's name
    pub name: String,
    /// The pod's namespace
    pub namespace: String,
    /// The pod's service account
    pub service_account: String,
    /// Device and inode of the network namespace
    pub netns: (u64, u64),
}

/// A request as it came, for assertions on the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A pod with its namespace
    Add(String),
    /// A pod whose proxy stays
    Keep(String),
    /// A pod whose proxy goes
    Del(String),
    /// The end of the snapshot
    SnapshotSent,
}

/// What the next requests meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Acknowledged only after this long
    Late(Duration),
    /// Refused: the proxy cannot start
    Nack(String),
    /// The connection goes away without an answer
    Disappear,
    /// Two acknowledgements for one request
    Twice,
    /// Bytes that are not a message
    Garbage,
}

/// A ztunnel. It connects, and connects again whenever the connection ends, until it is dropped.
#[derive(Debug)]
pub struct Ztunnel {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stop: bool,
    /// For shutting it down from another thread
    socket: Option<Arc<OwnedFd>>,
    connections: usize,
    snapshot_received: bool,
    in_snapshot: BTreeSet<String>,
    /// Proxies that did not start
    pending: BTreeSet<String>,
    proxies: BTreeMap<String, (Proxy, Arc<OwnedFd>)>,
    received: Vec<Received>,
    faults: Vec<Fault>,
    violations: Vec<String>,
}

/// How a request ends.
enum Outcome {
    Answer(String),
    /// The real ztunnel's proxy manager ends
    Exit(String),
    /// The real ztunnel connects anew
    Reconnect(String),
}

impl Ztunnel {
    /// One that connects to this path as soon as somebody listens there.
    ///
    /// # Panics
    /// No thread can be started.
    #[must_use]
    #[allow(clippy::expect_used, reason = "for tests alone")]
    pub fn start(path: impl AsRef<Path>) -> Self {
        let shared = Arc::new(Shared {
            path: path.as_ref().to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let in_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("ztunnel".to_owned());
        let thread = thread.spawn(move || in_thread.run()).expect("a thread");
        Self { shared, thread: Some(thread) }
    }

    /// The proxies that run, by the pods' UIDs.
    #[must_use]
    pub fn proxies(&self) -> BTreeMap<String, Proxy> {
        let state = self.shared.lock();
        state.proxies.iter().map(|(uid, (proxy, _))| (uid.clone(), proxy.clone())).collect()
    }

    /// The network namespace that it got for a pod.
    #[must_use]
    pub fn netns(&self, uid: &str) -> Option<Arc<OwnedFd>> {
        self.shared.lock().proxies.get(uid).map(|(_, netns)| Arc::clone(netns))
    }

    /// What its readiness probe says: a snapshot is complete, and no proxy is missing.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let state = self.shared.lock();
        state.socket.is_some() && state.snapshot_received && state.pending.is_empty()
    }

    /// How often it has connected.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// All requests so far, over all connections.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.lock().received.clone()
    }

    /// What an agent must never do, and this one did.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.shared.lock().violations.clone()
    }

    /// Lets the next requests, one each, meet these faults.
    pub fn meet(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.lock().faults.extend(faults);
    }

    /// From now on all is well.
    pub fn forgive(&self) {
        self.shared.lock().faults.clear();
    }

    /// Ends the connection; it connects again.
    pub fn reconnect(&self) {
        if let Some(socket) = &self.shared.lock().socket {
            let _ = shutdown(socket.as_fd(), Shutdown::Both);
        }
    }

    /// Waits until this holds, at most so long; returns whether it does.
    pub fn wait(&self, limit: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        while !condition(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return condition(self);
            }
            let state = self.shared.lock();
            // The condition locks, too, so it may have come true in between.
            let pause = left.min(Duration::from_millis(20));
            drop(self.shared.changed.wait_timeout(state, pause));
        }
        true
    }
}

impl Drop for Ztunnel {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.reconnect();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects after 10 ms, doubling to 15 s where nobody listens, and after 5 ms otherwise.
    fn run(&self) {
        let mut backoff = Duration::from_millis(10);
        while !self.lock().stop {
            match self.connect() {
                Ok(socket) => {
                    backoff = Duration::from_millis(10);
                    let _ = self.serve(&socket);
                    self.lock().socket = None;
                    self.changed.notify_all();
                    thread::sleep(Duration::from_millis(5));
                }
                Err(_) => {
                    thread::sleep(backoff);
                    backoff = (backoff * 2).min(Duration::from_millis(500));
                }
            }
        }
    }

    fn connect(&self) -> io::Result<Arc<OwnedFd>> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &SocketAddrUnix::new(&self.path)?)?;
        let socket = Arc::new(socket);
        let mut state = self.lock();
        state.socket = Some(Arc::clone(&socket));
        state.connections += 1;
        state.snapshot_received = false;
        state.in_snapshot.clear();
        state.pending.clear();
        drop(state);
        send(&*socket, &proto::ZdsHello { version: 1 }.encode_to_vec(), SendFlags::NOSIGNAL)?;
        Ok(socket)
    }

    fn serve(&self, socket: &OwnedFd) -> io::Result<()> {
        loop {
            let (packet, descriptors) = self.receive(socket)?;
            if packet.is_empty() {
                return Ok(());
            }
            let fault = {
                let mut state = self.lock();
                if state.faults.is_empty() { None } else { Some(state.faults.remove(0)) }
            };
            match &fault {
                Some(Fault::Disappear) => return Ok(()),
                Some(Fault::Late(delay)) => thread::sleep(*delay),
                Some(Fault::Garbage) => {
                    send(socket, b"\x0b\xff", SendFlags::NOSIGNAL)?;
                    return Ok(());
                }
                Some(Fault::Nack(_) | Fault::Twice) | None => {}
            }
            let refusal = match &fault {
                Some(Fault::Nack(error)) => Some(error.clone()),
                _ => None,
            };
            self.refuse_what_came_early(socket);
            let outcome = self.request(&packet, descriptors, refusal);
            self.changed.notify_all();
            let error = match &outcome {
                Outcome::Answer(error) => error,
                Outcome::Exit(error) | Outcome::Reconnect(error) => {
                    self.lock().violations.push(error.clone());
                    error
                }
            };
            let ack = Some(proto::Ack { error: error.clone() });
            let response = proto::WorkloadResponse { ack }.encode_to_vec();
            send(socket, &response, SendFlags::NOSIGNAL)?;
            if fault == Some(Fault::Twice) {
                send(socket, &response, SendFlags::NOSIGNAL)?;
            }
            match outcome {
                Outcome::Answer(_) => {}
                Outcome::Reconnect(_) => return Ok(()),
                Outcome::Exit(_) => {
                    let mut state = self.lock();
                    state.proxies.clear();
                    state.stop = true;
                    return Ok(());
                }
            }
        }
    }

    /// Lock step: nothing comes before the answer.
    fn refuse_what_came_early(&self, socket: &OwnedFd) {
        let mut byte = [0; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        if matches!(rustix::net::recv(socket, &mut byte, flags), Ok((1.., _))) {
            self.lock().violations.push("a request came before the last one was acknowledged".to_owned());
        }
    }

    fn receive(&self, socket: &OwnedFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let mut buffer = [0; BUFFER];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            self.lock().violations.push("a packet was truncated".to_owned());
        }
        let descriptors = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        Ok((buffer[..received.bytes].to_vec(), descriptors))
    }

    fn request(&self, packet: &[u8], descriptors: Vec<OwnedFd>, refusal: Option<String>) -> Outcome {
        let Ok(proto::WorkloadRequest { payload: Some(payload) }) = proto::WorkloadRequest::decode(packet)
        else {
            return Outcome::Reconnect("a packet that is no request".to_owned());
        };
        let count = descriptors.len();
        let is_add = matches!(payload, Payload::Add(_));
        if count != usize::from(is_add) {
            return Outcome::Reconnect(format!("{count} descriptors with {payload:?}"));
        }
        let mut state = self.lock();
        match payload {
            Payload::Add(add) => match descriptors.into_iter().next() {
                Some(netns) => state.add(add, netns, refusal),
                None => Outcome::Reconnect("no descriptor".to_owned()),
            },
            Payload::Keep(proto::KeepWorkload { uid }) => {
                state.received.push(Received::Keep(uid.clone()));
                if state.snapshot_received {
                    return Outcome::Exit(format!("Keep of {uid} after SnapshotSent"));
                }
                state.in_snapshot.insert(uid);
                Outcome::Answer(refusal.unwrap_or_default())
            }
            Payload::Del(proto::DelWorkload { uid }) => {
                state.received.push(Received::Del(uid.clone()));
                if uid.is_empty() {
                    return Outcome::Exit("Del without a UID".to_owned());
                }
                if let Some(error) = refusal {
                    return Outcome::Answer(error);
                }
                state.pending.remove(&uid);
                if state.snapshot_received {
                    state.proxies.remove(&uid);
                } else {
                    state.in_snapshot.remove(&uid);
                }
                Outcome::Answer(String::new())
            }
            Payload::SnapshotSent(_) => {
                state.received.push(Received::SnapshotSent);
                if state.snapshot_received {
                    return Outcome::Exit("a second SnapshotSent".to_owned());
                }
                state.snapshot_received = true;
                let State { proxies, in_snapshot, .. } = &mut *state;
                proxies.retain(|uid, _| in_snapshot.contains(uid));
                Outcome::Answer(refusal.unwrap_or_default())
            }
        }
    }
}

impl State {
    fn add(&mut self, add: AddWorkload, netns: OwnedFd, refusal: Option<String>) -> Outcome {
        let AddWorkload { uid, workload_info } = add;
        self.received.push(Received::Add(uid.clone()));
        let Some(info) = workload_info else {
            return Outcome::Exit(format!("Add of {uid} without workload_info"));
        };
        let Ok(stat) = rustix::fs::fstat(&netns) else {
            return Outcome::Reconnect(format!("Add of {uid} with an odd descriptor"));
        };
        let is_nsfs = rustix::fs::fstatfs(&netns).is_ok_and(|fs| u64::try_from(fs.f_type) == Ok(NSFS_MAGIC));
        if !is_nsfs {
            self.violations.push(format!("Add of {uid} with a descriptor that is no namespace"));
        }
        if !self.snapshot_received {
            self.in_snapshot.insert(uid.clone());
        }
        if let Some(error) = refusal {
            self.pending.insert(uid);
            return Outcome::Answer(error);
        }
        self.pending.remove(&uid);
        let proto::WorkloadInfo { name, namespace, service_account } = info;
        let proxy = Proxy { name, namespace, service_account, netns: (stat.st_dev, stat.st_ino) };
        // The same namespace again changes nothing; another one replaces the proxy.
        self.proxies.insert(uid, (proxy, Arc::new(netns)));
        Outcome::Answer(String::new())
    }
}

/// `linux/magic.h`
const NSFS_MAGIC: u64 = 0x6e73_6673;
