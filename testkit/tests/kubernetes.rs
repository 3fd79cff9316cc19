//! The fake API server, judged by clients that were not written for it: the crate `kube`, and `kubectl`.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::WatchEvent;
use kube::{Client, Config};
use meshwire_testkit::kubernetes::{
    ADMIN, Access, ApiServer, Effect, Expiry, Fault, InitialEvents, Options, Received, Rule,
};
use serde_json::{Value, json};

/// Longer than any of this takes on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(30);

async fn client(server: &ApiServer, token: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(&server.kubeconfig("context", "user", token)).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.proxy_url = None;
    // A fault has to reach the test.
    config.default_retry = false;
    config.read_timeout = Some(PATIENCE);
    Client::try_from(config).unwrap()
}

fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1"},
    })
}

fn code(error: &kube::Error) -> (u16, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.reason.clone()),
        other => panic!("not a status: {other:?}"),
    }
}

#[tokio::test]
async fn objects_live_as_in_a_cluster() {
    let server = ApiServer::start().unwrap();
    let client = client(&server, ADMIN).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    server.put(pod("a", "n1"));
    let a = pods.get("a").await.unwrap();
    assert_eq!(a.status.unwrap().pod_ip.as_deref(), Some("10.0.0.1"));
    assert_eq!(code(&pods.get("b").await.unwrap_err()), (404, "NotFound".into()));

    let made =
        pods.create(&PostParams::default(), &serde_json::from_value(pod("b", "n2")).unwrap()).await.unwrap();
    let again = pods.create(&PostParams::default(), &serde_json::from_value(pod("b", "n2")).unwrap()).await;
    assert_eq!(code(&again.unwrap_err()), (409, "AlreadyExists".into()));

    // The status sub-resource changes annotations and the status, nothing else.
    let patch = json!({"metadata": {"annotations": {"k": "v"}}, "spec": {"nodeName": "n3"}, "status": {"phase": "Failed"}});
    let patched = pods.patch_status("b", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(patched.metadata.annotations.unwrap()["k"], "v");
    assert_eq!(patched.spec.unwrap().node_name.as_deref(), Some("n2"));
    assert_eq!(patched.status.unwrap().phase.as_deref(), Some("Failed"));
    let removal = json!({"metadata": {"annotations": {"k": null}}});
    let patched = pods.patch_status("b", &PatchParams::default(), &Patch::Merge(&removal)).await.unwrap();
    assert!(patched.metadata.annotations.unwrap_or_default().is_empty());
    let stale =
        json!({"metadata": {"resourceVersion": made.metadata.resource_version, "labels": {"x": "y"}}});
    let refused = pods.patch("b", &PatchParams::default(), &Patch::Merge(&stale)).await.unwrap_err();
    assert_eq!(code(&refused), (409, "Conflict".into()));
    let strategic = pods.patch("b", &PatchParams::default(), &Patch::Strategic(&removal)).await.unwrap_err();
    assert_eq!(code(&strategic), (415, "UnsupportedMediaType".into()));

    // Another life under the same name is not deleted.
    let uid = made.metadata.uid.unwrap();
    server.remove("/api/v1/namespaces/default/pods/b");
    server.put(pod("b", "n2"));
    let mine = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid), resource_version: None }),
        ..DeleteParams::default()
    };
    let error = pods.delete("b", &mine).await.unwrap_err();
    assert_eq!(code(&error), (409, "Conflict".into()));
    assert!(error.to_string().contains("the UID in the precondition"), "{error}");
    pods.delete("b", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert!(server.get("/api/v1/namespaces/default/pods/b").is_none());
}

#[tokio::test]
async fn lists_are_selected_and_paged() {
    let server = ApiServer::start().unwrap();
    let client = client(&server, ADMIN).await;
    for index in 0..7 {
        server.put(pod(&format!("p{index}"), if index < 5 { "n1" } else { "n2" }));
    }
    server.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}));
    let pods: Api<Pod> = Api::all(client.clone());
    let on_node = pods.list(&ListParams::default().fields("spec.nodeName=n1").match_any()).await.unwrap();
    assert_eq!(on_node.items.len(), 5);
    assert_eq!(server.quorum_lists(), 0);
    let labelled = pods.list(&ListParams::default().labels("app in (p1,p6)")).await.unwrap();
    assert_eq!(labelled.items.len(), 2);
    assert_eq!(server.quorum_lists(), 1);
    let mut names = Vec::new();
    let mut params = ListParams::default().limit(3);
    loop {
        let page = pods.list(&params).await.unwrap();
        names.extend(page.items.into_iter().map(|pod| pod.metadata.name.unwrap()));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(names, ["p0", "p1", "p2", "p3", "p4", "p5", "p6"]);
    assert_eq!(Api::<Namespace>::all(client).list(&ListParams::default()).await.unwrap().items.len(), 1);
    let refused = pods.list(&ListParams::default().fields("spec.hostname=x")).await.unwrap_err();
    assert_eq!(code(&refused).0, 400);
}

/// What a watch says, in short.
fn seen(event: &WatchEvent<Pod>) -> String {
    let name = |pod: &Pod| pod.metadata.name.clone().unwrap();
    match event {
        WatchEvent::Added(pod) => format!("+{}", name(pod)),
        WatchEvent::Modified(pod) => format!("~{}", name(pod)),
        WatchEvent::Deleted(pod) => format!("-{}", name(pod)),
        WatchEvent::Bookmark(_) => "bookmark".into(),
        WatchEvent::Error(status) => format!("error {}", status.code),
    }
}

async fn watched(pods: &Api<Pod>, params: &WatchParams, version: &str, count: usize) -> Vec<String> {
    let stream = pods.watch(params, version).await.unwrap();
    let events = stream.take(count).try_collect::<Vec<_>>();
    let events = tokio::time::timeout(PATIENCE, events).await.unwrap().unwrap();
    events.iter().map(seen).collect()
}

#[tokio::test]
async fn watches_follow_a_selector() {
    let server =
        ApiServer::with(Options { bookmark_every: Duration::from_millis(300), ..Options::default() })
            .unwrap();
    let client = client(&server, ADMIN).await;
    let pods: Api<Pod> = Api::all(client);
    server.put(pod("a", "n1"));
    let version =
        pods.list(&ListParams::default().match_any()).await.unwrap().metadata.resource_version.unwrap();
    let params = WatchParams::default().fields("spec.nodeName=n1");
    server.put(pod("b", "n2"));
    server.put(pod("c", "n1"));
    let mut moved = pod("a", "n2");
    server.put(moved.clone());
    moved["spec"]["nodeName"] = json!("n1");
    server.put(moved.clone());
    moved["status"]["phase"] = json!("Failed");
    server.put(moved);
    server.remove("/api/v1/namespaces/default/pods/c");
    assert_eq!(watched(&pods, &params, &version, 6).await, ["+c", "-a", "+a", "~a", "-c", "bookmark"]);

    // The end of the time is a clean end.
    let short = WatchParams { timeout: Some(1), ..WatchParams::default() }.disable_bookmarks();
    let begun = Instant::now();
    assert!(watched(&pods, &short, &server_version(&pods).await, 10).await.is_empty());
    assert!(begun.elapsed() >= Duration::from_millis(900));

    server.expire_watches();
    assert_eq!(watched(&pods, &params, &version, 1).await, ["error 410"]);
    let initial = WatchParams::default().initial_events();
    assert_eq!(code(&pods.watch(&initial, "").await.err().unwrap()).0, 422);
}

async fn server_version(pods: &Api<Pod>) -> String {
    pods.list(&ListParams::default().match_any()).await.unwrap().metadata.resource_version.unwrap()
}

#[tokio::test]
async fn both_ways_of_expiry_and_initial_events() {
    let options = Options {
        expiry: Expiry::Status,
        initial_events: InitialEvents::Serve,
        history: 2,
        ..Options::default()
    };
    let server = ApiServer::with(options).unwrap();
    let pods: Api<Pod> = Api::all(client(&server, ADMIN).await);
    for name in ["a", "b", "c"] {
        server.put(pod(name, "n1"));
    }
    assert_eq!(code(&pods.watch(&WatchParams::default(), "1").await.err().unwrap()), (410, "Expired".into()));
    let initial = WatchParams::default().initial_events();
    let stream = pods.watch(&initial, "").await.unwrap();
    let events: Vec<_> = stream.take(4).try_collect().await.unwrap();
    assert_eq!(events.iter().map(seen).collect::<Vec<_>>(), ["+a", "+b", "+c", "bookmark"]);
    let WatchEvent::Bookmark(last) = events.last().unwrap() else { panic!() };
    assert_eq!(last.metadata.annotations["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn tokens_and_roles() {
    let server = ApiServer::start().unwrap();
    server.put(pod("a", "n1"));
    let reader = Rule { groups: &[""], resources: &["pods"], verbs: &["get", "list"], names: &[] };
    server.allow("t1", "system:serviceaccount:istio-system:istio-cni", Access::Role(vec![reader]));
    let pods: Api<Pod> = Api::namespaced(client(&server, "t1").await, "default");
    pods.get("a").await.unwrap();
    let error = pods.delete("a", &DeleteParams::default()).await.unwrap_err();
    assert_eq!(code(&error), (403, "Forbidden".into()));
    let text = "pods \"a\" is forbidden: User \"system:serviceaccount:istio-system:istio-cni\" cannot delete resource \
                \"pods\" in API group \"\" in the namespace \"default\"";
    assert!(error.to_string().contains(text), "{error}");
    server.revoke("t1");
    assert_eq!(code(&pods.get("a").await.unwrap_err()), (401, "Unauthorized".into()));
}

#[tokio::test]
async fn events_are_stored() {
    let server = ApiServer::start().unwrap();
    let events: Api<Event> = Api::namespaced(client(&server, ADMIN).await, "default");
    let event = json!({"metadata": {"generateName": "e-"}, "involvedObject": {"kind": "Pod", "name": "a"}, "reason": "R"});
    let made = events.create(&PostParams::default(), &serde_json::from_value(event).unwrap()).await.unwrap();
    assert!(made.metadata.name.unwrap().starts_with("e-"));
    assert_eq!(server.list("/api/v1/namespaces/default/events")[0]["reason"], "R");
}

#[tokio::test]
async fn faults_happen_as_asked() {
    let server = ApiServer::start().unwrap();
    server.put(pod("a", "n1"));
    let pods: Api<Pod> = Api::namespaced(client(&server, ADMIN).await, "default");
    let path = "/pods/a";
    for status in [401, 403, 404, 410, 429, 500, 503] {
        server.fault(Fault::once(path, Effect::Code(status)));
        assert_eq!(code(&pods.get("a").await.unwrap_err()).0, status);
    }
    server.fault(Fault::once(path, Effect::Hang));
    assert!(tokio::time::timeout(Duration::from_millis(500), pods.get("a")).await.is_err());
    for effect in [Effect::Reset, Effect::Empty, Effect::ResetMidway, Effect::HalfBody] {
        server.fault(Fault::always(path, effect));
        let error = tokio::time::timeout(PATIENCE, pods.get("a")).await.unwrap().unwrap_err();
        assert!(!matches!(error, kube::Error::Api(_)), "{effect:?}: {error:?}");
        server.clear_faults();
        pods.get("a").await.unwrap();
    }
    let begun = Instant::now();
    server.fault(Fault::once(path, Effect::Delay(500)));
    pods.get("a").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(500));
    server.refuse();
    let error = pods.get("a").await.unwrap_err();
    assert!(format!("{error:?}").contains("ConnectionRefused"), "{error:?}");
    server.accept();
    pods.get("a").await.unwrap();

    // A watch that is cut in the middle of a line.
    server.fault(Fault::once("/pods", Effect::HalfBody).on("watch"));
    let mut stream = pods.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    // kube takes the end of a body for the end of the time.
    assert!(!matches!(stream.next().await, Some(Ok(_))));
    server.fault(Fault::once("/pods", Effect::ErrorEvent(410)).on("watch"));
    assert_eq!(watched(&pods, &WatchParams::default(), "0", 1).await, ["error 410"]);
    let received = server.received();
    assert_eq!(received.iter().filter(|request| request.verb == "watch").count(), 2);
    assert!(received.iter().any(|request| request.code == 503));
}

/// `kubectl` finds its way by discovery, and shows what the server has.
#[test]
fn kubectl_gets_and_watches() {
    if !meshwire_testkit::oracle("kubectl") {
        return;
    }
    let server = ApiServer::start().unwrap();
    server.put(pod("first", "n1"));
    let folder = env::temp_dir().join(format!("meshwire-kubectl-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let config = folder.join("config");
    fs::write(&config, server.kubeconfig("context", "user", ADMIN)).unwrap();
    let kubectl = |arguments: &[&str]| {
        let mut command = Command::new("kubectl");
        command
            .arg("--kubeconfig")
            .arg(&config)
            .arg("--cache-dir")
            .arg(&folder)
            .args(arguments)
            .stdin(Stdio::null());
        command
    };
    let listed = kubectl(&["get", "pods", "-o", "name"]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&listed.stdout),
        "pod/first\n",
        "{}",
        String::from_utf8_lossy(&listed.stderr)
    );
    // The time limit is for a watch that does not bring what is expected.
    let watch = ["get", "pods", "-w", "-o", "name", "--request-timeout", "30s"];
    let mut watching = kubectl(&watch).stdout(Stdio::piped()).spawn().unwrap();
    let (begun, is_watch) = (Instant::now(), |request: &Received| request.verb == "watch");
    while !server.received().iter().any(is_watch) {
        assert!(begun.elapsed() < PATIENCE, "kubectl does not watch");
        std::thread::sleep(Duration::from_millis(10));
    }
    server.put(pod("second", "n1"));
    let lines = BufReader::new(watching.stdout.take().unwrap()).lines().take(2);
    assert_eq!(lines.map(Result::unwrap).collect::<Vec<_>>(), ["pod/first", "pod/second"]);
    watching.kill().unwrap();
    watching.wait().unwrap();
    let deleted = kubectl(&["delete", "pod", "first", "--now"]).output().unwrap();
    assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));
    assert!(server.get("/api/v1/namespaces/default/pods/first").is_none());
    fs::remove_dir_all(&folder).unwrap();
}
