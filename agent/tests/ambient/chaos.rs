//! Everything at once, for a while; then quiet, and everything has to be as desired.

use std::collections::BTreeMap;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs};

use meshwire_testkit::kubernetes::{ADMIN, Access, Effect, Fault as ApiFault};
use meshwire_testkit::ztunnel::Fault;
use serde_json::json;

use super::harness::{Node, Sandbox, post, within};
use super::privileged;

/// Names are used again, and so are their addresses: `MESHWIRE_CHAOS_PODS`, at most 200.
fn names() -> u64 {
    let pods = env::var("MESHWIRE_CHAOS_PODS").ok().and_then(|text| text.parse().ok());
    pods.unwrap_or(24).min(200)
}

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

    fn step(&mut self, ztunnel: &meshwire_testkit::ztunnel::Ztunnel) {
        let name = 1 + self.random(self.names);
        match self.random(100) {
            0..20 if !self.pods.contains_key(&name) => self.create(name),
            0..45 => self.start(name),
            45..55 => self.delete(name),
            55..65 => self.label(name),
            65..70 => self.flush(name),
            70..73 => {
                self.node.host.output("nft flush ruleset");
            }
            // Otherwise nothing but starts would happen.
            73..88 if self.disturbed.elapsed() > Duration::from_secs(1) => {
                self.disturbed = Instant::now();
                match self.random(3) {
                    0 => ztunnel.reconnect(),
                    1 => ztunnel.meet([Fault::Nack("chaos".to_owned()), Fault::Disappear]),
                    _ => self.node.start(),
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

    fn is_as_desired(&self, name: u64, pod: &Pod) -> bool {
        let annotation = self.node.annotation(&format!("p{name}"));
        let tables = pod.sandbox.as_ref().map_or(0, |sandbox| sandbox.namespace.tables().len());
        match (&pod.sandbox, pod.member) {
            (Some(_), true) => annotation.as_deref() == Some("enabled") && tables == 3,
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
    };
    chaos.node.start();
    let ztunnel = chaos.node.ztunnel();
    let end = Instant::now() + duration();
    let mut steps = 0;
    while Instant::now() < end {
        chaos.step(&ztunnel);
        steps += 1;
    }
    if chaos.api_is_away {
        chaos.node.api().accept();
    }
    chaos.node.api().clear_faults();
    ztunnel.forgive();
    let quiet = Instant::now();
    let mut answers = BTreeMap::new();
    for report in chaos.reports.drain(..) {
        *answers.entry(report.join().unwrap()).or_insert(0) += 1;
    }

    let desired = chaos.desired();
    let proxies = || ztunnel.proxies().into_keys().collect::<Vec<_>>();
    let uids: Vec<_> = desired.keys().cloned().collect();
    within(Duration::from_secs(40), "ztunnel has the pods of the mesh", || proxies() == uids);
    for (name, pod) in &chaos.pods {
        let what = || format!("pod {name} {} is as desired: {}", pod.uid, chaos.node.status());
        let limit = Duration::from_secs(45).saturating_sub(quiet.elapsed());
        within(limit, &what(), || chaos.is_as_desired(*name, pod));
    }
    let owners = desired.iter().flat_map(|(uid, name)| Chaos::addresses(*name).map(|ip| (ip, uid.clone())));
    let probes: BTreeMap<_, _> = owners.collect();
    within(Duration::from_secs(10), "the probe set is as desired", || chaos.node.probes() == probes);
    let settled = quiet.elapsed();
    assert_eq!(ztunnel.violations(), [""; 0]);
    assert_eq!(chaos.node.api().quorum_lists(), 0);
    eprintln!(
        "{steps} steps, {} pods at the end, quiet after {settled:?}; the plugin's answers: {answers:#?}",
        chaos.pods.len()
    );

    // Every pod goes: nothing of them stays open.
    let names: Vec<_> = chaos.pods.keys().copied().collect();
    for name in names {
        chaos.delete(name);
    }
    within(Duration::from_secs(10), "nothing is left", || {
        ztunnel.proxies().is_empty() && chaos.node.probes().is_empty()
    });
    chaos.node.start();
    within(Duration::from_secs(10), "the agent has started", || chaos.node.summary().ztunnels == 1);
    let open = descriptors();
    for _ in 0..5 {
        chaos.node.start();
        within(Duration::from_secs(10), "the agent has started", || chaos.node.summary().ztunnels == 1);
    }
    within(Duration::from_secs(20), "no descriptor leaks", || descriptors() <= open + 2);
}
