//! A pod's settings from its annotations and those of its namespace: what Linkerd's CNI plugin reads where no init
//! container may run.
//!
//! Names and their meaning are those of linkerd/linkerd2-proxy-init cni-plugin/main.go, at 183e791d99dc.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use nft_ruleset::IpPrefix;

use super::ProxyInit;
use crate::mesh::pod::Pod;
use crate::mesh::value::{ValueError, network, port_range};

/// The container of Linkerd's proxy, and the init container where it is a native sidecar.
pub const PROXY: &str = "linkerd-proxy";
/// The init container that makes the rules where the plugin does not.
pub const INIT: &str = "linkerd-init";
/// The label of the control plane's pods.
pub const CONTROL_PLANE: &str = "linkerd.io/control-plane-component";

/// The names of the annotations.
pub mod annotation {
    /// Ports and ranges of ports, in the place of the configured ones
    pub const SKIP_OUTBOUND_PORTS: &str = "config.linkerd.io/skip-outbound-ports";
    /// Ports and ranges of ports, after the configured ones
    pub const SKIP_INBOUND_PORTS: &str = "config.linkerd.io/skip-inbound-ports";
    /// Networks, in the place of the configured ones
    pub const SKIP_SUBNETS: &str = "config.linkerd.io/skip-subnets";
    /// The proxy's uid
    pub const PROXY_UID: &str = "config.linkerd.io/proxy-uid";
    /// The proxy's gid
    pub const PROXY_GID: &str = "config.linkerd.io/proxy-gid";
    /// All of them
    pub const ALL: [&str; 5] = [SKIP_OUTBOUND_PORTS, SKIP_INBOUND_PORTS, SKIP_SUBNETS, PROXY_UID, PROXY_GID];
}

/// An annotation whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {annotation}: {fault}")]
pub struct AnnotationError {
    /// Its name
    pub annotation: &'static str,
    /// What is wrong with its value
    pub fault: ValueError,
}

/// Whether the plugin makes a pod's rules: it has a proxy, and no init container that makes them.
#[must_use]
pub fn is_intercepted(pod: &Pod) -> bool {
    pod.init_container(INIT).is_none() && pod.container(PROXY).is_some()
}

/// Whether the pod belongs to the control plane, which the API server calls and which calls it.
#[must_use]
pub fn is_control_plane(pod: &Pod) -> bool {
    pod.label(CONTROL_PLANE).is_some_and(|component| !component.is_empty())
}

/// Whether the namespace's annotations count: the pod's own win, where they are not empty.
#[must_use]
pub fn needs_namespace(pod: &Pod) -> bool {
    annotation::ALL.into_iter().any(|name| pod.annotation(name).is_none_or(str::is_empty))
}

/// The annotations of a pod and of its namespace.
#[derive(Clone, Copy, Debug)]
pub struct Annotations<'a> {
    /// The pod's
    pub pod: &'a BTreeMap<String, String>,
    /// Its namespace's
    pub namespace: &'a BTreeMap<String, String>,
}

impl<'a> Annotations<'a> {
    /// The pod's value, or its namespace's; an empty one is none.
    fn get(self, name: &str) -> Option<&'a str> {
        let value = |of: &'a BTreeMap<String, String>| of.get(name).filter(|value| !value.is_empty());
        value(self.pod).or(value(self.namespace)).map(String::as_str)
    }
}

impl ProxyInit {
    /// These settings, as the annotations change them; and the items of lists of ports that are not understood. As with
    /// Linkerd, those are left out.
    ///
    /// # Errors
    /// An annotation's value cannot be used.
    pub fn with_annotations(
        mut self,
        annotations: Annotations<'_>,
    ) -> Result<(Self, Vec<AnnotationError>), AnnotationError> {
        let mut skipped = Vec::new();
        let mut ranges = |annotation| {
            let ranges = |text: &str| {
                let (ranges, faults) = port_ranges(text.split(','));
                skipped.extend(faults.into_iter().map(|fault| AnnotationError { annotation, fault }));
                ranges
            };
            annotations.get(annotation).map(ranges)
        };
        if let Some(ports) = ranges(annotation::SKIP_OUTBOUND_PORTS) {
            self.outbound_ports_to_ignore = ports;
        }
        self.inbound_ports_to_ignore.extend(ranges(annotation::SKIP_INBOUND_PORTS).into_iter().flatten());
        if let Some(text) = annotations.get(annotation::SKIP_SUBNETS) {
            let fault = |fault| AnnotationError { annotation: annotation::SKIP_SUBNETS, fault };
            self.subnets_to_ignore = subnets(text.split(',')).map_err(fault)?;
        }
        for (annotation, id) in
            [(annotation::PROXY_UID, &mut self.proxy_uid), (annotation::PROXY_GID, &mut self.proxy_gid)]
        {
            if let Some(text) = annotations.get(annotation) {
                *id = owner(text).map_err(|fault| AnnotationError { annotation, fault })?;
            }
        }
        Ok((self, skipped))
    }
}

/// The ranges of ports in a list; and what is wrong with the other items.
pub fn port_ranges<'a>(items: impl Iterator<Item = &'a str>) -> (Vec<RangeInclusive<u16>>, Vec<ValueError>) {
    let (mut ranges, mut faults) = (Vec::new(), Vec::new());
    for item in items {
        match port_range(item.trim()) {
            Ok(range) => ranges.push(range),
            Err(fault) => faults.push(fault),
        }
    }
    (ranges, faults)
}

/// The networks in a list, with white space around them.
///
/// # Errors
/// One is not a network.
pub fn subnets<'a>(items: impl Iterator<Item = &'a str>) -> Result<Vec<IpPrefix>, ValueError> {
    items.map(|item| network(item.trim())).collect()
}

/// A decimal number; one that is not above 0 names no user.
fn owner(text: &str) -> Result<Option<u32>, ValueError> {
    let fault = || ValueError::Number(text.to_owned());
    let id: i64 = text.trim().parse().map_err(|_| fault())?;
    if id <= 0 {
        return Ok(None);
    }
    u32::try_from(id).map(Some).map_err(|_| fault())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::pod::Container;

    fn configured() -> ProxyInit {
        ProxyInit {
            incoming_proxy_port: 4143,
            outgoing_proxy_port: 4140,
            proxy_uid: Some(2102),
            proxy_gid: None,
            ports_to_redirect: Vec::new(),
            inbound_ports_to_ignore: vec![4191..=4191],
            outbound_ports_to_ignore: vec![25..=25],
            subnets_to_ignore: vec!["10.9.0.0/16".parse().unwrap()],
            ipv6: false,
        }
    }

    fn map(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn annotated(
        pod: &[(&str, &str)],
        namespace: &[(&str, &str)],
    ) -> Result<(ProxyInit, Vec<String>), String> {
        let (pod, namespace) = (map(pod), map(namespace));
        let annotations = Annotations { pod: &pod, namespace: &namespace };
        match configured().with_annotations(annotations) {
            Ok((settings, skipped)) => Ok((settings, skipped.iter().map(ToString::to_string).collect())),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn without_annotations_nothing_changes() {
        assert_eq!(annotated(&[], &[]), Ok((configured(), vec![])));
        // One that is empty is none.
        assert_eq!(annotated(&[(annotation::PROXY_UID, "")], &[]), Ok((configured(), vec![])));
    }

    #[test]
    fn each_annotation_of_the_pod() {
        for (name, value, expected) in [
            (
                annotation::SKIP_OUTBOUND_PORTS,
                "80, 443,8000-8080",
                ProxyInit { outbound_ports_to_ignore: vec![80..=80, 443..=443, 8000..=8080], ..configured() },
            ),
            (
                annotation::SKIP_INBOUND_PORTS,
                "80",
                ProxyInit { inbound_ports_to_ignore: vec![4191..=4191, 80..=80], ..configured() },
            ),
            (
                annotation::SKIP_SUBNETS,
                "192.168.0.0/16, fd00::/8",
                ProxyInit {
                    subnets_to_ignore: vec!["192.168.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()],
                    ..configured()
                },
            ),
            (annotation::PROXY_UID, "7", ProxyInit { proxy_uid: Some(7), ..configured() }),
            (annotation::PROXY_UID, "0", ProxyInit { proxy_uid: None, ..configured() }),
            (annotation::PROXY_GID, "8", ProxyInit { proxy_gid: Some(8), ..configured() }),
        ] {
            assert_eq!(annotated(&[(name, value)], &[]), Ok((expected.clone(), vec![])), "{name}");
            assert_eq!(annotated(&[], &[(name, value)]), Ok((expected.clone(), vec![])), "{name}");
            assert_eq!(annotated(&[(name, value)], &[(name, "9")]), Ok((expected, vec![])), "{name}");
        }
    }

    #[test]
    fn ports_that_are_none_are_left_out_and_reported() {
        let (settings, skipped) =
            annotated(&[(annotation::SKIP_OUTBOUND_PORTS, "80,http,9-8")], &[]).unwrap();
        assert_eq!(settings.outbound_ports_to_ignore, [80..=80]);
        assert_eq!(skipped.len(), 2);
        assert!(skipped[0].starts_with("annotation config.linkerd.io/skip-outbound-ports: \"http\" is"));
    }

    #[test]
    fn other_values_that_are_wrong_are_errors() {
        for (name, value, error) in [
            (annotation::SKIP_SUBNETS, "10.0.0.0", "has no prefix length: write 10.0.0.0/32"),
            (annotation::SKIP_SUBNETS, "10.0.0.0/8,", "\"\" is not a network"),
            (annotation::PROXY_UID, "root", "\"root\" is not a number"),
            (annotation::PROXY_UID, "0x7", "\"0x7\" is not a number"),
            (annotation::PROXY_GID, "4294967296", "\"4294967296\" is not a number"),
        ] {
            let found = annotated(&[(name, value)], &[]).unwrap_err();
            assert!(found.starts_with(&format!("annotation {name}: ")) && found.contains(error), "{found}");
        }
    }

    #[test]
    fn which_pods_are_intercepted() {
        let container = |name: &str| Container { name: name.to_owned(), ..Container::default() };
        let pod = |init: &[&str], ordinary: &[&str]| Pod {
            init_containers: init.iter().copied().map(container).collect(),
            containers: ordinary.iter().copied().map(container).collect(),
            ..Pod::default()
        };
        assert!(is_intercepted(&pod(&[], &["app", PROXY])));
        assert!(is_intercepted(&pod(&[PROXY], &["app"])));
        assert!(!is_intercepted(&pod(&[INIT], &["app", PROXY])));
        assert!(!is_intercepted(&pod(&[INIT, PROXY], &["app"])));
        assert!(!is_intercepted(&pod(&["other"], &["app"])));
    }

    #[test]
    fn the_namespace_counts_unless_the_pod_has_everything() {
        let mut pod = Pod { annotations: map(&annotation::ALL.map(|name| (name, "1"))), ..Pod::default() };
        assert!(!needs_namespace(&pod));
        pod.annotations.insert(annotation::PROXY_GID.to_owned(), String::new());
        assert!(needs_namespace(&pod));
    }
}
