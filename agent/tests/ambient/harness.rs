//! A node of its own: a host namespace, pods with namespaces and processes, an API server and ztunnels.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use meshwire_agent::ambient::handover::Stop;
use meshwire_agent::ambient::{self, Summary, settings::Settings};
use meshwire_agent::kubernetes::{Access, Client};
use meshwire_agent::metrics::{AmbientMetrics, Metrics};
use meshwire_testkit::kubernetes::ApiServer;
use meshwire_testkit::ztunnel::Ztunnel;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use super::common;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A network namespace that is removed with this value.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) name: String,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mwa-{}-{number}", std::process::id());
        run("ip", &["netns", "add", &name]);
        run("ip", &["-n", &name, "link", "set", "lo", "up"]);
        Self { name }
    }

    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    pub(crate) fn id(&self) -> (u64, u64) {
        let metadata = self.path().metadata().unwrap();
        (metadata.dev(), metadata.ino())
    }

    /// Whether this process has it open, and the agent with it.
    pub(crate) fn is_held(&self) -> bool {
        let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
        open.filter_map(|file| file.path().metadata().ok()).any(|file| (file.dev(), file.ino()) == self.id())
    }

    /// What a command prints inside.
    pub(crate) fn output(&self, command: &str) -> String {
        let words: Vec<_> = ["netns", "exec", &self.name].into_iter().chain(command.split(' ')).collect();
        run("ip", &words)
    }

    /// Runs a command inside, which reads this.
    pub(crate) fn feed(&self, command: &str, input: &str) {
        let words: Vec<_> = ["netns", "exec", &self.name].into_iter().chain(command.split(' ')).collect();
        let output = meshwire_testkit::finish(Command::new("ip").args(words), input);
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn tables(&self) -> Vec<String> {
        let listed = self.output("nft list tables");
        let mut names: Vec<_> =
            listed.lines().map(|line| line.trim_start_matches("table inet ").to_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

/// Runs a command that has to succeed.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// A pod's sandbox: its namespace, and a process in the node's proc file system.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) namespace: Namespace,
    process: Option<PathBuf>,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            let _ = fs::remove_dir_all(process);
        }
    }
}

/// The node, with a running agent or without.
pub(crate) struct Node {
    /// The API server, the service account, and the folders that the chart mounts
    pub(crate) files: common::Node,
    pub(crate) host: Namespace,
    pub(crate) ipv6: bool,
    /// Where the agent finds the node's folders
    pub(crate) host_root: PathBuf,
    agent: Option<Agent>,
}

struct Agent {
    stop: Option<oneshot::Sender<Stop>>,
    thread: Option<JoinHandle<()>>,
    summary: watch::Receiver<Summary>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Node {
    pub(crate) fn new(ipv6: bool) -> Self {
        let node = Self {
            files: common::Node::new(),
            host: Namespace::new(),
            ipv6,
            host_root: "/".into(),
            agent: None,
        };
        fs::create_dir_all(node.files.path("ztunnel")).unwrap();
        node.process(1, "init", "", 0, &node.host);
        node.process(99, "kubelet", "/usr/bin/kubelet", 4711, &node.host);
        node.api().put(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": "default", "labels": { "istio.io/dataplane-mode": "ambient" } },
        }));
        node
    }

    pub(crate) fn api(&self) -> &ApiServer {
        &self.files.server
    }

    pub(crate) fn proc(&self) -> PathBuf {
        self.files.path("proc")
    }

    /// The agent as its DaemonSet starts it.
    pub(crate) fn program(&self) -> Command {
        let mut command = self.files.istio();
        command
            .env("AMBIENT_ENABLED", "true")
            .env("AMBIENT_IPV6", self.ipv6.to_string())
            .env("AMBIENT_DNS_CAPTURE", "true")
            .env("NODE_NAME", "node")
            .env("ZTUNNEL_UDS_ADDRESS", self.files.path("ztunnel/ztunnel.sock"))
            .env("HOST_PROC_DIR", self.proc())
            .env("HOST_ROOT_DIR", "/");
        command
    }

    /// A process, as far as the agent looks at it.
    fn process(&self, pid: u32, name: &str, arguments: &str, uid: u32, namespace: &Namespace) -> PathBuf {
        let process = self.proc().join(pid.to_string());
        fs::create_dir_all(process.join("ns")).unwrap();
        symlink(namespace.path(), process.join("ns/net")).unwrap();
        for other in ["user", "pid"] {
            symlink(format!("/proc/self/ns/{other}"), process.join("ns").join(other)).unwrap();
        }
        fs::write(process.join("comm"), format!("{name}\n")).unwrap();
        fs::write(process.join("cmdline"), format!("{arguments}\0")).unwrap();
        fs::write(process.join("status"), format!("Name:\t{name}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n"))
            .unwrap();
        fs::write(process.join("cgroup"), "0::/\n").unwrap();
        let fields = "0 ".repeat(18);
        fs::write(process.join("stat"), format!("{pid} ({name}) S {fields}{pid} 0\n")).unwrap();
        process
    }

    /// Another user's kubelet, from now on.
    pub(crate) fn kubelet(&self, uid: u32) {
        fs::remove_dir_all(self.proc().join("99")).unwrap();
        self.process(99, "kubelet", "/usr/bin/kubelet", uid, &self.host);
    }

    /// Runs `meshwire`, which is built next to the agent, with the agent's socket; none, and said, where it is not built.
    pub(crate) fn meshwire(&self, arguments: &[&str]) -> Option<Output> {
        let socket = self.settings().event_socket();
        Some(Command::new(program()?).args(arguments).arg("--socket").arg(socket).output().unwrap())
    }

    /// Runs `meshwire` as in the agent's container, where the agent's folder is where the chart mounts it.
    pub(crate) fn meshwire_in_the_container(&self, arguments: &[&str]) -> Option<Output> {
        const MOUNTS: &str = "set -e; mount --rbind /run/netns \"$1\"; mount -t tmpfs none /run; \
            mkdir /run/netns /run/istio-cni; mount --rbind \"$1\" /run/netns; mount --bind \"$2\" /run/istio-cni; \
            shift 2; exec \"$@\"";
        let aside = self.files.path("aside");
        fs::create_dir_all(&aside).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", MOUNTS, "sh"]).arg(aside).arg(self.settings().run_directory);
        Some(command.arg(program()?).args(arguments).output().unwrap())
    }

    pub(crate) fn settings(&self) -> Settings {
        let ipv6 = if self.ipv6 { "true" } else { "false" };
        let mut settings = Settings::from_variables(|name| match name {
            "NODE_NAME" => Some("node".to_owned()),
            "AMBIENT_IPV6" => Some(ipv6.to_owned()),
            "AMBIENT_DNS_CAPTURE" => Some("true".to_owned()),
            _ => None,
        })
        .unwrap();
        settings.proc = self.proc();
        settings.host_root.clone_from(&self.host_root);
        settings.run_directory = self.files.path("run");
        settings.zds_socket = self.files.path("ztunnel/ztunnel.sock");
        settings
    }

    /// Starts the agent; a running one is killed first.
    pub(crate) fn start(&mut self) {
        self.kill();
        let settings = self.settings();
        let access = access(&self.files);
        let (stop, stopped) = oneshot::channel::<Stop>();
        let (sender, summary) = watch::channel(Summary::default());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = Client::new(access).unwrap();
                let metrics = AmbientMetrics::registered(&Metrics::default());
                let stop = async { stopped.await.unwrap_or(Stop::Keep) };
                let (_, queries) = mpsc::channel(1);
                ambient::run(settings, client, metrics, sender, queries, stop).await.unwrap();
            });
        });
        self.agent = Some(Agent { stop: Some(stop), thread: Some(thread), summary });
    }

    /// The agent is uninstalled.
    pub(crate) fn uninstall(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.stop.take().unwrap().send(Stop::Clean).unwrap();
    }

    /// Ends the agent without a clean-up.
    pub(crate) fn kill(&mut self) {
        self.agent = None;
    }

    pub(crate) fn summary(&self) -> Summary {
        *self.agent.as_ref().unwrap().summary.borrow()
    }

    pub(crate) fn ztunnel(&self) -> Ztunnel {
        Ztunnel::start(self.files.path("ztunnel/ztunnel.sock"))
    }

    /// Creates a pod in the API server; returns its UID.
    pub(crate) fn create(&self, name: &str) -> String {
        self.create_with(name, &json!({}))
    }

    pub(crate) fn create_with(&self, name: &str, labels: &Value) -> String {
        let stored = self.api().put(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "default", "labels": labels },
            "spec": { "nodeName": "node", "serviceAccountName": "sa", "containers": [{ "name": "c", "image": "i" }] },
            "status": { "phase": "Pending" },
        }));
        stored["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    pub(crate) fn pod_path(name: &str) -> String {
        format!("/api/v1/namespaces/default/pods/{name}")
    }

    pub(crate) fn update(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut pod = self.api().get(&Self::pod_path(name)).unwrap();
        change(&mut pod);
        self.api().put(pod);
    }

    /// What the kubelet writes once the pod runs.
    pub(crate) fn running(&self, name: &str, addresses: &[&str]) {
        let ips: Vec<_> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
        self.update(name, |pod| {
            pod["status"] = json!({ "phase": "Running", "podIP": addresses[0], "podIPs": ips });
        });
    }

    pub(crate) fn annotation(&self, name: &str) -> Option<String> {
        let pod = self.api().get(&Self::pod_path(name))?;
        let annotation = &pod["metadata"]["annotations"]["ambient.istio.io/redirection"];
        annotation.as_str().map(str::to_owned)
    }

    /// A namespace with these addresses, and no process yet: what there is while a plugin is at work.
    pub(crate) fn sandbox(&self, addresses: &[&str]) -> Sandbox {
        let namespace = Namespace::new();
        for address in addresses {
            let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
            let add = ["-n", &namespace.name, "address", "add", address, "dev", "lo"];
            run("ip", &[&add[..], nodad].concat());
        }
        Sandbox { namespace, process: None }
    }

    /// The pod's first process starts.
    pub(crate) fn start_process(&self, sandbox: &mut Sandbox, uid: &str) {
        let pid = 1000 + NUMBER.fetch_add(1, Ordering::Relaxed);
        let process = self.process(pid, "pause", "/pause", 65535, &sandbox.namespace);
        let container = "9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961";
        fs::write(process.join("cgroup"), format!("0::/kubepods/besteffort/pod{uid}/{container}\n")).unwrap();
        sandbox.process = Some(process);
    }

    /// What the plugin sends; returns the status and the reply's text.
    pub(crate) fn report(
        &self,
        name: &str,
        uid: Option<&str>,
        netns: &Path,
        addresses: &[&str],
    ) -> (u16, String) {
        let ips: Vec<_> = addresses
            .iter()
            .map(|ip| json!({ "Interface": 0, "Address": { "IP": ip, "Mask": "////AA==" }, "Gateway": "" }))
            .collect();
        let mut event = json!({ "Netns": netns, "PodName": name, "PodNamespace": "default", "IPs": ips });
        if let Some(uid) = uid {
            event["PodUID"] = json!(uid);
        }
        self.request("POST", "/cmdadd", &event.to_string()).unwrap()
    }

    pub(crate) fn status(&self) -> Value {
        self.status_if_it_runs().unwrap()
    }

    /// None before the agent listens.
    pub(crate) fn status_if_it_runs(&self) -> Option<Value> {
        let (code, status) = self.request("GET", "/status", "")?;
        assert_eq!(code, 200, "{status}");
        Some(serde_json::from_str(&status).unwrap())
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        post(&self.settings().event_socket(), method, path, body)
    }

    /// The probe set of the family, as nft lists it: address and owner.
    pub(crate) fn probes(&self) -> BTreeMap<String, String> {
        let listed = self.host.output("nft -j list ruleset");
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let sets = listed["nftables"].as_array().unwrap().iter().filter_map(|object| object.get("set"));
        let elements = sets.flat_map(|set| set["elem"].as_array().cloned().unwrap_or_default());
        let owned = elements.map(|element| {
            let element = &element["elem"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (text(&element["val"]), text(&element["comment"]))
        });
        owned.collect()
    }
}

/// The executable `meshwire`; none, and said, where it is not built.
fn program() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_BIN_EXE_meshwire-agent")).with_file_name("meshwire");
    if program.exists() {
        return Some(program);
    }
    meshwire_testkit::skipped(&format!("it needs {}", program.display()))
}

/// How the agent reaches the API server.
pub(crate) fn access(files: &common::Node) -> Access {
    Access { server: files.server.url(), service_account: files.path("account") }
}

/// One request on the agent's socket; none where nobody answers.
pub(crate) fn post(socket: &Path, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")
        .ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    let (head, text) = reply.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, text.to_owned()))
}

/// Waits until this holds.
#[track_caller]
pub(crate) fn soon(what: &str, condition: impl Fn() -> bool) {
    within(Duration::from_secs(10), what, condition);
}

#[track_caller]
pub(crate) fn within(limit: Duration, what: &str, condition: impl Fn() -> bool) {
    // The limit is for a machine of its own: slow and busy ones get three times as long.
    let deadline = Instant::now() + 3 * limit;
    while !condition() {
        assert!(Instant::now() < deadline, "not within three times {limit:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
