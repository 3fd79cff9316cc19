//! What clients look up before the first request: versions, groups and resources.

use serde_json::{Value, json};

/// A plural, its kind, and whether the objects live in a namespace.
type Resource = (&'static str, &'static str, bool);

/// Resources by group and version.
const RESOURCES: [(&str, &[Resource]); 3] = [
    (
        "v1",
        &[
            ("pods", "Pod", true),
            ("namespaces", "Namespace", false),
            ("nodes", "Node", false),
            ("services", "Service", true),
            ("configmaps", "ConfigMap", true),
            ("events", "Event", true),
        ],
    ),
    ("apps/v1", &[("daemonsets", "DaemonSet", true), ("replicasets", "ReplicaSet", true)]),
    ("events.k8s.io/v1", &[("events", "Event", true)]),
];

const VERBS: [&str; 7] = ["create", "delete", "get", "list", "patch", "update", "watch"];

/// The reply for a path that names no object, if there is one.
pub(super) fn reply(path: &str) -> Option<Value> {
    match path.trim_end_matches('/') {
        "/version" => Some(
            json!({"major": "1", "minor": "31", "gitVersion": "v1.31.0-fake", "platform": "linux/amd64"}),
        ),
        "/healthz" | "/livez" | "/readyz" => Some(json!("ok")),
        "/api" => Some(json!({"kind": "APIVersions", "versions": ["v1"]})),
        "/apis" => Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups()})),
        other => {
            let version = other.strip_prefix("/apis/").or_else(|| other.strip_prefix("/api/"))?;
            let (_, resources) = RESOURCES.iter().find(|(known, _)| *known == version)?;
            Some(resource_list(version, resources))
        }
    }
}

fn groups() -> Vec<Value> {
    let named =
        RESOURCES.iter().filter_map(|(version, _)| version.split_once('/').map(|parts| (version, parts)));
    named
        .map(|(group_version, (group, version))| {
            let version = json!({"groupVersion": group_version, "version": version});
            json!({"name": group, "versions": [version], "preferredVersion": version})
        })
        .collect()
}

fn resource_list(version: &str, resources: &[Resource]) -> Value {
    let resources: Vec<Value> = resources
        .iter()
        .map(|(plural, kind, namespaced)| {
            let singular = kind.to_ascii_lowercase();
            json!({"name": plural, "singularName": singular, "namespaced": namespaced, "kind": kind, "verbs": VERBS})
        })
        .collect();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources})
}
