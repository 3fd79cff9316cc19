//! Everything at once, for a while; then quiet, and everything has to be as desired. Pods talk meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs};

use meshwire_testkit::kubernetes::{ADMIN, Access, Effect, Fault as ApiFault};
use serde_json::json;

use super::harness::{Node, Sandbox, post, within};
use super::mesh::Mesh;
use super::privileged;
use super::traffic::{Talker, Traffic};

/// Names are used again, and so are their addresses: `MESHWIRE_CHAOS_PODS`, at most 200.
fn names() -> u64 {
    let pods = env::var("MESHWIRE_CHAOS_PODS").ok().and_then(|text| text.parse().ok());
    pods.unwrap_or(24).min(200)
}

/// What happens to the pairs of pods that talk. Nothing ever happens to the pods of the first one themselves.
const STEADY: usize = 0;
/// Somebody flushes the rules in these.
const FLUSHED: usize = 1;
/// The first of these leaves the mesh and comes back.
const LABELLED: usize = 2;
const PAIRS: u8 = 3;

struct Pod {
    uid: String,
    member: bool,
    sandbox: Option<Sandbox>,
}

struct Chaos {
    node: Node,
    pods: BTreeMap<u64, Pod>,
    reports: Vec<JoinHandle<(u16, String)>>,
    random: u64,
    names: u64,
    /// What the agent authenticates with
    token: String,
    api_is_away: bool,
    /// When the agent was killed last, or a ztunnel met a fault
    disturbed: Instant,
    /// Whether the pod that leaves and comes back is in the mesh
    labelled_in: bool,
}

impl Chaos {
    /// A number below the limit (xorshift64).
    fn random(&mut self, limit: u64) -> u64 {
        for shift in [13, -7, 17_i32] {
            let shifted = if shift < 0 { self.random >> -shift } else { self.random << shift };
            self.random ^= shifted;
        }
        self.random % limit
    }

    fn addresses(name: u64) -> [String; 2] {
        [format!("10.1.1.{name}"), format!("fd00:1::{name}")]
    }

    fn create(&mut self, name: u64) {
        let member = self.random(4) > 0;
        let labels = if member { json!({}) } else { json!({ "istio.io/dataplane-mode": "none" }) };
        let uid = self.node.create_with(&format!("p{name}"), &labels);
        self.pods.insert(name, Pod { uid, member, sandbox: None });
    }

    /// The runtime makes the sandbox, and its plugin reports it or not.
    fn start(&mut self, name: u64) {
        let addresses = Self::addresses(name);
        let addresses = addresses.each_ref().map(String::as_str);
        let is_reported = self.random(3) > 0;
        let Some(pod) = self.pods.get_mut(&name) else { return };
        if pod.sandbox.is_some() {
            return;
        }
        let mut sandbox = self.node.sandbox(&addresses);
        if is_reported {
            let ips = addresses.map(|ip| json!({ "Address": { "IP": ip, "Mask": "" }, "Gateway": "" }));
            let event = json!({
                "Netns": sandbox.namespace.path(), "PodName": format!("p{name}"), "PodNamespace": "default",
                "IPs": ips, "PodUID": pod.uid,
            });
            let socket = self.node.settings().event_socket();
            self.reports.push(thread::spawn(move || {
                post(&socket, "POST", "/cmdadd", &event.to_string()).unwrap_or_default()
            }));
        }
        self.node.start_process(&mut sandbox, &pod.uid);
        pod.sandbox = Some(sandbox);
        self.node.running(&format!("p{name}"), &addresses);
    }

    fn delete(&mut self, name: u64) {
        if self.pods.remove(&name).is_some() {
            self.node.api().remove(&Node::pod_path(&format!("p{name}")));
        }
    }

    fn label(&mut self, name: u64) {
        let Some(pod) = self.pods.get_mut(&name) else { return };
        pod.member = !pod.member;
        let labels = if pod.member { json!({}) } else { json!({ "istio.io/dataplane-mode": "none" }) };
        self.node.update(&format!("p{name}"), |pod| pod["metadata"]["labels"] = labels);
    }

    /// Takes the first pod of a pair out of the mesh, or into it.
    fn label_talker(&mut self, traffic: &Traffic) {
        self.labelled_in = !self.labelled_in;
        let mode = if self.labelled_in { "ambient" } else { "none" };
        let name = &traffic.talkers[2 * LABELLED].name;
        self.node.update(name, |pod| pod["metadata"]["labels"] = json!({ "istio.io/dataplane-mode": mode }));
    }

    fn flush_talker(&mut self, traffic: &Traffic) {
        let index = 2 * FLUSHED + usize::from(self.random(2) > 0);
        traffic.talkers[index].sandbox.namespace.output("nft flush ruleset");
    }

    fn flush(&mut self, name: u64) {
        if let Some(sandbox) = self.pods.get(&name).and_then(|pod| pod.sandbox.as_ref()) {
            sandbox.namespace.output("nft flush ruleset");
        }
    }

    /// Another token, and the one before is worth nothing any more.
    fn rotate(&mut self) {
        let token = format!("token-{}", self.random(u64::MAX));
        self.node.api().allow(&token, "agent", Access::Everything);
        self.node.files.rotate(&token);
        self.node.api().revoke(&std::mem::replace(&mut self.token, token));
    }

    fn api_fault(&mut self) {
        let effects = [
            Effect::Code(500),
            Effect::Code(429),
            Effect::Code(410),
            Effect::ErrorEvent(410),
            Effect::Reset,
            Effect::HalfBody,
        ];
        let index = usize::try_from(self.random(6)).unwrap();
        let times = usize::try_from(1 + self.random(5)).unwrap();
        self.node.api().fault(ApiFault::always("/", effects[index]).times(times));
    }

    fn step(&mut self, mesh: &Mesh, traffic: &Traffic) {
        let name = 1 + self.random(self.names);
        match self.random(100) {
            0..20 if !self.pods.contains_key(&name) => self.create(name),
            0..45 => self.start(name),
            45..55 => self.delete(name),
            55..63 => self.label(name),
            63..65 => self.label_talker(traffic),
            65..69 => self.flush(name),
            69 => self.flush_talker(traffic),
            70..73 => {
                self.node.host.output("nft flush ruleset");
            }
            // Otherwise nothing but starts would happen.
            73..88 if self.disturbed.elapsed() > Duration::from_secs(1) => {
                self.disturbed = Instant::now();
                match self.random(3) {
                    0 => self.node.start(),
                    _ => mesh.disturb(self.random(u64::MAX)),
                }
            }
            88..92 => self.api_fault(),
            92 => self.rotate(),
            93..96 => self.node.api().expire_watches(),
            _ if self.api_is_away => {
                self.node.api().accept();
                self.api_is_away = false;
            }
            96 => {
                self.node.api().refuse();
                self.api_is_away = true;
            }
            _ => thread::sleep(Duration::from_millis(50)),
        }
    }

    /// Pods of the mesh that run, by UID: their name.
    fn desired(&self) -> BTreeMap<String, u64> {
        let running = self.pods.iter().filter(|(_, pod)| pod.member && pod.sandbox.is_some());
        running.map(|(name, pod)| (pod.uid.clone(), *name)).collect()
    }

    fn is_enabled(&self, name: &str, sandbox: &Sandbox) -> bool {
        self.node.annotation(name).as_deref() == Some("enabled") && sandbox.namespace.tables().len() == 3
    }

    /// What the agent itself says of a pod, if it knows it; it may have been started just now.
    fn state(&self, uid: &str) -> Option<String> {
        let status = self.node.status_if_it_runs()?;
        let pod = status["pods"].as_array().unwrap().iter().find(|pod| pod["uid"] == uid)?;
        Some(pod["state"].as_str().unwrap().to_owned())
    }

    fn is_as_desired(&self, name: u64, pod: &Pod) -> bool {
        let name = format!("p{name}");
        let annotation = self.node.annotation(&name);
        let tables = pod.sandbox.as_ref().map_or(0, |sandbox| sandbox.namespace.tables().len());
        match (&pod.sandbox, pod.member) {
            (Some(sandbox), true) => self.is_enabled(&name, sandbox),
            (_, false) => annotation.is_none() && tables == 0,
            (None, true) => true,
        }
    }
}

/// For how long: `MESHWIRE_CHAOS_SECONDS`.
fn duration() -> Duration {
    let seconds = env::var("MESHWIRE_CHAOS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(15))
}

/// The outcomes of the connections. Where nobody touched the pods themselves, not one was cut and not a byte was plain text,
/// whatever happened to the agent, the node, ztunnel's connection and the API server. A ztunnel that ends takes its
/// connections along; still not a byte is plain text.
fn judge(mesh: &Mesh, traffic: &Traffic) {
    for (pair, ledger) in traffic.ledgers.iter().enumerate() {
        let [bytes, cut, refused] =
            [&ledger.bytes, &ledger.cut, &ledger.refused].map(|count| count.load(Ordering::Relaxed));
        let [plain, tunnel] = ["plain", "tunnel"].map(|form| traffic.seen(form, pair));
        let what =
            ["nothing happened to", "rules were flushed in", "one left the mesh and came back, of"][pair];
        eprintln!(
            "pods that {what}: {bytes} bytes carried, {tunnel} seen in the tunnel, {plain} in plain text, {cut} connections cut, {refused} refused"
        );
        assert!(bytes > 0);
        if pair == STEADY {
            assert!(plain == 0 && tunnel > bytes);
            if let Mesh::Peer(_) = mesh {
                assert_eq!((cut, refused), (0, 0), "{:?}", ledger.errors.lock().unwrap());
            }
        }
    }
    // All have their rules again. What was connected without them stays as it is until it ends.
    traffic.connect_anew();
    let seen = || (0..traffic.ledgers.len()).map(|pair| traffic.seen("plain", pair)).collect::<Vec<_>>();
    let before = seen();
    thread::sleep(Duration::from_secs(1));
    assert_eq!(seen(), before, "plain text on the wire although everything is as desired");
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn chaos_ends_as_desired() {
    if !privileged() {
        return;
    }
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    eprintln!("seed {seed}");
    let node = Node::new(true);
    let random = u64::from(seed) << 1 | 1;
    let mut chaos = Chaos {
        node,
        pods: BTreeMap::new(),
        reports: Vec::new(),
        random,
        names: names(),
        token: ADMIN.to_owned(),
        api_is_away: false,
        disturbed: Instant::now(),
        labelled_in: true,
    };
    let mut traffic = Traffic::new(&chaos.node, PAIRS);
    chaos.node.start();
    let churning = (1..=chaos.names).map(|name| (format!("p{name}"), Chaos::addresses(name).into()));
    let talking = traffic.talkers.iter().map(|pod| (pod.name.clone(), vec![pod.address.to_string()]));
    let mesh = Mesh::start(&chaos.node, churning.chain(talking));
    let begun = |pod: &Talker| chaos.is_enabled(&pod.name, &pod.sandbox);
    within(Duration::from_secs(20), "the pods that talk are in the mesh", || {
        traffic.talkers.iter().all(begun)
    });
    traffic.start(&mesh);
    let talk = |pair: usize| traffic.ledgers[pair].bytes.load(Ordering::Relaxed) > 0;
    within(Duration::from_secs(10), "they talk", || (0..traffic.ledgers.len()).all(talk));
    let end = Instant::now() + duration();
    let mut steps = 0;
    while Instant::now() < end {
        chaos.step(&mesh, &traffic);
        steps += 1;
    }
    if !chaos.labelled_in {
        chaos.label_talker(&traffic);
    }
    if chaos.api_is_away {
        chaos.node.api().accept();
    }
    chaos.node.api().clear_faults();
    mesh.forgive();
    let quiet = Instant::now();
    let mut answers = BTreeMap::new();
    for report in chaos.reports.drain(..) {
        *answers.entry(report.join().unwrap()).or_insert(0) += 1;
    }

    // The watch brings changes in their order: once it has brought this pod, it has brought all.
    let last = chaos.node.create("last");
    within(Duration::from_secs(20), "the agent has heard of everything", || chaos.state(&last).is_some());
    chaos.node.api().remove(&Node::pod_path("last"));

    let desired = chaos.desired();
    let talkers = traffic.talkers.iter();
    let uids: BTreeSet<_> =
        desired.keys().cloned().chain(talkers.clone().map(|pod| pod.uid.clone())).collect();
    within(Duration::from_secs(40), "ztunnel has the pods of the mesh", || mesh.proxies() == uids);
    // Of all the time that a slow machine gets.
    let left = || Duration::from_secs(45).saturating_sub(quiet.elapsed() / 3);
    for (name, pod) in &chaos.pods {
        let what = || format!("pod {name} {} is as desired: {}", pod.uid, chaos.node.status());
        within(left(), &what(), || chaos.is_as_desired(*name, pod));
    }
    for pod in talkers.clone() {
        within(left(), &format!("{} is as desired", pod.name), || {
            chaos.state(&pod.uid).as_deref() == Some("enabled") && chaos.is_enabled(&pod.name, &pod.sandbox)
        });
    }
    let owners = desired.iter().flat_map(|(uid, name)| Chaos::addresses(*name).map(|ip| (ip, uid.clone())));
    let probes: BTreeMap<_, _> =
        owners.chain(talkers.map(|pod| (pod.address.to_string(), pod.uid.clone()))).collect();
    within(Duration::from_secs(10), "the probe set is as desired", || chaos.node.probes() == probes);
    let settled = quiet.elapsed();
    mesh.assert_well();
    assert_eq!(chaos.node.api().quorum_lists(), 0);
    eprintln!(
        "{steps} steps, {} pods at the end, quiet after {settled:?}; the plugin's answers: {answers:#?}",
        chaos.pods.len()
    );

    judge(&mesh, &traffic);

    // Every pod goes: nothing of them stays open.
    for pod in &traffic.talkers {
        chaos.node.api().remove(&Node::pod_path(&pod.name));
    }
    drop(traffic);
    let names: Vec<_> = chaos.pods.keys().copied().collect();
    for name in names {
        chaos.delete(name);
    }
    within(Duration::from_secs(10), "nothing is left", || {
        mesh.proxies().is_empty() && chaos.node.probes().is_empty()
    });
    chaos.node.start();
    within(Duration::from_secs(10), "the agent has started", || chaos.node.summary().ztunnels == 1);
    let open = descriptors();
    for _ in 0..5 {
        chaos.node.start();
        within(Duration::from_secs(10), "the agent has started", || chaos.node.summary().ztunnels == 1);
    }
    // They are those of the whole process: it takes until the test beside this one has as few open as the one before.
    within(Duration::from_secs(60), "no descriptor leaks", || descriptors() <= open + 2);
}
