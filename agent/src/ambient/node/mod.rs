//! The agent at work: one task feeds the [state machine](super::state) and starts what it names; threads and other tasks
//! do it, and report back.

mod lookup;
mod steps;
mod summary;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, mpsc as blocking};
use std::time::{Duration, Instant};

use meshwire::mesh::istio::ambient::PodInterception;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::backoff::Moment;
use super::cluster::Cluster;
use super::handover::Stop;
use super::host_watch::Seen;
use super::netns::{Netns, path_id};
use super::objects::{Namespace, Pod};
use super::plugin::{self, Backend, Call, Event};
use super::settings::Settings;
use super::state::{Input, NetnsId, PodState, State, Uid};
use super::workers::Workers;
use super::{host, status};
use crate::kubernetes::{ApiError, Change, Client, Collection, Events, follow};
use crate::metrics::AmbientMetrics;
use crate::zds::{self, Command, ConnectionId, Listener};
use lookup::Lookup;
pub use summary::{StartError, Summary};

/// How often everything is looked at.
const PASS: Duration = Duration::from_secs(30);
/// How often the summary is made at most: all pods are counted for it.
const SUMMARY: Duration = Duration::from_millis(5);
/// So many annotations are written at once.
const PATCHES: usize = 16;

/// The rules that the pods of the mesh on this node are to have.
pub type Members = BTreeMap<Uid, PodInterception>;

/// A question for them. The answer is `None` as long as the node's pods are not all known.
pub type Query = oneshot::Sender<Option<Members>>;

/// Runs until `stop` is ready, which says whether the node's rules go with the agent. Pods' rules stay, and ztunnel keeps
/// its proxies. Other tasks ask by `queries` which rules pods are to have.
///
/// # Errors
/// See [`StartError`]; nothing was changed.
pub async fn run(
    settings: Settings,
    client: Client,
    metrics: AmbientMetrics,
    summary: watch::Sender<Summary>,
    mut queries: mpsc::Receiver<Query>,
    stop: impl Future<Output = Stop>,
) -> Result<(), StartError> {
    raise_file_limit();
    let (mut node, mut sources) = Node::start(settings, client, metrics, summary)?;
    let mut passes = interval(PASS);
    passes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(stop);
    loop {
        node.proceed();
        let deadline = node.pause();
        tokio::select! {
            stop = &mut stop => {
                node.stop(stop).await;
                return Ok(());
            }
            Some(input) = sources.inputs.recv() => node.handle(input),
            Some(change) = sources.pods.recv() => node.pods(change),
            Some(change) = sources.namespaces.recv() => node.namespaces(change),
            Some(call) = sources.calls.recv() => node.call(call),
            Some(step) = sources.steps.recv() => node.step(step),
            Some(event) = sources.ztunnels.recv() => node.ztunnel(event),
            // Whoever asked may have gone.
            Some(query) = queries.recv() => drop(query.send(node.members())),
            _ = passes.tick() => node.handle(Input::Pass),
            () = sleep(deadline) => {}
        }
        sources.hand_over_what_came(&mut node);
    }
}

/// A node may have more pods, with a descriptor each, than the soft limit allows: 1024 with systemd. Raising the hard one
/// would take CAP_SYS_RESOURCE.
fn raise_file_limit() {
    let limits = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits });
    if let Err(error) = raised {
        tracing::warn!(target: "cni-agent", "cannot raise the limit of open files: {error}");
    }
}

/// Where things come from.
struct Sources {
    inputs: mpsc::UnboundedReceiver<Input>,
    pods: mpsc::Receiver<Change<Pod>>,
    namespaces: mpsc::Receiver<Change<Namespace>>,
    calls: mpsc::Receiver<Call>,
    steps: mpsc::UnboundedReceiver<Step>,
    ztunnels: mpsc::Receiver<zds::Event>,
}

impl Sources {
    /// What has come meanwhile is looked at together: with hundreds of pods each look has a price.
    fn hand_over_what_came(&mut self, node: &mut Node) {
        while let Ok(input) = self.inputs.try_recv() {
            node.handle(input);
        }
        while let Ok(change) = self.pods.try_recv() {
            node.pods(change);
        }
        while let Ok(change) = self.namespaces.try_recv() {
            node.namespaces(change);
        }
        while let Ok(step) = self.steps.try_recv() {
            node.step(step);
        }
    }
}

/// What a thread or task has found out, besides inputs of the state machine.
enum Step {
    /// An event's namespace is open, and the pod's
    Opened(Event, Netns, oneshot::Sender<Result<(), String>>),
    /// The API server was asked for an event's pod
    Asked(u64, Result<Box<(Pod, Namespace)>, ApiError>),
    /// The API server was asked for a pod of which something would have to go
    Known(Uid, Result<Box<(Pod, Namespace)>, ApiError>),
    /// Namespaces were found
    Found(BTreeMap<Uid, Netns>),
}

struct Node {
    settings: Settings,
    client: Client,
    events: Arc<Events>,
    metrics: AmbientMetrics,
    started: Instant,
    state: State,
    backend: Backend,
    cluster: Cluster,
    host: NetnsId,
    host_jobs: blocking::Sender<host::Job>,
    workers: Workers,
    namespaces: HashMap<NetnsId, Netns>,
    /// Where the runtime bound the namespaces that the plugin reported
    bound: HashMap<Uid, (PathBuf, NetnsId)>,
    ztunnels: BTreeMap<ConnectionId, mpsc::Sender<Command>>,
    lookups: BTreeMap<u64, Lookup>,
    tickets: HashMap<u64, oneshot::Sender<Result<(), String>>>,
    numbers: u64,
    patches: Arc<Semaphore>,
    inputs: mpsc::UnboundedSender<Input>,
    steps: mpsc::UnboundedSender<Step>,
    /// Taken when ztunnel is accepted
    listener: Option<(Listener, mpsc::Sender<zds::Event>)>,
    summary: watch::Sender<Summary>,
    /// When the summary is to be made again
    summary_due: Option<Moment>,
}

impl Node {
    fn start(
        settings: Settings,
        client: Client,
        metrics: AmbientMetrics,
        summary: watch::Sender<Summary>,
    ) -> Result<(Self, Sources), StartError> {
        let path = settings.proc.join("1/ns/net");
        let host = path_id(&path).map_err(|error| StartError::HostNamespace { path: path.clone(), error })?;
        let nowhere = NetnsId { dev: 0, ino: 0 };
        let host_netns = Netns::open(&path, nowhere)?;
        let socket = |path: PathBuf| move |error| StartError::Socket { path, error };
        let listener = Listener::bind(&settings.zds_socket).map_err(socket(settings.zds_socket.clone()))?;
        let plugins = plugin::bind(&settings.event_socket()).map_err(socket(settings.event_socket()))?;

        let (inputs, inputs_receiver) = mpsc::unbounded_channel();
        let results = inputs.clone();
        let report = move |input| {
            let _ = results.send(input);
        };
        let host_jobs = host::start(host_netns.clone(), settings.clone(), metrics.clone(), report)
            .map_err(StartError::Thread)?;
        let changes = inputs.clone();
        let seen = move |seen| match seen {
            Seen::Change(writer) => changes.send(Input::HostChanged(writer)).is_ok(),
            Seen::Nothing => !changes.is_closed(),
        };
        super::host_watch::start(host_netns, seen).map_err(StartError::Thread)?;
        let (pods, pods_receiver) = mpsc::channel(64);
        let own_pods = Collection::pods(format!("spec.nodeName={}", settings.node), "");
        tokio::spawn(follow(client.clone(), own_pods, pods));
        let (namespaces, namespaces_receiver) = mpsc::channel(64);
        tokio::spawn(follow(client.clone(), Collection::namespaces(), namespaces));
        let (calls, calls_receiver) = mpsc::channel(64);
        tracing::info!(target: "cni-agent", "starting listener for CNI plugin events at {}", settings.event_socket().display());
        tokio::spawn(plugin::serve(plugins, calls, metrics.clone()));
        let (steps, steps_receiver) = mpsc::unbounded_channel();
        let (ztunnels, ztunnels_receiver) = mpsc::channel(16);
        let node = Self {
            cluster: Cluster::new(settings.clone()),
            settings,
            events: Arc::new(Events::new(client.clone(), "cni-agent")),
            client,
            metrics,
            started: Instant::now(),
            state: State::new(),
            backend: Backend::Meshwire,
            host,
            host_jobs,
            workers: Workers::default(),
            namespaces: HashMap::new(),
            bound: HashMap::new(),
            ztunnels: BTreeMap::new(),
            lookups: BTreeMap::new(),
            tickets: HashMap::new(),
            numbers: 0,
            patches: Arc::new(Semaphore::new(PATCHES)),
            inputs,
            steps,
            listener: Some((listener, ztunnels)),
            summary,
            summary_due: None,
        };
        let sources = Sources {
            inputs: inputs_receiver,
            pods: pods_receiver,
            namespaces: namespaces_receiver,
            calls: calls_receiver,
            steps: steps_receiver,
            ztunnels: ztunnels_receiver,
        };
        Ok((node, sources))
    }

    async fn stop(&self, stop: Stop) {
        if stop == Stop::Keep {
            return;
        }
        let (reply, destroyed) = oneshot::channel();
        self.on_host(host::Job::Destroy(reply));
        if let Ok(Err(error)) = destroyed.await {
            tracing::error!(target: "cni-agent", "the node's rules are still there: {error}");
        }
    }

    fn now(&self) -> Moment {
        self.started.elapsed()
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// How long nothing has to be done unless something happens.
    fn pause(&self) -> Duration {
        let now = self.now();
        let lookups = self.lookups.values().flat_map(|lookup| [Some(lookup.deadline), lookup.ask_at]);
        let due = lookups.flatten().chain(self.state.deadline(now)).chain(self.summary_due).min();
        due.map_or(PASS, |due| due.saturating_sub(now).max(Duration::from_millis(1)))
    }

    fn handle(&mut self, input: Input) {
        let (now, before) = (self.now(), self.state.heals());
        let programmed = match &input {
            Input::Programmed(uid, ..) => Some(uid.clone()),
            _ => None,
        };
        self.state.handle(now, input);
        let after = self.state.heals();
        if after.host > before.host {
            let by =
                self.state.host_writer().map_or_else(|| "an unknown writer".to_owned(), ToString::to_string);
            tracing::warn!(target: "cni-agent", "the node's rules were repaired; they were changed last by {by}");
        }
        if let Some(uid) = programmed.filter(|_| after.pods > before.pods) {
            tracing::warn!(target: "cni-agent", "the rules of pod {uid} were repaired: another program had changed them");
        }
    }

    fn pods(&mut self, change: Change<Pod>) {
        if let Some(kind) = self.cluster.kind(&change) {
            self.metrics.reconcile(kind);
        }
        for input in self.cluster.pods(change) {
            self.handle(input);
        }
    }

    fn namespaces(&mut self, change: Change<Namespace>) {
        for input in self.cluster.namespaces(change) {
            self.handle(input);
        }
    }

    fn call(&mut self, call: Call) {
        match call {
            Call::Add(event, reply) => self.open(event, reply),
            Call::Status(reply) => {
                let _ = reply.send(status::json(&self.state, self.backend, self.now()));
            }
            Call::Release(backend, reply) => {
                self.release(backend);
                let _ = reply.send(());
            }
        }
    }

    fn members(&self) -> Option<Members> {
        let members = self.state.members().map(|(uid, settings)| (uid.clone(), settings.clone()));
        self.cluster.is_complete().then(|| members.collect())
    }

    /// Another agent is to find rules that it knows.
    fn release(&mut self, backend: Backend) {
        tracing::info!(target: "cni-agent", "all rules are converted to backend {backend:?}");
        self.backend = backend;
        let native = self.settings.pod.native_nftables || backend == Backend::Nft;
        for input in self.cluster.set_native(native) {
            self.handle(input);
        }
        self.on_host(host::Job::Native(native));
        self.handle(Input::HostOutdated);
    }

    fn ztunnel(&mut self, event: zds::Event) {
        match event {
            zds::Event::Connected(id, commands) => {
                self.ztunnels.insert(id, commands);
                self.handle(Input::Connected(id));
                let total = self.state.ztunnels();
                tracing::info!(target: "cni-agent", "new ztunnel connected, total connected: {total}");
            }
            zds::Event::Disconnected(id, error) => {
                self.ztunnels.remove(&id);
                self.handle(Input::Disconnected(id));
                let total = self.state.ztunnels();
                tracing::info!(target: "cni-agent", "ztunnel disconnected, total connected: {total}: {error}");
            }
        }
    }

    /// Starts whatever may be started.
    fn proceed(&mut self) {
        self.look_up();
        for action in self.state.actions(self.now()) {
            self.start_action(action);
        }
        if self.state.may_accept()
            && let Some((listener, events)) = self.listener.take()
        {
            tracing::info!(target: "cni-agent", "CNI ambient server marking ready");
            tokio::spawn(zds::serve(listener, events));
        }
        self.summarize();
    }

    /// Soon after something happened: before that, more of it may.
    fn summarize(&mut self) {
        let now = self.now();
        match self.summary_due {
            None => self.summary_due = Some(now + SUMMARY),
            Some(due) if due <= now => {
                self.summary_due = None;
                self.close_what_is_no_longer_used();
                self.count();
            }
            Some(_) => {}
        }
    }

    /// Pods' namespaces, so that the kernel can remove them.
    fn close_what_is_no_longer_used(&mut self) {
        let used: BTreeSet<_> = self.state.namespaces().collect();
        self.namespaces.retain(|id, _| used.contains(id));
        self.bound.retain(|_, (_, id)| used.contains(id));
    }

    fn count(&self) {
        let mut summary = Summary {
            ready: self.listener.is_none(),
            ztunnels: self.state.ztunnels(),
            heals: self.state.heals(),
            backing_off: self.state.backing_off(self.now()),
            ..Summary::default()
        };
        for pod in self.state.status() {
            match pod.state {
                PodState::Enabled => summary.enabled += 1,
                PodState::Pending => summary.pending += 1,
                PodState::Failed => summary.failed += 1,
                PodState::Leaving => {}
            }
        }
        self.summary.send_if_modified(|before| std::mem::replace(before, summary) != summary);
    }
}
