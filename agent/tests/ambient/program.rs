//! The agent as its DaemonSet starts it: the program `install-cni` with the chart's variables, from its first line to its
//! successor.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meshwire_testkit::kubernetes::{Effect, Fault};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::common::{PRIMARY, Running, get, until};
use super::harness::{Node, Sandbox, post, soon, within};
use super::{BOTH, V4, add, assert_captured, privileged};

const LIST: &str = "10-primary.conflist";

fn start(node: &Node) -> Running {
    node.files.start(&mut node.program())
}

fn ready(node: &Node, running: &Running) {
    until("ready", || running.log(), || node.files.ready());
}

fn daemon_set() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": { "name": "istio-cni-node", "namespace": "istio-system" },
        "spec": { "template": { "spec": {} } },
    })
}

#[test]
fn a_pod_found_at_startup_and_one_that_the_plugin_reports_from_start_to_uninstallation() {
    if !privileged() {
        return;
    }
    let node = Node::new(true);
    fs::write(node.files.net(LIST), PRIMARY).unwrap();
    node.api().put(daemon_set());
    node.api().put(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "node" } }));
    // Nobody reported this one.
    let found = node.create("found");
    let mut sandbox = node.sandbox(BOTH);
    node.start_process(&mut sandbox, &found);
    node.running("found", BOTH);

    let mut running = start(&node);
    let ztunnel = node.ztunnel();
    ready(&node, &running);
    assert_eq!(node.files.types(LIST), ["bridge", "portmap", "istio-cni"]);
    assert_captured(&node, &ztunnel, "found", &found, &sandbox, BOTH);
    let addresses = &["10.1.0.6", "fd00:1::6"];
    let (reported, other) = add(&node, "reported", addresses);
    assert_captured(&node, &ztunnel, "reported", &reported, &other, addresses);
    for line in [
        "CNI ambient server marking ready",
        "adding pod to the mesh",
        "new ztunnel connected, total connected: 1",
    ] {
        assert!(running.log().contains(line), "{line}: {}", running.log());
    }

    let limits = fs::read_to_string(format!("/proc/{}/limits", running.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let files: Vec<_> = files.split_whitespace().collect();
    assert_eq!(files[3], files[4], "soft and hard");

    let status = node.status();
    assert_eq!(
        (&status["ready"], &status["ztunnels"], &status["host"]["rules"]),
        (&json!(true), &json!(1), &json!(true))
    );
    let states: Vec<_> = status["pods"].as_array().unwrap().iter().map(|pod| &pod["state"]).collect();
    assert_eq!(states, ["enabled", "enabled"], "{status}");
    node_status(&node, "enabled default/reported ", 0);

    // Where `meshwire verify --pod` looks.
    let socket = node.files.path("run/log.sock");
    let (code, text) = post(&socket, "GET", "/pods/default/reported", "").unwrap();
    let pod: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &pod["uid"]), (200, &json!(reported)), "{text}");
    let metadata = fs::metadata(pod["netns"].as_str().unwrap()).unwrap();
    assert_eq!((metadata.dev(), metadata.ino()), other.namespace.id());
    let (code, text) = post(&socket, "GET", "/pods/default/unknown", "").unwrap();
    assert_eq!((code, text.as_str()), (404, "there is no pod default/unknown"));
    let elsewhere = node.create("elsewhere");
    let (code, text) = post(&socket, "GET", "/pods/default/elsewhere", "").unwrap();
    assert!(
        code == 404 && text.starts_with("pod default/elsewhere: none of its processes"),
        "{elsewhere} {text}"
    );
    assert_eq!(post(&socket, "GET", "/pods/default/../secrets", "").unwrap().0, 400);
    looked_at_by_name(&node, &other);
    node.api().remove(&Node::pod_path("elsewhere"));

    // An upgrade: all stays, and the next agent changes nothing.
    let rules = || {
        let pods = [&sandbox, &other].map(|sandbox| sandbox.namespace.output("nft -a list ruleset"));
        (pods, node.host.output("nft -a list ruleset"))
    };
    let before = rules();
    assert_eq!(running.stop(), Some(0), "{}", running.log());
    assert!(running.log().contains("is still present, this is an upgrade"), "{}", running.log());
    assert_eq!(rules(), before);
    assert_eq!(ztunnel.proxies().len(), 2, "ztunnel keeps its proxies");
    let mut running = start(&node);
    ready(&node, &running);
    soon("ztunnel is back", || {
        ztunnel.is_ready() && get(node.files.metrics, "/metrics").1.contains("ztunnel_connected 1")
    });
    assert_captured(&node, &ztunnel, "found", &found, &sandbox, BOTH);
    assert_captured(&node, &ztunnel, "reported", &reported, &other, addresses);
    assert_eq!(rules(), before);
    assert_eq!(node.api().quorum_lists(), 0);

    // An uninstallation: what is on the node goes, and pods keep what their proxies need.
    node.api().remove("/apis/apps/v1/namespaces/istio-system/daemonsets/istio-cni-node");
    assert_eq!(running.stop(), Some(0), "{}", running.log());
    assert_eq!(node.files.types(LIST), ["bridge", "portmap"]);
    assert_eq!(node.host.tables(), [""; 0]);
    assert_eq!(sandbox.namespace.tables().len(), 3);
    assert!(!node.files.path("run/istio-cni-kubeconfig").exists());
    assert_eq!(ztunnel.violations(), [""; 0]);
}

/// What operators see.
/// `kubectl exec ds/istio-cni-node -- meshwire list|verify|doctor --pod`.
fn looked_at_by_name(node: &Node, sandbox: &Sandbox) {
    let pod = ["--pod", "default/reported"];
    let netns = sandbox.namespace.path();
    let Some(listed) = node.meshwire_in_the_container(&[&["list"], &pod[..]].concat()) else { return };
    let by_file = node.meshwire_in_the_container(&["list", "--netns", netns.to_str().unwrap()]).unwrap();
    assert!(listed.status.success() && by_file.status.success(), "{listed:?} {by_file:?}");
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(text.contains("table inet istio-ambient-nat {"), "{text}");
    assert_eq!(text, String::from_utf8(by_file.stdout).unwrap());
    let verify = |flags: &[&str]| {
        let words = [&["verify"], &pod[..], &["ambient", "pod"], flags].concat();
        node.meshwire_in_the_container(&words).unwrap()
    };
    let verified = verify(&["--ipv6", "--dns"]);
    assert!(verified.status.success(), "{verified:?}");
    let verified = verify(&["--dns"]);
    assert_eq!(verified.status.code(), Some(3), "the pod has rules for IPv6: {verified:?}");
    let doctor = [&["doctor", "--profile", "ambient-pod"], &pod[..]].concat();
    let doctor = node.meshwire_in_the_container(&doctor).unwrap();
    assert!(doctor.status.success(), "{doctor:?}");
    for (pod, reason) in [
        ("default/unknown", "there is no pod default/unknown"),
        ("default/elsewhere", "none of its processes is on this node"),
    ] {
        let output = node.meshwire_in_the_container(&["list", "--pod", pod]).unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && text.contains(reason), "{pod}: {text}");
    }
}

/// A running pod as an injector left it, with this in its specification and its annotations; and its namespace.
fn injected(node: &Node, name: &str, address: &str, spec: &Value, annotations: &Value) -> Sandbox {
    let uid = node.create(name);
    node.update(name, |pod| {
        pod["metadata"]["annotations"] = annotations.clone();
        for (key, value) in spec.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
    });
    let mut sandbox = node.sandbox(&[address]);
    node.start_process(&mut sandbox, &uid);
    node.running(name, &[address]);
    sandbox
}

/// `kubectl exec ds/istio-cni-node -- meshwire verify --pod|--all-pods`: nobody says what the rules are to be but the agent.
#[test]
fn verified_by_what_the_agent_knows() {
    if !privileged() {
        return;
    }
    let node = Node::new(true);
    fs::write(node.files.net(LIST), PRIMARY).unwrap();
    let running = node.files.start(node.program().env("NATIVE_NFTABLES", "true"));
    let ztunnel = node.ztunnel();
    ready(&node, &running);
    let (uid, ambient) = add(&node, "ambient", BOTH);
    assert_captured(&node, &ztunnel, "ambient", &uid, &ambient, BOTH);
    let proxy = json!({ "name": "istio-proxy", "args": ["proxy", "sidecar"], "env": [
        { "name": "TOKEN", "value": "a-secret" }, { "name": "INVALID_DROP", "value": "true" } ] });
    let status = |more: Value| {
        let mut annotations = json!({ "sidecar.istio.io/status": "{}" });
        annotations.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        annotations
    };
    let args = [
        "istio-iptables",
        "-p",
        "15001",
        "-z",
        "15006",
        "-u",
        "1337",
        "-i",
        "*",
        "-b",
        "*",
        "-d",
        "15090,15020",
    ];
    let init =
        json!([{ "name": "istio-init", "args": args, "env": [{ "name": "DROP_INVALID", "value": "true" }] }]);
    let web = injected(
        &node,
        "web",
        "10.1.0.7",
        &json!({ "initContainers": init, "containers": [&proxy] }),
        &status(json!({})),
    );
    let excluded = status(json!({ "traffic.sidecar.istio.io/excludeInboundPorts": "9000" }));
    let plugins = injected(&node, "plugins", "10.1.0.8", &json!({ "containers": [&proxy] }), &excluded);
    let Some(_) = node.meshwire_in_the_container(&["--version"]) else { return };
    let meshwire = |args: &[&str]| {
        let output = node.meshwire_in_the_container(args).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let make = |sandbox: &Sandbox, args: &[&str]| {
        let netns = sandbox.namespace.path();
        let made =
            meshwire(&[&["istio-iptables", "--network-namespace", netns.to_str().unwrap()], args].concat());
        assert_eq!(made.0, Some(0), "{made:?}");
    };
    make(&web, &[&args[1..], &["--drop-invalid"]].concat());
    // The plugin has the agent's NATIVE_NFTABLES.
    let by_annotations =
        ["-u", "1337", "-i", "*", "-b", "*", "-d", "9000,15020,15021,15090", "-o", "15020", "--drop-invalid"];
    make(&plugins, &[&by_annotations[..], &["--native-nftables"]].concat());

    let verify = |pod: &str| meshwire(&["verify", "--pod", pod]);
    for (pod, settings) in [
        ("default/ambient", "the settings of the ambient mesh"),
        ("default/web", "the arguments of istio-init"),
        ("default/plugins", "its annotations"),
    ] {
        let (code, said, log) = verify(pod);
        let expected = format!("the settings are {settings}, as the node agent has them");
        assert!(code == Some(0) && log.contains(&expected), "{pod}: {code:?} {said} {log}");
    }
    let root = node.files.root().to_str().unwrap();
    let all = || meshwire(&["verify", "--all-pods", "--node-root", root]);
    let (code, said, log) = all();
    assert_eq!(code, Some(0), "{said} {log}");
    for pod in ["default/ambient", "default/web", "default/plugins"] {
        assert!(said.contains(&format!("{pod}: equal: ")), "{said}");
    }

    // Flags win over what the agent says.
    let flags = meshwire(&["verify", "--pod", "default/plugins", "istio-iptables", "-u", "1337"]);
    assert!(flags.0 == Some(3) && !flags.2.contains("as the node agent has them"), "{flags:?}");
    // Another setting, and rules that are lost.
    node.update("plugins", |pod| {
        pod["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeInboundPorts"] = json!("9001");
    });
    web.namespace.output("nft delete table inet istio-proxy-nat");
    for (pod, line) in [("default/plugins", "9001"), ("default/web", "- table inet istio-proxy-nat")] {
        let (code, said, log) = verify(pod);
        assert!(code == Some(3) && said.contains(line), "{pod}: {code:?} {said} {log}");
    }
    let (code, said, _) = all();
    assert!(code == Some(3) && said.contains("default/web: different"), "{said}");
    let none = injected(&node, "none", "10.1.0.9", &json!({}), &json!({}));
    node.update("none", |pod| pod["metadata"]["labels"] = json!({ "istio.io/dataplane-mode": "none" }));
    within(Duration::from_secs(10), "it is outside the mesh", || {
        verify("default/none").2.contains("pod default/none is not intercepted by its own settings")
    });
    drop(none);

    // Nothing that is not needed leaves the agent, and the API server's failures are named.
    let socket = node.files.path("run/log.sock");
    let (code, text) = post(&socket, "GET", "/pods", "").unwrap();
    assert!(code == 200 && text.contains("INVALID_DROP") && !text.contains("a-secret"), "{text}");
    node.api().fault(Fault::always("/pods", Effect::Code(500)));
    let failed = verify("default/web");
    assert!(
        failed.0 == Some(1) && failed.2.contains("(500)") && failed.2.contains("--from-pod-spec"),
        "{failed:?}"
    );
    let failed = all();
    assert!(failed.0 == Some(1) && failed.2.contains("(500)"), "{failed:?}");
}

fn node_status(node: &Node, line: &str, code: i32) {
    let Some(output) = node.meshwire(&["node", "status"]) else { return };
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(line), "{text}");
    assert_eq!(output.status.code(), Some(code), "{text}");
}

#[test]
fn killed_at_any_moment_it_starts_again() {
    if !privileged() {
        return;
    }
    let node = Node::new(false);
    fs::write(node.files.net(LIST), PRIMARY).unwrap();
    let ztunnel = node.ztunnel();
    let uid = node.create("p");
    let mut sandbox = node.sandbox(V4);
    node.start_process(&mut sandbox, &uid);
    node.running("p", V4);
    for milliseconds in [0, 5, 10, 20, 40, 80, 160, 320] {
        let mut running = start(&node);
        std::thread::sleep(Duration::from_millis(milliseconds));
        running.signal(Signal::SIGKILL);
        running.wait();
    }
    // Its last life may have ended while the files of another existed.
    let running = start(&node);
    ready(&node, &running);
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, V4);
    assert_eq!(node.files.types(LIST), ["bridge", "portmap", "istio-cni"]);
}

#[test]
fn a_pod_that_is_not_captured_gets_an_event_and_counts() {
    if !privileged() {
        return;
    }
    let node = Node::new(false);
    fs::write(node.files.net(LIST), PRIMARY).unwrap();
    let running = start(&node);
    ready(&node, &running);
    let uid = node.create("p");
    let mut sandbox = node.sandbox(V4);
    let (code, _) = node.report("p", Some(&uid), &sandbox.namespace.path(), V4);
    assert_eq!(code, 500, "there is no ztunnel");
    node.start_process(&mut sandbox, &uid);
    node.running("p", V4);
    let events = || node.api().list("/api/v1/namespaces/default/events");
    within(Duration::from_secs(20), "an event", || !events().is_empty());
    let event = events().remove(0);
    assert_eq!((&event["reason"], &event["type"]), (&json!("MeshCaptureFailed"), &json!("Warning")));
    assert_eq!(event["involvedObject"]["uid"], json!(uid));
    assert_eq!(event["message"], "the pod's traffic does not go through ztunnel: no ztunnel connection");
    // Some are counted when replies come, and after the event.
    for line in [
        "meshwire_agent_unprotected_pods{mesh=\"ambient\"} 1",
        "ztunnel_connected 0",
        "istio_cni_plugin_requests_total{response_code=\"500\"} 1",
        "nodeagent_reconcile_events_total{type=\"add\"} 1",
        "meshwire_add_seconds_count{step=\"rules\"} 1",
        "meshwire_api_requests_total{verb=\"list\",code=\"200\"} ",
        "meshwire_api_requests_total{verb=\"patch\",code=\"200\"} ",
    ] {
        soon(line, || get(node.files.metrics, "/metrics").1.contains(line));
    }
    node_status(&node, "pending default/p ", 3);

    // The node's rules are flushed more often than they are repaired at once.
    for _ in 0..6 {
        node.host.output("nft flush ruleset");
        soon("the rules are back", || node.host.tables() != [""; 0]);
    }
    within(Duration::from_secs(20), "an event of the node", || {
        events().iter().any(|event| event["reason"] == "MeshRulesContested")
    });
    let contested = events().into_iter().find(|event| event["reason"] == "MeshRulesContested").unwrap();
    assert_eq!(contested["involvedObject"]["kind"], "Node");
    assert!(contested["message"].as_str().unwrap().starts_with("nft (thread "), "{contested}");
    let log = running.log();
    assert!(log.contains("the node's rules were repaired; they were changed last by nft (thread "), "{log}");
    let scrape = get(node.files.metrics, "/metrics").1;
    assert!(scrape.contains("meshwire_drift_heals_total{scope=\"host\"} "), "{scrape}");
    assert!(scrape.contains("meshwire_heals_backing_off 1"), "{scrape}");
}

/// Names of metrics in a text: whatever looks like one of ours.
fn metric_names(text: &str) -> BTreeSet<String> {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let prefixes = ["meshwire_", "istio_cni_", "nodeagent_", "ztunnel_connected", "linkerd_cni_", "process_"];
    // Names of files and fields of a configuration look alike.
    let is_other = |word: &str| matches!(word, "meshwire_agent" | "istio_cni_config" | "linkerd_cni_config");
    words
        .filter(|word| {
            prefixes.iter().any(|prefix| word.starts_with(prefix)) && !word.ends_with('_') && !is_other(word)
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_metric_of_an_alert_or_a_page_is_in_a_scrape() {
    if !privileged() {
        return;
    }
    let node = Node::new(false);
    fs::write(node.files.net(LIST), PRIMARY).unwrap();
    let ztunnel = node.ztunnel();
    let running = start(&node);
    ready(&node, &running);
    let (uid, sandbox) = add(&node, "p", V4);
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, V4);
    let mut controller = node.files.repair_controller();
    let controller = node.files.start(&mut controller);
    until("ready", || controller.log(), || get(node.files.admin, "/ready").0 == 200);
    let scrapes = get(node.files.metrics, "/metrics").1 + &get(node.files.admin, "/metrics").1;
    let samples = scrapes.lines().filter(|line| !line.starts_with('#'));
    let names: BTreeSet<_> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut pages: Vec<PathBuf> = vec![root.join("deploy/alerts.yaml")];
    pages.extend(fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let mut found = 0;
    for page in pages.iter().filter(|page| page.is_file()) {
        for name in metric_names(&fs::read_to_string(page).unwrap()) {
            found += 1;
            let histogram = ["_bucket", "_count", "_sum"].map(|suffix| format!("{name}{suffix}"));
            let is_there =
                names.contains(name.as_str()) || histogram.iter().all(|name| names.contains(name.as_str()));
            assert!(is_there, "{} names {name}, which is not in\n{scrapes}", page.display());
        }
    }
    assert!(found > 10, "{found}");
    // The other way round: what can be scraped is documented.
    let page = fs::read_to_string(root.join("docs/node-agent.md")).unwrap();
    let documented = metric_names(&page);
    for name in names.iter().filter(|name| !name.starts_with("process_")) {
        let plain =
            ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        assert!(documented.contains(plain), "docs/node-agent.md does not name {plain}");
    }
}

#[test]
fn a_pod_that_lost_its_sidecars_rules_counts() {
    if !privileged() {
        return;
    }
    let node = Node::new(false);
    fs::write(node.files.net(LIST), PRIMARY).unwrap();
    let pods = [("istio", "istio-proxy", "10.1.0.7"), ("linkerd", "linkerd-proxy", "10.1.0.8")];
    let sandboxes = pods.map(|(name, proxy, address)| {
        let uid = node.create_with(name, &json!({ "istio.io/dataplane-mode": "none" }));
        let mut sandbox = node.sandbox(&[address]);
        node.start_process(&mut sandbox, &uid);
        node.update(name, |pod| {
            pod["metadata"]["annotations"] = json!({ "sidecar.istio.io/status": "{}" });
            pod["spec"]["containers"] =
                json!([{ "name": "app", "image": "i" }, { "name": proxy, "image": "i" }]);
        });
        node.running(name, &[address]);
        sandbox
    });
    let mut program = node.program();
    program.env("REPAIR_ENABLED", "true").env("REPAIR_REPAIR_PODS", "true");
    let running = node.files.start(&mut program);
    ready(&node, &running);
    let counts = |mesh: &str, count: u32| {
        let line = format!("meshwire_agent_unprotected_pods{{mesh=\"{mesh}\"}} {count}\n");
        get(node.files.metrics, "/metrics").1.contains(&line)
    };
    within(Duration::from_secs(20), "both count", || counts("istio", 1) && counts("linkerd", 1));
    assert!(running.log().contains("is running without its mesh's rules"), "{}", running.log());
    // Another mesh's rules, empty tables, and chains that nothing leads to are none.
    let rules = "table inet TABLE { chain output { type nat hook output priority -100; tcp dport 1-65535 redirect to :15001; }; }";
    sandboxes[0].namespace.output("nft add table inet istio-proxy-nat");
    sandboxes[0].namespace.feed("nft -f -", &rules.replace("TABLE", "linkerd-proxy-init"));
    sandboxes[1].namespace.output("iptables-nft -t nat -N PROXY_INIT_OUTPUT");
    sandboxes[1].namespace.feed("nft -f -", &rules.replace("TABLE", "istio-proxy-nat"));
    let looks = || running.log().matches("is running without its mesh's rules").count();
    let before = looks();
    within(Duration::from_secs(70), "they were looked at again", || looks() >= before + 3);
    assert!(counts("istio", 1) && counts("linkerd", 1));
    sandboxes[0].namespace.feed("nft -f -", &rules.replace("TABLE", "istio-proxy-nat"));
    sandboxes[1]
        .namespace
        .output("iptables-nft -t nat -A PROXY_INIT_OUTPUT -p tcp -j REDIRECT --to-ports 4140");
    sandboxes[1].namespace.output("iptables-nft -t nat -A OUTPUT -p tcp -j PROXY_INIT_OUTPUT");
    within(Duration::from_secs(40), "none does", || counts("istio", 0) && counts("linkerd", 0));
}
