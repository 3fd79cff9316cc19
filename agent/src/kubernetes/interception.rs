//! What of a pod decides about its rules, for programs that compare them; all else stays here, such as other variables, which
//! may be secrets.

use std::collections::BTreeMap;

use meshwire::mesh::istio::sidecar::pod::{self as sidecar, annotation};
use meshwire::mesh::linkerd::pod as linkerd;
use serde_json::{Value, json};

use super::object::{ContainerSpec, Pod};
use crate::ambient::scan::CONFIG_HASH;

impl Pod {
    /// The pod as the API server has it, reduced to what its interception depends on.
    pub fn interception(&self) -> Value {
        let metadata = &self.metadata;
        let containers = |specs: &Option<Vec<ContainerSpec>>| -> Vec<_> {
            specs.iter().flatten().filter_map(ContainerSpec::interception).collect()
        };
        json!({
            "kind": "Pod",
            "metadata": {
                "name": metadata.name,
                "namespace": metadata.namespace,
                "uid": metadata.uid,
                "labels": of(metadata.labels.as_ref(), |name| name == sidecar::INJECT),
                "annotations": of(metadata.annotations.as_ref(), |name| {
                    annotation::ALL.contains(&name) || [sidecar::INJECT, sidecar::STATUS, CONFIG_HASH].contains(&name)
                }),
            },
            "spec": {
                "hostNetwork": self.host_network(),
                "initContainers": containers(&self.spec.init_containers),
                "containers": containers(&self.spec.containers),
            },
        })
    }
}

/// The entries that count. Of Istio's own status only that it exists.
fn of(entries: Option<&BTreeMap<String, String>>, counts: impl Fn(&str) -> bool) -> BTreeMap<&str, &str> {
    let counting = entries.into_iter().flatten().filter(|(name, _)| counts(name));
    counting
        .map(|(name, value)| (name.as_str(), if name == sidecar::STATUS { "" } else { value.as_str() }))
        .collect()
}

impl ContainerSpec {
    /// Nothing of a container that has no part in it.
    fn interception(&self) -> Option<Value> {
        let name = self.name.as_str();
        let variables = |names: &[&str]| -> Vec<_> {
            let all = self.env.iter().flatten();
            all.filter(|variable| names.contains(&variable.name.as_str()))
                .map(|variable| json!({ "name": variable.name, "value": variable.value }))
                .collect()
        };
        match name {
            sidecar::INIT | sidecar::VALIDATION | linkerd::INIT => Some(json!({
                "name": name,
                "command": self.command,
                "args": self.args,
                "env": variables(&sidecar::INIT_VARIABLES),
            })),
            sidecar::PROXY => {
                let context = self.security_context.as_ref();
                Some(json!({
                    "name": name,
                    // `proxy sidecar`, or another kind of proxy
                    "args": self.args.iter().flatten().take(2).collect::<Vec<_>>(),
                    "env": variables(&sidecar::PROXY_VARIABLES),
                    "securityContext": {
                        "runAsUser": context.and_then(|context| context.run_as_user),
                        "runAsGroup": context.and_then(|context| context.run_as_group),
                    },
                }))
            }
            linkerd::PROXY => Some(json!({ "name": name })),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decides_is_kept_and_nothing_else() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "u",
                "labels": { "app": "secret", "sidecar.istio.io/inject": "true" },
                "annotations": {
                    "sidecar.istio.io/status": "{\"imagePullSecrets\":[\"secret\"]}",
                    "traffic.sidecar.istio.io/excludeInboundPorts": "9000",
                    "kubectl.kubernetes.io/last-applied-configuration": "secret",
                },
            },
            "spec": {
                "serviceAccountName": "secret",
                "initContainers": [{
                    "name": "istio-init", "image": "secret", "command": ["istio-iptables"], "args": ["-p", "15001"],
                    "env": [{ "name": "INVALID_DROP", "value": "true" }, { "name": "TOKEN", "value": "secret" }],
                }, { "name": "linkerd-proxy", "args": ["secret"], "env": [{ "name": "TOKEN", "value": "secret" }] }],
                "containers": [{
                    "name": "istio-proxy", "args": ["proxy", "sidecar", "secret"],
                    "env": [{ "name": "ISTIO_DUAL_STACK", "value": "true" }, { "name": "TOKEN", "value": "secret" }],
                    "securityContext": { "runAsUser": 1337, "privileged": false },
                }, { "name": "app", "args": ["secret"], "env": [{ "name": "TOKEN", "value": "secret" }] }],
            },
        }))
        .unwrap();
        assert_eq!(
            pod.interception(),
            json!({
                "kind": "Pod",
                "metadata": {
                    "name": "web", "namespace": "shop", "uid": "u",
                    "labels": { "sidecar.istio.io/inject": "true" },
                    "annotations": {
                        "sidecar.istio.io/status": "", "traffic.sidecar.istio.io/excludeInboundPorts": "9000",
                    },
                },
                "spec": {
                    "hostNetwork": false,
                    "initContainers": [{
                        "name": "istio-init", "command": ["istio-iptables"], "args": ["-p", "15001"],
                        "env": [{ "name": "INVALID_DROP", "value": "true" }],
                    }, { "name": "linkerd-proxy" }],
                    "containers": [{
                        "name": "istio-proxy", "args": ["proxy", "sidecar"],
                        "env": [{ "name": "ISTIO_DUAL_STACK", "value": "true" }],
                        "securityContext": { "runAsUser": 1337, "runAsGroup": null },
                    }],
                },
            })
        );
    }
}
