//! Pods as the API server has them.

use meshwire_testkit::kubernetes::{Access, ApiServer, Rule};
use serde_json::{Map, Value, json};

use super::call::TOKEN;

/// A server with the plugin's token, which may do what the charts' roles allow and no more.
pub(crate) fn api() -> ApiServer {
    let api = ApiServer::start().unwrap();
    allow(&api, TOKEN);
    api
}

/// The plugin's role for a token.
pub(crate) fn allow(api: &ApiServer, token: &str) {
    const READ: Rule = Rule {
        groups: &[""],
        resources: &["pods", "nodes", "namespaces", "services"],
        verbs: &["get", "list", "watch"],
        names: &[],
    };
    api.allow(token, "system:serviceaccount:istio-system:istio-cni", Access::Role(vec![READ]));
}

fn metadata(name: &str, annotations: &[(&str, &str)]) -> Value {
    let annotations: Map<_, _> =
        annotations.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    json!({"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "annotations": annotations})
}

/// A pod as Istio's injector leaves it in CNI mode.
pub(crate) fn istio(name: &str, annotations: &[(&str, &str)]) -> Value {
    let annotations = [&[("sidecar.istio.io/status", "{}")], annotations].concat();
    let proxy = json!({
        "name": "istio-proxy",
        "image": "proxyv2",
        "args": ["proxy", "sidecar", "--domain", "$(POD_NAMESPACE).svc.cluster.local"],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "securityContext": {"runAsUser": 1337, "runAsGroup": 1337, "runAsNonRoot": true},
    });
    let validation = json!({"name": "istio-validation", "image": "proxyv2", "args": ["istio-iptables"]});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(name, &annotations),
        "spec": {
            "initContainers": [validation],
            "containers": [{"name": "app", "image": "app"}, proxy],
        },
    })
}

/// A pod as Linkerd's injector leaves it in CNI mode.
pub(crate) fn linkerd(name: &str, annotations: &[(&str, &str)]) -> Value {
    let proxy = json!({"name": "linkerd-proxy", "image": "proxy", "securityContext": {"runAsUser": 2102}});
    let validator = json!({"name": "linkerd-network-validator", "image": "proxy"});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(name, annotations),
        "spec": {
            "initContainers": [validator],
            "containers": [proxy, {"name": "app", "image": "app"}],
        },
    })
}

/// The same pod with its proxy as an init container that keeps running.
pub(crate) fn native(mut pod: Value) -> Value {
    let containers = pod["spec"]["containers"].as_array_mut().unwrap();
    let proxy = containers.iter().position(|one| one["name"].as_str().unwrap().ends_with("-proxy")).unwrap();
    let mut proxy = containers.remove(proxy);
    proxy["restartPolicy"] = json!("Always");
    pod["spec"]["initContainers"].as_array_mut().unwrap().push(proxy);
    pod
}

/// A namespace with annotations and labels.
pub(crate) fn namespace(name: &str, annotations: &Value, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "annotations": annotations, "labels": labels},
    })
}
