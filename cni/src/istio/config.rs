//! The plugin's part of the network configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use meshwire::mesh::selector::{EnablementSelector, Expression, LabelSelector, Requirement};
use serde::Deserialize;

use crate::kubernetes::Limits;

/// The node agent's folder.
const RUN_DIR: &str = "/var/run/istio-cni";
/// How long the API server is asked for a pod, in seconds.
const API_TIMEOUT: u64 = 30;

/// The plugin's settings.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) log_level: Level,
    pub(super) run_dir: PathBuf,
    pub(super) ambient_enabled: bool,
    pub(super) selectors: Vec<EnablementSelector>,
    pub(super) exclude_namespaces: Vec<String>,
    pub(super) pod_namespace: Option<String>,
    pub(super) native_nftables: bool,
    pub(super) limits: Limits,
}

/// What is logged at least; the order is that of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Debug,
    Info,
    Warn,
    Error,
    None,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not JSON, or a field of another type
    #[error("failed to parse network configuration: {0}")]
    Decode(serde_json::Error),
    /// An operator that no label selector has
    #[error(
        "failed to parse network configuration: enablement_selectors: operator {0:?} is none of In, NotIn, Exists, \
         DoesNotExist"
    )]
    Operator(String),
}

impl From<serde_json::Error> for ConfigError {
    fn from(error: serde_json::Error) -> Self {
        Self::Decode(error)
    }
}

#[derive(Deserialize)]
struct Fields {
    plugin_log_level: Option<String>,
    cni_agent_run_dir: Option<PathBuf>,
    ambient_enabled: Option<bool>,
    enablement_selectors: Option<Vec<SelectorFields>>,
    exclude_namespaces: Option<Vec<String>>,
    pod_namespace: Option<String>,
    native_nftables: Option<bool>,
    /// Not one of Istio's own
    api_timeout_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SelectorFields {
    pod_selector: Option<LabelSelectorFields>,
    namespace_selector: Option<LabelSelectorFields>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LabelSelectorFields {
    match_labels: Option<BTreeMap<String, String>>,
    match_expressions: Option<Vec<ExpressionFields>>,
}

#[derive(Deserialize)]
struct ExpressionFields {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
}

impl Config {
    pub(super) fn parse(config: &[u8]) -> Result<Self, ConfigError> {
        let fields: Fields = serde_json::from_slice(config)?;
        let selectors = fields.enablement_selectors.unwrap_or_default().into_iter();
        let total = Duration::from_secs(fields.api_timeout_seconds.unwrap_or(API_TIMEOUT).max(1));
        Ok(Self {
            log_level: level(fields.plugin_log_level.as_deref()),
            run_dir: fields.cni_agent_run_dir.unwrap_or_else(|| RUN_DIR.into()),
            ambient_enabled: fields.ambient_enabled.unwrap_or(false),
            selectors: selectors.map(SelectorFields::read).collect::<Result<_, _>>()?,
            exclude_namespaces: fields.exclude_namespaces.unwrap_or_default(),
            pod_namespace: fields.pod_namespace.filter(|namespace| !namespace.is_empty()),
            native_nftables: fields.native_nftables.unwrap_or(false),
            limits: Limits { total, attempt: total / 3 },
        })
    }
}

impl SelectorFields {
    fn read(self) -> Result<EnablementSelector, ConfigError> {
        let read = |fields: Option<LabelSelectorFields>| fields.unwrap_or_default().read();
        Ok(EnablementSelector { pod: read(self.pod_selector)?, namespace: read(self.namespace_selector)? })
    }
}

impl LabelSelectorFields {
    fn read(self) -> Result<LabelSelector, ConfigError> {
        let expressions = self.match_expressions.unwrap_or_default().into_iter();
        Ok(LabelSelector {
            labels: self.match_labels.unwrap_or_default(),
            expressions: expressions.map(ExpressionFields::read).collect::<Result<_, _>>()?,
        })
    }
}

impl ExpressionFields {
    fn read(self) -> Result<Expression, ConfigError> {
        let values = self.values.unwrap_or_default();
        let requirement = match self.operator.as_str() {
            "In" => Requirement::In(values),
            "NotIn" => Requirement::NotIn(values),
            "Exists" => Requirement::Exists,
            "DoesNotExist" => Requirement::DoesNotExist,
            _ => return Err(ConfigError::Operator(self.operator)),
        };
        Ok(Expression { key: self.key, requirement })
    }
}

/// As Istio's scopes have them; anything else is info.
fn level(text: Option<&str>) -> Level {
    match text {
        Some("debug" | "all") => Level::Debug,
        Some("warn") => Level::Warn,
        Some("error" | "fatal") => Level::Error,
        Some("none") => Level::None,
        _ => Level::Info,
    }
}
