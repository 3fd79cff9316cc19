//! How long a pod takes, next to `nft` called as Istio's agent calls it: one process for each of the pod's three tables,
//! and one for the host's set.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::common::{PRIMARY, Running, until};
use super::harness::{Namespace, Node, Sandbox, within};
use super::{privileged, running};

/// What `nft -f -` takes for one text, in a namespace.
fn nft(namespace: &Namespace, text: &str) {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/{}", namespace.name))
        .args(["nft", "-f", "-"])
        .stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Creates a pod that has a sandbox, and nothing in it yet.
fn prepared(node: &Node, number: u32) -> (String, String, String, Sandbox) {
    let name = format!("p{number}");
    let address = format!("10.2.{}.{}", number / 200, 1 + number % 200);
    let uid = node.create(&name);
    let sandbox = node.sandbox(&[&address]);
    (name, address, uid, sandbox)
}

/// The tables' texts, as the contender loads them.
fn tables(sandbox: &Sandbox) -> Vec<String> {
    let names = ["nat", "mangle", "raw"].map(|name| format!("istio-ambient-{name}"));
    names.iter().map(|name| sandbox.namespace.output(&format!("nft list table inet {name}"))).collect()
}

#[test]
fn an_event_is_answered_four_times_faster_than_nft_alone_takes() {
    if !privileged() {
        return;
    }
    let (node, _ztunnel) = running(false);
    let (name, address, uid, sandbox) = prepared(&node, 0);
    assert_eq!(node.report(&name, Some(&uid), &sandbox.namespace.path(), &[&address]).0, 200);
    let texts = tables(&sandbox);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 1..=20 {
        let (name, address, uid, sandbox) = prepared(&node, number);
        let path = sandbox.namespace.path();
        let start = Instant::now();
        assert_eq!(node.report(&name, Some(&uid), &path, &[&address]).0, 200);
        ours.push(start.elapsed());

        let other = Namespace::new();
        let element =
            format!("add element inet istio-ambient-nat istio-inpod-probes-v4 {{ 10.3.0.{number} }}");
        let start = Instant::now();
        texts.iter().for_each(|text| nft(&other, text));
        nft(&node.host, &element);
        theirs.push(start.elapsed());
    }
    let (ours, theirs) = (median(ours), median(theirs));
    eprintln!("event to 200 with ztunnel and the API server: {ours:?}; four nft processes alone: {theirs:?}");
    // Without optimization nothing is said about speed.
    assert!(cfg!(debug_assertions) || ours * 4 <= theirs, "{ours:?} and {theirs:?}");
}

#[test]
#[ignore = "makes 500 namespaces; run by hand and at night"]
fn a_start_with_250_pods_is_ten_times_faster_than_nft_alone() {
    if !privileged() {
        return;
    }
    let mut node = Node::new(false);
    let pods: Vec<_> = (0..250).map(|number| prepared(&node, number)).collect();
    let mut sandboxes = Vec::new();
    for (name, address, uid, mut sandbox) in pods {
        node.start_process(&mut sandbox, &uid);
        node.running(&name, &[&address]);
        // As large as pods are, with what nobody here reads.
        node.update(&name, |pod| {
            let env: Vec<_> = (0..40)
                .map(|n| json!({ "name": format!("VARIABLE_{n}"), "value": "v".repeat(60) }))
                .collect();
            pod["spec"]["containers"][0]["env"] = json!(env);
            pod["metadata"]["annotations"] =
                json!({ "kubectl.kubernetes.io/last-applied-configuration": "{}".repeat(2000) });
            pod["metadata"]["managedFields"] =
                json!([{ "manager": "kubelet", "fieldsV1": { "f:status": "x".repeat(3000) } }]);
        });
        sandboxes.push(sandbox);
    }
    let ztunnel = node.ztunnel();
    let start = Instant::now();
    node.start();
    within(Duration::from_secs(60), "all pods are in the mesh", || node.summary().enabled == 250);
    let ours = start.elapsed();
    assert_eq!(ztunnel.proxies().len(), 250);
    // Next time the rules exist already.
    let start = Instant::now();
    node.start();
    within(Duration::from_secs(60), "all pods are in the mesh", || node.summary().enabled == 250);
    let again = start.elapsed();
    assert_eq!(node.api().quorum_lists(), 0);

    let texts = tables(&sandboxes[0]);
    let others: Vec<_> = (0..250).map(|_| Namespace::new()).collect();
    let start = Instant::now();
    others.iter().for_each(|other| texts.iter().for_each(|text| nft(other, text)));
    let theirs = start.elapsed();
    eprintln!("250 pods: {ours:?}, again {again:?}; nft alone {theirs:?}");
    let resident = resident_of_the_program(&mut node);
    eprintln!("250 pods: {resident} KiB resident");
    assert!(cfg!(debug_assertions) || ours * 10 <= theirs, "{ours:?} and {theirs:?}");
    assert!(cfg!(debug_assertions) || resident < 16 << 10, "{resident} KiB");
}

/// The executable, at work on the node.
fn started(node: &Node) -> Running {
    std::fs::write(node.files.net("10-primary.conflist"), PRIMARY).unwrap();
    let running = node.files.start(&mut node.program());
    until("ready", || running.log(), || node.files.ready());
    running
}

/// What the program has in memory, in KiB, when it has just found all 250 pods, and after its first pass.
fn resident_of_the_program(node: &mut Node) -> u64 {
    node.kill();
    let running = started(node);
    let is_enabled = || {
        let status = node.status();
        let pods = status["pods"].as_array().unwrap();
        pods.len() == 250 && pods.iter().all(|pod| pod["state"] == "enabled")
    };
    within(Duration::from_secs(60), "all pods are in the mesh", is_enabled);
    let first = running.resident();
    thread::sleep(Duration::from_secs(32));
    first.max(running.resident())
}

#[test]
#[ignore = "makes 1,000 namespaces; run by hand and at night"]
fn memory_stays_flat_while_pods_come_and_go() {
    if !privileged() {
        return;
    }
    let node = Node::new(false);
    let ztunnel = node.ztunnel();
    let running = started(&node);
    let round = || {
        let pods: Vec<_> = (0..50).map(|number| prepared(&node, number)).collect();
        for (name, address, uid, sandbox) in &pods {
            assert_eq!(node.report(name, Some(uid), &sandbox.namespace.path(), &[address]).0, 200);
            node.running(name, &[address]);
        }
        assert_eq!(ztunnel.proxies().len(), 50);
        pods.iter().for_each(|(name, ..)| drop(node.api().remove(&Node::pod_path(name))));
        drop(pods);
        within(Duration::from_secs(20), "all pods are forgotten", || {
            node.status()["pods"] == json!([]) && node.probes().is_empty()
        });
        [running.resident(), running.descriptors()]
    };
    let rounds: Vec<_> = (0..20).map(|_| round()).collect();
    eprintln!("KiB resident and descriptors after each 50 pods: {rounds:?}");
    // The heap's shape settles in the first rounds.
    let highest =
        |rounds: &[[u64; 2]]| [0, 1].map(|what| rounds.iter().map(|round| round[what]).max().unwrap());
    let ([early, open], [late, open_later]) = (highest(&rounds[..10]), highest(&rounds[10..]));
    assert!(late <= early + 512, "{early} KiB, and later {late}");
    assert!(open_later <= open + 2, "{open} descriptors, and later {open_later}");
}
