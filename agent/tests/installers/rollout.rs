//! What a rollout is to pods that start meanwhile: the installers and the plugins as programs, between them a container
//! runtime that does what the network configuration says at each moment.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use meshwire_testkit::kubernetes::{Access, Rule};
use meshwire_testkit::{Namespace, copy_executable, finish};
use serde_json::{Value, json};

use super::common::{Node, PATIENCE, PRIMARY, Running, oracle, root, until};

const LIST: &str = "10-primary.conflist";
/// How long the node has to fetch the new image: for so long no installer runs.
const PULL: Duration = Duration::from_millis(500);
/// So many pods start at once: a machine that cannot keep up would be slower with each further one.
const AT_ONCE: usize = 8;
/// The pause before the runtime is asked again for a pod that did not start. The kubelet's is longer.
const AGAIN: Duration = Duration::from_millis(200);

/// What the chart's role allows.
const READ: Rule = Rule {
    groups: &[""],
    resources: &["pods", "nodes", "namespaces", "services"],
    verbs: &["get", "list", "watch"],
    names: &[],
};
/// What deploy/istio-cni/rbac.yaml adds.
const SEE_DAEMON_SET: Rule =
    Rule { groups: &["apps"], resources: &["daemonsets"], verbs: &["get"], names: &["istio-cni-node"] };

/// As Linkerd's chart renders it.
const TEMPLATE: &str = r#"{"name": "linkerd-cni", "type": "linkerd-cni", "log_level": "info",
    "kubernetes": {"kubeconfig": "__KUBECONFIG_FILEPATH__"},
    "linkerd": {"incoming-proxy-port": 4143, "outgoing-proxy-port": 4140, "proxy-uid": 2102}}"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mesh {
    Istio,
    Linkerd,
}

/// A node with the plugin's real executable in the image, and an API server that knows the charts' roles.
struct Cluster {
    node: Arc<Node>,
    mesh: Mesh,
    /// Whether the installer can tell a rollout from an uninstallation, or is set to leave the plugin in place
    keeps: bool,
    /// The pods for which an attempt to start them has failed
    failed: Mutex<BTreeSet<String>>,
}

/// How a pod started.
#[derive(Debug)]
struct Started {
    namespace: Namespace,
    has_rules: bool,
    /// When, and after how long
    at: Instant,
    waited: Duration,
    /// The configuration that the runtime keeps for the pod's deletion
    cached: Option<Value>,
    errors: Vec<String>,
}

impl Cluster {
    /// None, and said, where it cannot be made.
    fn new(mesh: Mesh, keeps: bool) -> Option<Self> {
        let plugin = PathBuf::from(env!("CARGO_BIN_EXE_meshwire-agent")).with_file_name("meshwire-cni");
        if !root() || !oracle("nft") {
            return None;
        }
        if !plugin.exists() {
            assert!(std::env::var_os("CI").is_none(), "{} is needed in CI", plugin.display());
            eprintln!("skipped: it needs {}", plugin.display());
            return None;
        }
        let cluster = Self { node: Arc::new(Node::new()), mesh, keeps, failed: Mutex::default() };
        let node = &cluster.node;
        for mesh in [Mesh::Istio, Mesh::Linkerd] {
            let installed = node.path("image").join(mesh.plugin());
            fs::remove_file(&installed).unwrap();
            copy_executable(&plugin, &installed);
        }
        fs::write(node.net(LIST), PRIMARY).unwrap();
        node.server.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}));
        node.server.put(json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {
            "name": "istio-cni-node", "namespace": "istio-system"}}));
        cluster.rotate("first");
        Some(cluster)
    }

    /// The kubelet writes another token.
    fn rotate(&self, token: &str) {
        let rules = if self.keeps { vec![READ, SEE_DAEMON_SET] } else { vec![READ] };
        self.node.server.allow(token, "system:serviceaccount:istio-system:cni", Access::Role(rules));
        self.node.rotate(token);
    }

    /// The installer of one version of the image, once it has installed everything.
    fn installer(&self) -> Running {
        let mut command = match self.mesh {
            Mesh::Istio => self.node.istio(),
            Mesh::Linkerd => {
                let mut command = self.node.linkerd();
                command
                    .env("CONTAINER_MOUNT_PREFIX", "/")
                    .env("DEST_CNI_BIN_DIR", self.node.path("host/opt/cni/bin"))
                    .env("DEST_CNI_NET_DIR", self.node.path("host/etc/cni/net.d"))
                    .env("KEEP_ON_EXIT", self.keeps.to_string())
                    .env("CNI_NETWORK_CONFIG", TEMPLATE);
                command
            }
        };
        let running = self.node.start(&mut command);
        let complete = match self.mesh {
            Mesh::Istio => "initial installation complete",
            Mesh::Linkerd => "running installer",
        };
        until("installed", || running.log(), || running.log().contains(complete) && self.entry().is_some());
        running
    }

    /// The plugin's entry as the runtime calls it now; none: pods start without it.
    fn entry(&self) -> Option<Value> {
        let list: Value = serde_json::from_slice(&fs::read(self.node.net(LIST)).unwrap()).unwrap();
        let mut entry =
            list["plugins"].as_array().unwrap().iter().find(|one| one["type"] == self.mesh.plugin())?.clone();
        for key in ["name", "cniVersion"] {
            entry[key] = list[key].clone();
        }
        entry["prevResult"] = json!({"cniVersion": list["cniVersion"], "ips": [{"address": "10.0.0.5/24"}]});
        Some(entry)
    }

    fn announce(&self, namespace: &str, name: &str) {
        let (annotations, proxy) = match self.mesh {
            Mesh::Istio => (json!({"sidecar.istio.io/status": "{}"}), "istio-proxy"),
            Mesh::Linkerd => (json!({}), "linkerd-proxy"),
        };
        self.node.server.put(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
            "spec": {"containers": [{"name": "app", "image": "app"}, {"name": proxy, "image": "proxy", "args": ["proxy", "sidecar"]}]},
        }));
    }

    /// One call of the plugin; its error's text.
    fn call(
        &self,
        verb: &str,
        entry: &Value,
        namespace: &Namespace,
        pod: (&str, &str),
    ) -> Result<(), String> {
        let path = self.node.path("host/opt/cni/bin").join(self.mesh.plugin());
        // Open, so that it cannot go between this and its start.
        let executable = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut command = Command::new(format!("/proc/self/fd/{}", executable.as_raw_fd()));
        command.arg0(&path);
        let arguments = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={}", pod.0, pod.1);
        command
            .env_clear()
            .envs([("CNI_COMMAND", verb), ("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0")])
            .envs([("CNI_PATH", "/opt/cni/bin"), ("CNI_NETNS", &namespace.path()), ("CNI_ARGS", &arguments)]);
        let output = finish(&mut command, &entry.to_string());
        if output.status.success() {
            return Ok(());
        }
        let error: Value = serde_json::from_slice(&output.stdout).unwrap();
        Err(error["msg"].as_str().unwrap().to_owned())
    }

    /// Starts a pod as the kubelet does: again and again, until the runtime has a sandbox for it.
    fn start(&self, namespace: &str, name: &str) -> Started {
        self.announce(namespace, name);
        let (begun, mut errors) = (Instant::now(), Vec::new());
        loop {
            // A sandbox that failed is torn down.
            let sandbox = Namespace::with_addresses(&["10.0.0.5"]);
            let cached = self.entry();
            let added =
                cached.as_ref().map_or(Ok(()), |entry| self.call("ADD", entry, &sandbox, (namespace, name)));
            match added {
                Ok(()) => {
                    let has_rules = sandbox.command(&["nft", "list", "ruleset"]).contains("redirect to :");
                    let (at, waited) = (Instant::now(), begun.elapsed());
                    return Started { namespace: sandbox, has_rules, at, waited, cached, errors };
                }
                Err(error) => {
                    errors.push(error);
                    self.failed.lock().unwrap().insert(name.to_owned());
                }
            }
            assert!(begun.elapsed() < PATIENCE, "{:?}", errors.last());
            thread::sleep(AGAIN);
        }
    }

    /// Starts pods in threads, at most one every so often, as long as `more` of their number is true.
    fn start_many(&self, pause: Duration, counts: &Counts, more: impl Fn(usize) -> bool) -> Vec<Started> {
        thread::scope(|scope| {
            let mut threads: Vec<ScopedJoinHandle<'_, Started>> = Vec::new();
            for number in (0..).take_while(|number| more(*number)) {
                counts.begun.fetch_add(1, Ordering::Relaxed);
                threads.push(scope.spawn(move || {
                    let pod = self.start("default", &format!("p{number}"));
                    counts.started.fetch_add(1, Ordering::Relaxed);
                    pod
                }));
                thread::sleep(pause);
                while threads.iter().filter(|thread| !thread.is_finished()).count() >= AT_ONCE {
                    thread::sleep(Duration::from_millis(5));
                }
            }
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }
}

/// How many pods have begun to start, and have started.
#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    started: AtomicUsize,
}

impl Counts {
    fn started(&self) -> usize {
        self.started.load(Ordering::Relaxed)
    }

    /// Waits until some pod that has not begun yet has started.
    fn another(&self, what: &str) {
        let begun = self.begun.load(Ordering::Relaxed);
        until(what, String::new, || self.started() > begun);
    }
}

impl Mesh {
    fn plugin(self) -> &'static str {
        match self {
            Self::Istio => "istio-cni",
            Self::Linkerd => "linkerd-cni",
        }
    }
}

/// Both installers on one node, and a primary CNI that writes its file again and again: every pod of either mesh gets its own
/// mesh's rules and no others, and pods of none get none.
#[test]
fn pods_of_both_meshes_on_one_node() {
    let Some(istio) = Cluster::new(Mesh::Istio, false) else { return };
    let linkerd = Cluster {
        node: Arc::clone(&istio.node),
        mesh: Mesh::Linkerd,
        keeps: false,
        failed: Mutex::default(),
    };
    let running = [istio.installer(), linkerd.installer()];
    let begun = Instant::now();
    let mut pods = 0;
    // Two of each, however long they take.
    while begun.elapsed() < Duration::from_secs(10) || pods < 4 {
        fs::write(istio.node.net("writing"), PRIMARY).unwrap();
        fs::rename(istio.node.net("writing"), istio.node.net(LIST)).unwrap();
        let log = || running.iter().map(Running::log).collect::<String>();
        until("both entries", log, || istio.entry().is_some() && linkerd.entry().is_some());
        for (own, other, port) in [(&istio, &linkerd, "15006"), (&linkerd, &istio, "4143")] {
            let name = format!("{:?}-{pods}", own.mesh).to_lowercase();
            let pod = own.start("default", &name);
            // The runtime calls the other plugin, too.
            other.call("ADD", &other.entry().unwrap(), &pod.namespace, ("default", &name)).unwrap();
            let rules = pod.namespace.command(&["nft", "list", "ruleset"]);
            assert!(rules.contains(&format!("redirect to :{port}")), "{name}: {rules}");
            assert!(
                !(rules.contains(":15006") && rules.contains(":4143")),
                "{name} has both meshes' rules: {rules}"
            );
            pods += 1;
        }
    }
    eprintln!("{pods} pods of both meshes");
}

/// Pods start while the DaemonSet's pod is replaced. Where the plugin stays, all of them get their rules, and none
/// waits. Where it goes, those that start in between have none, and no others.
#[test]
fn pods_start_during_a_rollout() {
    for (mesh, keeps) in
        [(Mesh::Istio, true), (Mesh::Istio, false), (Mesh::Linkerd, true), (Mesh::Linkerd, false)]
    {
        let Some(cluster) = Cluster::new(mesh, keeps) else { return };
        let mut old = cluster.installer();
        let (counts, enough) = (Counts::default(), AtomicBool::new(false));
        // A thousand, so that it also ends when something here fails.
        let more = |number| number < 30 || (number < 1000 && !enough.load(Ordering::Relaxed));
        let (pods, (stopping, installed)) = thread::scope(|scope| {
            let pods = scope.spawn(|| cluster.start_many(Duration::from_millis(60), &counts, more));
            until("the first pods", || old.log(), || counts.started() >= 5);
            let stopping = Instant::now();
            assert_eq!(old.stop(), Some(0));
            thread::sleep(PULL);
            counts.another("a pod without an installer");
            let new = cluster.installer();
            let installed = Instant::now();
            counts.another("a pod after the rollout");
            enough.store(true, Ordering::Relaxed);
            let pods = pods.join().unwrap();
            drop(new);
            (pods, (stopping, installed))
        });
        let bare: Vec<_> = pods.iter().filter(|pod| !pod.has_rules).collect();
        let longest = pods.iter().map(|pod| pod.waited).max().unwrap();
        let errors: Vec<_> = pods.iter().flat_map(|pod| &pod.errors).collect();
        eprintln!(
            "{mesh:?}, plugin stays: {keeps}; {:?} without an installer: {} of {} pods without rules, the slowest took {longest:?}, \
             {} attempts failed",
            installed - stopping,
            bare.len(),
            pods.len(),
            errors.len(),
        );
        assert!(longest < Duration::from_secs(10), "{longest:?}");
        if keeps {
            assert_eq!(errors, [""; 0]);
            assert_eq!(bare.len(), 0, "{bare:#?}");
        } else {
            // Who was called right before the entry went may miss what goes after it.
            for error in errors {
                assert!(error.contains("does not exist") || error.contains("No such file"), "{error}");
            }
            assert!(!bare.is_empty(), "nothing started without an installer: the test proves nothing");
            for pod in bare {
                // The pod may have read the configuration long before it started.
                assert!(pod.at > stopping && pod.at - pod.waited < installed, "{pod:#?}");
            }
        }
    }
}

/// The new image cannot be fetched, so that no installer runs any more. While the last token is good pods start; then they
/// wait, each attempt says why within two seconds, and they start as soon as there is an installer again. The pod that brings
/// it, and namespaces that are left out, never wait. After an uninstallation every pod is deleted without an error.
#[test]
fn an_image_that_does_not_exist() {
    for mesh in [Mesh::Istio, Mesh::Linkerd] {
        let Some(cluster) = Cluster::new(mesh, true) else { return };
        assert_eq!(cluster.installer().stop(), Some(0));
        let five = |number| number < 5;
        let early = cluster.start_many(Duration::ZERO, &Counts::default(), five);
        assert!(early.iter().all(|pod| pod.has_rules && pod.errors.is_empty()), "{early:#?}");

        cluster.node.server.revoke("first");
        let counts = Counts::default();
        let (late, attempts) = thread::scope(|scope| {
            let late = scope.spawn(|| cluster.start_many(Duration::ZERO, &counts, five));
            let own = match mesh {
                Mesh::Istio => "istio-cni-node-x",
                Mesh::Linkerd => "linkerd-cni-x",
            };
            let agent = cluster.start("istio-system", own);
            assert!(!agent.has_rules && agent.errors.is_empty(), "{agent:#?}");
            if mesh == Mesh::Istio {
                let excluded = cluster.start("kube-system", "coredns");
                assert!(!excluded.has_rules && excluded.errors.is_empty(), "{excluded:#?}");
            }
            let begun = Instant::now();
            let probe = Namespace::with_addresses(&["10.0.0.5"]);
            let refused =
                cluster.call("ADD", &cluster.entry().unwrap(), &probe, ("default", "p0")).unwrap_err();
            let attempt = begun.elapsed();
            assert!(attempt < Duration::from_secs(8), "{attempt:?}");
            assert!(refused.contains("401 Unauthorized") && refused.contains("-cni"), "{refused}");
            assert_eq!(probe.command(&["nft", "list", "ruleset"]), "");
            until("all have failed", String::new, || cluster.failed.lock().unwrap().len() == 5);
            thread::sleep(Duration::from_secs(2));
            assert_eq!(counts.started(), 0, "no pod of the mesh starts without its rules");
            cluster.rotate("second");
            let installer = cluster.installer();
            let installed = Instant::now();
            let late = late.join().unwrap();
            (late, (attempt, installer, installed))
        });
        assert!(late.iter().all(|pod| pod.has_rules && !pod.errors.is_empty()), "{late:#?}");
        let (attempt, mut installer, installed) = attempts;
        let longest = late.iter().map(|pod| pod.at.saturating_duration_since(installed)).max().unwrap();
        eprintln!(
            "{mesh:?}: an attempt without a token fails after {attempt:?}; the slowest pod started {longest:?} after the installer"
        );
        assert!(longest < Duration::from_secs(15), "{longest:?}");

        // Uninstalled: the runtime calls the plugin by what it has cached.
        cluster.node.server.remove("/apis/apps/v1/namespaces/istio-system/daemonsets/istio-cni-node");
        assert_eq!(installer.stop(), Some(0));
        if mesh == Mesh::Istio {
            assert_eq!(cluster.entry(), None);
        }
        for pod in early.iter().chain(&late) {
            cluster.call("DEL", pod.cached.as_ref().unwrap(), &pod.namespace, ("default", "p0")).unwrap();
        }
    }
}
