//! The ambient agent on a node that consists of namespaces: a real kernel, an API server in process, and ztunnels that
//! note every breach of the protocol.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what goes wrong here fails the test"
)]

#[path = "../common/mod.rs"]
mod common;

mod branch;
mod chaos;
mod harness;
mod measure;
mod mesh;
mod migration;
mod program;
mod real;
mod traffic;
mod zds;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use harness::{Node, Sandbox, access, soon, within};
use meshwire_agent::ambient::handover::{Handover, Stop};
use meshwire_agent::kubernetes::Client;
use meshwire_testkit::kubernetes::{Effect, Fault as ApiFault};
use meshwire_testkit::ztunnel::{Fault, Ztunnel};
use nix::unistd::Uid;
use serde_json::{Value, json};

/// Whether the test can run: it needs root.
fn privileged() -> bool {
    Uid::effective().is_root() || meshwire_testkit::skip("it needs root")
}

const V4: &[&str] = &["10.1.0.5"];
const BOTH: &[&str] = &["10.1.0.5", "fd00:1::5"];

/// A pod that is created, reported by the plugin and runs.
fn add(node: &Node, name: &str, addresses: &[&str]) -> (String, Sandbox) {
    let uid = node.create(name);
    let mut sandbox = node.sandbox(addresses);
    let (code, text) = node.report(name, Some(&uid), &sandbox.namespace.path(), addresses);
    assert_eq!((code, text.as_str()), (200, ""));
    node.start_process(&mut sandbox, &uid);
    node.running(name, addresses);
    (uid, sandbox)
}

#[track_caller]
fn assert_captured(
    node: &Node,
    ztunnel: &Ztunnel,
    name: &str,
    uid: &str,
    sandbox: &Sandbox,
    addresses: &[&str],
) {
    soon("the annotation says enabled", || node.annotation(name).as_deref() == Some("enabled"));
    let proxy = ztunnel.proxies().remove(uid).expect("ztunnel has a proxy");
    assert_eq!(
        (proxy.name.as_str(), proxy.namespace.as_str(), proxy.service_account.as_str()),
        (name, "default", "sa")
    );
    assert_eq!(proxy.netns, sandbox.namespace.id());
    assert_eq!(
        sandbox.namespace.tables(),
        ["istio-ambient-mangle", "istio-ambient-nat", "istio-ambient-raw"]
    );
    let families: &[&str] = if node.ipv6 { &["-4", "-6"] } else { &["-4"] };
    for family in families {
        let rules = sandbox.namespace.output(&format!("ip {family} rule"));
        assert!(rules.contains("32764:\tfrom all fwmark 0x111/0xfff lookup 100"), "{rules}");
        let routes = sandbox.namespace.output(&format!("ip {family} route show table 100"));
        assert!(routes.starts_with("local default dev lo"), "{routes}");
    }
    let probes = node.probes();
    for address in addresses {
        assert_eq!(probes.get(*address).map(String::as_str), Some(uid), "{probes:?}");
    }
    assert_eq!(ztunnel.violations(), [""; 0]);
}

#[track_caller]
fn assert_released(node: &Node, ztunnel: &Ztunnel, uid: &str, sandbox: &Sandbox) {
    assert!(!ztunnel.proxies().contains_key(uid));
    assert_eq!(sandbox.namespace.tables(), [""; 0]);
    for family in ["-4", "-6"] {
        assert!(!sandbox.namespace.output(&format!("ip {family} rule")).contains("32764"));
        assert!(
            !sandbox.namespace.output(&format!("ip {family} route show table all")).contains("table 100")
        );
    }
    assert!(!node.probes().values().any(|owner| owner == uid), "{:?}", node.probes());
    assert_eq!(ztunnel.violations(), [""; 0]);
}

fn running(ipv6: bool) -> (Node, Ztunnel) {
    let mut node = Node::new(ipv6);
    node.start();
    let ztunnel = node.ztunnel();
    // The rules are made while ztunnel connects.
    soon("ztunnel is ready, and the node has its rules", || {
        ztunnel.is_ready() && node.status()["host"]["rules"] == true
    });
    (node, ztunnel)
}

#[test]
fn a_pod_comes_and_goes() {
    if !privileged() {
        return;
    }
    for (ipv6, addresses) in [(false, V4), (true, BOTH), (true, &["fd00:1::5"][..])] {
        let (node, ztunnel) = running(ipv6);
        let (uid, sandbox) = add(&node, "p", addresses);
        assert_captured(&node, &ztunnel, "p", &uid, &sandbox, addresses);
        node.update("p", |pod| pod["status"]["phase"] = json!("Succeeded"));
        soon("its proxy is gone", || ztunnel.proxies().is_empty());
        soon("its probes are gone", || node.probes().is_empty());
        soon("its namespace is let go, though the pod is still listed", || !sandbox.namespace.is_held());
        node.api().remove(&Node::pod_path("p"));
        soon("the agent has forgotten it", || node.status()["pods"] == json!([]));
        assert_eq!(node.api().quorum_lists(), 0);
    }
}

#[test]
fn a_label_takes_a_pod_into_the_mesh_and_out() {
    if !privileged() {
        return;
    }
    let (node, ztunnel) = running(false);
    let uid = node.create_with("p", &json!({ "istio.io/dataplane-mode": "none" }));
    let mut sandbox = node.sandbox(V4);
    node.start_process(&mut sandbox, &uid);
    node.running("p", V4);
    let (code, text) = node.report("p", Some(&uid), &sandbox.namespace.path(), V4);
    assert_eq!(code, 500, "{text}");
    for _ in 0..2 {
        node.update("p", |pod| pod["metadata"]["labels"] = json!({}));
        soon("it is captured", || node.annotation("p").as_deref() == Some("enabled"));
        assert_captured(&node, &ztunnel, "p", &uid, &sandbox, V4);
        node.update("p", |pod| pod["metadata"]["labels"] = json!({ "istio.io/dataplane-mode": "none" }));
        soon("it is released", || node.annotation("p").is_none());
        assert_released(&node, &ztunnel, &uid, &sandbox);
    }
    // The label of the namespace does the same.
    node.update("p", |pod| pod["metadata"]["labels"] = json!({}));
    soon("it is captured", || node.annotation("p").as_deref() == Some("enabled"));
    let mut namespace = node.api().get("/api/v1/namespaces/default").unwrap();
    namespace["metadata"]["labels"] = json!({});
    node.api().put(namespace);
    soon("it is released", || node.annotation("p").is_none());
    assert_released(&node, &ztunnel, &uid, &sandbox);
}

#[test]
fn an_answer_that_comes_late_takes_nothing_away() {
    if !privileged() {
        return;
    }
    let (node, ztunnel) = running(false);
    let (uid, sandbox) = add(&node, "p", V4);
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, V4);
    let count = |verb: &str, is_it: &dyn Fn(&Value) -> bool| {
        let received = node.api().received();
        let asked = received.iter().filter(|request| request.verb == verb && is_it(&request.body));
        asked.filter(|request| request.path.contains("/pods/p")).count()
    };
    // No bookmark confirms the list of namespaces, so the API server is asked whether the pod leaves.
    // The label is back before the answer comes, even if this thread has to wait for its turn.
    node.api().fault(ApiFault::once("/pods/p", Effect::Late(3000)).on("get"));
    let before = count("get", &|_| true);
    node.update("p", |pod| pod["metadata"]["labels"] = json!({ "istio.io/dataplane-mode": "none" }));
    soon("the API server is asked", || count("get", &|_| true) > before);
    node.update("p", |pod| pod["metadata"]["labels"] = json!({}));
    std::thread::sleep(Duration::from_millis(3500));
    let is_removal = |body: &Value| body["metadata"]["annotations"]["ambient.istio.io/redirection"].is_null();
    assert_eq!(count("patch", &is_removal), 0, "it left the mesh although it belongs to it");
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, V4);
}

#[test]
fn a_restart_of_the_agent_takes_nothing_away() {
    if !privileged() {
        return;
    }
    let (mut node, ztunnel) = running(false);
    let (uid, sandbox) = add(&node, "p", V4);
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, V4);
    let before = (sandbox.namespace.output("nft -a list ruleset"), node.host.output("nft -a list ruleset"));
    node.kill();
    // Nobody hears of this one.
    let second = node.create("q");
    let mut other = node.sandbox(&["10.1.0.6"]);
    node.start_process(&mut other, &second);
    node.running("q", &["10.1.0.6"]);
    let seen = ztunnel.received().len();
    node.start();
    soon("it has connected again", || ztunnel.is_ready() && ztunnel.received().len() > seen);
    assert_captured(&node, &ztunnel, "q", &second, &other, &["10.1.0.6"]);
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, V4);
    let after = (sandbox.namespace.output("nft -a list ruleset"), node.host.output("nft -a list ruleset"));
    assert_eq!(before.0, after.0, "the pod's rules are untouched");
    assert_ne!(before.1, after.1, "the set has one more");
    assert_eq!(node.api().quorum_lists(), 0);
}

#[test]
fn a_pod_is_made_again_under_the_same_name_and_address() {
    if !privileged() {
        return;
    }
    let (node, ztunnel) = running(false);
    let (first, old) = add(&node, "p", V4);
    node.api().remove(&Node::pod_path("p"));
    let (second, new) = add(&node, "p", V4);
    assert_ne!(first, second);
    assert_captured(&node, &ztunnel, "p", &second, &new, V4);
    soon("the first one's proxy is gone", || !ztunnel.proxies().contains_key(&first));
    assert_eq!(node.probes().into_iter().collect::<Vec<_>>(), [("10.1.0.5".to_owned(), second)]);
    drop(old);
}

#[test]
fn a_sandbox_is_made_again_under_the_same_uid() {
    if !privileged() {
        return;
    }
    let (node, ztunnel) = running(false);
    let (uid, old) = add(&node, "p", V4);
    drop(old);
    let mut sandbox = node.sandbox(V4);
    assert_eq!(node.report("p", Some(&uid), &sandbox.namespace.path(), V4).0, 200);
    node.start_process(&mut sandbox, &uid);
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, V4);
    // And by a runtime whose plugin says nothing.
    drop(sandbox);
    let mut sandbox = node.sandbox(V4);
    node.start_process(&mut sandbox, &uid);
    let id = sandbox.namespace.id();
    within(Duration::from_secs(40), "the pass finds it", || ztunnel.proxies()[&uid].netns == id);
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, V4);
}

#[test]
fn what_others_remove_is_repaired() {
    if !privileged() {
        return;
    }
    let (node, ztunnel) = running(true);
    let (uid, sandbox) = add(&node, "p", BOTH);
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, BOTH);
    node.host.output("nft flush ruleset");
    soon("the host's rules and the set are back", || node.probes().len() == 2);
    node.host.output("nft delete element inet istio-ambient-nat istio-inpod-probes-v4 { 10.1.0.5 }");
    soon("the element is back", || node.probes().len() == 2);
    sandbox.namespace.output("nft delete table inet istio-ambient-nat");
    sandbox.namespace.output("ip rule del pref 32764");
    // It is counted last. A pass in between repairs the first alone.
    within(Duration::from_secs(40), "the pod's rules are back", || {
        let namespace = &sandbox.namespace;
        let is_whole = namespace.tables().len() == 3 && namespace.output("ip rule").contains("32764:");
        is_whole && node.summary().heals.pods >= 1
    });
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, BOTH);
    let heals = node.summary().heals;
    assert!(heals.host >= 1, "{heals:?}");
}

#[test]
fn the_kubelet_becomes_another_user() {
    if !privileged() {
        return;
    }
    let (node, _ztunnel) = running(false);
    soon("the rule", || node.host.output("nft list ruleset").contains("skuid 4711"));
    node.kubelet(815);
    within(Duration::from_secs(65), "the rule of the new one", || {
        node.host.output("nft list ruleset").contains("skuid 815")
    });
}

#[test]
fn without_ztunnel_the_plugin_hears_why_and_the_pod_is_pending() {
    if !privileged() {
        return;
    }
    let mut node = Node::new(false);
    node.start();
    soon("the agent is ready", || node.summary().ready);
    let uid = node.create("p");
    let mut sandbox = node.sandbox(V4);
    let (code, text) = node.report("p", Some(&uid), &sandbox.namespace.path(), V4);
    assert_eq!((code, text.as_str()), (500, "no ztunnel connection"));
    node.start_process(&mut sandbox, &uid);
    node.running("p", V4);
    within(Duration::from_secs(15), "it is pending", || node.annotation("p").as_deref() == Some("pending"));
    let ztunnel = node.ztunnel();
    soon("it is captured", || node.annotation("p").as_deref() == Some("enabled"));
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, V4);
}

#[test]
fn a_ztunnel_that_fails_is_asked_again() {
    if !privileged() {
        return;
    }
    let (node, ztunnel) = running(false);
    ztunnel.meet([Fault::Nack("no room".to_owned())]);
    let uid = node.create("p");
    let mut sandbox = node.sandbox(V4);
    let (code, text) = node.report("p", Some(&uid), &sandbox.namespace.path(), V4);
    assert_eq!((code, text.as_str()), (500, "ztunnel: no room"));
    node.start_process(&mut sandbox, &uid);
    node.running("p", V4);
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, V4);
    // A new one takes over, and the old one goes.
    let new = node.ztunnel();
    soon("the new one is ready", || new.is_ready());
    assert_captured(&node, &new, "p", &uid, &sandbox, V4);
    drop(ztunnel);
    let (other, sandbox) = add(&node, "q", &["10.1.0.6"]);
    assert_captured(&node, &new, "q", &other, &sandbox, &["10.1.0.6"]);
    new.meet([Fault::Twice, Fault::Disappear]);
    new.reconnect();
    soon("all are back", || new.is_ready() && new.proxies().len() == 2);
}

#[test]
fn namespaces_that_are_not_the_pods_are_refused() {
    if !privileged() {
        return;
    }
    let (node, ztunnel) = running(false);
    let uid = node.create("p");
    let before = node.host.output("nft list ruleset");
    let (code, text) = node.report("p", Some(&uid), &node.host.path(), V4);
    assert_eq!(code, 500);
    assert!(text.ends_with("is the node's own network namespace, not a pod's"), "{text}");
    assert_eq!(node.host.output("nft list ruleset"), before);
    let other = node.sandbox(&["10.1.0.6"]);
    let (code, text) = node.report("p", Some(&uid), &other.namespace.path(), V4);
    assert_eq!(
        (code, text.as_str()),
        (500, "the network namespace has no interface with the pod's address 10.1.0.5")
    );
    assert_eq!(other.namespace.tables(), [""; 0]);
    let (code, text) = node.report("p", Some(&uid), std::path::Path::new("/etc/passwd"), V4);
    assert_eq!((code, text.as_str()), (500, "/etc/passwd is not a namespace"));
    let (code, text) = node.report("unknown", None, &other.namespace.path(), &["10.1.0.6"]);
    assert_eq!(code, 500);
    assert!(text.starts_with("pod default/unknown: "), "{text}");
    assert_eq!(ztunnel.proxies().len(), 0);
}

#[test]
fn a_pod_that_the_watch_has_not_brought_yet_is_awaited() {
    if !privileged() {
        return;
    }
    let (node, ztunnel) = running(false);
    // Another life under the name, which ended; the agent has heard of both.
    let first = node.create("p");
    soon("the agent knows it", || node.status()["pods"][0]["uid"] == json!(first));
    node.update("p", |pod| pod["status"]["phase"] = json!("Failed"));
    node.api().remove(&Node::pod_path("p"));
    soon("the agent has forgotten it", || node.status()["pods"] == json!([]));
    // After a second without the watch the API server is asked, which may be before there is a second one here.
    node.api().fault(ApiFault::once("/pods/p", Effect::Delay(3000)).on("get"));
    let sandbox = node.sandbox(V4);
    std::thread::scope(|scope| {
        let path = sandbox.namespace.path();
        let node = &node;
        let report = scope.spawn(move || node.report("p", None, &path, V4));
        std::thread::sleep(Duration::from_millis(300));
        let second = node.create("p");
        assert_ne!(first, second);
        assert_eq!(report.join().unwrap().0, 200);
        assert!(ztunnel.proxies().contains_key(&second));
    });
}

#[test]
fn the_api_server_goes_away_and_comes_back_with_another_history() {
    if !privileged() {
        return;
    }
    let (node, ztunnel) = running(false);
    let (uid, sandbox) = add(&node, "p", V4);
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, V4);
    node.api().refuse();
    let gone = node.create("q");
    node.update("p", |pod| pod["metadata"]["labels"] = json!({ "istio.io/dataplane-mode": "none" }));
    node.api().expire_watches();
    std::thread::sleep(Duration::from_millis(300));
    assert!(ztunnel.proxies().contains_key(&uid), "nothing is known of the label yet");
    node.api().remove(&Node::pod_path("q"));
    node.api().accept();
    within(Duration::from_secs(20), "it is released", || node.annotation("p").is_none());
    assert_released(&node, &ztunnel, &uid, &sandbox);
    assert!(!ztunnel.proxies().contains_key(&gone));
    assert_eq!(node.api().quorum_lists(), 0);
}

#[test]
fn an_upgrade_keeps_everything_and_an_uninstall_cleans_the_node() {
    if !privileged() {
        return;
    }
    let (mut node, ztunnel) = running(true);
    let (uid, sandbox) = add(&node, "p", BOTH);
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, BOTH);
    node.kill();
    assert_eq!(node.probes().len(), 2);
    node.start();
    soon("it has taken over", || node.summary().ztunnels == 1);
    node.uninstall();
    assert_eq!(node.host.tables(), [""; 0]);
    assert_eq!(sandbox.namespace.tables().len(), 3, "its proxy still runs");
}

#[tokio::test]
async fn who_remains_decides_what_is_kept() {
    let files = common::Node::new();
    let api = &files.server;
    let client = Client::new(access(&files)).unwrap();
    let handover = Handover {
        namespace: "istio-system".to_owned(),
        node: "node".to_owned(),
        disabled: false,
        owned_config: false,
    };
    let owned = Handover { owned_config: true, ..handover.clone() };
    assert_eq!(handover.decide(&client).await, Stop::Clean, "there is no DaemonSet");
    let set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": { "name": "istio-cni-node", "namespace": "istio-system" },
        "spec": { "template": { "spec": { "nodeSelector": { "kubernetes.io/os": "linux" } } } },
    });
    api.put(set.clone());
    let labels = json!({ "kubernetes.io/os": "linux" });
    api.put(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "node", "labels": labels } }));
    assert_eq!(handover.decide(&client).await, Stop::Keep);
    assert_eq!(Handover { disabled: true, ..handover.clone() }.decide(&client).await, Stop::Clean);
    for (code, stops) in
        [(500, [Stop::Clean, Stop::Keep]), (403, [Stop::Clean, Stop::Keep]), (401, [Stop::Clean; 2])]
    {
        api.fault(ApiFault::always("/daemonsets/", Effect::Code(code)));
        assert_eq!([handover.decide(&client).await, owned.decide(&client).await], stops, "{code}");
        api.clear_faults();
    }
    api.put(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "node" } }));
    assert_eq!(handover.decide(&client).await, Stop::Clean, "the node is not chosen any more");
}

/// During a rollout the plugin may still be Istio's own: it sends no UID, by Go's HTTP client.
#[test]
fn the_plugin_of_istios_own_reports_a_pod_during_a_rollout() {
    if !privileged() {
        return;
    }
    let (node, ztunnel) = running(false);
    let uid = node.create("p");
    let mut sandbox = node.sandbox(V4);
    let event = json!({
        "Netns": sandbox.namespace.path(), "PodName": "p", "PodNamespace": "default",
        "IPs": [{ "Interface": null, "Address": { "IP": V4[0], "Mask": "/////w==" }, "Gateway": "" }],
    });
    let body = event.to_string();
    let request = format!(
        "POST /cmdadd HTTP/1.1\r\nHost: unix\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {}\r\n\
         Content-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n{body}",
        body.len()
    );
    let mut stream = UnixStream::connect(node.settings().event_socket()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head.as_slice(), b"HTTP/1.1 200 OK");
    node.start_process(&mut sandbox, &uid);
    node.running("p", V4);
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, V4);
}

/// A static pod's cgroup is named after its configuration.
#[test]
fn a_static_pod_is_found_by_its_configurations_hash() {
    if !privileged() {
        return;
    }
    let mut node = Node::new(false);
    let uid = node.create("static");
    let hash = "0123456789abcdef0123456789abcdef";
    node.update("static", |pod| {
        pod["metadata"]["annotations"] = json!({ "kubernetes.io/config.hash": hash });
    });
    let mut sandbox = node.sandbox(V4);
    node.start_process(&mut sandbox, hash);
    node.running("static", V4);
    node.start();
    let ztunnel = node.ztunnel();
    assert_captured(&node, &ztunnel, "static", &uid, &sandbox, V4);
}

/// Of a pod that has its rules for IPv4 already, the rest is made for IPv6.
#[test]
fn ipv6_is_turned_on_later() {
    if !privileged() {
        return;
    }
    let (mut node, ztunnel) = running(false);
    let (uid, sandbox) = add(&node, "p", BOTH);
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, V4);
    assert!(!sandbox.namespace.output("ip -6 rule").contains("32764:"));
    node.ipv6 = true;
    node.start();
    soon("it has its rule for IPv6", || sandbox.namespace.output("ip -6 rule").contains("32764:"));
    soon("and its second address is in the set", || node.probes().len() == 2);
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, BOTH);
    for family in ["-4", "-6"] {
        assert!(sandbox.namespace.output(&format!("ip {family} rule")).contains("32764:"), "{family}");
        let routes = sandbox.namespace.output(&format!("ip {family} route show table 100"));
        assert!(routes.contains("local default dev lo"), "{routes}");
    }
}

/// Runtimes that bind their namespaces where the chart mounts nothing: by the root of the node's first process.
#[test]
fn namespaces_in_other_folders_of_the_node_are_found() {
    if !privileged() {
        return;
    }
    let mut node = Node::new(false);
    node.host_root = node.files.path("nothing-is-mounted-here");
    std::os::unix::fs::symlink("/", node.proc().join("1/root")).unwrap();
    node.start();
    let ztunnel = node.ztunnel();
    soon("ztunnel is ready", || ztunnel.is_ready());
    let (uid, sandbox) = add(&node, "p", V4);
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, V4);
}
