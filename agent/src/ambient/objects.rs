//! Pods and namespaces as the API server sends them, without all that the agent does not read: a pod's object has tens of
//! kilobytes, and there are hundreds.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// The annotations that mean something here; others are dropped.
pub mod annotation {
    /// Written by the agent: `enabled` or `pending`
    pub const REDIRECTION: &str = "ambient.istio.io/redirection";
    /// The pod is a gateway: what comes in is left alone
    pub const BYPASS_INBOUND: &str = "ambient.istio.io/bypass-inbound-capture";
    /// Whether the pod's DNS goes to ztunnel, whatever the mesh says
    pub const DNS_CAPTURE: &str = "ambient.istio.io/dns-capture";
    /// Interfaces of virtual machines
    pub const VIRTUAL_INTERFACES: &str = "istio.io/reroute-virtual-interfaces";
    /// The pod has a sidecar
    pub const SIDECAR: &str = "sidecar.istio.io/status";
    pub use crate::ambient::scan::CONFIG_HASH;

    pub(super) const ALL: [&str; 6] =
        [REDIRECTION, BYPASS_INBOUND, DNS_CAPTURE, VIRTUAL_INTERFACES, SIDECAR, CONFIG_HASH];
}

/// Which of two states of one kind of objects is the later one. Kubernetes 1.35 promises that versions are numbers that grow;
/// etcd's revisions, which all API servers before it use, are as well. What is no number is before everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(Option<u64>);

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(String::deserialize(deserializer)?.parse().ok()))
    }
}

/// metadata
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// name
    pub name: String,
    /// namespace
    pub namespace: String,
    /// uid
    pub uid: String,
    /// resourceVersion
    pub resource_version: Version,
    /// labels
    pub labels: BTreeMap<String, String>,
    /// annotations, those of [`annotation`]
    #[serde(deserialize_with = "known_annotations")]
    pub annotations: BTreeMap<&'static str, String>,
}

/// A pod.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Pod {
    /// metadata
    pub metadata: Metadata,
    /// spec
    pub spec: PodSpec,
    /// status
    pub status: PodStatus,
}

/// spec
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// nodeName
    pub node_name: String,
    /// hostNetwork
    pub host_network: bool,
    /// serviceAccountName
    pub service_account_name: String,
}

/// status
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// phase
    pub phase: String,
    /// podIP
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// podIPs
    #[serde(rename = "podIPs")]
    pub pod_ips: Vec<PodIp>,
}

/// An item of status.podIPs
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct PodIp {
    /// ip
    pub ip: String,
}

/// A namespace.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Namespace {
    /// metadata
    pub metadata: Metadata,
}

impl Pod {
    /// Whether all containers have ended, for good.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// status.podIPs, or the older status.podIP. What is not an address is none.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let texts = self.status.pod_ips.iter().map(|ip| ip.ip.as_str()).chain([self.status.pod_ip.as_str()]);
        texts.filter_map(|text| text.parse::<IpAddr>().ok()).map(|address| address.to_canonical())
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.annotations.get(name).map(String::as_str)
    }
}

/// Values of other annotations are not even kept while the object is read; the largest are among them.
fn known_annotations<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<&'static str, String>, D::Error> {
    struct Known;

    impl<'de> Visitor<'de> for Known {
        type Value = BTreeMap<&'static str, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("annotations")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut known = BTreeMap::new();
            while let Some(key) = map.next_key::<String>()? {
                match annotation::ALL.into_iter().find(|name| *name == key) {
                    Some(name) => {
                        known.insert(name, map.next_value()?);
                    }
                    None => {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
            }
            Ok(known)
        }
    }

    deserializer.deserialize_any(Known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_keeps_what_is_read_and_nothing_else() {
        let pod: Pod = serde_json::from_str(
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","namespace":"n","uid":"u","resourceVersion":"7",
                "labels":{"app":"x"},"managedFields":[{"manager":"m"}],
                "annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"a\":1}",
                               "ambient.istio.io/redirection":"enabled"}},
                "spec":{"nodeName":"node","serviceAccountName":"sa","containers":[{"name":"c"}]},
                "status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"},{"ip":"?"}],
                          "conditions":[{"type":"Ready"}]}}"#,
        )
        .unwrap();
        assert_eq!(pod.metadata.resource_version, Version(Some(7)));
        assert_eq!(
            pod.metadata.annotations.into_iter().collect::<Vec<_>>(),
            [(annotation::REDIRECTION, "enabled".to_owned())]
        );
        assert_eq!((pod.spec.node_name.as_str(), pod.spec.host_network), ("node", false));
        let pod = Pod { metadata: Metadata::default(), ..pod };
        let addresses: Vec<_> = pod.addresses().map(|address| address.to_string()).collect();
        assert_eq!(addresses, ["10.0.0.1", "fd00::1", "10.0.0.1"]);
        assert!(!pod.is_terminal());
    }

    #[test]
    fn null_is_nothing() {
        let pod: Pod = serde_json::from_str(r#"{"metadata":{"name":"p","annotations":null}}"#).unwrap();
        assert_eq!(pod.metadata.annotations.len(), 0);
    }
}
