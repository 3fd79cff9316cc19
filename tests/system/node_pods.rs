//! `--pod`, `--all-pods` and `--from-pod-spec`: pods of a node, found by a proc file system and the kubelet's folders, which
//! are made here; the network namespaces in it are real.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Intercept, Namespace, intercept, oracle, privileged, program};

const UIDS: [&str; 3] = [
    "2c48913c-b29f-11e7-9350-020968147796",
    "7a3b2c1d-0000-4aaa-8bbb-1234567890ab",
    "11112222-3333-4444-5555-666677778888",
];
const CONTAINER: &str = "9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961";
const SETTINGS: [&str; 6] = ["-u", "1337", "-i", "*", "-b", "*"];

/// A node with a few processes.
struct Node {
    root: TempDir,
    /// Where the command runs: not in the machine's own namespace
    own: Namespace,
    next: u32,
}

impl Node {
    fn new() -> Option<Self> {
        if !privileged() {
            return None;
        }
        let mut node = Self {
            root: tempfile::tempdir().unwrap(),
            own: Namespace::with_addresses(&["10.0.0.3"]),
            next: 1,
        };
        node.process("/proc/self/ns/net", "/init.scope");
        Some(node)
    }

    /// A process in the namespace with this file.
    fn process(&mut self, netns: &str, cgroup: &str) {
        let folder = self.root.path().join(format!("proc/{}", self.next));
        fs::create_dir_all(folder.join("ns")).unwrap();
        symlink(netns, folder.join("ns/net")).unwrap();
        fs::write(folder.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
        let zeros = "0 ".repeat(18);
        fs::write(folder.join("stat"), format!("{0} (a b) S {zeros}{0} 0", self.next)).unwrap();
        self.next += 1;
    }

    /// A pod with its pause container's process and the kubelet's folder.
    fn pod(&mut self, name: &str, uid: &str) -> Namespace {
        let namespace = Namespace::with_addresses(&["10.0.0.2"]);
        self.process(&namespace.path(), &format!("/kubepods/besteffort/pod{uid}/{CONTAINER}"));
        let folder = self.root.path().join(format!("var/log/pods/default_{name}_{uid}"));
        fs::create_dir_all(folder).unwrap();
        namespace
    }

    fn meshwire(&self, args: &[&str], input: &str) -> Output {
        let root = self.root.path().to_str().unwrap();
        let mut command = Command::new(program());
        // The flags of a subcommand that is a mesh come after it.
        let (first, rest) = args.split_first().unwrap();
        command.arg(first).args(["--node-root", root]).args(rest);
        self.own.output(&mut command, input)
    }
}

fn text(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// As kubectl prints it.
fn spec(name: &str, uid: &str, rest: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: default\n  uid: {uid}\n  creationTimestamp: \"2026-08-01T10:00:00Z\"\n{rest}"
    )
}

const INIT: &str = "\
spec:
  containers:
  - name: istio-proxy
  initContainers:
  - args:
    - istio-iptables
    - -p
    - \"15001\"
    - -z
    - \"15006\"
    - -u
    - \"1337\"
    - -m
    - REDIRECT
    - -i
    - '*'
    - -x
    - \"\"
    - -b
    - '*'
    - -d
    - 15090,15021,15020
    - --log_output_level=default:info
    env:
    - name: INVALID_DROP
      value: \"true\"
    - name: POD
      valueFrom:
        fieldRef:
          fieldPath: metadata.name
    image: istio/proxyv2
    name: istio-init
";
const INIT_SETTINGS: [&str; 8] = ["-u", "1337", "-i", "*", "-b", "*", "-d", "15090,15021,15020"];

#[test]
fn a_pod_is_found_by_its_name() {
    let Some(mut node) = Node::new() else { return };
    let pod = node.pod("web", UIDS[0]);
    intercept(&pod, &SETTINGS);
    let listing = text(&node.meshwire(&["list", "--pod", "default/web"], ""));
    assert!(listing.0 == Some(0) && listing.1.contains("table inet istio-proxy-nat {"), "{listing:?}");
    let verify = [&["verify", "--pod", "default/web", "istio-iptables"], &SETTINGS[..]].concat();
    assert_eq!(text(&node.meshwire(&verify, "")).0, Some(0));
    let explain = ["explain", "--pod", "default/web", "--uid", "1000", "--to", "10.0.0.2:80"];
    // What the app sends to its own pod is left alone.
    let explained = text(&node.meshwire(&explain, ""));
    assert!(explained.0 == Some(4) && explained.1.contains("istio-output"), "{explained:?}");
    let doctor = text(&node.meshwire(&["doctor", "--pod", "default/web", "--no-autoload"], ""));
    assert!(doctor.1.contains("istio-proxy-nat"), "{doctor:?}");
    let trace = ["trace", "--pod", "default/web", "--timeout", "100ms"];
    assert_eq!(text(&node.meshwire(&trace, "")).0, Some(4));

    for (args, code, says) in [
        (&["list", "--pod", "web"][..], 2, "--pod: \"web\" is not NAMESPACE/NAME"),
        (&["list", "--pod", "../web"], 2, "is not NAMESPACE/NAME"),
        (&["list", "--pod", "default/other"], 1, "there is no pod default/other on this node: "),
        (&["list", "--pod", "default/web", "--netns", "1"], 2, "names a network namespace, too"),
    ] {
        let (found, _, said) = text(&node.meshwire(args, ""));
        assert!(found == Some(code) && said.contains(says), "{args:?}: {found:?} {said}");
    }
    fs::create_dir_all(node.root.path().join(format!("var/log/pods/default_ended_{}", UIDS[2]))).unwrap();
    let ended = text(&node.meshwire(&["list", "--pod", "default/ended"], "")).2;
    assert!(ended.contains("pod default/ended has no process in a network namespace of its own"), "{ended}");
}

#[test]
fn the_settings_come_from_a_specification() {
    let Some(mut node) = Node::new() else { return };
    let pod = node.pod("web", UIDS[0]);
    let file = node.root.path().join("pod.yaml");
    fs::write(&file, spec("web", UIDS[0], INIT)).unwrap();
    let file = file.to_str().unwrap();
    Intercept::new(&INIT_SETTINGS).env("INVALID_DROP", "true").apply(&pod);
    let args = ["verify", "--pod", "default/web", "--from-pod-spec"];
    let equal = text(&node.meshwire(&[&args[..], &[file]].concat(), ""));
    assert_eq!(
        (equal.0, equal.1.as_str()),
        (Some(0), "equal: rules, routes and addresses are as the settings want them\n")
    );
    // Without a variable of the container, the rules are others.
    intercept(&pod, &INIT_SETTINGS);
    let different = text(&node.meshwire(&[&args[..], &["-"]].concat(), &spec("web", UIDS[0], INIT)));
    assert!(
        different.0 == Some(3) && different.1.contains("- table inet istio-proxy-mangle"),
        "{different:?}"
    );
    // The same as JSON.
    let json = r#"{"kind":"Pod","metadata":{"name":"web","namespace":"default"},"spec":{"initContainers":[{"name":"linkerd-init",
        "args":["--incoming-proxy-port","4143","--outgoing-proxy-port","4140","--proxy-uid","2102"]}]}}"#;
    Intercept::linkerd(&["-p", "4143", "-o", "4140", "-u", "2102"]).apply(&pod);
    assert_eq!(text(&node.meshwire(&[&args[..], &["-"]].concat(), json)).0, Some(0));
    // By annotations, as Istio's CNI plugin reads them.
    let annotated = "  annotations:\n    sidecar.istio.io/status: '{}'\n    traffic.sidecar.istio.io/excludeInboundPorts: \"9000\"\n\
                     spec:\n  containers:\n  - name: istio-proxy\n    args: [proxy, sidecar]\n";
    intercept(&pod, &["-u", "1337", "-i", "*", "-b", "*", "-d", "9000,15020,15021,15090", "-o", "15020"]);
    let plugins = text(&node.meshwire(&[&args[..], &["-"]].concat(), &spec("web", UIDS[0], annotated)));
    assert_eq!(plugins.0, Some(0), "{plugins:?}");
}

/// What the meshes' injectors render.
#[test]
fn every_injected_pod_has_settings() {
    let Some(node) = Node::new() else { return };
    let mut count = 0;
    for mesh in ["istio", "linkerd"] {
        let folder = format!("deploy/{mesh}");
        for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if file.file_name().unwrap().to_str().unwrap().starts_with("injected") {
                let args = ["verify", "--from-pod-spec", file.to_str().unwrap()];
                let (code, said, errors) = text(&node.meshwire(&args, ""));
                assert!(
                    code == Some(3) && said.contains("- table in") || said.contains("- table ip "),
                    "{}: {said}{errors}",
                    file.display()
                );
                count += 1;
            }
        }
    }
    assert!(count >= 7, "{count}");
}

#[test]
fn what_a_specification_does_not_say_is_named() {
    let Some(node) = Node::new() else { return };
    let bare = "spec:\n  containers:\n  - name: app\n";
    let host = "spec:\n  hostNetwork: true\n";
    let linkerd = "spec:\n  containers:\n  - name: linkerd-proxy\n";
    let wrong = INIT.replace("\"15001\"", "\"99999\"");
    let unknown = INIT.replace("- -z", "- --zzz");
    for (input, code, says) in [
        ("a: [", 2, "standard input is neither JSON nor YAML: "),
        (
            &"- ".repeat(100_000),
            2,
            "is neither JSON nor YAML: more than 128 levels inside each other in line 1",
        ),
        ("kind: ConfigMap\n", 2, "standard input has no pod: it is of kind ConfigMap"),
        (
            &spec("a", UIDS[0], bare),
            2,
            "pod default/a is not intercepted by its own settings: excluded because it does not have istio-proxy",
        ),
        (&spec("a", UIDS[0], host), 2, "it has hostNetwork: true"),
        (&spec("a", UIDS[0], linkerd), 2, "Linkerd's CNI plugin has its settings on the node"),
        (&spec("a", UIDS[0], &wrong), 2, "pod default/a: the arguments of istio-init: --envoy-port: "),
        (
            &spec("a", UIDS[0], &unknown),
            2,
            "pod default/a: the arguments of istio-init: unexpected argument '--zzz' found",
        ),
        (
            &format!("{}---\n{}", spec("a", UIDS[0], INIT), spec("b", UIDS[1], INIT)),
            2,
            "has 2 pods, and one is compared at a time",
        ),
    ] {
        let (found, _, said) = text(&node.meshwire(&["verify", "--from-pod-spec", "-"], input));
        assert!(found == Some(code) && said.contains(says), "{input}: {found:?} {said}");
    }
    let both =
        text(&node.meshwire(&["verify", "--from-pod-spec", "x", "proxy-init", "-p", "1", "-o", "2"], ""));
    assert!(both.0 == Some(2) && both.2.contains("proxy-init has others"), "{both:?}");
    let missing = text(&node.meshwire(&["verify", "--from-pod-spec", "/nowhere"], ""));
    assert!(missing.0 == Some(1) || missing.0 == Some(2), "{missing:?}");
    assert!(missing.2.contains("cannot read /nowhere: ENOENT"), "{missing:?}");
    let none = text(&node.meshwire(&["verify", "--netns", "/proc/self/ns/net"], ""));
    assert!(none.0 == Some(2) && none.2.contains("--from-pod-spec: it is required"), "{none:?}");
}

#[test]
fn all_pods_of_a_node() {
    let Some(mut node) = Node::new().filter(|_| oracle("nft")) else { return };
    let (web, plain, stray) = (node.pod("web", UIDS[0]), node.pod("plain", UIDS[1]), Namespace::new());
    node.process(&stray.path(), "/user.slice");
    intercept(&web, &INIT_SETTINGS);
    let all = |node: &Node, more: &[&str], input: &str| {
        text(&node.meshwire(&[&["verify", "--all-pods"], more].concat(), input))
    };
    // The same settings for all: what has no rules of a mesh is not compared.
    let settings = [&["istio-iptables"], &INIT_SETTINGS[..]].concat();
    let (code, said, _) = all(&node, &settings, "");
    assert_eq!(code, Some(0), "{said}");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "default/web: equal: rules, routes and addresses are as the settings want them");
    assert_eq!(lines[1], "default/plain: not compared: no rules of a mesh");
    assert!(
        lines[2].starts_with("process ") && lines[2].ends_with(": not compared: no rules of a mesh"),
        "{said}"
    );

    // Each pod's own settings, as `kubectl get pods -o yaml` prints them.
    let item = |text: String| format!("- {}", text.trim_end().replace('\n', "\n  "));
    let items = [
        item(spec("web", UIDS[0], &INIT.replace("INVALID_DROP", "OTHER"))),
        item(spec("plain", UIDS[1], "spec:\n  containers:\n  - name: app\n")),
        item(spec("elsewhere", UIDS[2], INIT)),
    ];
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{}\n", items.join("\n"));
    let (code, said, errors) = all(&node, &["--from-pod-spec", "-"], &list);
    assert_eq!(code, Some(0), "{said} {errors}");
    assert!(
        said.contains("default/web: equal: ")
            && said.contains("default/plain: not compared: no rules of a mesh\n"),
        "{said}"
    );
    assert!(
        said.contains("default/elsewhere: not compared: no network namespace of its own on this node\n"),
        "{said}"
    );

    // A pod that lost all its rules, and one that has some and should not.
    web.command(&["nft", "flush", "ruleset"]);
    intercept(&plain, &INIT_SETTINGS);
    let (code, said, _) = all(&node, &["--output", "json", "--from-pod-spec", "-"], &list);
    assert_eq!(code, Some(3), "{said}");
    let of = |name: &str| -> Value {
        let mut lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.find(|line| line["netns"] == name).unwrap()
    };
    assert_eq!(of("default/web")["differences"][0]["object"], "table");
    assert_eq!(of("default/plain")["result"], "no_settings");
    assert!(Path::new(&node.root.path().join("proc")).exists());
}
