//! `install-cni`: what its flags and variables make of Istio's node agent.

mod settings;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Command;
use serde_json::{Map, Value, json};

use super::Failure;
use super::service::{REMOVE_BINARY, access, kubeconfig};
use super::setting::{Setting, SettingError, Values};
use crate::ambient::handover::Handover;
use crate::ambient::settings::Settings;
use crate::install::Binary;
use crate::install::istio::{IstioInstaller, PLUGIN, Placement};
use crate::kubernetes::Collection;
use crate::log::{Format, Levels};
use crate::node::istio::{Agent, Repair, run};
use crate::repair::istio::{Action, Broken};
use settings::{
    AMBIENT, BIN_DIR, CHAINED, CONF_NAME, DELETE_PODS, DETECTION_RETRY, GROUP_READ, HEALTH_PORT,
    KUBECONFIG_MODE, LABEL_KEY, LABEL_PODS, LABEL_VALUE, LOG_AS_JSON, LOG_LEVEL, LOG_TARGET, MONITORING_PORT,
    NET_DIR, OWNED, OWNED_NAME, PROC_DIR, REPAIR, REPAIR_ANNOTATION, REPAIR_CONTAINER, REPAIR_EXIT_CODE,
    REPAIR_FIELDS, REPAIR_LABELS, REPAIR_MESSAGE, REPAIR_NODE, REPAIR_PODS, ROOT_DIR, RUN_DIR, SETTINGS,
    SOURCE_DIR, UNSAFE_UPGRADE, ZTUNNEL_SOCKET,
};

/// Which pods are part of an ambient mesh, where nothing else is set: as Istio's own program has it.
const DEFAULT_SELECTORS: &str = "
- podSelector:
    matchLabels:
      istio.io/dataplane-mode: ambient
- podSelector:
    matchExpressions:
    - key: istio.io/dataplane-mode
      operator: NotIn
      values: [none]
  namespaceSelector:
    matchLabels:
      istio.io/dataplane-mode: ambient
";

/// Flags of Istio's logging that change nothing here.
const IGNORED: [&str; 3] = ["log_caller", "log_stacktrace_level", "vklog"];

/// Runs until it is signalled.
pub(super) fn main(
    arguments: Vec<OsString>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<ExitCode, Failure> {
    if arguments.get(1).is_some_and(|argument| argument == "version") {
        println!("{}", env!("CARGO_PKG_VERSION"));
        return Ok(ExitCode::SUCCESS);
    }
    let command = IGNORED.iter().fold(command(), |command, flag| {
        command.arg(clap::Arg::new(*flag).long(*flag).hide(true).action(clap::ArgAction::Append))
    });
    let values = Values::parse(command, SETTINGS, "", arguments, environment)?;
    let unusual = start_log(&values)?;
    for scope in unusual {
        tracing::warn!(target: "cni-agent", "log scope {scope:?} does not exist; scopes are cni-agent, cni-plugin and default");
    }
    let agent = agent(&values)?;
    tracing::info!(target: "cni-agent", "CNI version: {}", env!("CARGO_PKG_VERSION"));
    tracing::info!(target: "cni-agent", "CNI install configuration: {}", agent.installer.entry);
    super::block_on(run(agent))
}

fn command() -> Command {
    Command::new("install-cni")
        .about("Installs Istio's CNI plugin on a node, and repairs pods that were started without it")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help("install-cni version: print the version")
}

fn start_log(values: &Values<'_>) -> Result<Vec<String>, Failure> {
    let (levels, unusual) = Levels::parse(&values.read(&LOG_LEVEL)?)?;
    let format = if values.read(&LOG_AS_JSON)? { Format::Json } else { Format::Text };
    crate::log::start(levels, format, values.read(&LOG_TARGET)?);
    Ok(unusual)
}

fn agent(values: &Values<'_>) -> Result<Agent, Failure> {
    let run_dir = values.read(&RUN_DIR)?;
    let access = access(values)?;
    let native_nftables = values.boolean_variable("NATIVE_NFTABLES", false)?;
    let bin_dir = values.read(&BIN_DIR)?;
    let installer = IstioInstaller {
        binary: Binary {
            source: values.read(&SOURCE_DIR)?.join(PLUGIN),
            target: bin_dir.join(PLUGIN),
            remove: values.read(&REMOVE_BINARY)?,
        },
        net_dir: values.read(&NET_DIR)?,
        placement: placement(values)?,
        config_mode: if values.read(&GROUP_READ)? { 0o640 } else { 0o600 },
        kubeconfig: kubeconfig(values, &access, "istio-cni", "istio-cni-context")?,
        kubeconfig_mode: values.read(&KUBECONFIG_MODE)?,
        entry: entry(values, &run_dir, native_nftables)?,
        run_dir,
    };
    let ambient = values.read(&AMBIENT)?;
    // Some of its variables are flags, too.
    let given =
        |setting: &Setting<PathBuf>| Some(values.text(&setting.definition)).filter(|path| !path.is_empty());
    let variable = |name: &str| match name {
        "ZTUNNEL_UDS_ADDRESS" => given(&ZTUNNEL_SOCKET),
        "CNI_AGENT_RUN_DIR" => given(&RUN_DIR),
        "HOST_PROC_DIR" => given(&PROC_DIR),
        "HOST_ROOT_DIR" => given(&ROOT_DIR),
        name => values.variable(name),
    };
    let ambient = ambient.then(|| Settings::from_variables(variable)).transpose()?;
    let owned = matches!(installer.placement, Placement::Owned { .. });
    Ok(Agent {
        installer,
        access,
        monitoring_port: values.read(&MONITORING_PORT)?,
        health_port: values.read(&HEALTH_PORT)?.unwrap_or(8000),
        handover: Handover {
            namespace: values.variable("POD_NAMESPACE").unwrap_or_default(),
            node: values.variable("NODE_NAME").unwrap_or_default(),
            disabled: values.read(&UNSAFE_UPGRADE)?,
            owned_config: owned,
        },
        ambient,
        repair: repair(values, native_nftables)?,
        proc: values.read(&PROC_DIR)?,
        native_nftables,
    })
}

/// Where the plugin's entry goes. A list of its own exists in ambient mode only.
fn placement(values: &Values<'_>) -> Result<Placement, SettingError> {
    let name = values.read(&CONF_NAME)?;
    if !values.read(&CHAINED)? {
        return Ok(Placement::Alone(name));
    }
    if !values.read(&OWNED)? || !values.read(&AMBIENT)? {
        return Ok(Placement::Chained(name));
    }
    // Istio's chart sets the one and its program reads the other.
    let owned = values.read(&OWNED_NAME)?;
    let owned =
        owned.or_else(|| values.variable("ISTIO_OWNED_CNI_CONF_FILENAME").filter(|name| !name.is_empty()));
    Ok(Placement::Owned { name: owned.unwrap_or_else(|| "02-istio-cni.conflist".into()), primary: name })
}

/// The plugin's entry in the network configuration.
fn entry(values: &Values<'_>, run_dir: &Path, native_nftables: bool) -> Result<Value, Failure> {
    let level = values.read(&LOG_LEVEL)?;
    let level = level.split(',').find_map(|part| match part.split_once(':') {
        Some(("cni-plugin" | "cni" | "all", level)) => Some(level),
        Some(_) => None,
        None => Some(part),
    });
    let excluded = values.variable("EXCLUDE_NAMESPACES").unwrap_or_default();
    let excluded: Vec<&str> = excluded.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let mut entry = Map::new();
    let mut set = |key: &str, value: Value| drop(entry.insert(key.to_owned(), value));
    set("name", json!(PLUGIN));
    set("type", json!(PLUGIN));
    set("plugin_log_level", json!(level.filter(|level| !level.is_empty()).unwrap_or("info")));
    set("cni_agent_run_dir", json!(run_dir));
    set("ambient_enabled", json!(values.read(&AMBIENT)?));
    set("enablement_selectors", selectors(values)?);
    set("exclude_namespaces", json!(excluded));
    set("pod_namespace", json!(values.variable("POD_NAMESPACE").unwrap_or_default()));
    set("native_nftables", json!(native_nftables));
    set("enable_ambient_detection_retry", json!(values.read(&DETECTION_RETRY)?));
    Ok(Value::Object(entry))
}

/// The chart's YAML, as JSON.
fn selectors(values: &Values<'_>) -> Result<Value, Failure> {
    const NAME: &str = "AMBIENT_ENABLEMENT_SELECTOR";
    let text = values.variable(NAME).filter(|text| !text.trim().is_empty());
    let text = text.unwrap_or_else(|| DEFAULT_SELECTORS.to_owned());
    match serde_saphyr::from_str::<Value>(&text) {
        Ok(selectors @ Value::Array(_)) => Ok(selectors),
        Ok(Value::Null) => Ok(json!([])),
        Ok(_) => Err(Failure::Selectors { name: NAME, reason: "it is not a list".into() }),
        Err(error) => Err(Failure::Selectors { name: NAME, reason: error.to_string() }),
    }
}

fn repair(values: &Values<'_>, native_nftables: bool) -> Result<Option<Repair>, Failure> {
    let action = if !values.read(&REPAIR)? {
        None
    } else if values.read(&REPAIR_PODS)? {
        Some(Action::Repair { proc: values.read(&PROC_DIR)?, native_nftables })
    } else if values.read(&DELETE_PODS)? {
        Some(Action::Delete)
    } else if values.read(&LABEL_PODS)? {
        Some(Action::Label { key: values.read(&LABEL_KEY)?, value: values.read(&LABEL_VALUE)? })
    } else {
        None
    };
    let Some(action) = action else { return Ok(None) };
    let node = values.read(&REPAIR_NODE)?.or_else(|| values.variable("NODE_NAME"));
    let node = node.filter(|node| !node.is_empty());
    let node = node.ok_or_else(|| values.missing(&REPAIR_NODE.definition))?;
    let fields = [format!("spec.nodeName={node}"), values.read(&REPAIR_FIELDS)?];
    let fields: Vec<String> = fields.into_iter().filter(|selector| !selector.is_empty()).collect();
    Ok(Some(Repair {
        collection: Collection::pods(fields.join(","), values.read(&REPAIR_LABELS)?),
        broken: Broken {
            annotation: values.read(&REPAIR_ANNOTATION)?,
            init_container: values.read(&REPAIR_CONTAINER)?,
            exit_code: values.read(&REPAIR_EXIT_CODE)?,
            message: values.read(&REPAIR_MESSAGE)?,
        },
        action,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Agent, Failure> {
        let variables: std::collections::HashMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let environment = move |name: &str| variables.get(name).cloned();
        let arguments =
            std::iter::once("install-cni").chain(arguments.iter().copied()).map(OsString::from).collect();
        agent(&Values::parse(command(), SETTINGS, "", arguments, &environment)?)
    }

    const KUBERNETES: [(&str, &str); 2] =
        [("KUBERNETES_SERVICE_HOST", "fd00::1"), ("KUBERNETES_SERVICE_PORT", "443")];

    /// The ConfigMap and the variables of istio/istio's chart, with its defaults.
    #[test]
    fn the_chart_is_understood() {
        let chart = [
            ("CURRENT_AGENT_VERSION", "1.30"),
            ("AMBIENT_ENABLED", "false"),
            (
                "AMBIENT_ENABLEMENT_SELECTOR",
                "- podSelector:\n    matchLabels: {istio.io/dataplane-mode: ambient}\n",
            ),
            ("AMBIENT_DNS_CAPTURE", "true"),
            ("ISTIO_OWNED_CNI_CONFIG", "false"),
            ("CHAINED_CNI_PLUGIN", "true"),
            ("EXCLUDE_NAMESPACES", "kube-system"),
            ("REPAIR_ENABLED", "true"),
            ("REPAIR_LABEL_PODS", "false"),
            ("REPAIR_DELETE_PODS", "false"),
            ("REPAIR_REPAIR_PODS", "true"),
            ("REPAIR_INIT_CONTAINER_NAME", "istio-validation"),
            ("REPAIR_NODE_NAME", "n1"),
            ("REPAIR_RUN_AS_DAEMON", "true"),
            ("NATIVE_NFTABLES", "false"),
            ("POD_NAMESPACE", "istio-system"),
        ];
        let agent =
            parse(&["--log_output_level=cni:debug", "--log_as_json"], &[&chart[..], &KUBERNETES].concat())
                .unwrap();
        assert_eq!(agent.access.server, "https://[fd00::1]:443");
        assert_eq!(agent.installer.placement, Placement::Chained(None));
        assert_eq!(
            agent.installer.entry,
            json!({
                "name": "istio-cni", "type": "istio-cni", "plugin_log_level": "debug",
                "cni_agent_run_dir": "/var/run/istio-cni", "ambient_enabled": false,
                "enablement_selectors": [{"podSelector": {"matchLabels": {"istio.io/dataplane-mode": "ambient"}}}],
                "exclude_namespaces": ["kube-system"], "pod_namespace": "istio-system", "native_nftables": false,
                "enable_ambient_detection_retry": false,
            })
        );
        let repair = agent.repair.unwrap();
        assert_eq!(repair.collection.fields, "spec.nodeName=n1");
        assert_eq!(repair.action, Action::Repair { proc: "/host/proc".into(), native_nftables: false });
        assert_eq!((agent.monitoring_port, agent.installer.kubeconfig_mode), (Some(15014), 0o600));
    }

    #[test]
    fn both_spellings_of_the_owned_list() {
        for variable in ["ISTIO_OWNED_CNI_CONF_FILENAME", "ISTIO_OWNED_CNI_CONFIG_FILENAME"] {
            let variables = [
                ("ISTIO_OWNED_CNI_CONFIG", "true"),
                ("AMBIENT_ENABLED", "true"),
                ("NODE_NAME", "n1"),
                (variable, "00-a.conflist"),
            ];
            let agent = parse(&[], &[&variables[..], &KUBERNETES].concat()).unwrap();
            assert_eq!(
                agent.installer.placement,
                Placement::Owned { name: "00-a.conflist".into(), primary: None }
            );
            assert!(agent.handover.owned_config);
        }
        let variables = [("CHAINED_CNI_PLUGIN", "false"), ("CNI_CONF_NAME", "istio-cni.conf")];
        let agent = parse(&["--monitoring-port=0"], &[&variables[..], &KUBERNETES].concat()).unwrap();
        assert_eq!(agent.installer.placement, Placement::Alone(Some("istio-cni.conf".into())));
        assert_eq!((agent.monitoring_port, agent.repair), (None, None));
    }

    #[test]
    fn bad_values_are_named() {
        let fail = |arguments: &[&str], variables: &[(&str, &str)]| {
            parse(arguments, &[variables, &KUBERNETES].concat()).unwrap_err().to_string()
        };
        assert!(parse(&[], &[]).unwrap_err().to_string().contains("KUBERNETES_SERVICE_HOST is not set"));
        assert!(
            fail(&[], &[("CHAINED_CNI_PLUGIN", "yes")]).contains("--chained-cni-plugin (CHAINED_CNI_PLUGIN)")
        );
        assert!(fail(&[], &[("MONITORING_PORT", "x")]).contains("MONITORING_PORT"));
        assert!(fail(&[], &[("KUBECONFIG_MODE", "rw")]).contains("KUBECONFIG_MODE"));
        assert!(
            fail(&[], &[("AMBIENT_ENABLEMENT_SELECTOR", "a: [")]).contains("AMBIENT_ENABLEMENT_SELECTOR")
        );
        assert!(fail(&[], &[("REPAIR_DELETE_PODS", "true")]).contains("REPAIR_NODE_NAME"));
        assert!(fail(&["--unknown"], &[]).contains("--unknown"));
    }
}
