//! Whether an agent that is asked to stop leaves everything in place for the next one, or removes what it made on the node.
//!
//! It leaves it on an upgrade and on a reboot: the DaemonSet still exists, and still schedules a pod on this node. Pods' own
//! rules stay in any case: without them a pod whose proxy still runs would be cut off.

use std::collections::BTreeMap;

use meshwire::mesh::selector::{Expression, LabelSelector, Requirement};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::objects::Metadata;
use crate::kubernetes::Client;

/// The DaemonSet's name is fixed: the plugin relies on it, too.
const DAEMON_SET: &str = "istio-cni-node";

/// What to do with what is on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The next agent takes over
    Keep,
    /// There is no next one
    Clean,
}

/// What the decision depends on besides the cluster.
#[derive(Clone, Debug)]
pub struct Handover {
    /// POD_NAMESPACE, where the DaemonSet is
    pub namespace: String,
    /// NODE_NAME
    pub node: String,
    /// AMBIENT_DISABLE_SAFE_UPGRADE
    pub disabled: bool,
    /// ISTIO_OWNED_CNI_CONFIG: nodes without an agent are to hold pods back
    pub owned_config: bool,
}

impl Handover {
    /// Asks the API server.
    pub async fn decide(&self, client: &Client) -> Stop {
        if self.disabled {
            return Stop::Clean;
        }
        let path = format!("/apis/apps/v1/namespaces/{}/daemonsets/{DAEMON_SET}", self.namespace);
        let set = match client.get::<DaemonSet>(&path).await {
            Ok(set) if set.metadata.deletion_timestamp.is_some() => return Stop::Clean,
            Ok(set) => set,
            Err(error) if matches!(error.code(), Some(404 | 401)) => return Stop::Clean,
            Err(error) => {
                tracing::warn!(target: "cni-agent", "it is not known whether the agent is replaced or removed: {error}");
                return if self.owned_config { Stop::Keep } else { Stop::Clean };
            }
        };
        let pod = &set.spec.template.spec;
        match client.get::<Node>(&format!("/api/v1/nodes/{}", self.node)).await {
            Ok(node) if !pod.chooses(&node.metadata) => Stop::Clean,
            Ok(_) | Err(_) => {
                tracing::info!(
                    target: "cni-agent",
                    "terminating, but parent DaemonSet {DAEMON_SET} is still present, this is an upgrade or a node reboot, \
                     leaving plugin in place"
                );
                Stop::Keep
            }
        }
    }
}

#[derive(Deserialize)]
struct DaemonSet {
    metadata: SetMetadata,
    #[serde(default)]
    spec: SetSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SetMetadata {
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SetSpec {
    template: Template,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Template {
    spec: Scheduling,
}

/// What of a pod's specification chooses nodes.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Scheduling {
    node_selector: BTreeMap<String, String>,
    affinity: Affinity,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Affinity {
    node_affinity: NodeAffinity,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Option<Required>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Required {
    node_selector_terms: Vec<Term>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Term {
    match_expressions: Vec<Match>,
    match_fields: Vec<Match>,
}

#[derive(Deserialize)]
struct Match {
    key: String,
    operator: String,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Deserialize)]
struct Node {
    metadata: Metadata,
}

impl Scheduling {
    fn chooses(&self, node: &Metadata) -> bool {
        let selected = self.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
        let required = self.affinity.node_affinity.required.as_ref();
        selected
            && required
                .is_none_or(|required| required.node_selector_terms.iter().any(|term| term.chooses(node)))
    }
}

impl Term {
    /// A term without any requirement chooses nothing (core/v1 NodeSelectorTerm).
    fn chooses(&self, node: &Metadata) -> bool {
        let fields = BTreeMap::from([("metadata.name".to_owned(), node.name.clone())]);
        let any = !self.match_expressions.is_empty() || !self.match_fields.is_empty();
        any && self.match_expressions.iter().all(|expression| expression.holds(&node.labels))
            && self.match_fields.iter().all(|expression| expression.holds(&fields))
    }
}

impl Match {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let number = |text: &String| text.parse::<i64>().ok();
        let actual = labels.get(&self.key).and_then(number);
        let limit = self.values.first().and_then(number);
        let requirement = match self.operator.as_str() {
            "In" => Requirement::In(self.values.clone()),
            "NotIn" => Requirement::NotIn(self.values.clone()),
            "Exists" => Requirement::Exists,
            "DoesNotExist" => Requirement::DoesNotExist,
            "Gt" => return actual.zip(limit).is_some_and(|(actual, limit)| actual > limit),
            "Lt" => return actual.zip(limit).is_some_and(|(actual, limit)| actual < limit),
            // Of a newer API: whoever scheduled this agent here understood it.
            _ => return true,
        };
        let expressions = vec![Expression { key: self.key.clone(), requirement }];
        LabelSelector { expressions, ..LabelSelector::default() }.matches(labels)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn chooses(scheduling: Value, labels: &Value, expected: bool) {
        let scheduling: Scheduling = serde_json::from_value(scheduling).unwrap();
        let node: Node =
            serde_json::from_value(json!({ "metadata": { "name": "node", "labels": labels } })).unwrap();
        assert_eq!(scheduling.chooses(&node.metadata), expected, "{labels}");
    }

    #[test]
    fn nodes_are_chosen_as_the_scheduler_does() {
        chooses(json!({}), &json!({}), true);
        chooses(json!({ "nodeSelector": { "os": "linux" } }), &json!({ "os": "linux" }), true);
        chooses(json!({ "nodeSelector": { "os": "linux" } }), &json!({}), false);
        let affinity = |terms: Value| {
            json!({ "affinity": { "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } } })
        };
        let not_virtual =
            json!([{ "matchExpressions": [{ "key": "type", "operator": "NotIn", "values": ["virtual"] }] }]);
        chooses(affinity(not_virtual.clone()), &json!({}), true);
        chooses(affinity(not_virtual), &json!({ "type": "virtual" }), false);
        let many = json!([
            { "matchExpressions": [{ "key": "cores", "operator": "Gt", "values": ["4"] }] },
            { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["other"] }] },
        ]);
        chooses(affinity(many.clone()), &json!({ "cores": "8" }), true);
        chooses(affinity(many), &json!({ "cores": "4" }), false);
        chooses(affinity(json!([{}])), &json!({}), false);
    }
}
