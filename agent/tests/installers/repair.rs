//! The repair controllers against an API server whose replies go wrong.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use meshwire_agent::kubernetes::{Access, Client, Collection};
use meshwire_agent::metrics::{IstioMetrics, LinkerdMetrics, Metrics};
use meshwire_agent::repair::{istio, linkerd};
use meshwire_testkit::kubernetes::{self, ADMIN, ApiServer, Effect, Fault, Rule};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::common::{PATIENCE, oracle, root};

struct Cluster {
    server: ApiServer,
    account: TempDir,
    metrics: Metrics,
}

impl Cluster {
    fn new() -> Self {
        let (server, account) = (ApiServer::start().unwrap(), tempfile::tempdir().unwrap());
        fs::write(account.path().join("token"), ADMIN).unwrap();
        fs::write(account.path().join("ca.crt"), server.ca()).unwrap();
        Self { server, account, metrics: Metrics::default() }
    }

    fn client(&self) -> Client {
        Client::new(Access { server: self.server.url(), service_account: self.account.path().to_owned() })
            .unwrap()
    }

    fn linkerd(&self) -> (JoinHandle<()>, watch::Sender<bool>, watch::Receiver<bool>) {
        let ((install, installed), (ready, is_ready)) = (watch::channel(false), watch::channel(false));
        let controller = linkerd::Controller {
            client: self.client(),
            node: "n1".into(),
            pod_name: "controller".into(),
            installed,
            ready,
            metrics: LinkerdMetrics::registered(&self.metrics),
        };
        (tokio::spawn(controller.run()), install, is_ready)
    }

    fn istio(&self, action: istio::Action) -> JoinHandle<()> {
        let controller = istio::Controller {
            client: self.client(),
            collection: Collection::pods("spec.nodeName=n1", ""),
            broken: istio::Broken::default(),
            action,
            metrics: IstioMetrics::registered(&self.metrics),
        };
        tokio::spawn(controller.run())
    }

    fn exists(&self, name: &str) -> bool {
        self.server.get(&path(name)).is_some()
    }

    fn left(&self) -> usize {
        self.server.list("/api/v1/pods").len()
    }

    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < PATIENCE, "never {what}: {}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// What was asked for, one line each.
    fn log(&self) -> String {
        let received = self.server.received();
        received.iter().map(|one| format!("\n{} {} {}", one.verb, one.path, one.code)).collect()
    }

    fn deletions(&self) -> usize {
        self.codes("delete").len()
    }

    /// The replies to these requests; 0 where there is none yet.
    fn codes(&self, verb: &str) -> Vec<u16> {
        let received = self.server.received();
        received.iter().filter(|request| request.verb == verb).map(|request| request.code).collect()
    }
}

fn path(name: &str) -> String {
    format!("/api/v1/namespaces/default/pods/{name}")
}

fn pod(name: &str, owner: Option<&str>, init: &str, exit_code: i32) -> Value {
    let owners =
        owner.map(|uid| json!([{"kind": "ReplicaSet", "name": uid, "uid": uid, "controller": true}]));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "ownerReferences": owners,
            "labels": {"linkerd.io/control-plane-ns": "linkerd"}, "annotations": {"sidecar.istio.io/status": "{}"}},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Pending", "initContainerStatuses": [
            {"name": init, "restartCount": 1, "state": {"waiting": {}}, "lastState": {"terminated": {"exitCode": exit_code}}}]},
    })
}

fn linkerd_pod(name: &str, owner: Option<&str>) -> Value {
    pod(name, owner, "linkerd-network-validator", 95)
}

#[tokio::test]
async fn linkerds_pods_are_deleted_once_the_plugin_is_installed() {
    let cluster = Cluster::new();
    cluster.server.put(linkerd_pod("before", Some("rs-a")));
    cluster.server.put(pod("healthy", Some("rs-b"), "linkerd-network-validator", 0));
    let mut elsewhere = linkerd_pod("elsewhere", Some("rs-c"));
    elsewhere["spec"]["nodeName"] = json!("n2");
    cluster.server.put(elsewhere);
    cluster.server.put(linkerd_pod("orphan", None));
    let (task, install, ready) = cluster.linkerd();
    cluster.until("ready", || *ready.borrow()).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(cluster.deletions(), 0, "the plugin is not installed");
    install.send_replace(true);
    cluster.until("deleted", || !cluster.exists("before")).await;
    cluster.server.put(linkerd_pod("later", Some("rs-d")));
    cluster.until("deleted", || !cluster.exists("later")).await;
    let events = || cluster.server.list("/apis/events.k8s.io/v1/events");
    cluster.until("three events", || events().len() == 3).await;
    assert!(cluster.exists("healthy") && cluster.exists("elsewhere") && cluster.exists("orphan"));
    let events = events();
    let event = events.iter().find(|event| event["regarding"]["name"] == "before").unwrap();
    assert_eq!(event["note"], "Deleting pod to create a new one with proper CNI config");
    assert_eq!(
        (&event["reason"], &event["reportingInstance"]),
        (&json!("LinkerdCNINotConfigured"), &json!("controller"))
    );
    assert_eq!(events.iter().filter(|event| event["regarding"]["name"] == "orphan").count(), 1);
    let deletion = cluster.server.received().into_iter().find(|request| request.verb == "delete").unwrap();
    let preconditions = &deletion.body["preconditions"];
    assert!(preconditions["uid"].is_string() && preconditions["resourceVersion"].is_string(), "{deletion:?}");
    assert_eq!((deletion.body["gracePeriodSeconds"].as_u64(), cluster.server.quorum_lists()), (Some(0), 0));
    // While it is not installed again, nothing is deleted.
    install.send_replace(false);
    sleep(Duration::from_millis(100)).await;
    cluster.server.put(linkerd_pod("meanwhile", Some("rs-e")));
    sleep(Duration::from_millis(500)).await;
    assert!(cluster.exists("meanwhile"));
    task.abort();
}

#[tokio::test]
async fn a_pod_of_the_same_name_is_never_deleted() {
    for action in ["linkerd", "istio"] {
        let mut attempts = 0;
        while !is_replaced_in_time(action).await {
            attempts += 1;
            assert!(attempts < 10, "{action}: the pod is never replaced in time");
        }
    }
}

/// The deletion arrives after the StatefulSet has replaced the pod, which is not deleted. False on a machine that was too slow
/// for it: Linkerd's controller waits for a second.
async fn is_replaced_in_time(action: &str) -> bool {
    let cluster = Cluster::new();
    let init = if action == "linkerd" { "linkerd-network-validator" } else { "istio-validation" };
    let code = if action == "linkerd" { 95 } else { 126 };
    cluster.server.put(pod("set-0", Some("set"), init, code));
    cluster.server.fault(Fault::once(&path("set-0"), Effect::Delay(500)).on("delete"));
    let task = if action == "linkerd" {
        let (task, install, _) = cluster.linkerd();
        install.send_replace(true);
        // The sender has to stay.
        std::mem::forget(install);
        task
    } else {
        cluster.istio(istio::Action::Delete)
    };
    cluster.until("about to delete", || cluster.deletions() == 1).await;
    let existed = cluster.server.remove(&path("set-0")).is_some();
    let new = cluster.server.put(pod("set-0", Some("set"), init, 0));
    let gave_up = || cluster.metrics.text().contains("pods_delete_timeout_total 1");
    cluster.until("replied to", || cluster.codes("delete") != [0] || gave_up()).await;
    sleep(Duration::from_secs(1)).await;
    task.abort();
    if !existed || gave_up() {
        return false;
    }
    assert_eq!(
        cluster.server.get(&path("set-0")).unwrap()["metadata"]["uid"],
        new["metadata"]["uid"],
        "{action}"
    );
    assert_eq!(cluster.codes("delete"), [409], "{action}");
    true
}

#[tokio::test]
async fn a_node_deletes_ten_pods_a_minute_and_spares_an_owner() {
    let cluster = Cluster::new();
    for index in 0..3 {
        cluster.server.put(linkerd_pod(&format!("one-{index}"), Some("one")));
    }
    let (task, install, _ready) = cluster.linkerd();
    install.send_replace(true);
    cluster.until("deleted", || cluster.left() == 2).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(cluster.left(), 2);
    for index in 0..15 {
        cluster.server.put(linkerd_pod(&format!("many-{index}"), Some(&format!("owner-{index}"))));
    }
    cluster.until("deleted", || cluster.left() == 8).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!((cluster.left(), cluster.deletions()), (8, 10));
    assert!(cluster.metrics.text().contains("linkerd_cni_repair_controller_pods_deleted_total 10"));
    task.abort();
}

#[tokio::test]
async fn faults_of_the_api_server_are_survived() {
    let cluster = Cluster::new();
    for fault in [
        Fault::once("/api/v1/pods", Effect::RetryAfter(429, 1)).on("list"),
        Fault::once("/api/v1/pods", Effect::Code(500)).on("list").times(3),
        Fault::once("/api/v1/pods", Effect::ResetMidway).on("list"),
        Fault::once("/api/v1/pods", Effect::HalfBody).on("list"),
        Fault::once("/api/v1/pods", Effect::Empty).on("watch"),
        Fault::once("/api/v1/pods", Effect::ErrorEvent(410)).on("watch"),
        Fault::once("/api/v1/pods", Effect::Code(410)).on("watch"),
        Fault::once("/pods/", Effect::Code(500)).on("delete").times(2),
    ] {
        cluster.server.fault(fault);
    }
    let begun = Instant::now();
    let (task, install, _ready) = cluster.linkerd();
    install.send_replace(true);
    cluster.server.put(linkerd_pod("first", Some("a")));
    cluster.until("deleted", || !cluster.exists("first")).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After was not honoured: {:?}", begun.elapsed());
    // The watch's changes are forgotten, the server goes away, the token changes.
    cluster.server.expire_watches();
    cluster.server.put(linkerd_pod("second", Some("b")));
    cluster.until("deleted", || !cluster.exists("second")).await;
    cluster.server.refuse();
    sleep(Duration::from_millis(300)).await;
    cluster.server.accept();
    cluster.server.fault(Fault::once("/pods/third", Effect::Delay(1500)).on("delete"));
    cluster.server.put(linkerd_pod("third", Some("c")));
    cluster.until("deleted", || !cluster.exists("third")).await;
    cluster.server.allow("new-token", "agent", kubernetes::Access::Everything);
    fs::write(cluster.account.path().join("token"), "new-token").unwrap();
    cluster.server.revoke(ADMIN);
    cluster.server.put(linkerd_pod("fourth", Some("d")));
    cluster.until("deleted", || !cluster.exists("fourth")).await;
    let text = cluster.metrics.text();
    let count = |name: &str| -> u32 {
        let line = text.lines().find_map(|line| line.split_once(&format!("{name} "))).unwrap();
        line.1.parse().unwrap()
    };
    // A slow machine may add to them.
    assert!(count("pods_delete_errors_total") >= 2 && count("pods_delete_timeout_total") >= 1, "{text}");
    assert_eq!(cluster.server.quorum_lists(), 0);
    task.abort();
}

/// The roles of Linkerd's and Istio's charts, and nothing more.
#[tokio::test]
async fn the_charts_roles_are_enough() {
    let read = |verbs| Rule { groups: &[""], resources: &["pods", "nodes", "namespaces"], verbs, names: &[] };
    let cluster = Cluster::new();
    let role = vec![
        read(&["list", "get", "watch"]),
        Rule { groups: &[""], resources: &["pods"], verbs: &["delete"], names: &[] },
        Rule { groups: &["events.k8s.io"], resources: &["events"], verbs: &["create"], names: &[] },
    ];
    cluster.server.allow("linkerd", "linkerd-cni", kubernetes::Access::Role(role));
    fs::write(cluster.account.path().join("token"), "linkerd").unwrap();
    let (task, install, _ready) = cluster.linkerd();
    install.send_replace(true);
    cluster.server.put(linkerd_pod("p", Some("a")));
    cluster.until("an event", || !cluster.server.list("/apis/events.k8s.io/v1/events").is_empty()).await;
    task.abort();
    let refused = |cluster: &Cluster| {
        cluster.server.received().into_iter().filter(|request| request.code == 403).count()
    };
    assert_eq!(refused(&cluster), 0, "{:?}", cluster.server.received());

    for (action, verb, resource) in [
        (istio::Action::Delete, &["delete"][..], &["pods"][..]),
        (
            istio::Action::Label { key: "cni.istio.io/uninitialized".into(), value: "true".into() },
            &["patch", "update"][..],
            &["pods/status"][..],
        ),
    ] {
        let cluster = Cluster::new();
        let events = Rule { groups: &[""], resources: &["events"], verbs: &["create", "patch"], names: &[] };
        let act = Rule { groups: &[""], resources: resource, verbs: verb, names: &[] };
        let role = kubernetes::Access::Role(vec![read(&["get", "list", "watch"]), events, act]);
        cluster.server.allow("istio", "istio-cni", role);
        fs::write(cluster.account.path().join("token"), "istio").unwrap();
        cluster.server.put(pod("p", Some("a"), "istio-validation", 126));
        let task = cluster.istio(action.clone());
        cluster.until("an event", || !cluster.server.list("/api/v1/events").is_empty()).await;
        let event = &cluster.server.list("/api/v1/events")[0];
        assert_eq!(
            (event["type"].as_str(), event["source"]["component"].as_str()),
            (Some("Warning"), Some("cni-repair"))
        );
        match action {
            istio::Action::Delete => {
                assert_eq!(event["message"], "pod detected as broken, deleted");
                assert!(!cluster.exists("p"));
            }
            _ => {
                assert_eq!(event["message"], "pod detected as broken, labeled");
                let labels = cluster.server.get(&path("p")).unwrap()["metadata"]["labels"].clone();
                assert_eq!(labels["cni.istio.io/uninitialized"], "true");
            }
        }
        sleep(Duration::from_millis(300)).await;
        assert_eq!(refused(&cluster), 0, "{:?}", cluster.server.received());
        task.abort();
    }
}

/// A network namespace with a process in it, as a pod's: it ends with the process.
struct Sandbox(std::process::Child);

impl Sandbox {
    fn new() -> Self {
        let child =
            Command::new("unshare").args(["--net", "sleep", "300"]).stdin(Stdio::null()).spawn().unwrap();
        let sandbox = Self(child);
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let begun = Instant::now();
        while fs::read_link(sandbox.netns()).is_ok_and(|link| link == own) {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(5));
        }
        for line in [
            "link add eth0 type veth peer name eth1",
            "address add 10.9.9.9/24 dev eth0",
            "link set eth0 up",
            "link set lo up",
        ] {
            assert!(sandbox.run("ip").args(line.split(' ')).status().unwrap().success(), "{line}");
        }
        sandbox
    }

    fn netns(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    fn run(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.netns())).arg(program);
        command
    }

    fn ruleset(&self) -> String {
        String::from_utf8(self.run("nft").args(["list", "ruleset"]).output().unwrap().stdout).unwrap()
    }

    /// A proc file system with this process in a pod's cgroup.
    fn proc(&self, uid: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let pid = self.0.id().to_string();
        for (process, netns) in [("1", "/proc/self/ns/net".to_owned()), (pid.as_str(), self.netns())] {
            fs::create_dir_all(folder.path().join(process).join("ns")).unwrap();
            symlink(netns, folder.path().join(process).join("ns/net")).unwrap();
        }
        let container = "0123456789abcdef".repeat(4);
        fs::write(
            folder.path().join(&pid).join("cgroup"),
            format!("0::/kubepods/besteffort/pod{uid}/{container}\n"),
        )
        .unwrap();
        fs::copy(format!("/proc/{pid}/stat"), folder.path().join(&pid).join("stat")).unwrap();
        folder
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn istios_pod_is_repaired_in_place() {
    if !root() || !["nft", "ip", "unshare", "nsenter"].into_iter().all(oracle) {
        return;
    }
    let (cluster, sandbox) = (Cluster::new(), Sandbox::new());
    let mut broken = pod("p", Some("a"), "istio-validation", 126);
    broken["spec"]["containers"] = json!([{"name": "istio-proxy", "args": ["proxy", "sidecar"]}]);
    broken["status"]["podIPs"] = json!([{"ip": "10.9.9.9"}]);
    // It was broken before the controller started.
    let stored = cluster.server.put(broken);
    let proc = sandbox.proc(stored["metadata"]["uid"].as_str().unwrap());
    assert_eq!(sandbox.ruleset(), "");
    let task = cluster.istio(istio::Action::Repair { proc: proc.path().to_owned(), native_nftables: false });
    let repaired = |count: usize| {
        cluster.metrics.text().contains(&format!("type=\"repair\",result=\"success\"}} {count}"))
    };
    cluster.until("repaired", || repaired(1)).await;
    let rules = sandbox.ruleset();
    assert!(rules.contains("15006") && rules.contains("15001") && rules.contains("1337"), "{rules}");
    // The same failure reported again is not a new one; a further crash is.
    let mut pod = cluster.server.get(&path("p")).unwrap();
    pod["metadata"]["labels"]["x"] = json!("y");
    cluster.server.put(pod.clone());
    sleep(Duration::from_millis(500)).await;
    assert!(repaired(1));
    assert!(sandbox.run("nft").args(["flush", "ruleset"]).status().unwrap().success());
    pod["status"]["initContainerStatuses"][0]["restartCount"] = json!(2);
    cluster.server.put(pod);
    cluster.until("repaired again", || repaired(2)).await;
    assert_eq!(sandbox.ruleset(), rules);
    assert_eq!(cluster.deletions(), 0);
    task.abort();
}
