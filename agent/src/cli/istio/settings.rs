//! The flags and variables of `install-cni`.

use std::path::PathBuf;

use crate::cli::service::{CA_FILE, REMOVE_BINARY, SERVICE_ACCOUNT, SKIP_VERIFY};
use crate::cli::setting::{Definition, Setting};
use crate::log::Output;

pub(super) static BIN_DIR: Setting<PathBuf> =
    Setting::path("mounted-cni-bin-dir", "/host/opt/cni/bin", "Where the host's plugins are mounted");
pub(super) static NET_DIR: Setting<PathBuf> = Setting::path(
    "mounted-cni-net-dir",
    "/host/etc/cni/net.d",
    "Where the host's network configurations are mounted",
);
pub(super) static SOURCE_DIR: Setting<PathBuf> =
    Setting::path("cni-source-dir", "/opt/cni/bin", "Where the image has the plugin");
pub(super) static RUN_DIR: Setting<PathBuf> =
    Setting::path("cni-agent-run-dir", "/var/run/istio-cni", "The agent's folder, on the host and here");
pub(super) static CONF_NAME: Setting<Option<String>> =
    Setting::optional("cni-conf-name", "The network configuration to edit, or to write");
pub(super) static CHAINED: Setting<bool> =
    Setting::switch("chained-cni-plugin", true, "Whether the plugin goes into another CNI's list");
pub(super) static OWNED: Setting<bool> =
    Setting::switch("istio-owned-cni-config", false, "Whether it goes into a list of its own");
pub(super) static OWNED_NAME: Setting<Option<String>> =
    Setting::optional("istio-owned-cni-config-filename", "That list's name [default: 02-istio-cni.conflist]");
pub(super) static GROUP_READ: Setting<bool> = Setting::switch(
    "cni-conf-group-read",
    false,
    "Whether a new network configuration is readable by its group",
);
pub(super) static KUBECONFIG_MODE: Setting<u32> =
    Setting::mode("kubeconfig-mode", "0600", "The mode of the plugin's kubeconfig");
pub(super) static MONITORING_PORT: Setting<Option<u16>> =
    Setting::port("monitoring-port", "15014", "The port of /metrics; 0 or less for none");
pub(super) static HEALTH_PORT: Setting<Option<u16>> =
    Setting::port("health-port", "8000", "The port of /healthz and /readyz");
pub(super) static PROC_DIR: Setting<PathBuf> =
    Setting::path("host-proc-dir", "/host/proc", "Where the host's /proc is mounted");
pub(super) static ROOT_DIR: Setting<PathBuf> =
    Setting::path("host-root-dir", "/host", "Where the host's folders of network namespaces are mounted");
pub(super) static AMBIENT: Setting<bool> =
    Setting::switch("ambient-enabled", false, "Whether the node is part of an ambient mesh");
pub(super) static UNSAFE_UPGRADE: Setting<bool> =
    Setting::switch("ambient-disable-safe-upgrade", false, "Whether the plugin is removed at every stop");
pub(super) static ZTUNNEL_SOCKET: Setting<PathBuf> =
    Setting::path("ztunnel-uds-address", "/var/run/ztunnel/ztunnel.sock", "ztunnel's socket");
pub(super) static DETECTION_RETRY: Setting<bool> = Setting::switch(
    "enable-ambient-detection-retry",
    false,
    "Whether the plugin insists on knowing a pod's mode",
);
pub(super) static REPAIR: Setting<bool> =
    Setting::switch("repair-enabled", true, "Whether broken pods are repaired");
pub(super) static REPAIR_NODE: Setting<Option<String>> =
    Setting::optional("repair-node-name", "The node whose pods are repaired");
pub(super) static REPAIR_ANNOTATION: Setting<String> = Setting::text(
    "repair-sidecar-annotation",
    "sidecar.istio.io/status",
    "The annotation of pods with a sidecar",
);
pub(super) static REPAIR_CONTAINER: Setting<String> =
    Setting::text("repair-init-container-name", "istio-validation", "The init container that validates");
pub(super) static REPAIR_EXIT_CODE: Setting<i32> =
    Setting::number("repair-init-container-exit-code", "126", "Its exit code in broken pods; 0 for any");
pub(super) static REPAIR_MESSAGE: Setting<String> = Setting::text(
    "repair-init-container-termination-message",
    "",
    "Its message in broken pods; empty for any",
);
pub(super) static REPAIR_LABELS: Setting<String> =
    Setting::text("repair-label-selectors", "", "Narrows the pods that are repaired");
pub(super) static REPAIR_FIELDS: Setting<String> =
    Setting::text("repair-field-selectors", "", "Narrows the pods that are repaired");
pub(super) static REPAIR_PODS: Setting<bool> =
    Setting::switch("repair-repair-pods", false, "Repair broken pods in place");
pub(super) static DELETE_PODS: Setting<bool> =
    Setting::switch("repair-delete-pods", false, "Delete broken pods");
pub(super) static LABEL_PODS: Setting<bool> =
    Setting::switch("repair-label-pods", false, "Label broken pods");
pub(super) static LABEL_KEY: Setting<String> =
    Setting::text("repair-broken-pod-label-key", "cni.istio.io/uninitialized", "That label's key");
pub(super) static LABEL_VALUE: Setting<String> =
    Setting::text("repair-broken-pod-label-value", "true", "That label's value");
pub(super) static LOG_LEVEL: Setting<String> = Setting::text(
    "log_output_level",
    "info",
    "LEVEL or SCOPE:LEVEL,... of the scopes cni-agent, cni-plugin, default",
);
pub(super) static LOG_AS_JSON: Setting<bool> = Setting::switch("log_as_json", false, "Log JSON");
pub(super) static LOG_TARGET: Setting<Output> =
    Setting::new("log_target", "stdout", "stdout or stderr", |target| {
        Ok(if target == "stderr" { Output::Stderr } else { Output::Stdout })
    });
pub(super) static AS_DAEMON: Setting<()> = Setting::ignored("repair-run-as-daemon", "true", "Ignored");
pub(super) static NETWORK_CONFIG: Setting<()> = Setting::ignored("cni-network-config", "", "Ignored");
pub(super) static NETWORK_CONFIG_FILE: Setting<()> =
    Setting::ignored("cni-network-config-file", "", "Ignored");
pub(super) static OTHER_LOG_LEVEL: Setting<()> =
    Setting::ignored("log-level", "", "Ignored: see --log_output_level");
pub(super) static CTRLZ_PORT: Setting<()> = Setting::ignored("ctrlz_port", "9876", "Ignored");
pub(super) static CTRLZ_ADDRESS: Setting<()> = Setting::ignored("ctrlz_address", "localhost", "Ignored");

pub(super) static SETTINGS: &[&Definition] = &[
    &BIN_DIR.definition,
    &NET_DIR.definition,
    &SOURCE_DIR.definition,
    &RUN_DIR.definition,
    &CONF_NAME.definition,
    &CHAINED.definition,
    &OWNED.definition,
    &OWNED_NAME.definition,
    &GROUP_READ.definition,
    &KUBECONFIG_MODE.definition,
    &CA_FILE.definition,
    &SKIP_VERIFY.definition,
    &REMOVE_BINARY.definition,
    &SERVICE_ACCOUNT.definition,
    &MONITORING_PORT.definition,
    &HEALTH_PORT.definition,
    &PROC_DIR.definition,
    &ROOT_DIR.definition,
    &AMBIENT.definition,
    &UNSAFE_UPGRADE.definition,
    &ZTUNNEL_SOCKET.definition,
    &DETECTION_RETRY.definition,
    &REPAIR.definition,
    &REPAIR_NODE.definition,
    &REPAIR_ANNOTATION.definition,
    &REPAIR_CONTAINER.definition,
    &REPAIR_EXIT_CODE.definition,
    &REPAIR_MESSAGE.definition,
    &REPAIR_LABELS.definition,
    &REPAIR_FIELDS.definition,
    &REPAIR_PODS.definition,
    &DELETE_PODS.definition,
    &LABEL_PODS.definition,
    &LABEL_KEY.definition,
    &LABEL_VALUE.definition,
    &AS_DAEMON.definition,
    &NETWORK_CONFIG.definition,
    &NETWORK_CONFIG_FILE.definition,
    &OTHER_LOG_LEVEL.definition,
    &CTRLZ_PORT.definition,
    &CTRLZ_ADDRESS.definition,
    &LOG_LEVEL.definition,
    &LOG_AS_JSON.definition,
    &LOG_TARGET.definition,
];
