//! What carries the pods' traffic during chaos: the testkit's ztunnel, which meets faults and notes every breach of the
//! protocol; or, in a run by hand, the executable that `MESHWIRE_ZTUNNEL` names, which is replaced, killed and stopped for a
//! while.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{env, thread};

use meshwire::netns::Namespace as Netns;
use meshwire_testkit::ztunnel::{Fault, Ztunnel};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::harness::{Namespace, Node, within};

/// ztunnel, whichever.
pub(super) enum Mesh {
    Peer(Arc<Ztunnel>),
    Program(Program),
}

impl Mesh {
    /// Starts it. These pods, by name and addresses, are what the program knows of the cluster.
    pub(super) fn start(node: &Node, pods: impl Iterator<Item = (String, Vec<String>)>) -> Self {
        match env::var_os("MESHWIRE_ZTUNNEL") {
            None => Self::Peer(Arc::new(node.ztunnel())),
            Some(path) => Self::Program(Program::start(path.into(), node, &cluster(pods, &[]))),
        }
    }

    /// The UIDs of the pods in which a proxy runs.
    pub(super) fn proxies(&self) -> BTreeSet<String> {
        match self {
            Self::Peer(ztunnel) => ztunnel.proxies().into_keys().collect(),
            Self::Program(program) => program.proxies(),
        }
    }

    /// Lets something go wrong; what, the random number says.
    pub(super) fn disturb(&self, random: u64) {
        match self {
            Self::Peer(ztunnel) if random.is_multiple_of(2) => ztunnel.reconnect(),
            Self::Peer(ztunnel) => ztunnel.meet([Fault::Nack("chaos".to_owned()), Fault::Disappear]),
            Self::Program(program) => program.disturb(random),
        }
    }

    /// From now on all is well.
    pub(super) fn forgive(&self) {
        match self {
            Self::Peer(ztunnel) => ztunnel.forgive(),
            Self::Program(program) => program.settle(),
        }
    }

    /// The agent has kept to the protocol. Of one that has not, the real ztunnel ends.
    pub(super) fn assert_well(&self) {
        match self {
            Self::Peer(ztunnel) => assert_eq!(ztunnel.violations(), [""; 0]),
            Self::Program(program) => program.assert_well(),
        }
    }
}

/// Pods and services, as text of YAML: a pod has a name and addresses; a service a name, an address, and a pod, whose port 80
/// is the service's.
pub(super) fn cluster(
    pods: impl Iterator<Item = (String, Vec<String>)>,
    services: &[(&str, &str, &str)],
) -> String {
    let hostname = |service: &str| format!("{service}.default.svc.cluster.local");
    let workloads: Vec<_> = pods
        .map(|(name, addresses)| {
            let own = services.iter().filter(|(_, _, pod)| *pod == name);
            let own: Value =
                own.map(|(name, ..)| (format!("default/{}", hostname(name)), json!({ "80": 80 }))).collect();
            json!({
                "uid": format!("cluster//Pod/default/{name}"), "name": name, "namespace": "default",
                "serviceAccount": "sa", "workloadIps": addresses, "protocol": "HBONE", "node": "node",
                "services": own,
            })
        })
        .collect();
    let service = |(name, address, _): &(&str, &str, &str)| {
        json!({
            "name": name, "namespace": "default", "hostname": hostname(name),
            "vips": [format!("/{address}")], "ports": { "80": 80 },
        })
    };
    let services: Vec<_> = services.iter().map(service).collect();
    // Ports are numbers, which names in JSON cannot be.
    json!({ "workloads": workloads, "services": services }).to_string().replace(r#""80":80"#, "80: 80")
}

/// ztunnels of an executable, each in a network namespace of its own, as its pod is.
pub(super) struct Program {
    path: PathBuf,
    node: [(&'static str, PathBuf); 2],
    instances: Mutex<Instances>,
}

#[derive(Default)]
struct Instances {
    running: Vec<Instance>,
    replaced: u32,
    killed: u32,
    stopped: u32,
}

struct Instance {
    child: Child,
    namespace: Namespace,
}

impl Program {
    /// Starts the first one, which reads what it knows of the cluster from a file.
    pub(super) fn start(path: PathBuf, node: &Node, text: &str) -> Self {
        let cluster = node.files.path("cluster.yaml");
        fs::write(&cluster, text).unwrap();
        let socket = node.files.path("ztunnel/ztunnel.sock");
        let program = Self {
            path,
            node: [("LOCAL_XDS_PATH", cluster), ("INPOD_UDS", socket)],
            instances: Mutex::default(),
        };
        program.instances.lock().unwrap().running.push(program.instance());
        program
    }

    fn instance(&self) -> Instance {
        let namespace = Namespace::new();
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", namespace.path().display()))
            .arg(&self.path)
            .envs(self.node.iter().map(|(name, path)| (name, path)))
            .envs([("FAKE_CA", "true"), ("PROXY_MODE", "shared"), ("NODE_NAME", "node")])
            .envs([("XDS_ADDRESS", ""), ("CA_ADDRESS", "")])
            .stdin(Stdio::null());
        Instance { child: command.spawn().unwrap(), namespace }
    }

    pub(super) fn proxies(&self) -> BTreeSet<String> {
        let instances = self.instances.lock().unwrap();
        let dump = instances.running.last().and_then(|newest| newest.get(15000, "/config_dump"));
        let dump: Value = dump.and_then(|dump| serde_json::from_str(&dump).ok()).unwrap_or_default();
        let pods = dump["workloadState"].as_object().into_iter().flatten();
        pods.filter(|(_, pod)| pod["state"] == "Up").map(|(uid, _)| uid.clone()).collect()
    }

    fn disturb(&self, random: u64) {
        self.instances.lock().unwrap().end_those_that_are_replaced();
        match random % 60 {
            0 => self.replace(),
            1 => self.kill(),
            2 => self.stop_for_a_while(),
            _ => {}
        }
    }

    /// As its DaemonSet does: another one is started, and once that is ready the old one ends.
    pub(super) fn replace(&self) {
        let mut instances = self.instances.lock().unwrap();
        if let [_] = instances.running[..] {
            instances.replaced += 1;
            instances.running.push(self.instance());
        }
    }

    /// Without a farewell; another one is started at once.
    pub(super) fn kill(&self) {
        let mut instances = self.instances.lock().unwrap();
        instances.killed += 1;
        instances.running.drain(..).for_each(|mut old| old.kill());
        instances.running.push(self.instance());
    }

    /// What the newest one counts, as text for Prometheus.
    pub(super) fn metrics(&self) -> String {
        let instances = self.instances.lock().unwrap();
        instances.running.last().and_then(|newest| newest.get(15020, "/metrics")).unwrap_or_default()
    }

    /// How many run.
    pub(super) fn count(&self) -> usize {
        self.instances.lock().unwrap().running.len()
    }

    /// Longer than the agent waits for an acknowledgement.
    fn stop_for_a_while(&self) {
        let mut instances = self.instances.lock().unwrap();
        instances.stopped += 1;
        let Some(pid) = instances.running.last().map(Instance::pid) else { return };
        kill(pid, Signal::SIGSTOP).unwrap();
        drop(instances);
        thread::sleep(Duration::from_secs(6));
        kill(pid, Signal::SIGCONT).unwrap();
    }

    /// Waits until the newest one is ready, and alone.
    pub(super) fn settle(&self) {
        within(Duration::from_secs(30), "ztunnel is ready, and alone", || {
            let mut instances = self.instances.lock().unwrap();
            instances.end_those_that_are_replaced();
            instances.running.len() == 1 && instances.running.iter().all(Instance::is_ready)
        });
    }

    fn assert_well(&self) {
        let mut instances = self.instances.lock().unwrap();
        let Instances { replaced, killed, stopped, .. } = *instances;
        eprintln!(
            "ztunnel was replaced {replaced} times, killed {killed} times, stopped for 6 s {stopped} times"
        );
        for instance in &mut instances.running {
            assert_eq!(instance.child.try_wait().unwrap(), None, "ztunnel has ended by itself");
        }
    }
}

impl Instances {
    fn end_those_that_are_replaced(&mut self) {
        let Some(mut newest) = self.running.pop() else { return };
        assert_eq!(newest.child.try_wait().unwrap(), None, "ztunnel has ended by itself");
        if !self.running.is_empty() && newest.is_ready() {
            for mut old in self.running.drain(..) {
                kill(old.pid(), Signal::SIGTERM).unwrap();
                thread::spawn(move || old.child.wait().unwrap());
            }
        }
        self.running.push(newest);
    }
}

impl Instance {
    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    fn is_ready(&self) -> bool {
        self.get(15021, "/healthz/ready").is_some()
    }

    /// The body of a successful reply, from within its namespace.
    fn get(&self, port: u16, path: &str) -> Option<String> {
        let inside = Netns::from_path(self.namespace.path()).unwrap();
        let ask = || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
            write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply).ok()?;
            let (head, body) = reply.split_once("\r\n\r\n")?;
            head.contains(" 200 ").then(|| body.to_owned())
        };
        inside.enter(ask).unwrap()
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Ok(instances) = self.instances.get_mut() {
            instances.running.iter_mut().for_each(Instance::kill);
        }
    }
}
