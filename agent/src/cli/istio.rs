//! `install-cni`: the flags and variables of Istio's node agent.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Command;
use serde_json::{Map, Value, json};

use super::Failure;
use super::service::{CA_FILE, REMOVE_BINARY, SERVICE_ACCOUNT, SKIP_VERIFY, access, kubeconfig};
use super::setting::{Setting, SettingError, Values};
use crate::ambient::handover::Handover;
use crate::ambient::settings::Settings;
use crate::install::Binary;
use crate::install::istio::{IstioInstaller, PLUGIN, Placement};
use crate::kubernetes::Collection;
use crate::log::{Format, Levels, Output};
use crate::node::istio::{Agent, Repair, run};
use crate::repair::istio::{Action, Broken};

static SETTINGS: [Setting; 44] = [
    Setting::value("mounted-cni-bin-dir", "/host/opt/cni/bin", "Where the host's plugins are mounted"),
    Setting::value(
        "mounted-cni-net-dir",
        "/host/etc/cni/net.d",
        "Where the host's network configurations are mounted",
    ),
    Setting::value("cni-source-dir", "/opt/cni/bin", "Where the image has the plugin"),
    Setting::value("cni-agent-run-dir", "/var/run/istio-cni", "The agent's folder, on the host and here"),
    Setting::value("cni-conf-name", "", "The network configuration to edit, or to write"),
    Setting::switch("chained-cni-plugin", "true", "Whether the plugin goes into another CNI's list"),
    Setting::switch("istio-owned-cni-config", "false", "Whether it goes into a list of its own"),
    Setting::value(
        "istio-owned-cni-config-filename",
        "",
        "That list's name [default: 02-istio-cni.conflist]",
    ),
    Setting::switch(
        "cni-conf-group-read",
        "false",
        "Whether a new network configuration is readable by its group",
    ),
    Setting::value("kubeconfig-mode", "0600", "The mode of the plugin's kubeconfig"),
    CA_FILE,
    SKIP_VERIFY,
    REMOVE_BINARY,
    SERVICE_ACCOUNT,
    Setting::value("monitoring-port", "15014", "The port of /metrics; 0 or less for none"),
    Setting::value("health-port", "8000", "The port of /healthz and /readyz"),
    Setting::value("host-proc-dir", "/host/proc", "Where the host's /proc is mounted"),
    Setting::value("host-root-dir", "/host", "Where the host's folders of network namespaces are mounted"),
    Setting::switch("ambient-enabled", "false", "Whether the node is part of an ambient mesh"),
    Setting::switch("ambient-disable-safe-upgrade", "false", "Whether the plugin is removed at every stop"),
    Setting::value("ztunnel-uds-address", "/var/run/ztunnel/ztunnel.sock", "ztunnel's socket"),
    Setting::switch(
        "enable-ambient-detection-retry",
        "false",
        "Whether the plugin insists on knowing a pod's mode",
    ),
    Setting::switch("repair-enabled", "true", "Whether broken pods are repaired"),
    Setting::value("repair-node-name", "", "The node whose pods are repaired"),
    Setting::value(
        "repair-sidecar-annotation",
        "sidecar.istio.io/status",
        "The annotation of pods with a sidecar",
    ),
    Setting::value("repair-init-container-name", "istio-validation", "The init container that validates"),
    Setting::value("repair-init-container-exit-code", "126", "Its exit code in broken pods; 0 for any"),
    Setting::value(
        "repair-init-container-termination-message",
        "",
        "Its message in broken pods; empty for any",
    ),
    Setting::value("repair-label-selectors", "", "Narrows the pods that are repaired"),
    Setting::value("repair-field-selectors", "", "Narrows the pods that are repaired"),
    Setting::switch("repair-repair-pods", "false", "Repair broken pods in place"),
    Setting::switch("repair-delete-pods", "false", "Delete broken pods"),
    Setting::switch("repair-label-pods", "false", "Label broken pods"),
    Setting::value("repair-broken-pod-label-key", "cni.istio.io/uninitialized", "That label's key"),
    Setting::value("repair-broken-pod-label-value", "true", "That label's value"),
    Setting::switch("repair-run-as-daemon", "true", "Ignored"),
    Setting::value("cni-network-config", "", "Ignored"),
    Setting::value("cni-network-config-file", "", "Ignored"),
    Setting::value("log-level", "", "Ignored: see --log_output_level"),
    Setting::value("ctrlz_port", "9876", "Ignored"),
    Setting::value("ctrlz_address", "localhost", "Ignored"),
    Setting::value(
        "log_output_level",
        "info",
        "LEVEL or SCOPE:LEVEL,... of the scopes cni-agent, cni-plugin, default",
    ),
    Setting::switch("log_as_json", "false", "Log JSON"),
    Setting::value("log_target", "stdout", "stdout or stderr"),
];

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
    let values = Values::parse(command, &SETTINGS, "", arguments, environment)?;
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
    let (levels, unusual) = Levels::parse(&values.text("log_output_level"))?;
    let format = if values.boolean("log_as_json")? { Format::Json } else { Format::Text };
    let output = if values.text("log_target") == "stderr" { Output::Stderr } else { Output::Stdout };
    crate::log::start(levels, format, output);
    Ok(unusual)
}

fn agent(values: &Values<'_>) -> Result<Agent, Failure> {
    let run_dir = PathBuf::from(values.text("cni-agent-run-dir"));
    let access = access(values)?;
    let native_nftables = values.boolean_variable("NATIVE_NFTABLES", false)?;
    let bin_dir = PathBuf::from(values.text("mounted-cni-bin-dir"));
    let installer = IstioInstaller {
        binary: Binary {
            source: Path::new(&values.text("cni-source-dir")).join(PLUGIN),
            target: bin_dir.join(PLUGIN),
            remove: values.boolean(REMOVE_BINARY.flag)?,
        },
        net_dir: values.text("mounted-cni-net-dir").into(),
        placement: placement(values)?,
        config_mode: if values.boolean("cni-conf-group-read")? { 0o640 } else { 0o600 },
        kubeconfig: kubeconfig(values, &access, "istio-cni", "istio-cni-context")?,
        kubeconfig_mode: values.mode("kubeconfig-mode")?,
        entry: entry(values, &run_dir, native_nftables)?,
        run_dir,
    };
    let ambient = values.boolean("ambient-enabled")?;
    // Some of its variables are flags, too.
    let variable = |name: &str| match name {
        "ZTUNNEL_UDS_ADDRESS" => values.nonempty("ztunnel-uds-address"),
        "CNI_AGENT_RUN_DIR" => values.nonempty("cni-agent-run-dir"),
        "HOST_PROC_DIR" => values.nonempty("host-proc-dir"),
        "HOST_ROOT_DIR" => values.nonempty("host-root-dir"),
        name => values.variable(name),
    };
    let ambient = ambient.then(|| Settings::from_variables(variable)).transpose()?;
    let owned = matches!(installer.placement, Placement::Owned { .. });
    Ok(Agent {
        installer,
        access,
        monitoring_port: port(values, "monitoring-port")?,
        health_port: port(values, "health-port")?.unwrap_or(8000),
        handover: Handover {
            namespace: values.variable("POD_NAMESPACE").unwrap_or_default(),
            node: values.variable("NODE_NAME").unwrap_or_default(),
            disabled: values.boolean("ambient-disable-safe-upgrade")?,
            owned_config: owned,
        },
        ambient,
        repair: repair(values, native_nftables)?,
        proc: values.text("host-proc-dir").into(),
    })
}

/// Where the plugin's entry goes. A list of its own exists in ambient mode only.
fn placement(values: &Values<'_>) -> Result<Placement, SettingError> {
    let name = values.nonempty("cni-conf-name");
    if !values.boolean("chained-cni-plugin")? {
        return Ok(Placement::Alone(name));
    }
    if !values.boolean("istio-owned-cni-config")? || !values.boolean("ambient-enabled")? {
        return Ok(Placement::Chained(name));
    }
    // Istio's chart sets the one and its program reads the other.
    let owned = values.nonempty("istio-owned-cni-config-filename");
    let owned =
        owned.or_else(|| values.variable("ISTIO_OWNED_CNI_CONF_FILENAME").filter(|name| !name.is_empty()));
    Ok(Placement::Owned { name: owned.unwrap_or_else(|| "02-istio-cni.conflist".into()), primary: name })
}

/// The plugin's entry in the network configuration.
fn entry(values: &Values<'_>, run_dir: &Path, native_nftables: bool) -> Result<Value, Failure> {
    let level = values.text("log_output_level");
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
    set("ambient_enabled", json!(values.boolean("ambient-enabled")?));
    set("enablement_selectors", selectors(values)?);
    set("exclude_namespaces", json!(excluded));
    set("pod_namespace", json!(values.variable("POD_NAMESPACE").unwrap_or_default()));
    set("native_nftables", json!(native_nftables));
    set("enable_ambient_detection_retry", json!(values.boolean("enable-ambient-detection-retry")?));
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

fn port(values: &Values<'_>, flag: &'static str) -> Result<Option<u16>, SettingError> {
    let number = values.number(flag)?;
    if number <= 0 {
        return Ok(None);
    }
    u16::try_from(number).map(Some).map_err(|_| SettingError::Value {
        name: format!("--{flag}"),
        value: number.to_string(),
        expected: "a port, up to 65535",
    })
}

fn repair(values: &Values<'_>, native_nftables: bool) -> Result<Option<Repair>, Failure> {
    let action = if !values.boolean("repair-enabled")? {
        None
    } else if values.boolean("repair-repair-pods")? {
        Some(Action::Repair { proc: values.text("host-proc-dir").into(), native_nftables })
    } else if values.boolean("repair-delete-pods")? {
        Some(Action::Delete)
    } else if values.boolean("repair-label-pods")? {
        let (key, value) =
            (values.text("repair-broken-pod-label-key"), values.text("repair-broken-pod-label-value"));
        Some(Action::Label { key, value })
    } else {
        None
    };
    let Some(action) = action else { return Ok(None) };
    let node = values.nonempty("repair-node-name").or_else(|| values.variable("NODE_NAME"));
    let node =
        node.filter(|node| !node.is_empty()).map_or_else(|| values.required("repair-node-name"), Ok)?;
    let fields = [format!("spec.nodeName={node}"), values.text("repair-field-selectors")];
    let fields: Vec<String> = fields.into_iter().filter(|selector| !selector.is_empty()).collect();
    Ok(Some(Repair {
        collection: Collection::pods(fields.join(","), values.text("repair-label-selectors")),
        broken: Broken {
            annotation: values.text("repair-sidecar-annotation"),
            init_container: values.text("repair-init-container-name"),
            exit_code: values.number("repair-init-container-exit-code")?,
            message: values.text("repair-init-container-termination-message"),
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
        agent(&Values::parse(command(), &SETTINGS, "", arguments, &environment)?)
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
