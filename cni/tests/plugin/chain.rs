//! A conflist as libcni runs it: Debian's bridge and portmap, then ours, then another that reads what ours printed.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::call::{Node, TOKEN};
use super::netns::{Netns, skip};
use super::pods::{api, istio, linkerd, namespace};

/// Where Debian's containernetworking-plugins are.
const REFERENCE: &str = "/usr/lib/cni";
/// The versions that they know.
const VERSIONS: [&str; 6] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"];
const ARGUMENTS: &str =
    "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u1";

/// Whether the reference plugins are installed.
fn is_possible() -> bool {
    let there = ["bridge", "portmap", "host-local", "tuning"]
        .iter()
        .all(|name| Path::new(REFERENCE).join(name).exists());
    if !there {
        skip("containernetworking-plugins are not installed");
    }
    there
}

/// A list of plugins, as libcni runs it for one pod.
struct Chain<'a> {
    version: &'a str,
    plugins: Vec<Value>,
    /// The namespace in which other plugins do the node's part
    host: &'a Netns,
    pod: &'a Netns,
    node: &'a Node,
}

impl Chain<'_> {
    /// Each plugin gets the result of the one before; returns all results.
    fn add(&self) -> Vec<String> {
        let mut results: Vec<String> = Vec::new();
        for plugin in &self.plugins {
            results.push(self.run("ADD", plugin, results.last()));
        }
        results
    }

    /// Each plugin gets the last result.
    fn check(&self, last: &String) {
        // Debian's portmap fails CHECK in a pod without IPv6.
        for plugin in self.plugins.iter().filter(|plugin| plugin["type"] != "portmap") {
            assert_eq!(self.run("CHECK", plugin, Some(last)), "");
        }
    }

    /// The same, in the opposite order.
    fn delete(&self, last: &String) {
        for plugin in self.plugins.iter().rev() {
            assert_eq!(self.run("DEL", plugin, Some(last)), "");
        }
    }

    /// One plugin, with its configuration as libcni's `buildOneConfig` makes it.
    fn run(&self, verb: &str, plugin: &Value, previous: Option<&String>) -> String {
        let mut config = plugin.clone();
        config["name"] = json!("pods");
        config["cniVersion"] = json!(self.version);
        if let Some(previous) = previous {
            config["prevResult"] = serde_json::from_str(previous).unwrap();
        }
        if !config["capabilities"].is_null() {
            config["runtimeConfig"] =
                json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
        }
        let name = plugin["type"].as_str().unwrap();
        let ours = name.ends_with("-cni");
        // As it came, for ours: the order of members and all else.
        let text = match previous.filter(|_| ours) {
            Some(previous) => {
                config.as_object_mut().unwrap().remove("prevResult");
                let text = config.to_string();
                format!("{},\"prevResult\":{previous}}}", &text[..text.len() - 1])
            }
            None => config.to_string(),
        };
        // Ours changes nothing but the pod's namespace, and needs the machine's to reach the API server.
        let mut command = match ours {
            true => Command::new(self.node.path().join(name)),
            false => {
                let mut inside = Command::new("ip");
                inside.args(["netns", "exec", self.host.name()]).arg(Path::new(REFERENCE).join(name));
                inside
            }
        };
        let mut child = command
            .envs([("CNI_COMMAND", verb), ("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0")])
            .envs([("CNI_PATH", REFERENCE), ("CNI_NETNS", &self.pod.path()), ("CNI_ARGS", ARGUMENTS)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let result = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{verb} {name} {}: {result}", self.version);
        result
    }
}

/// Without the white space between its parts.
fn compact(json: &str) -> String {
    json.split_whitespace().collect()
}

#[test]
fn a_previous_result_is_passed_on_in_every_version() {
    if !is_possible() {
        return;
    }
    let api = api();
    api.put(namespace("shop", &json!({}), &json!({})));
    // A pod of both meshes is none that anybody has, but each plugin makes its rules.
    let mut pod = istio("web", &[]);
    pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .extend(linkerd("web", &[])["spec"]["containers"].as_array().unwrap().clone());
    api.put(pod);
    for version in VERSIONS {
        let (Some(host), Some(pod)) = (Netns::with(&[]), Netns::bare()) else { return };
        let node = Node::new();
        node.install(&api, TOKEN);
        let bridge = json!({
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false,
            "ipam": {
                "type": "host-local", "dataDir": node.path().join("addresses"), "subnet": "10.88.0.0/24",
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        });
        let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}, "snat": false});
        let tuning = json!({"type": "tuning", "sysctl": {}});
        let plugins = vec![bridge, portmap, node.istio(&json!({})), node.linkerd(&json!({})), tuning];
        let chain = Chain { version, plugins, host: &host, pod: &pod, node: &node };
        let results = chain.add();
        assert!(results[1].contains("10.88.0."), "{results:?}");
        for ours in [&results[2], &results[3]] {
            assert_eq!(compact(ours), compact(&results[1]), "{version}");
        }
        let rules = pod.rules();
        assert!(rules.contains("redirect to :15006") && rules.contains("redirect to :4143"), "{rules}");
        let last = &results[4];
        if version >= "0.4.0" {
            chain.check(last);
        }
        chain.delete(last);
        assert!(
            fs::read_dir(node.path().join("addresses/pods")).unwrap().count() <= 2,
            "the address is free again"
        );
    }
}

#[test]
fn status_stays_a_success_whatever_is_missing() {
    let node = Node::new();
    let mut config = node.istio(&json!({"cniVersion": "1.1.0"}));
    config.as_object_mut().unwrap().remove("prevResult");
    for verb in ["STATUS", "GC"] {
        let done = node.call(verb, &config, &[("CNI_CONTAINERID", ""), ("CNI_IFNAME", "")]);
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "", ""));
    }
    let done = node.call("VERSION", &config, &[]);
    assert!(done.code == 0 && done.stdout.contains("\"1.1.0\"]"), "{done:?}");
    let done = node.call("", &config, &[]);
    assert!(done.code == 0 && done.stdout.is_empty() && done.stderr.contains("istio-cni"), "{done:?}");
}

#[test]
fn an_invalid_configuration() {
    let node = Node::new();
    for (text, code) in [("", 6), ("{", 6), ("[]", 6), ("{}", 7), (r#"{"name":"n","cniVersion":"9.0.0"}"#, 1)]
    {
        let done = node.call_text("ADD", "istio-cni", text, &[("CNI_NETNS", "/run/netns/none")]);
        let error: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!((done.code, &error["code"]), (1, &json!(code)), "{text}: {done:?}");
    }
    let with = |field: &str, value: Value| node.istio(&json!({field: value}));
    for (config, fault) in [
        (with("ambient_enabled", json!("yes")), "failed to parse network configuration"),
        (
            with(
                "enablement_selectors",
                json!([{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}]),
            ),
            "\"Is\" is none of",
        ),
        (
            node.linkerd(&json!({"incoming-proxy-port": 70000})),
            "linkerd.incoming-proxy-port: 70000 is not a port",
        ),
        (node.linkerd(&json!({"outgoing-proxy-port": 0})), "linkerd.outgoing-proxy-port: 0 is not a port"),
        (node.linkerd(&json!({"iptables-mode": "bpf"})), "\"bpf\" is none of legacy, nft, plain"),
        (node.linkerd(&json!({"subnets-to-ignore": ["10.0.0.0"]})), "has no prefix length"),
        (node.linkerd(&json!({"ports-to-redirect": [-1]})), "linkerd.ports-to-redirect: -1"),
    ] {
        let message = node.add(&config, "/run/netns/none", "shop", "web").refused();
        assert!(message.contains(fault), "{message}");
    }
    let done =
        node.call("ADD", &node.istio(&json!({})), &[("CNI_NETNS", "/run/netns/none"), ("CNI_ARGS", "A=1")]);
    assert!(done.refused().contains("unknown args [\"A=1\"]"));
}
