//! Pods of ambient mode are handed to the node agent; and log lines.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use meshwire_testkit::kubernetes::ApiServer;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::call::{Node, TOKEN};
use super::netns::Netns;
use super::pods::{api, istio, namespace};

/// A node agent that takes one request at a socket and replies with this.
fn agent(socket: &Path, reply: &'static str) -> JoinHandle<(String, Value)> {
    agent_that(socket, reply, |_| ())
}

/// As [`agent`], and does something before it replies.
fn agent_that(
    socket: &Path,
    reply: &'static str,
    first: impl FnOnce(&UnixStream) + Send + 'static,
) -> JoinHandle<(String, Value)> {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = String::new();
        let mut part = [0; 4096];
        let body = loop {
            let length = stream.read(&mut part).unwrap();
            text += std::str::from_utf8(&part[..length]).unwrap();
            if let Some((_, body)) = text.split_once("\r\n\r\n")
                && let Ok(body) = serde_json::from_str(body)
            {
                break body;
            }
            assert!(length > 0, "{text}");
        };
        first(&stream);
        // A plugin that sends log lines does not wait for long.
        let _ = stream.write_all(reply.as_bytes());
        (text.lines().next().unwrap().to_owned(), body)
    })
}

fn ambient_server() -> ApiServer {
    let api = api();
    api.put(namespace("shop", &json!({}), &json!({"istio.io/dataplane-mode": "ambient"})));
    let plain = |name: &str, labels: Value| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": labels},
            "spec": {"containers": [{"name": "app", "image": "app"}]},
        })
    };
    api.put(plain("web", json!({})));
    api.put(plain("out", json!({"istio.io/dataplane-mode": "none"})));
    api.put(istio("sidecar", &[]));
    api
}

/// As Istio's chart renders it.
fn config(node: &Node) -> Value {
    let expression = |operator: &str, value: &str| json!({"matchExpressions": [{"key": "istio.io/dataplane-mode", "operator": operator, "values": [value]}]});
    node.istio(&json!({
        "ambient_enabled": true,
        "enablement_selectors": [
            {"podSelector": {"matchLabels": {"istio.io/dataplane-mode": "ambient"}}},
            {"podSelector": expression("NotIn", "none"), "namespaceSelector": expression("In", "ambient")},
        ],
    }))
}

#[test]
fn the_agent_gets_the_pod_and_no_rules_are_made_here() {
    let api = ambient_server();
    let node = Node::new();
    node.install(&api, TOKEN);
    let Some(netns) = Netns::with(&["10.0.0.5/24"]) else { return };
    let agent = agent(&node.path().join("pluginevent.sock"), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    node.add(&config(&node), &netns.path(), "shop", "web").passed();
    let (request, event) = agent.join().unwrap();
    assert!(request.starts_with("POST /cmdadd HTTP/1."), "{request}");
    assert_eq!(
        event,
        json!({
            "Netns": netns.path(), "PodName": "web", "PodNamespace": "shop", "PodUID": "u1",
            "IPs": [{"Interface": 0, "Address": {"IP": "10.0.0.5", "Mask": "////AA=="}, "Gateway": "10.0.0.1"}],
        })
    );
    assert_eq!(netns.rules(), "");
}

/// By a debugger, or with its container.
#[test]
fn a_plugin_that_is_stopped_and_continued_gets_its_reply() {
    let api = ambient_server();
    let node = Node::new();
    node.install(&api, TOKEN);
    let Some(netns) = Netns::with(&["10.0.0.5/24"]) else { return };
    let socket = node.path().join("pluginevent.sock");
    let agent = agent_that(&socket, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", |stream| {
        let plugin = Pid::from_raw(getsockopt(stream, PeerCredentials).unwrap().pid());
        // It waits for the reply by then.
        thread::sleep(Duration::from_millis(300));
        for signal in [Signal::SIGSTOP, Signal::SIGCONT] {
            kill(plugin, signal).unwrap();
            thread::sleep(Duration::from_millis(100));
        }
    });
    node.add(&config(&node), &netns.path(), "shop", "web").passed();
    agent.join().unwrap();
}

#[test]
fn a_pod_that_the_agent_does_not_add_is_not_started() {
    let api = ambient_server();
    let node = Node::new();
    node.install(&api, TOKEN);
    let prefix = "istio-cni cmdAdd failed to contact node Istio CNI agent: ";
    let message = node.add(&config(&node), "/run/netns/none", "shop", "web").refused();
    assert!(message.starts_with(prefix) && message.contains("No such file"), "{message}");
    assert!(message.contains("the pod istio-cni-node-*"), "{message}");
    let socket = node.path().join("pluginevent.sock");
    let refusing =
        agent(&socket, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 13\r\n\r\nno ztunnel up");
    let message = node.add(&config(&node), "/run/netns/none", "shop", "web").refused();
    refusing.join().unwrap();
    assert!(message.starts_with(&format!("{prefix}it replied 500: no ztunnel up")), "{message}");
    // One that takes the request and never replies.
    std::fs::remove_file(&socket).unwrap();
    let _listener = UnixListener::bind(&socket).unwrap();
    let done = node.add(&config(&node), "/run/netns/none", "shop", "web");
    assert!(done.refused().starts_with(prefix));
    assert!((4.9..30.0).contains(&done.elapsed.as_secs_f64()), "{:?}", done.elapsed);
}

/// During a rollout the agent may still be Istio's own: Go's net/http replies to HTTP/1.0, and what it does not serve is a 404.
#[test]
fn an_agent_of_istios_own_takes_pods_during_a_rollout() {
    let api = ambient_server();
    let node = Node::new();
    node.install(&api, TOKEN);
    let Some(netns) = Netns::with(&["10.0.0.5/24"]) else { return };
    let socket = node.path().join("pluginevent.sock");
    let date = "Date: Thu, 26 Nov 2026 12:00:00 GMT\r\n";
    let text = "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n";
    for (head, body, refusal) in [
        ("200 OK", "", None),
        (
            "500 Internal Server Error",
            "failed to get pod shop/web: not found\n",
            Some("it replied 500: failed to get pod shop/web: not found"),
        ),
        ("404 Not Found", "404 page not found\n", Some("it replied 404: 404 page not found")),
    ] {
        let text = if body.is_empty() { "" } else { text };
        let reply = format!("HTTP/1.0 {head}\r\n{text}{date}Content-Length: {}\r\n\r\n{body}", body.len());
        let _ = std::fs::remove_file(&socket);
        let agent = agent(&socket, reply.leak());
        let done = node.add(&config(&node), &netns.path(), "shop", "web");
        let (_, event) = agent.join().unwrap();
        // All that Istio's agent decodes; it ignores the rest.
        for field in ["Netns", "PodName", "PodNamespace", "IPs"] {
            assert!(!event[field].is_null(), "{field}: {event}");
        }
        match refusal {
            None => done.passed(),
            Some(refusal) => assert!(done.refused().contains(refusal), "{done:?}"),
        }
    }
}

#[test]
fn sidecars_and_pods_that_opt_out_are_none_of_the_agents() {
    let api = ambient_server();
    let node = Node::new();
    node.install(&api, TOKEN);
    let Some(netns) = Netns::with(&["10.0.0.5/24"]) else { return };
    node.add(&config(&node), &netns.path(), "shop", "out").passed();
    assert_eq!(netns.rules(), "");
    node.add(&config(&node), &netns.path(), "shop", "sidecar").passed();
    assert!(netns.rules().contains("redirect to :15006"));
}

/// Whether the namespace takes part is not known: nothing is assumed.
#[test]
fn without_its_namespace_a_pod_is_not_started() {
    let api = ambient_server();
    api.remove("/api/v1/namespaces/shop");
    let node = Node::new();
    node.install(&api, TOKEN);
    let message = node.add(&config(&node), "/run/netns/none", "shop", "web").refused();
    assert!(message.starts_with("cannot get namespace shop: "), "{message}");
}

#[test]
fn log_lines_go_to_standard_error_to_a_file_and_to_the_agent() {
    let node = Node::new();
    let log = agent(&node.path().join("log.sock"), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let done = node.add(&node.istio(&json!({})), "/run/netns/none", "kube-system", "coredns-1");
    done.passed();
    let (request, body) = log.join().unwrap();
    assert!(request.starts_with("POST /log HTTP/1."), "{request}");
    let file = std::fs::read_to_string(node.path().join("istio-cni.log")).unwrap();
    assert_eq!(file, done.stderr);
    let lines: Vec<_> = file.lines().collect();
    assert_eq!(body, json!(lines));
    let line: Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(
        (&line["level"], &line["msg"]),
        (&json!("info"), &json!("pod namespace kube-system excluded"))
    );
    assert!(humantime::parse_rfc3339(line["time"].as_str().unwrap()).is_ok(), "{line}");
}

#[test]
fn a_full_log_file_makes_room() {
    let node = Node::new();
    let file = node.path().join("istio-cni.log");
    std::fs::write(&file, vec![b'x'; 11 << 20]).unwrap();
    node.add(&node.istio(&json!({})), "/run/netns/none", "kube-system", "coredns-1").passed();
    assert!(std::fs::metadata(&file).unwrap().len() < 1000);
    assert_eq!(std::fs::metadata(node.path().join("istio-cni.log.1")).unwrap().len(), 11 << 20);
}

/// An agent that hangs costs a second, and no pod.
#[test]
fn an_agent_that_accepts_no_log_lines_is_ignored() {
    let node = Node::new();
    let _listener = UnixListener::bind(node.path().join("log.sock")).unwrap();
    let done = node.add(&node.istio(&json!({})), "/run/netns/none", "kube-system", "coredns-1");
    done.passed();
    assert!(done.elapsed < Duration::from_secs(10), "{:?}", done.elapsed);
}
