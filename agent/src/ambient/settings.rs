//! The ambient half of the agent's settings, from the environment that Istio's chart gives its container.

use std::collections::BTreeMap;
use std::path::PathBuf;

use meshwire::mesh::istio::ambient::{HostInterception, PROBE_V4, PROBE_V6, PodInterception};
use meshwire::mesh::selector::{EnablementSelector, Expression, LabelSelector, Requirement};
use meshwire::mesh::value::boolean;
use serde::Deserialize;

/// The settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node
    pub node: String,
    /// Which pods belong to the mesh: those that one of these chooses
    pub selectors: Vec<EnablementSelector>,
    /// Pods of these namespaces never do
    pub excluded_namespaces: Vec<String>,
    /// Where ztunnel runs, which never does either
    pub system_namespace: String,
    /// What pods get that say nothing themselves
    pub pod: PodInterception,
    /// Whether probes of pods with a branch interface of AWS are kept on the node
    pub branch_interfaces: bool,
    /// Where ztunnel connects
    pub zds_socket: PathBuf,
    /// The directory of the socket for the plugin's events
    pub run_directory: PathBuf,
    /// The node's proc file system
    pub proc: PathBuf,
    /// What the plugin's paths are under
    pub host_root: PathBuf,
}

/// A variable whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {fault}")]
pub struct SettingError {
    /// Its name
    pub variable: &'static str,
    /// What is wrong with its value
    pub fault: SettingFault,
}

/// What is wrong with a variable's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingFault {
    /// It must exist
    #[error("it is not set")]
    Missing,
    /// Neither of Go's words for true and false
    #[error("{0:?} is neither true nor false")]
    Boolean(String),
    /// Not an address of the family
    #[error("{0:?} is not an {1} address")]
    Address(String, &'static str),
    /// Not YAML, or of another shape
    #[error("it is not a list of selectors: {0}")]
    Selectors(String),
    /// An unknown operator, or one with values that it does not take
    #[error("the requirement of {key:?} cannot be {operator:?} with {values} values")]
    Requirement {
        /// The label
        key: String,
        /// The operator
        operator: String,
        /// How many values there are
        values: usize,
    },
}

impl Settings {
    /// Reads them; a variable that is empty counts as absent.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingError> {
        let variable = |name: &'static str| variable(name).filter(|value| !value.is_empty());
        let text = |name, default: &str| variable(name).unwrap_or_else(|| default.to_owned());
        let switch_or = |name, default| match variable(name) {
            Some(value) => boolean(&value)
                .map_err(|_| SettingError { variable: name, fault: SettingFault::Boolean(value) }),
            None => Ok(default),
        };
        let switch = |name| switch_or(name, false);
        let node = variable("NODE_NAME")
            .ok_or(SettingError { variable: "NODE_NAME", fault: SettingFault::Missing })?;
        let selectors = match variable("AMBIENT_ENABLEMENT_SELECTOR") {
            Some(yaml) => selectors(&yaml)
                .map_err(|fault| SettingError { variable: "AMBIENT_ENABLEMENT_SELECTOR", fault })?,
            None => default_selectors(),
        };
        let v4 = address("HOST_PROBE_SNAT_IP", variable("HOST_PROBE_SNAT_IP"), PROBE_V4, "IPv4")?;
        let v6 = address("HOST_PROBE_SNAT_IPV6", variable("HOST_PROBE_SNAT_IPV6"), PROBE_V6, "IPv6")?;
        let excluded = text("EXCLUDE_NAMESPACES", "");
        Ok(Self {
            node,
            selectors,
            excluded_namespaces: excluded
                .split(',')
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect(),
            system_namespace: text("SYSTEM_NAMESPACE", "istio-system"),
            pod: PodInterception {
                ipv6: switch("AMBIENT_IPV6")?,
                dns: switch("AMBIENT_DNS_CAPTURE")?,
                probe_v4: v4,
                probe_v6: v6,
                native_nftables: switch("NATIVE_NFTABLES")?,
                ..PodInterception::default()
            },
            branch_interfaces: switch_or("AMBIENT_ENABLE_AWS_BRANCH_ENI_PROBE", true)?,
            zds_socket: text("ZTUNNEL_UDS_ADDRESS", "/var/run/ztunnel/ztunnel.sock").into(),
            run_directory: text("CNI_AGENT_RUN_DIR", "/var/run/istio-cni").into(),
            proc: text("HOST_PROC_DIR", "/host/proc").into(),
            host_root: text("HOST_ROOT_DIR", "/host").into(),
        })
    }

    /// The host's rules for kubelets of these uids.
    #[must_use]
    pub fn host(&self, kubelet_uids: Vec<u32>) -> HostInterception {
        let PodInterception { ipv6, probe_v4, probe_v6, native_nftables, .. } = self.pod;
        HostInterception { ipv6, probe_v4, probe_v6, native_nftables, kubelet_uids }
    }

    /// The socket for the plugin's events.
    #[must_use]
    pub fn event_socket(&self) -> PathBuf {
        self.run_directory.join("pluginevent.sock")
    }
}

fn address<T: std::str::FromStr>(
    variable: &'static str,
    value: Option<String>,
    default: T,
    family: &'static str,
) -> Result<T, SettingError> {
    match value {
        None => Ok(default),
        Some(value) => match value.parse() {
            Ok(address) => Ok(address),
            Err(_) => Err(SettingError { variable, fault: SettingFault::Address(value, family) }),
        },
    }
}

/// What the chart gives unless it is configured: the label on the pod, or on its namespace unless the pod says `none`.
fn default_selectors() -> Vec<EnablementSelector> {
    let mode = || "istio.io/dataplane-mode".to_owned();
    let ambient =
        || LabelSelector { labels: [(mode(), "ambient".to_owned())].into(), ..LabelSelector::default() };
    let requirement = Requirement::NotIn(vec!["none".to_owned()]);
    let not_none = LabelSelector {
        expressions: vec![Expression { key: mode(), requirement }],
        ..LabelSelector::default()
    };
    vec![
        EnablementSelector { pod: ambient(), namespace: LabelSelector::default() },
        EnablementSelector { pod: not_none, namespace: ambient() },
    ]
}

/// A list of `podSelector` and `namespaceSelector` in YAML.
fn selectors(yaml: &str) -> Result<Vec<EnablementSelector>, SettingFault> {
    let pairs: Vec<Pair> =
        serde_saphyr::from_str(yaml).map_err(|error| SettingFault::Selectors(error.to_string()))?;
    let selector =
        |selector: Option<Selector>| selector.map_or(Ok(LabelSelector::default()), TryInto::try_into);
    pairs
        .into_iter()
        .map(|Pair { pod_selector, namespace_selector }| {
            Ok(EnablementSelector { pod: selector(pod_selector)?, namespace: selector(namespace_selector)? })
        })
        .collect()
}

/// An item of AMBIENT_ENABLEMENT_SELECTOR.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Pair {
    pod_selector: Option<Selector>,
    namespace_selector: Option<Selector>,
}

/// meta/v1 LabelSelector.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Selector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<MatchExpression>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MatchExpression {
    key: String,
    operator: String,
    #[serde(default)]
    values: Vec<String>,
}

impl TryFrom<Selector> for LabelSelector {
    type Error = SettingFault;

    fn try_from(selector: Selector) -> Result<Self, SettingFault> {
        let Selector { match_labels, match_expressions } = selector;
        let expressions = match_expressions.into_iter().map(|MatchExpression { key, operator, values }| {
            let requirement = match (operator.as_str(), values.is_empty()) {
                ("In", false) => Requirement::In(values),
                ("NotIn", false) => Requirement::NotIn(values),
                ("Exists", true) => Requirement::Exists,
                ("DoesNotExist", true) => Requirement::DoesNotExist,
                _ => return Err(SettingFault::Requirement { key, operator, values: values.len() }),
            };
            Ok(Expression { key, requirement })
        });
        Ok(Self { labels: match_labels, expressions: expressions.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingError> {
        Settings::from_variables(|name| {
            let node = (name == "NODE_NAME").then(|| "node".to_owned());
            let set = variables.iter().find(|(variable, _)| *variable == name);
            set.map(|(_, value)| (*value).to_owned()).or(node)
        })
    }

    #[track_caller]
    fn refuses(variable: &str, value: &str, error: &str) {
        let refused = read(&[(variable, value)]).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("{variable}: {error}")), "{refused}");
    }

    #[test]
    fn the_charts_default() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.selectors, default_selectors());
        assert_eq!(settings.event_socket(), PathBuf::from("/var/run/istio-cni/pluginevent.sock"));
        assert_eq!(settings.pod, PodInterception::default());
        assert!(settings.branch_interfaces);
        // An empty variable is what a chart leaves where a value is not set.
        assert_eq!(read(&[("AMBIENT_IPV6", ""), ("HOST_PROBE_SNAT_IP", "")]).unwrap().pod, settings.pod);
    }

    #[test]
    fn what_the_chart_renders_is_its_own_default() {
        let yaml = "- podSelector:
    matchLabels: {istio.io/dataplane-mode: ambient}
- podSelector:
    matchExpressions:
      - { key: istio.io/dataplane-mode, operator: NotIn, values: [none] }
  namespaceSelector:
    matchLabels:
      istio.io/dataplane-mode: ambient
";
        assert_eq!(read(&[("AMBIENT_ENABLEMENT_SELECTOR", yaml)]).unwrap().selectors, default_selectors());
    }

    #[test]
    fn every_setting_has_an_effect() {
        let settings = read(&[
            ("AMBIENT_IPV6", "true"),
            ("AMBIENT_DNS_CAPTURE", "true"),
            ("NATIVE_NFTABLES", "true"),
            ("EXCLUDE_NAMESPACES", "kube-system, other"),
            ("HOST_PROBE_SNAT_IP", "169.254.1.1"),
            ("HOST_PROBE_SNAT_IPV6", "fd00::1"),
            ("AMBIENT_ENABLE_AWS_BRANCH_ENI_PROBE", "false"),
        ])
        .unwrap();
        assert!(!settings.branch_interfaces);
        assert!(settings.pod.ipv6 && settings.pod.dns);
        assert_eq!(settings.excluded_namespaces, ["kube-system", "other"]);
        let host = settings.host(vec![7]);
        assert_eq!((host.kubelet_uids, host.ipv6, host.native_nftables), (vec![7], true, true));
        assert_eq!(host.probe_v4.to_string(), "169.254.1.1");
        assert_eq!(host.probe_v6.to_string(), "fd00::1");
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        let error = Settings::from_variables(|_| None).unwrap_err();
        assert_eq!(error.to_string(), "NODE_NAME: it is not set");
        refuses("AMBIENT_IPV6", "yes", "\"yes\" is neither true nor false");
        refuses("HOST_PROBE_SNAT_IP", "fd00::1", "\"fd00::1\" is not an IPv4 address");
        for bad in ["{", "x", "- podSelecter: {}", "- podSelector: {matchLabels: [a]}"] {
            refuses("AMBIENT_ENABLEMENT_SELECTOR", bad, "it is not a list of selectors: ");
        }
        let operator = "- podSelector: {matchExpressions: [{key: a, operator: NotIn}]}";
        refuses(
            "AMBIENT_ENABLEMENT_SELECTOR",
            operator,
            "the requirement of \"a\" cannot be \"NotIn\" with 0 values",
        );
    }
}
