//! The agent at work: one task feeds the [state machine](super::state) and starts what it names; threads and other tasks
//! do it, and report back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc as blocking};
use std::time::{Duration, Instant};

use kube::Client;
use meshwire::mesh::istio::ambient::PodInterception;
use meshwire::verify::verify_possible;
use nftwire::io_text;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::backoff::Moment;
use super::cluster::{Change, Cluster, Found};
use super::handover::Stop;
use super::informer::{Kind, inform};
use super::netns::{Netns, NetnsError, path_id};
use super::objects::{Namespace, Pod};
use super::plugin::{self, Call, Event};
use super::scan::{Wanted, scan};
use super::settings::Settings;
use super::state::{Action, Input, NetnsId, PodState, Redirection, State, Uid};
use super::workers::Workers;
use super::{api, host, status};
use crate::zds::{self, Command, ConnectionId, Listener};

/// How often everything is looked at.
const PASS: Duration = Duration::from_secs(30);
/// The plugin gives up after five seconds; it should hear why before.
const ANSWER: Duration = Duration::from_millis(4500);
/// How long a pod that the plugin reports is awaited from the watch, before the API server is asked.
const WATCH: Duration = Duration::from_secs(1);
/// When it is asked again after a failure.
const AGAIN: Duration = Duration::from_millis(500);
/// So many annotations are written at once.
const PATCHES: usize = 16;

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The node's own network namespace is not to be found
    #[error("cannot look at {}, the node's own network namespace: {}", path.display(), io_text(source))]
    HostNamespace {
        /// The file
        path: PathBuf,
        /// What the system call said
        source: io::Error,
    },
    /// It cannot be opened
    #[error(transparent)]
    Host(#[from] NetnsError),
    /// A socket cannot be made
    #[error("cannot listen on {}: {}", path.display(), io_text(source))]
    Socket {
        /// Its path
        path: PathBuf,
        /// What the system call said
        source: io::Error,
    },
    /// No thread can be started
    #[error("cannot start a thread: {}", io_text(.0))]
    Thread(io::Error),
}

/// What others may want to know, such as metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// All pods have been looked for once, and ztunnel is accepted
    pub ready: bool,
    /// How many pods are as desired
    pub enabled: usize,
    /// How many are not yet
    pub pending: usize,
    /// For how many something has failed
    pub failed: usize,
    /// How many ztunnels are connected
    pub ztunnels: usize,
    /// How many times rules were repaired that others had removed
    pub repairs: u64,
    /// For how many pods, or the host, repairs wait for each other
    pub backing_off: usize,
}

/// Runs until `stop` is ready, which says whether the node's rules go with the agent. Pods' rules stay, and ztunnel keeps
/// its proxies.
///
/// # Errors
/// See [`StartError`]; nothing was changed.
pub async fn run(
    settings: Settings,
    client: Client,
    summary: watch::Sender<Summary>,
    stop: impl Future<Output = Stop>,
) -> Result<(), StartError> {
    let (mut node, mut sources) = Node::start(settings, client, summary)?;
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
            _ = passes.tick() => node.handle(Input::Pass),
            () = sleep(deadline) => {}
        }
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

/// What a thread or task has found out, beside inputs of the state machine.
enum Step {
    /// An event's namespace is open, and the pod's
    Opened(Event, Netns, oneshot::Sender<Result<(), String>>),
    /// The API server was asked for an event's pod
    Asked(u64, Result<Box<(Pod, Namespace)>, kube::Error>),
    /// Namespaces were found
    Found(BTreeMap<Uid, Netns>),
}

/// An event whose pod is not known yet.
struct Lookup {
    event: Event,
    netns: Netns,
    deadline: Moment,
    /// When the API server is to be asked; `None` once it was
    ask_at: Option<Moment>,
    reply: oneshot::Sender<Result<(), String>>,
}

struct Node {
    settings: Settings,
    client: Client,
    started: Instant,
    state: State,
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
}

impl Node {
    fn start(
        settings: Settings,
        client: Client,
        summary: watch::Sender<Summary>,
    ) -> Result<(Self, Sources), StartError> {
        let path = settings.proc.join("1/ns/net");
        let host =
            path_id(&path).map_err(|source| StartError::HostNamespace { path: path.clone(), source })?;
        let nowhere = NetnsId { dev: 0, ino: 0 };
        let host_netns = Netns::open(&path, nowhere)?;
        let socket = |path: PathBuf| move |source| StartError::Socket { path, source };
        let listener = Listener::bind(&settings.zds_socket).map_err(socket(settings.zds_socket.clone()))?;
        let plugins = plugin::bind(&settings.event_socket()).map_err(socket(settings.event_socket()))?;

        let (inputs, inputs_receiver) = mpsc::unbounded_channel();
        let results = inputs.clone();
        let report = move |input| {
            let _ = results.send(input);
        };
        let host_jobs =
            host::start(host_netns.clone(), settings.clone(), report).map_err(StartError::Thread)?;
        let changes = inputs.clone();
        let changed = move |happened| match happened {
            true => changes.send(Input::HostChanged).is_ok(),
            false => !changes.is_closed(),
        };
        super::host_watch::start(host_netns, changed).map_err(StartError::Thread)?;
        let (pods, pods_receiver) = mpsc::channel(64);
        tokio::spawn(inform(client.clone(), Kind::pods_of(&settings.node), pods));
        let (namespaces, namespaces_receiver) = mpsc::channel(64);
        tokio::spawn(inform(client.clone(), Kind::namespaces(), namespaces));
        let (calls, calls_receiver) = mpsc::channel(64);
        tracing::info!(target: "cni-agent", "starting listener for CNI plugin events at {}", settings.event_socket().display());
        tokio::spawn(plugin::serve(plugins, calls));
        let (steps, steps_receiver) = mpsc::unbounded_channel();
        let (ztunnels, ztunnels_receiver) = mpsc::channel(16);
        let node = Self {
            cluster: Cluster::new(settings.clone()),
            settings,
            client,
            started: Instant::now(),
            state: State::new(),
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
        let due = lookups.flatten().chain(self.state.deadline(now)).min();
        due.map_or(PASS, |due| due.saturating_sub(now).max(Duration::from_millis(1)))
    }

    fn handle(&mut self, input: Input) {
        let now = self.now();
        self.state.handle(now, input);
    }

    fn pods(&mut self, change: Change<Pod>) {
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
                let _ = reply.send(status::json(&self.state, self.now()));
            }
        }
    }

    /// Opens an event's namespace, and sees whether it is the pod's.
    fn open(&self, event: Event, reply: oneshot::Sender<Result<(), String>>) {
        let roots = [self.settings.host_root.clone(), self.settings.proc.join("1/root")];
        let (host, steps) = (self.host, self.steps.clone());
        self.workers.submit(move |thread| {
            let below = |root: &PathBuf| root.join(event.netns.strip_prefix("/").unwrap_or(&event.netns));
            // The chart mounts /var/run/netns alone; other runtimes have other directories.
            let opened = Netns::open(&below(&roots[0]), host).or_else(|error| match error {
                NetnsError::Open { .. } => Netns::open(&below(&roots[1]), host).map_err(|_| error),
                error => Err(error),
            });
            let checked = opened.and_then(|netns| {
                thread.map_err(NetnsError::Thread)?;
                netns.belongs_to(&event.addresses())?;
                Ok(netns)
            });
            match checked {
                Ok(netns) => {
                    let _ = steps.send(Step::Opened(event, netns, reply));
                }
                Err(error) => {
                    let _ = reply.send(Err(error.to_string()));
                }
            }
        });
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Opened(event, netns, reply) => {
                let now = self.now();
                let number = self.number();
                let lookup =
                    Lookup { event, netns, deadline: now + ANSWER, ask_at: Some(now + WATCH), reply };
                self.lookups.insert(number, lookup);
            }
            Step::Asked(number, Ok(found)) => {
                let (pod, namespace) = *found;
                self.namespaces(Change::Applied(namespace));
                if pod.spec.node_name == self.settings.node {
                    self.pods(Change::Applied(pod));
                }
                self.give_up(number, "the API server does not have the pod on this node");
            }
            Step::Asked(number, Err(kube::Error::Api(status))) if status.code == 404 => {
                self.give_up(number, "the API server does not have the pod");
            }
            Step::Asked(number, Err(error)) => {
                tracing::warn!(target: "cni-agent", "cannot ask the API server for a pod: {error}");
                let again = self.now() + AGAIN;
                if let Some(lookup) = self.lookups.get_mut(&number) {
                    lookup.ask_at = Some(again);
                }
            }
            Step::Found(found) => {
                let ids = found.iter().map(|(uid, netns)| (uid.clone(), netns.id)).collect();
                self.namespaces.extend(found.into_values().map(|netns| (netns.id, netns)));
                self.handle(Input::Scanned(ids));
                // Whatever is of no use any more is closed here, so that it can go.
                let used: BTreeSet<_> = self.state.namespaces().collect();
                self.namespaces.retain(|id, _| used.contains(id));
                self.bound.retain(|_, (_, id)| used.contains(id));
            }
        }
    }

    /// Hands the events over whose pods are known by now, and asks for those that the watch does not bring.
    fn look_up(&mut self) {
        let now = self.now();
        let numbers: Vec<_> = self.lookups.keys().copied().collect();
        for number in numbers {
            let Some(lookup) = self.lookups.get_mut(&number) else { continue };
            let Event { pod_namespace, pod_name, .. } = &lookup.event;
            if let Found::Pod(uid) = self.cluster.find(pod_namespace, pod_name, lookup.event.uid()) {
                if let Some(lookup) = self.lookups.remove(&number) {
                    self.hand_over(uid, lookup);
                }
            } else if lookup.deadline <= now {
                self.give_up(number, "the pod is not known");
            } else if lookup.ask_at.is_some_and(|at| at <= now) {
                lookup.ask_at = None;
                let (client, steps) = (self.client.clone(), self.steps.clone());
                let (namespace, name) = (pod_namespace.clone(), pod_name.clone());
                tokio::spawn(async move {
                    let asked = api::pod_and_namespace(&client, &namespace, &name).await;
                    let _ = steps.send(Step::Asked(number, asked.map(Box::new)));
                });
            }
        }
    }

    /// Answers an event whose pod is still unknown.
    fn give_up(&mut self, number: u64, error: &str) {
        let Some(lookup) = self.lookups.get(&number) else { return };
        let Event { pod_namespace, pod_name, .. } = &lookup.event;
        if let Found::Pod(_) = self.cluster.find(pod_namespace, pod_name, lookup.event.uid()) {
            return;
        }
        let text = format!("pod {pod_namespace}/{pod_name}: {error}");
        if let Some(lookup) = self.lookups.remove(&number) {
            let _ = lookup.reply.send(Err(text));
        }
    }

    fn hand_over(&mut self, uid: Uid, lookup: Lookup) {
        let Lookup { event, netns, deadline, reply, .. } = lookup;
        tracing::info!(target: "cni-agent", ns = event.pod_namespace, name = event.pod_name, "adding pod to the mesh");
        let ticket = self.number();
        self.tickets.insert(ticket, reply);
        let root = &self.settings.host_root;
        let path = root.join(event.netns.strip_prefix("/").unwrap_or(&event.netns));
        self.bound.insert(uid.clone(), (path, netns.id));
        let addresses = self.cluster.of_the_mesh(event.addresses().into_iter());
        let id = netns.id;
        self.namespaces.insert(id, netns);
        self.handle(Input::Event { uid, netns: id, addresses, ticket, deadline });
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
        loop {
            let now = self.now();
            let actions = self.state.actions(now);
            if actions.is_empty() {
                break;
            }
            for action in actions {
                self.start_action(action);
            }
        }
        if self.state.may_accept()
            && let Some((listener, events)) = self.listener.take()
        {
            tracing::info!(target: "cni-agent", "CNI ambient server marking ready");
            tokio::spawn(zds::serve(listener, events));
        }
        self.summarize();
    }

    fn summarize(&self) {
        let mut summary = Summary {
            ready: self.listener.is_none(),
            ztunnels: self.state.ztunnels(),
            repairs: self.state.repairs(),
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

    fn start_action(&mut self, action: Action) {
        match action {
            Action::Scan(uids) => self.scan(uids),
            Action::Program(uid, netns, settings) => self.program(uid, netns, settings),
            Action::Inspect(uid, netns, settings) => self.inspect(uid, netns, settings),
            Action::Unprogram(uid, netns) => self.unprogram(uid, netns),
            Action::AddProbes(uid, addresses) => self.on_host(host::Job::Add(uid, addresses)),
            Action::RemoveProbes(uid, addresses) => self.on_host(host::Job::Remove(uid, addresses)),
            Action::ReadHost => self.on_host(host::Job::Read),
            Action::ProgramHost => self.on_host(host::Job::Program),
            Action::Annotate(uid, annotation) => self.annotate(uid, annotation),
            Action::Send(id, request, netns) => self.send(id, &request, netns),
            Action::Answer(ticket, result) => {
                if let Err(error) = &result {
                    tracing::error!(target: "cni-agent", "failed to add pod to ztunnel: pod partially added, annotating with pending status: {error}");
                }
                if let Some(reply) = self.tickets.remove(&ticket) {
                    let _ = reply.send(result);
                }
            }
        }
    }

    fn on_host(&self, job: host::Job) {
        // The thread ends with the sender, so it is there.
        let _ = self.host_jobs.send(job);
    }

    fn scan(&self, uids: BTreeSet<Uid>) {
        let wanted: Vec<_> = uids
            .into_iter()
            .filter_map(|uid| {
                Some(Wanted {
                    config_hash: self.cluster.config_hash(&uid).map(str::to_owned),
                    addresses: self.state.addresses(&uid)?.clone(),
                    bound: self.bound.get(&uid).cloned(),
                    uid,
                })
            })
            .collect();
        let (proc, host, steps) = (self.settings.proc.clone(), self.host, self.steps.clone());
        self.workers.submit(move |thread| {
            let found = thread.map(|()| scan(&proc, host, &wanted)).unwrap_or_else(|error| {
                tracing::error!(target: "cni-agent", "cannot look for pods: {error}");
                BTreeMap::new()
            });
            let _ = steps.send(Step::Found(found));
        });
    }

    fn program(&self, uid: Uid, netns: NetnsId, settings: PodInterception) {
        let desired = settings.clone();
        self.inside(
            netns,
            move |netns| netns.enter(|nft, routes| Ok(desired.apply(nft, routes)?)).map(drop),
            move |result| Input::Programmed(uid, netns, settings, result),
        );
    }

    fn inspect(&self, uid: Uid, netns: NetnsId, settings: Option<PodInterception>) {
        let desired = settings.map_or_else(PodInterception::nothing, |settings| settings.interception());
        self.inside(
            netns,
            move |netns| {
                netns.enter(|nft, routes| Ok(verify_possible(&desired, nft, routes)?.differences.is_empty()))
            },
            move |result| Input::Inspected(uid, netns, result),
        );
    }

    fn unprogram(&self, uid: Uid, netns: NetnsId) {
        if let Some(view) = self.state.view(&uid) {
            let (ns, name) = (&view.workload.namespace, &view.workload.name);
            tracing::info!(target: "cni-agent", ns, name, "removing pod from mesh");
        }
        self.inside(
            netns,
            |netns| netns.enter(|nft, routes| Ok(PodInterception::remove(nft, routes)?)).map(drop),
            move |result| Input::Unprogrammed(uid, netns, result),
        );
    }

    /// Does `work` on a thread that enters namespaces, and reports.
    fn inside<T: 'static>(
        &self,
        netns: NetnsId,
        work: impl FnOnce(&Netns) -> Result<T, NetnsError> + Send + 'static,
        report: impl FnOnce(Result<T, String>) -> Input + Send + 'static,
    ) {
        let inputs = self.inputs.clone();
        let Some(netns) = self.namespaces.get(&netns).cloned() else {
            let _ = inputs.send(report(Err("its network namespace is gone".to_owned())));
            return;
        };
        self.workers.submit(move |thread| {
            let result = thread.map_err(NetnsError::Thread).and_then(|()| work(&netns));
            let _ = inputs.send(report(result.map_err(|error| error.to_string())));
        });
    }

    fn annotate(&self, uid: Uid, annotation: Option<Redirection>) {
        let inputs = self.inputs.clone();
        let Some(view) = self.state.view(&uid).cloned() else {
            let _ = inputs.send(Input::Annotated(uid, annotation, Ok(())));
            return;
        };
        let (client, patches) = (self.client.clone(), Arc::clone(&self.patches));
        tokio::spawn(async move {
            let _turn = patches.acquire().await;
            let result = api::annotate(&client, &view, annotation).await.map_err(|(error, pause)| {
                let (ns, name) = (&view.workload.namespace, &view.workload.name);
                tracing::warn!(target: "cni-agent", ns, name, "cannot write the pod's annotation: {error}");
                pause
            });
            let _ = inputs.send(Input::Annotated(uid, annotation, result));
        });
    }

    fn send(&self, id: ConnectionId, request: &zds::Request, netns: Option<NetnsId>) {
        let Some(commands) = self.ztunnels.get(&id).cloned() else { return };
        let descriptor = match netns.map(|netns| self.namespaces.get(&netns)) {
            None => None,
            Some(Some(netns)) => Some(Arc::clone(&netns.fd)),
            Some(None) => {
                let ack = zds::Ack::Refused("the pod's network namespace is gone".to_owned());
                let _ = self.inputs.send(Input::Acknowledged(id, ack));
                return;
            }
        };
        let packet = match request.encode() {
            Ok(packet) => packet,
            Err(error) => {
                let _ = self.inputs.send(Input::Acknowledged(id, zds::Ack::Refused(error.to_string())));
                return;
            }
        };
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let (reply, ack) = oneshot::channel();
            if commands.send(Command { packet, netns: descriptor, reply }).await.is_err() {
                return;
            }
            // Without an acknowledgement the connection ends, and that is reported by itself.
            if let Ok(ack) = ack.await {
                let _ = inputs.send(Input::Acknowledged(id, ack));
            }
        });
    }
}
