//! What Kubernetes gives every pod: the API server's address, and a service account.

use std::path::{Path, PathBuf};

use super::setting::{SettingError, Values};
use crate::install::kubeconfig::server;

/// Where Kubernetes mounts it.
pub(super) const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The API server's URL.
pub(super) fn api_server(values: &Values<'_>) -> Result<String, SettingError> {
    let needed = |name: &'static str| {
        values.variable(name).filter(|value| !value.is_empty()).ok_or(SettingError::Missing(name))
    };
    let (host, port) = (needed("KUBERNETES_SERVICE_HOST")?, needed("KUBERNETES_SERVICE_PORT")?);
    let protocol = values.variable("KUBERNETES_SERVICE_PROTOCOL").filter(|protocol| !protocol.is_empty());
    Ok(server(protocol.as_deref().unwrap_or("https"), &host, &port))
}

/// The service account's folder.
pub(super) fn service_account(values: &Values<'_>) -> PathBuf {
    values.text("service-account-dir").into()
}

/// The CA's file, unless nothing is verified.
pub(super) fn ca(values: &Values<'_>, account: &Path) -> Result<Option<PathBuf>, SettingError> {
    if values.boolean("skip-tls-verify")? {
        return Ok(None);
    }
    Ok(Some(values.nonempty("kube-ca-file").map_or_else(|| account.join("ca.crt"), PathBuf::from)))
}
