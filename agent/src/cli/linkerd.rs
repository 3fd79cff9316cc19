//! `linkerd2-cni-install` and `linkerd-cni-repair-controller`: the variables and flags of Linkerd's programs.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Command;

use super::Failure;
use super::service::{CA_FILE, REMOVE_BINARY, SERVICE_ACCOUNT, SKIP_VERIFY, access, kubeconfig};
use super::setting::{Setting, SettingError, Values};
use crate::install::Binary;
use crate::install::linkerd::{LinkerdInstaller, PLUGIN, entry};
use crate::kubernetes::namespace;
use crate::log::{Format, Levels, Output, parse_directives};
use crate::node::linkerd::{Install, Repair, install, repair};

static INSTALLER: [Setting; 13] = [
    Setting::value("dest-cni-bin-dir", "/opt/cni/bin", "The host's folder of plugins"),
    Setting::value("dest-cni-net-dir", "/etc/cni/net.d", "The host's folder of network configurations"),
    Setting::value("container-cni-bin-dir", "/opt/cni/bin", "Where the image has the plugin"),
    Setting::value("container-mount-prefix", "/host", "Where the host's folders are mounted"),
    Setting::value("cni-network-config", "", "The plugin's network configuration"),
    Setting::value("cni-network-config-file", "", "A file with it"),
    Setting::value("kubeconfig-file-name", "ZZZ-linkerd-cni-kubeconfig", "The kubeconfig's name"),
    CA_FILE,
    SKIP_VERIFY,
    Setting::switch("keep-on-exit", "false", "Leave the plugin in place at every stop"),
    REMOVE_BINARY,
    SERVICE_ACCOUNT,
    Setting::value("log-level", "debug", "debug, info, warn or error"),
];

static CONTROLLER: [Setting; 6] = [
    Setting::value("node-name", "", "The node whose pods are repaired"),
    Setting::named(
        "controller-pod-name",
        "LINKERD_CNI_REPAIR_CONTROLLER_POD_NAME",
        "The controller's own pod, which its events name",
    ),
    Setting::value("log-level", "linkerd_cni_repair_controller=info,warn", "Log levels"),
    Setting::value("log-format", "plain", "plain or json"),
    Setting::value("admin-addr", "0.0.0.0:9990", "Where /live, /ready and /metrics are served"),
    SERVICE_ACCOUNT,
];

/// `linkerd2-cni-install`, until it is signalled.
pub(super) fn main(
    arguments: Vec<OsString>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<ExitCode, Failure> {
    let command = Command::new("linkerd2-cni-install")
        .about("Installs Linkerd's CNI plugin on a node")
        .version(env!("CARGO_PKG_VERSION"));
    let values = Values::parse(command, &INSTALLER, "", arguments, environment)?;
    crate::log::start(Levels::parse(&values.text("log-level"))?.0, Format::Text, Output::Stderr);
    super::block_on(install(installation(&values)?))
}

fn installation(values: &Values<'_>) -> Result<Install, Failure> {
    let access = access(values)?;
    let prefix = values.text("container-mount-prefix");
    let mounted = |path: &str| PathBuf::from(format!("{prefix}{path}"));
    let (bin_dir, net_dir) = (values.text("dest-cni-bin-dir"), values.text("dest-cni-net-dir"));
    let kubeconfig_name = values.text("kubeconfig-file-name");
    let template = template(values)?;
    let namespace = namespace(&access.service_account);
    let entry = entry(&template, &Path::new(&net_dir).join(&kubeconfig_name), namespace.as_deref())?;
    let installer = LinkerdInstaller {
        binary: Binary {
            source: Path::new(&values.text("container-cni-bin-dir")).join(PLUGIN),
            target: mounted(&bin_dir).join(PLUGIN),
            remove: values.boolean(REMOVE_BINARY.flag)?,
        },
        net_dir: mounted(&net_dir),
        kubeconfig_name,
        kubeconfig: kubeconfig(values, &access, "linkerd-cni", "linkerd-cni-context")?,
        entry,
    };
    Ok(Install { installer, keep_on_exit: values.boolean("keep-on-exit")? })
}

/// The variable first, then the file.
fn template(values: &Values<'_>) -> Result<String, Failure> {
    if let Some(text) = values.nonempty("cni-network-config") {
        return Ok(text);
    }
    let flag = "cni-network-config";
    let path = values
        .nonempty("cni-network-config-file")
        .ok_or_else(|| SettingError::Required { flag, variable: "CNI_NETWORK_CONFIG".into() })?;
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
        Values::parse(command, &CONTROLLER, "LINKERD_CNI_REPAIR_CONTROLLER_", arguments, environment)?;
    let format = match values.text("log-format").as_str() {
        "json" => Format::Json,
        _ => Format::Text,
    };
    crate::log::start(parse_directives(&values.text("log-level"))?, format, Output::Stdout);
    let address = values.text("admin-addr");
    let admin: SocketAddr = address.parse().map_err(|_| SettingError::Value {
        name: "--admin-addr".into(),
        value: address.clone(),
        expected: "an address and a port, such as 0.0.0.0:9990 or [::]:9990",
    })?;
    let pod_name = values.required("controller-pod-name")?;
    let node = values.required("node-name")?;
    super::block_on(repair(Repair { access: access(&values)?, admin, node, pod_name }))
}
