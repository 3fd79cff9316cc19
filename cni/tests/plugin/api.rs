//! What the API server can do wrong: the right text, in time, and never a pod without rules that is reported as fine.

use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use meshwire_testkit::kubernetes::{Access, ApiServer, Effect, Fault};
use serde_json::{Value, json};

use super::call::{Done, Node, TOKEN};
use super::netns::Netns;
use super::pods::{allow, api, istio, linkerd, namespace};

/// A mesh's configuration, and how long it asks the API server.
type Mesh = (&'static str, fn(&Node) -> Value);

/// Longer than any of this takes on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(30);

const ISTIO: Mesh = ("istio", |node| node.istio(&json!({})));
const LINKERD: Mesh = ("linkerd", |node| node.linkerd(&json!({})));

/// A server with a pod of either mesh, `istio` and `linkerd`.
fn server() -> ApiServer {
    let api = api();
    api.put(namespace("shop", &json!({}), &json!({})));
    api.put(istio("istio", &[]));
    api.put(linkerd("linkerd", &[]));
    api
}

/// ADD while something is wrong, and the rules afterwards.
fn add(api: &ApiServer, mesh: Mesh, prepare: impl FnOnce(&Node)) -> Option<(Done, String)> {
    let netns = Netns::with(&["10.0.0.5/24"])?;
    let node = Node::new();
    node.install(api, TOKEN);
    prepare(&node);
    let done = node.add(&(mesh.1)(&node), &netns.path(), "shop", mesh.0);
    Some((done, netns.rules()))
}

#[track_caller]
fn assert_refused(result: Option<(Done, String)>, seconds: std::ops::Range<f64>, texts: &[&str]) {
    let Some((done, rules)) = result else { return };
    let message = done.refused();
    for text in texts {
        assert!(message.contains(text), "{text:?} is not in {message:?}");
    }
    assert!(seconds.contains(&done.elapsed.as_secs_f64()), "{:?}: {message}", done.elapsed);
    assert_eq!(rules, "");
}

/// The first attempt was the last one.
#[track_caller]
fn assert_refused_at_once(result: Option<(Done, String)>, texts: &[&str]) {
    if let Some((done, _)) = &result {
        assert!(!done.refused().contains("attempts in"), "{}", done.refused());
    }
    assert_refused(result, 0.0..30.0, texts);
}

#[track_caller]
fn assert_fine(result: Option<(Done, String)>) {
    let Some((done, rules)) = result else { return };
    done.passed();
    assert!(rules.contains("redirect to :"), "{rules}");
}

#[test]
fn problems_that_pass_are_waited_for() {
    for mesh in [ISTIO, LINKERD] {
        for effect in [
            Effect::Code(500),
            Effect::Code(503),
            Effect::Reset,
            Effect::Empty,
            Effect::ResetMidway,
            Effect::HalfBody,
        ] {
            let api = server();
            api.fault(Fault::once("/pods/", effect).times(3));
            assert_fine(add(&api, mesh, |_| {}));
        }
        let api = server();
        api.fault(Fault::once("/pods/", Effect::RetryAfter(429, 1)));
        let result = add(&api, mesh, |_| {});
        assert!(result.as_ref().is_none_or(|(done, _)| done.elapsed > Duration::from_secs(1)));
        assert_fine(result);
        api.fault(Fault::once("/pods/", Effect::Delay(700)));
        assert_fine(add(&api, mesh, |_| {}));
        // 401 once.
        api.fault(Fault::once("/pods/", Effect::Code(401)));
        assert_fine(add(&api, mesh, |_| {}));
    }
}

#[test]
fn problems_that_last_are_reported_in_time() {
    // With a limit that a test can wait for.
    let istio: Mesh = ("istio", |node| node.istio(&json!({"api_timeout_seconds": 3})));
    for (mesh, limit) in [(istio, 2.0..20.0), (LINKERD, 8.0..40.0)] {
        let api = server();
        api.fault(Fault::always("/pods/", Effect::Code(500)));
        assert_refused(
            add(&api, mesh, |_| {}),
            limit.clone(),
            &["replied 500 Internal Server Error", "attempts in"],
        );
        api.clear_faults();
        api.fault(Fault::always("/pods/", Effect::Hang));
        let texts = ["did not reply in time", "the address of the API server is the one in"];
        assert_refused(add(&api, mesh, |_| {}), limit.clone(), &texts);
        api.clear_faults();
        api.fault(Fault::always("/pods/", Effect::HalfBody));
        assert_refused(add(&api, mesh, |_| {}), limit.clone(), &["cannot get pod shop/", "not complete"]);
        api.clear_faults();
        api.refuse();
        assert_refused(
            add(&api, mesh, |_| {}),
            limit,
            &["cannot connect to the API server at https://127.0.0.1"],
        );
    }
}

#[test]
fn permanent_failures_fail_at_once() {
    for (mesh, role) in [(ISTIO, "ClusterRole istio-cni"), (LINKERD, "ClusterRole linkerd-cni")] {
        let api = server();
        api.allow(TOKEN, "nobody", Access::Role(vec![]));
        assert_refused_at_once(add(&api, mesh, |_| {}), &["403 Forbidden", "pods", role]);
        allow(&api, TOKEN);
        api.remove(&format!("/api/v1/namespaces/shop/pods/{}", mesh.0));
        assert_refused_at_once(add(&api, mesh, |_| {}), &["404 Not Found", "not found", "it was deleted"]);
    }
    let api = server();
    api.remove("/api/v1/namespaces/shop");
    assert_refused_at_once(add(&api, LINKERD, |_| {}), &["cannot get namespace shop", "404"]);
}

#[test]
fn without_an_agent_a_dead_token_is_not_waited_for() {
    // Who waits as long as for other problems takes longer than the limit, on a slow machine, too.
    let istio: Mesh = ("istio", |node| node.istio(&json!({"api_timeout_seconds": 20})));
    for (mesh, pod, limit) in [(istio, "istio-cni-node-*", 15.0), (LINKERD, "linkerd-cni-*", 8.0)] {
        let api = server();
        api.revoke(TOKEN);
        let texts =
            ["401 Unauthorized", "the pod", pod, "kubectl get pods -n", "istio-cni-kubeconfig is not valid"];
        assert_refused(add(&api, mesh, |_| {}), 0.0..limit, &texts);
    }
}

#[test]
fn with_an_agent_the_plugin_waits_for_a_new_token() {
    let api = server();
    api.revoke(TOKEN);
    let (done, rules) = {
        let Some(netns) = Netns::with(&["10.0.0.5/24"]) else { return };
        let node = Node::new();
        node.install(&api, TOKEN);
        // The agent runs, and takes its time.
        let _agent = UnixListener::bind(node.path().join("log.sock")).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                // From when it is refused.
                let begun = Instant::now();
                while api.received().is_empty() && begun.elapsed() < PATIENCE {
                    thread::sleep(Duration::from_millis(5));
                }
                thread::sleep(Duration::from_millis(2500));
                allow(&api, "the next");
                node.install(&api, "the next");
            });
            let done = node.add(&node.istio(&json!({})), &netns.path(), "shop", "istio");
            (done, netns.rules())
        })
    };
    assert!(done.elapsed > Duration::from_secs(2), "{done:?}");
    assert_fine(Some((done, rules)));
}

#[test]
fn excluded_namespaces_and_the_agents_own_pod_need_no_api_server() {
    let node = Node::new();
    // There is no kubeconfig.
    let istio = node.istio(&json!({}));
    for (namespace, pod) in [("kube-system", "coredns-1"), ("istio-system", "istio-cni-node-abcde")] {
        node.add(&istio, "/run/netns/none", namespace, pod).passed();
    }
    let linkerd = node.linkerd(&json!({}));
    node.add(&linkerd, "/run/netns/none", "linkerd-cni", "linkerd-cni-abcde").passed();
    node.call("ADD", &istio, &[("CNI_NETNS", "/run/netns/none"), ("CNI_ARGS", "K8S_POD_NAME=podman")])
        .passed();
    for (config, namespace, pod) in [
        (&istio, "shop", "istio-cni-node-abcde"),
        (&linkerd, "shop", "linkerd-cni-abcde"),
        (&istio, "shop", "web"),
    ] {
        let message = node.add(config, "/run/netns/none", namespace, pod).refused();
        assert!(message.starts_with("failed to createNewK8sClient: "), "{message}");
        assert!(
            message.contains("istio-cni-kubeconfig does not exist") && message.contains("the pod "),
            "{message}"
        );
    }
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_named() {
    let api = server();
    let good = api.kubeconfig("linkerd-cni-context", "cni", TOKEN);
    for (text, fault) in [
        (String::new(), "it has no "),
        ("{ not: [YAML".to_owned(), "it is not YAML"),
        ("apiVersion: v1\n".to_owned(), "it has no current-context"),
        (good.replace("server:", "sarver:"), "it has no server in its cluster"),
        (good.replace("certificate-authority-data: ", "certificate-authority-data: ~~"), "is not base64"),
        (good.replace("certificate-authority-data: ", "x: "), "it has no certificate-authority-data"),
        (good.replace("token:", "client-certificate-data:"), "authenticates by client-certificate-data"),
        (good.replace("https://127.0.0.1", "https://fd00::1"), "is not a URL"),
    ] {
        let node = Node::new();
        node.write_kubeconfig(&text);
        let message = node.add(&node.istio(&json!({})), "/run/netns/none", "shop", "istio").refused();
        assert!(message.contains(fault) && message.contains("istio-cni-kubeconfig: "), "{fault}: {message}");
    }
}

/// The forms in which Istio's, Linkerd's and our installers write it.
#[test]
fn kubeconfigs_of_all_installers() {
    let api = server();
    let good = api.kubeconfig("linkerd-cni-context", "cni", TOKEN);
    let ca = good.split("certificate-authority-data: ").nth(1).unwrap().lines().next().unwrap();
    let json = json!({
        "kind": "Config", "apiVersion": "v1", "preferences": {},
        "clusters": [{"name": "local", "cluster": {"server": api.url(), "certificate-authority-data": ca}}],
        "users": [{"name": "istio-cni", "user": {"token": TOKEN}}],
        "contexts": [{"name": "istio-cni-context", "context": {"cluster": "local", "user": "istio-cni"}}],
        "current-context": "istio-cni-context",
    });
    let insecure = good.replace("certificate-authority-data", "insecure-skip-tls-verify: true\n    unused");
    let quoted = good
        .replace("certificate-authority-data: ", "certificate-authority-data: \"")
        .replace(ca, &format!("{ca}\""));
    for text in [json.to_string(), insecure, quoted] {
        assert_fine(add(&api, ISTIO, |node| node.write_kubeconfig(&text)));
    }
    assert_fine(add(&api, ISTIO, |node| {
        std::fs::write(node.path().join("token"), format!("{TOKEN}\n")).unwrap();
        std::fs::write(node.path().join("ca.crt"), api.ca()).unwrap();
        let files = good.replace("token: ", "tokenFile: token\n    other: ");
        let files =
            files.replace("certificate-authority-data: ", "certificate-authority: ca.crt\n    other: ");
        node.write_kubeconfig(&files);
    }));
}

#[test]
fn an_api_server_with_an_ipv6_address() {
    let options = meshwire_testkit::kubernetes::Options {
        listen: "[::1]:0".parse().unwrap(),
        ..meshwire_testkit::kubernetes::Options::default()
    };
    let api = ApiServer::with(options).unwrap();
    allow(&api, TOKEN);
    api.put(istio("istio", &[]));
    assert_fine(add(&api, ISTIO, |_| {}));
    // By name.
    let api = server();
    let by_name = api.kubeconfig("c", "u", TOKEN).replace("127.0.0.1", "localhost");
    assert_fine(add(&api, ISTIO, |node| node.write_kubeconfig(&by_name)));
}

/// Tokens change while pods start: none of them notices.
#[test]
fn pods_start_through_a_hundred_rotations() {
    let api = server();
    let node = Node::new();
    node.install(&api, TOKEN);
    if Netns::with(&[]).is_none() {
        return;
    }
    let (over, started) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let adds = [ISTIO, LINKERD].map(|(pod, config)| {
            let (node, over, started) = (&node, &over, &started);
            scope.spawn(move || {
                let mut added = 0;
                while !over.load(Ordering::Relaxed) {
                    let netns = Netns::with(&["10.0.0.5/24"]).unwrap();
                    node.add(&config(node), &netns.path(), "shop", pod).passed();
                    assert!(netns.rules().contains("redirect to :"));
                    added += 1;
                    started.fetch_add(1, Ordering::Relaxed);
                }
                added
            })
        });
        let mut last = TOKEN.to_owned();
        for rotation in 0..100 {
            let next = format!("token-{rotation}");
            allow(&api, &next);
            // The old one dies before the new one is written: the worst order.
            api.revoke(&last);
            node.install(&api, &next);
            last = next;
            // A slow machine asks with no token before that is dead, unless each token lives until one more pod has started.
            let before = started.load(Ordering::Relaxed);
            thread::sleep(Duration::from_millis(100));
            while started.load(Ordering::Relaxed) == before && !adds.iter().all(ScopedJoinHandle::is_finished)
            {
                thread::sleep(Duration::from_millis(5));
            }
        }
        over.store(true, Ordering::Relaxed);
        for added in adds {
            assert!(added.join().unwrap() > 5);
        }
    });
}

/// One GET is all that Istio's pods cost; Linkerd's need their namespace, too, once.
#[test]
fn requests_are_few() {
    for (mesh, expected) in [
        (ISTIO, vec!["/api/v1/namespaces/shop/pods/istio"]),
        (LINKERD, vec!["/api/v1/namespaces/shop/pods/linkerd", "/api/v1/namespaces/shop"]),
    ] {
        let api = server();
        let before = api.received().len();
        if add(&api, mesh, |_| {}).is_none() {
            return;
        }
        let received = api.received();
        let paths: Vec<_> = received[before..].iter().map(|request| request.path.as_str()).collect();
        assert_eq!(paths, expected);
        assert!(received.iter().all(|request| request.verb == "get" && request.code == 200));
    }
}
