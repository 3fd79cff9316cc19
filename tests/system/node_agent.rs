//! `verify --pod` and `--all-pods` with the settings that a node agent has: what it may reply, and what nobody should believe.
//! The agent itself is in its own tests; here its socket is a thread.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Intercept, Namespace, intercept, oracle, privileged, program};

/// What comes on the socket.
#[derive(Clone)]
enum Reply {
    /// This status and body
    Http(u16, String),
    /// These bytes, and the end
    Bytes(&'static str),
    /// One byte after another, for as long as somebody reads
    Drip,
    /// More and more
    Flood,
    /// The end, at once
    Hangup,
}

impl Reply {
    fn json(object: &Value) -> Self {
        Self::Http(200, object.to_string())
    }
}

/// The agent's folder, with a socket on which each request gets the same reply.
fn agent(reply: Reply) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("log.sock")).unwrap();
    // It ends with the process; the folder goes with the test.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let _ = match &reply {
                Reply::Http(code, body) => {
                    let length = body.len();
                    write!(stream, "HTTP/1.0 {code} Reason\r\ncontent-length: {length}\r\n\r\n{body}")
                }
                Reply::Bytes(bytes) => stream.write_all(bytes.as_bytes()),
                Reply::Drip => loop {
                    if let Err(error) = stream.write_all(b"H") {
                        break Err(error);
                    }
                    thread::sleep(Duration::from_millis(300));
                },
                Reply::Flood => loop {
                    if let Err(error) = stream.write_all(&[b'x'; 1 << 16]) {
                        break Err(error);
                    }
                },
                Reply::Hangup => Ok(()),
            };
        }
    });
    folder
}

/// Where commands run: not in the machine's own network namespace, and with the agent's folder where its chart mounts it.
struct Container {
    own: Namespace,
    /// The proc file system of a node without pods
    root: TempDir,
}

impl Container {
    fn new() -> Option<Self> {
        if !privileged() || !oracle("unshare") || !oracle("mount") {
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        let init = root.path().join("proc/1/ns");
        std::fs::create_dir_all(&init).unwrap();
        std::os::unix::fs::symlink("/proc/self/ns/net", init.join("net")).unwrap();
        Some(Self { own: Namespace::new(), root })
    }

    fn meshwire(&self, agent: Option<&TempDir>, args: &[&str]) -> (Option<i32>, String, String) {
        const MOUNTS: &str = "set -e; mount -t tmpfs none /run; \
            if [ -n \"$1\" ]; then mkdir /run/istio-cni; mount --bind \"$1\" /run/istio-cni; fi; shift; exec \"$@\"";
        let folder = agent.map_or("", |agent| agent.path().to_str().unwrap());
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", MOUNTS, "sh", folder]).arg(program()).arg(args[0]);
        command.args(["--node-root", self.root.path().to_str().unwrap()]).args(&args[1..]);
        let Output { status, stdout, stderr } = self.own.output(&mut command, "");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (status.code(), text(&stdout), text(&stderr))
    }

    fn verify(&self, reply: Reply) -> (Option<i32>, String, String) {
        self.meshwire(Some(&agent(reply)), &["verify", "--pod", "shop/web"])
    }
}

const SETTINGS: [&str; 8] = ["-u", "1337", "-i", "*", "-b", "*", "-d", "15090"];

/// What the agent says of a pod with `istio-init`.
fn web(pod: &Namespace) -> Value {
    json!({
        "namespace": "shop", "name": "web", "uid": "2c48913c-b29f-11e7-9350-020968147796", "netns": pod.path(),
        "native_nftables": false, "ambient": null,
        "pod": {
            "kind": "Pod", "metadata": { "namespace": "shop", "name": "web" },
            "spec": { "initContainers": [{ "name": "istio-init", "command": ["istio-iptables"], "args": SETTINGS }] },
        },
    })
}

fn with(mut object: Value, path: &str, value: Value) -> Value {
    *object.pointer_mut(path).unwrap() = value;
    object
}

#[test]
fn each_mesh_has_its_settings_from_the_agent() {
    let Some(container) = Container::new() else { return };
    let pod = Namespace::with_addresses(&["10.0.0.2"]);
    let of = |key: &str, value: Value| with(web(&pod), key, value);
    let init = |name: &str, args: &[&str]| {
        of("/pod/spec", json!({ "initContainers": [{ "name": name, "args": args }] }))
    };
    let status =
        json!({ "sidecar.istio.io/status": "", "traffic.sidecar.istio.io/excludeOutboundPorts": "25" });
    let annotated = with(
        of("/pod/metadata", json!({ "namespace": "shop", "name": "web", "annotations": status })),
        "/pod/spec",
        json!({ "containers": [{ "name": "istio-proxy", "args": ["proxy", "sidecar"] }] }),
    );
    let ambient = |dns: bool| {
        of(
            "/ambient",
            json!({
                "ipv6": false, "dns": dns, "ingress": false, "virtual_interfaces": ["tap*"],
                "probe_ipv4": "169.254.7.127", "probe_ipv6": "fd16:9254:7127:1337:ffff:ffff:ffff:ffff", "native_nftables": false,
            }),
        )
    };
    let by_annotations = ["-u", "1337", "-i", "*", "-b", "*", "-d", "15020,15021,15090", "-o", "25"];
    let native = Intercept::new(&by_annotations).env("NATIVE_NFTABLES", "true");
    for (what, made, object, origin) in [
        ("istio-init", Intercept::new(&SETTINGS), web(&pod), "the arguments of istio-init"),
        (
            "linkerd-init",
            Intercept::linkerd(&["-p", "4143", "-o", "4140", "-u", "2102"]),
            init("linkerd-init", &["-p", "4143", "-o", "4140", "-u", "2102"]),
            "the arguments of linkerd-init",
        ),
        ("the plugin", Intercept::new(&by_annotations), annotated.clone(), "its annotations"),
        ("the plugin, native", native, with(annotated, "/native_nftables", json!(true)), "its annotations"),
    ] {
        pod.command(&["nft", "flush", "ruleset"]);
        made.apply(&pod);
        let (code, said, log) = container.verify(Reply::json(&object));
        let expected = format!("info: the settings are {origin}, as the node agent has them\n");
        assert!(
            code == Some(0) && said.starts_with("equal") && log.contains(&expected),
            "{what}: {said}{log}"
        );
        // What the agent says is what counts.
        let (code, said, log) = container.verify(Reply::json(&ambient(true)));
        assert!(code == Some(3) && said.contains("- table inet istio-ambient-nat"), "{what}: {said}{log}");
    }
    pod.command(&["nft", "flush", "ruleset"]);
    let netns = pod.path();
    let apply = ["ambient", "pod", "apply", "--netns", &netns, "--dns", "--virtual-interface", "tap+"];
    let made = container.own.output(Command::new(program()).args(apply), "");
    assert!(made.status.success(), "{made:?}");
    assert_eq!(container.verify(Reply::json(&ambient(true))).0, Some(0));
    let (code, said, _) = container.verify(Reply::json(&ambient(false)));
    assert!(code == Some(3) && said.contains("+ "), "{said}");
}

#[test]
fn flags_win_over_the_agent() {
    let Some(container) = Container::new() else { return };
    let pod = Namespace::with_addresses(&["10.0.0.2"]);
    intercept(&pod, &SETTINGS);
    let folder = agent(Reply::json(&web(&pod)));
    let flags = ["verify", "--pod", "shop/web", "istio-iptables", "-u", "1337"];
    let (code, _, log) = container.meshwire(Some(&folder), &flags);
    assert!(code == Some(3) && !log.contains("node agent"), "{log}");
    let file = container.root.path().join("pod.yaml");
    std::fs::write(&file, "kind: Pod\nspec: {initContainers: [{name: istio-init, args: [-u, '1']}]}\n")
        .unwrap();
    let spec = ["verify", "--pod", "shop/web", "--from-pod-spec", file.to_str().unwrap()];
    let (code, _, log) = container.meshwire(Some(&folder), &spec);
    assert!(code == Some(3) && !log.contains("node agent"), "{log}");
    let both = container.meshwire(Some(&folder), &["verify", "--pod", "shop/web", "--netns", "1"]);
    assert!(both.0 == Some(2) && both.2.contains("--pod names a network namespace, too"), "{both:?}");
}

#[test]
fn a_node_with_all_its_pods() {
    let Some(container) = Container::new() else { return };
    let pod = Namespace::with_addresses(&["10.0.0.2"]);
    intercept(&pod, &SETTINGS);
    let elsewhere = with(web(&pod), "/netns", Value::Null);
    let elsewhere = with(elsewhere, "/pod/metadata/name", json!("elsewhere"));
    let host =
        with(web(&pod), "/pod", json!({ "kind": "Pod", "metadata": {}, "spec": { "hostNetwork": true } }));
    let pods = json!({ "pods": [web(&pod), elsewhere, with(host, "/netns", Value::Null)] });
    let all = |reply: Reply, more: &[&str]| {
        container.meshwire(Some(&agent(reply)), &[&["verify", "--all-pods"], more].concat())
    };
    let (code, said, log) = all(Reply::json(&pods), &[]);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(code, Some(0), "{said}{log}");
    assert!(lines[0].starts_with("shop/web: equal: "), "{said}");
    for (line, pod) in [(1, "shop/elsewhere"), (2, "default/default")] {
        let expected = format!("{pod}: not compared: no network namespace of its own on this node");
        assert_eq!(lines[line], expected, "{said}");
    }
    pod.command(&["nft", "delete", "table", "inet", "istio-proxy-nat"]);
    let (code, said, _) = all(Reply::json(&pods), &["--output", "json"]);
    let first: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!(
        (code, &first["netns"], &first["differences"][0]["object"]),
        (Some(3), &json!("shop/web"), &json!("table"))
    );
    for (reply, code, says) in [
        (Reply::json(&json!({ "pods": [{}] })), 1, "gave an unknown reply: {\"pods\":[{}]}"),
        (Reply::json(&json!({ "pods": {} })), 1, "gave an unknown reply: "),
        (
            Reply::Http(404, "Not Found".to_owned()),
            1,
            "log.sock does not say, as Istio's own agent or one that is older",
        ),
        (Reply::Http(404, "404 page not found\n".to_owned()), 1, "Istio's own agent"),
        (
            Reply::Http(503, "the node agent does not yet know".to_owned()),
            1,
            "log.sock: the node agent does not yet know",
        ),
    ] {
        let (found, said, log) = all(reply, &[]);
        assert!(
            found == Some(code) && said.is_empty() && log.contains(says),
            "{says}: {found:?} {said} {log}"
        );
        assert!(log.contains("help: ") && log.contains("--from-pod-spec"), "{log}");
    }
}

#[test]
fn what_is_no_answer_is_named() {
    let Some(container) = Container::new() else { return };
    let pod = Namespace::with_addresses(&["10.0.0.2"]);
    let mut old = web(&pod);
    old["pod"].take();
    let ambient = with(web(&pod), "/ambient", json!({ "ipv6": true }));
    for (reply, code, says) in [
        // What an agent says that only knows where a pod is.
        (Reply::json(&old), 1, "the program on /var/run/istio-cni/log.sock does not say"),
        (Reply::json(&with(web(&pod), "/name", json!("other"))), 1, "gave an unknown reply: {"),
        (Reply::json(&with(web(&pod), "/netns", json!(7))), 1, "gave an unknown reply: {"),
        (Reply::json(&with(web(&pod), "/native_nftables", Value::Null)), 1, "gave an unknown reply: {"),
        (Reply::json(&with(web(&pod), "/pod", json!([]))), 1, "gave an unknown reply: {"),
        (Reply::json(&ambient), 1, "gave an unknown reply: {"),
        (Reply::Http(200, "[".to_owned()), 1, "gave an unknown reply: ["),
        (Reply::Http(200, String::new()), 1, "gave an unknown reply: "),
        (Reply::Http(404, "there is no pod shop/web".to_owned()), 1, "log.sock: there is no pod shop/web"),
        (Reply::Http(302, "elsewhere".to_owned()), 1, "gave an unknown reply: HTTP/1.0 302"),
        (Reply::Bytes("\x1b[2Jerror"), 1, "gave an unknown reply: \u{fffd}[2Jerror"),
        (Reply::Hangup, 1, "gave an unknown reply: "),
        (Reply::Flood, 1, "replied with more than 16 MiB"),
    ] {
        let (found, said, log) = container.verify(reply);
        assert!(
            found == Some(code) && said.is_empty() && log.contains(says),
            "{says}: {found:?} {said} {log}"
        );
        assert!(log.contains("help: ") && log.contains("--from-pod-spec"), "{says}: {log}");
    }
    let wrong = json!({ "initContainers": [{ "name": "istio-init", "args": ["-p", "99999"] }] });
    let (code, _, log) = container.verify(Reply::json(&with(web(&pod), "/pod/spec", wrong)));
    assert!(
        code == Some(2) && log.contains("pod shop/web: the arguments of istio-init: --envoy-port: "),
        "{log}"
    );
    let plain = with(web(&pod), "/pod/spec", json!({ "containers": [{ "name": "app" }] }));
    let (code, _, log) = container.verify(Reply::json(&plain));
    assert!(code == Some(2) && log.contains("pod shop/web is not intercepted by its own settings"), "{log}");

    // Without an agent nothing is assumed.
    for args in [&["verify", "--pod", "shop/web"][..], &["verify", "--all-pods"]] {
        let (code, said, log) = container.meshwire(None, args);
        assert!(code == Some(2) && said.is_empty(), "{said} {log}");
        assert!(
            log.contains("no node agent has the socket /var/run/istio-cni/log.sock")
                && log.contains("--from-pod-spec"),
            "{log}"
        );
    }
}

#[test]
fn an_agent_that_is_slow_is_not_waited_for() {
    let Some(container) = Container::new() else { return };
    let started = Instant::now();
    let (code, _, log) = container.verify(Reply::Drip);
    let taken = started.elapsed();
    assert!(code == Some(1) && log.contains("log.sock did not reply within 15 s"), "{log}");
    assert!(taken < Duration::from_secs(25), "{taken:?}");
}
