//! What Kubernetes gives every pod: the API server's address, and a service account.

use std::path::PathBuf;

use super::setting::{Setting, SettingError, Values};
use crate::install::kubeconfig::{Kubeconfig, server};
use crate::kubernetes::Access;

/// Where Kubernetes mounts the service account.
pub(super) static SERVICE_ACCOUNT: Setting<PathBuf> = Setting::path(
    "service-account-dir",
    "/var/run/secrets/kubernetes.io/serviceaccount",
    "Where the token and the CA are",
);

/// Another CA than the service account's.
pub(super) static CA_FILE: Setting<Option<String>> =
    Setting::optional("kube-ca-file", "The API server's CA instead of the service account's");

/// No CA at all.
pub(super) static SKIP_VERIFY: Setting<bool> =
    Setting::switch("skip-tls-verify", false, "Whether the plugin verifies nothing");

/// What happens to the plugin's executable.
pub(super) static REMOVE_BINARY: Setting<bool> =
    Setting::switch("remove-binary", false, "Whether an uninstallation removes the plugin's executable, too");

/// How the agent itself reaches the API server.
pub(super) fn access(values: &Values<'_>) -> Result<Access, SettingError> {
    Ok(Access { server: api_server(values)?, service_account: values.read(&SERVICE_ACCOUNT)? })
}

/// The plugin's kubeconfig, which has the agent's token.
pub(super) fn kubeconfig(
    values: &Values<'_>,
    access: &Access,
    user: &'static str,
    context: &'static str,
) -> Result<Kubeconfig, SettingError> {
    let account = &access.service_account;
    let ca = if values.read(&SKIP_VERIFY)? {
        None
    } else {
        Some(values.read(&CA_FILE)?.map_or_else(|| account.join("ca.crt"), PathBuf::from))
    };
    Ok(Kubeconfig { server: access.server.clone(), ca, token: account.join("token"), user, context })
}

/// The API server's URL.
fn api_server(values: &Values<'_>) -> Result<String, SettingError> {
    let needed = |name: &'static str| {
        values.variable(name).filter(|value| !value.is_empty()).ok_or(SettingError::Missing(name))
    };
    let (host, port) = (needed("KUBERNETES_SERVICE_HOST")?, needed("KUBERNETES_SERVICE_PORT")?);
    let protocol = values.variable("KUBERNETES_SERVICE_PROTOCOL").filter(|protocol| !protocol.is_empty());
    Ok(server(protocol.as_deref().unwrap_or("https"), &host, &port))
}
