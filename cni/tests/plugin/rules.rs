//! A pod gets the ruleset that the init container makes for the flags which its annotations mean.

use std::ffi::OsString;
use std::io::Read;
use std::process::{Command, Stdio};

use meshwire::netns::Namespace;
use meshwire_testkit::kubernetes::ApiServer;
use serde_json::{Value, json};

use super::call::{Node, TOKEN};
use super::netns::Netns;
use super::pods::{api, istio, linkerd, namespace, native};

const V4: &[&str] = &["10.0.0.5/24"];
const BOTH: &[&str] = &["10.0.0.5/24", "fd00::5/64"];
/// The flags of the plugin's defaults.
const SIDECAR: &[&str] = &[
    "istio-iptables",
    "-p",
    "15001",
    "-z",
    "15006",
    "-e",
    "15008",
    "-u",
    "1337",
    "-g",
    "1337",
    "-m",
    "REDIRECT",
    "-i",
    "*",
    "-x",
    "",
    "-b",
    "*",
    "-d",
    "15020,15021,15090",
    "-o",
    "15020",
];
const LINKERD: &[&str] = &[
    "proxy-init",
    "--incoming-proxy-port",
    "4143",
    "--outgoing-proxy-port",
    "4140",
    "--proxy-uid",
    "2102",
    "--inbound-ports-to-ignore",
    "4191,4190",
    "--ipv6=false",
];

/// What the init container leaves in such a namespace. Istio's annotations take the place of its settings, and
/// repeated flags would join their lists, as Linkerd's annotations do.
fn by_init_container(addresses: &[&str], flags: &[&str], more: &[&str]) -> Option<String> {
    let netns = Netns::with(addresses)?;
    let (command, flags) = flags.split_first().unwrap();
    let kept = flags.chunks(2).filter(|flag| *command == "proxy-init" || !more.contains(&flag[0])).flatten();
    let arguments: Vec<OsString> =
        ["meshwire", command].iter().chain(kept).chain(more).map(OsString::from).collect();
    let inside = Namespace::from_path(netns.path()).unwrap();
    let code = inside.enter(|| meshwire::cli::run(arguments)).unwrap();
    assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::SUCCESS), "{more:?}");
    Some(netns.state())
}

/// What the plugin leaves there for this pod.
fn by_plugin(
    addresses: &[&str],
    api: &ApiServer,
    pod: Value,
    config: impl Fn(&Node) -> Value,
) -> Option<String> {
    let netns = Netns::with(addresses)?;
    let node = Node::new();
    node.install(api, TOKEN);
    let stored = api.put(pod);
    let name = stored["metadata"]["name"].as_str().unwrap();
    let done = node.add(&config(&node), &netns.path(), "shop", name);
    done.passed();
    api.remove(&format!("/api/v1/namespaces/shop/pods/{name}"));
    Some(netns.state())
}

/// Ordinary and native sidecar alike get what the init container makes.
#[track_caller]
fn assert_same(
    addresses: &[&str],
    api: &ApiServer,
    pod: &Value,
    config: impl Fn(&Node) -> Value,
    flags: &[&str],
    more: &[&str],
) {
    let Some(expected) = by_init_container(addresses, flags, more) else { return };
    assert!(expected.contains("redirect to :") || expected.contains("tproxy"), "{expected}");
    for (kind, pod) in [("ordinary", pod.clone()), ("native", native(pod.clone()))] {
        let found = by_plugin(addresses, api, pod, &config).unwrap();
        assert_eq!(found, expected, "{kind} {more:?}");
    }
}

#[test]
fn each_annotation_of_istio() {
    let api = api();
    let config = |node: &Node| node.istio(&json!({}));
    let compare = |addresses, annotations: &[(&str, &str)], more: &[&str]| {
        assert_same(addresses, &api, &istio("web", annotations), config, SIDECAR, more);
    };
    compare(V4, &[], &[]);
    compare(&["fd00::5/64"], &[], &[]);
    compare(BOTH, &[], &[]);
    let traffic = |name: &str| format!("traffic.sidecar.istio.io/{name}");
    compare(V4, &[("sidecar.istio.io/interceptionMode", "TPROXY")], &["-m", "TPROXY"]);
    compare(&["fd00::5/64"], &[("sidecar.istio.io/interceptionMode", "TPROXY")], &["-m", "TPROXY"]);
    for (name, value, more) in [
        ("includeOutboundIPRanges", "10.0.0.0/8,172.16.0.0/12", vec!["-i", "10.0.0.0/8,172.16.0.0/12"]),
        ("includeOutboundIPRanges", "", vec!["-i", ""]),
        ("excludeOutboundIPRanges", "10.96.0.1/32", vec!["-x", "10.96.0.1/32"]),
        ("includeInboundPorts", "80, 8080", vec!["-b", "80,8080"]),
        ("includeInboundPorts", "", vec!["-b", ""]),
        ("excludeInboundPorts", "9090", vec!["-d", "9090,15020,15021,15090"]),
        ("includeOutboundPorts", "3306,5432", vec!["-q", "3306,5432"]),
        ("excludeOutboundPorts", "25", vec!["-o", "25"]),
        ("excludeOutboundPorts", "", vec!["-o", ""]),
        ("excludeInterfaces", "net1,net2", vec!["-c", "net1,net2"]),
        ("kubevirtInterfaces", "k6t-eth0", vec!["-k", "k6t-eth0"]),
    ] {
        compare(V4, &[(&traffic(name), value)], &more);
    }
    compare(V4, &[("istio.io/reroute-virtual-interfaces", "tap0")], &["-k", "tap0"]);
}

#[test]
fn the_proxys_users_and_variables() {
    let api = api();
    let config = |node: &Node| node.istio(&json!({}));
    let with = |change: &dyn Fn(&mut Value)| {
        let mut pod = istio("web", &[]);
        change(&mut pod["spec"]["containers"][1]);
        pod
    };
    let variable =
        |name: &str, value: &str| with(&|proxy| proxy["env"] = json!([{"name": name, "value": value}]));
    let ids = with(&|proxy| proxy["securityContext"] = json!({"runAsUser": 7, "runAsGroup": 8}));
    assert_same(V4, &api, &ids, config, SIDECAR, &["-u", "7", "-g", "8"]);
    let dns = variable("ISTIO_META_DNS_CAPTURE", "true");
    assert_same(V4, &api, &dns, config, SIDECAR, &["--redirect-dns", "--capture-all-dns"]);
    assert_same(BOTH, &api, &variable("ISTIO_DUAL_STACK", "true"), config, SIDECAR, &["--dual-stack"]);
    assert_same(V4, &api, &variable("INVALID_DROP", "true"), config, SIDECAR, &["--drop-invalid"]);
    let exact = |node: &Node| node.istio(&json!({"native_nftables": true}));
    assert_same(
        V4,
        &api,
        &dns,
        exact,
        SIDECAR,
        &["--redirect-dns", "--capture-all-dns", "--native-nftables"],
    );
}

#[test]
fn each_setting_and_annotation_of_linkerd() {
    let api = api();
    api.put(namespace("shop", &json!({}), &json!({})));
    let plain = |node: &Node| node.linkerd(&json!({}));
    let pod = |annotations: &[(&str, &str)]| linkerd("web", annotations);
    assert_same(V4, &api, &pod(&[]), plain, LINKERD, &[]);
    let ipv6 = |node: &Node| node.linkerd(&json!({"ipv6": true}));
    assert_same(BOTH, &api, &pod(&[]), ipv6, LINKERD, &["--ipv6=true"]);
    let config = |name: &str| format!("config.linkerd.io/{name}");
    for (name, value, more) in [
        ("skip-outbound-ports", "25, 587,6000-6010", vec!["--outbound-ports-to-ignore", "25,587,6000-6010"]),
        ("skip-inbound-ports", "22", vec!["--inbound-ports-to-ignore", "22"]),
        ("skip-subnets", "10.9.0.0/16", vec!["--subnets-to-ignore", "10.9.0.0/16"]),
        ("proxy-uid", "9", vec!["--proxy-uid", "9"]),
        ("proxy-gid", "10", vec!["--proxy-gid", "10"]),
    ] {
        assert_same(V4, &api, &pod(&[(&config(name), value)]), plain, LINKERD, &more);
        // The namespace's annotation is as good.
        api.put(namespace("shop", &json!({config(name): value}), &json!({})));
        assert_same(V4, &api, &pod(&[]), plain, LINKERD, &more);
        api.put(namespace("shop", &json!({}), &json!({})));
    }
    let some = |node: &Node| node.linkerd(&json!({"ports-to-redirect": [80, 8080], "proxy-gid": 2102}));
    assert_same(
        V4,
        &api,
        &pod(&[]),
        some,
        LINKERD,
        &["--ports-to-redirect", "80,8080", "--proxy-gid", "2102"],
    );
    let subnets =
        |node: &Node| node.linkerd(&json!({"ipv6": true, "subnets-to-ignore": ["10.9.0.0/16", " fd00::/8"]}));
    let flags = ["--ipv6=true", "--subnets-to-ignore", "10.9.0.0/16,fd00::/8"];
    assert_same(BOTH, &api, &pod(&[]), subnets, LINKERD, &flags);
}

#[test]
fn the_control_plane_reaches_the_api_server() {
    let api = api();
    api.put(namespace("shop", &json!({}), &json!({})));
    let mut pod = linkerd("identity", &[]);
    pod["metadata"]["labels"] = json!({"linkerd.io/control-plane-component": "identity"});
    let config = |node: &Node| node.linkerd(&json!({}));
    // The service does not exist.
    let flags = ["--outbound-ports-to-ignore", "443,6443"];
    assert_same(V4, &api, &pod, config, LINKERD, &flags);
    api.put(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default"},
        "spec": {"ports": [{"port": 443, "targetPort": 7443}]},
    }));
    assert_same(V4, &api, &pod, config, LINKERD, &["--outbound-ports-to-ignore", "443,7443"]);
}

#[test]
fn pods_that_are_left_alone_have_no_rules() {
    let api = api();
    api.put(namespace("shop", &json!({}), &json!({})));
    let plain = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain", "namespace": "shop"},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    });
    let mut with_init = istio("with-init", &[]);
    with_init["spec"]["initContainers"] = json!([{"name": "istio-init", "image": "proxyv2"}]);
    let mut linkerd_with_init = linkerd("linkerd-with-init", &[]);
    linkerd_with_init["spec"]["initContainers"] = json!([{"name": "linkerd-init", "image": "init"}]);
    let off = istio("off", &[("sidecar.istio.io/inject", "false")]);
    for pod in [plain, with_init, linkerd_with_init, off] {
        for mesh in [|node: &Node| node.istio(&json!({})), |node: &Node| node.linkerd(&json!({}))] {
            let node = Node::new();
            node.install(&api, TOKEN);
            let Some(netns) = Netns::with(V4) else { return };
            let name = api.put(pod.clone())["metadata"]["name"].as_str().unwrap().to_owned();
            let done = node.add(&mesh(&node), &netns.path(), "shop", &name);
            done.passed();
            assert_eq!(netns.rules(), "", "{name} {done:?}");
        }
    }
}

#[test]
fn simulate_changes_nothing_and_succeeds() {
    let api = api();
    api.put(namespace("shop", &json!({}), &json!({})));
    api.put(linkerd("web", &[]));
    let node = Node::new();
    node.install(&api, TOKEN);
    let Some(netns) = Netns::with(V4) else { return };
    let done = node.add(&node.linkerd(&json!({"simulate": true})), &netns.path(), "shop", "web");
    done.passed();
    assert_eq!(netns.rules(), "");
    assert!(done.stderr.contains("redirect to :4143"), "{}", done.stderr);
}

#[test]
fn add_and_delete_are_idempotent() {
    let api = api();
    api.put(istio("web", &[]));
    let node = Node::new();
    node.install(&api, TOKEN);
    let Some(netns) = Netns::with(V4) else { return };
    let config = node.istio(&json!({}));
    node.add(&config, &netns.path(), "shop", "web").passed();
    let once = netns.state();
    node.add(&config, &netns.path(), "shop", "web").passed();
    assert_eq!(netns.state(), once);
    let path = netns.path();
    // Neither needs a kubeconfig, nor the namespace.
    std::fs::remove_file(node.kubeconfig()).unwrap();
    assert_eq!(node.call("DEL", &config, &[("CNI_NETNS", &path)]).code, 0);
    drop(netns);
    for netns in ["", &path] {
        let done = node.call("DEL", &config, &[("CNI_NETNS", netns)]);
        assert_eq!((done.code, done.stdout.as_str()), (0, ""), "{done:?}");
    }
}

/// A pod with `hostUsers: false`: its network namespace belongs to a user namespace of its own.
#[test]
fn a_network_namespace_of_another_user_namespace() {
    let api = api();
    api.put(istio("web", &[]));
    let node = Node::new();
    node.install(&api, TOKEN);
    let Some(netns) = Netns::with(V4) else { return };
    let config = node.istio(&json!({}));
    node.add(&config, &netns.path(), "shop", "web").passed();

    let prepare = "ip link set lo up && ip address add 10.0.0.5/32 dev lo && echo ready && exec sleep 60";
    let mut pod = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", prepare])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    pod.stdout.take().unwrap().read_exact(&mut ready).unwrap();
    let id = pod.id().to_string();
    let done = node.add(&config, &format!("/proc/{id}/ns/net"), "shop", "web");
    let inside = [
        "--user",
        "--net",
        "--preserve-credentials",
        "--target",
        &id,
        "nft",
        "--stateless",
        "list",
        "ruleset",
    ];
    let listed = Command::new("nsenter").args(inside).output().unwrap();
    pod.kill().unwrap();
    pod.wait().unwrap();
    done.passed();
    assert_eq!(String::from_utf8(listed.stdout).unwrap(), netns.rules());
}

#[test]
fn what_is_wrong_in_the_pod_or_its_namespace_keeps_it_from_starting() {
    let api = api();
    api.put(namespace("shop", &json!({"config.linkerd.io/proxy-uid": "root"}), &json!({})));
    let node = Node::new();
    node.install(&api, TOKEN);
    let Some(netns) = Netns::with(V4) else { return };
    api.put(istio("web", &[("traffic.sidecar.istio.io/excludeInboundPorts", "http")]));
    let message = node.add(&node.istio(&json!({})), &netns.path(), "shop", "web").refused();
    let expected =
        "pod shop/web: annotation traffic.sidecar.istio.io/excludeInboundPorts: \"http\" is not a port";
    assert!(message.starts_with(expected), "{message}");
    api.put(linkerd("web", &[]));
    let message = node.add(&node.linkerd(&json!({})), &netns.path(), "shop", "web").refused();
    assert!(
        message.starts_with("pod shop/web: annotation config.linkerd.io/proxy-uid: \"root\""),
        "{message}"
    );
    assert_eq!(netns.rules(), "");

    api.put(istio("web", &[]));
    let message = node.add(&node.istio(&json!({})), "/run/netns/no-such", "shop", "web").refused();
    assert!(
        message.contains("cannot intercept the traffic of pod shop/web: there is no network namespace"),
        "{message}"
    );
    let Some(bare) = Netns::with(&[]) else { return };
    let message = node.add(&node.istio(&json!({})), &bare.path(), "shop", "web").refused();
    assert!(message.contains("no address but loopback"), "{message}");
    assert_eq!(bare.rules(), "");
}
