//! `linkerd2-cni-install` and `linkerd-cni-repair-controller`: the variables and flags of Linkerd's programs.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Command;

use super::Failure;
use super::service::{CA_FILE, REMOVE_BINARY, SERVICE_ACCOUNT, SKIP_VERIFY, access, kubeconfig};
use super::setting::{Definition, Fault, Setting, Values};
use crate::install::Binary;
use crate::install::linkerd::{LinkerdInstaller, PLUGIN, entry};
use crate::kubernetes::namespace;
use crate::log::{Format, Levels, Output, parse_directives};
use crate::node::linkerd::{Install, Repair, install, repair};

static BIN_DIR: Setting<String> =
    Setting::text("dest-cni-bin-dir", "/opt/cni/bin", "The host's folder of plugins");
static NET_DIR: Setting<String> =
    Setting::text("dest-cni-net-dir", "/etc/cni/net.d", "The host's folder of network configurations");
static SOURCE_DIR: Setting<PathBuf> =
    Setting::path("container-cni-bin-dir", "/opt/cni/bin", "Where the image has the plugin");
static PREFIX: Setting<String> =
    Setting::text("container-mount-prefix", "/host", "Where the host's folders are mounted");
static CONFIG: Setting<Option<String>> =
    Setting::optional("cni-network-config", "The plugin's network configuration");
static CONFIG_FILE: Setting<Option<String>> = Setting::optional("cni-network-config-file", "A file with it");
static KUBECONFIG_NAME: Setting<String> =
    Setting::text("kubeconfig-file-name", "ZZZ-linkerd-cni-kubeconfig", "The kubeconfig's name");
static KEEP_ON_EXIT: Setting<bool> =
    Setting::switch("keep-on-exit", false, "Leave the plugin in place at every stop");
static LOG_LEVEL: Setting<String> = Setting::text("log-level", "debug", "debug, info, warn or error");

static INSTALLER: &[&Definition] = &[
    &BIN_DIR.definition,
    &NET_DIR.definition,
    &SOURCE_DIR.definition,
    &PREFIX.definition,
    &CONFIG.definition,
    &CONFIG_FILE.definition,
    &KUBECONFIG_NAME.definition,
    &CA_FILE.definition,
    &SKIP_VERIFY.definition,
    &KEEP_ON_EXIT.definition,
    &REMOVE_BINARY.definition,
    &SERVICE_ACCOUNT.definition,
    &LOG_LEVEL.definition,
];

static NODE_NAME: Setting<Option<String>> =
    Setting::optional("node-name", "The node whose pods are repaired");
static POD_NAME: Setting<Option<String>> = Setting::named(
    "controller-pod-name",
    "LINKERD_CNI_REPAIR_CONTROLLER_POD_NAME",
    "The controller's own pod, which its events name",
);
static LOG_LEVELS: Setting<String> =
    Setting::text("log-level", "linkerd_cni_repair_controller=info,warn", "Log levels");
static LOG_FORMAT: Setting<Format> = Setting::new("log-format", "plain", "plain or json", |format| {
    Ok(if format == "json" { Format::Json } else { Format::Text })
});
static ADMIN_ADDRESS: Setting<SocketAddr> =
    Setting::new("admin-addr", "0.0.0.0:9990", "Where /live, /ready and /metrics are served", |address| {
        let expected = "an address and a port, such as 0.0.0.0:9990 or [::]:9990";
        address.parse().map_err(|_| Fault::Expected(expected))
    });

static CONTROLLER: &[&Definition] = &[
    &NODE_NAME.definition,
    &POD_NAME.definition,
    &LOG_LEVELS.definition,
    &LOG_FORMAT.definition,
    &ADMIN_ADDRESS.definition,
    &SERVICE_ACCOUNT.definition,
];

/// `linkerd2-cni-install`, until it is signalled.
pub(super) fn main(
    arguments: Vec<OsString>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<ExitCode, Failure> {
    let command = Command::new("linkerd2-cni-install")
        .about("Installs Linkerd's CNI plugin on a node")
        .version(env!("CARGO_PKG_VERSION"));
    let values = Values::parse(command, INSTALLER, "", arguments, environment)?;
    crate::log::start(Levels::parse(&values.read(&LOG_LEVEL)?)?.0, Format::Text, Output::Stderr);
    super::block_on(install(installation(&values)?))
}

fn installation(values: &Values<'_>) -> Result<Install, Failure> {
    let access = access(values)?;
    let prefix = values.read(&PREFIX)?;
    let mounted = |path: &str| PathBuf::from(format!("{prefix}{path}"));
    let (bin_dir, net_dir) = (values.read(&BIN_DIR)?, values.read(&NET_DIR)?);
    let kubeconfig_name = values.read(&KUBECONFIG_NAME)?;
    let template = template(values)?;
    let namespace = namespace(&access.service_account);
    let entry = entry(&template, &Path::new(&net_dir).join(&kubeconfig_name), namespace.as_deref())?;
    let installer = LinkerdInstaller {
        binary: Binary {
            source: values.read(&SOURCE_DIR)?.join(PLUGIN),
            target: mounted(&bin_dir).join(PLUGIN),
            remove: values.read(&REMOVE_BINARY)?,
        },
        net_dir: mounted(&net_dir),
        kubeconfig_name,
        kubeconfig: kubeconfig(values, &access, "linkerd-cni", "linkerd-cni-context")?,
        entry,
    };
    Ok(Install { installer, keep_on_exit: values.read(&KEEP_ON_EXIT)? })
}

/// The variable first, then the file.
fn template(values: &Values<'_>) -> Result<String, Failure> {
    if let Some(text) = values.read(&CONFIG)? {
        return Ok(text);
    }
    let path = values.read(&CONFIG_FILE)?.ok_or_else(|| values.missing(&CONFIG.definition))?;
    std::fs::read_to_string(&path).map_err(|error| Failure::Template { path: path.into(), error })
}

/// `linkerd-cni-repair-controller`, until it is signalled.
pub(super) fn repair_main(
    arguments: Vec<OsString>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<ExitCode, Failure> {
    let command = Command::new("linkerd-cni-repair-controller")
        .about("Deletes Linkerd's pods that were started without their rules")
        .version(env!("CARGO_PKG_VERSION"));
    let values =
        Values::parse(command, CONTROLLER, "LINKERD_CNI_REPAIR_CONTROLLER_", arguments, environment)?;
    let levels = parse_directives(&values.read(&LOG_LEVELS)?)?;
    crate::log::start(levels, values.read(&LOG_FORMAT)?, Output::Stdout);
    let admin = values.read(&ADMIN_ADDRESS)?;
    let (pod_name, node) = (values.required(&POD_NAME)?, values.required(&NODE_NAME)?);
    super::block_on(repair(Repair { access: access(&values)?, admin, node, pod_name }))
}
