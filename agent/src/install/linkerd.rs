//! `linkerd2-cni-install`: Linkerd's plugin.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::chain::{self, Edited};
use super::conflist::{Form, Network};
use super::kubeconfig::Kubeconfig;
use super::{Binary, InstallError, Installed, Installer};
use crate::files;

/// The plugin's type and name.
pub const PLUGIN: &str = "linkerd-cni";
/// What the chart writes where the kubeconfig's path on the host belongs.
const PLACEHOLDER: &str = "__KUBECONFIG_FILEPATH__";
/// The mode that Kubernetes' own documentation asks for: only root reads the token.
const KUBECONFIG_MODE: u32 = 0o600;

/// The installation of Linkerd's plugin.
#[derive(Clone, Debug)]
pub struct LinkerdInstaller {
    /// The executable.
    pub binary: Binary,
    /// The folder of the network configurations, as this container sees it.
    pub net_dir: PathBuf,
    /// The kubeconfig's name in that folder.
    pub kubeconfig_name: String,
    /// The kubeconfig's content.
    pub kubeconfig: Kubeconfig,
    /// The plugin's entry.
    pub entry: Value,
}

/// Why the entry cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// Not a JSON object
    #[error("the network configuration of the plugin is not a JSON object: {0}")]
    Json(serde_json::Error),
    /// Another plugin's, or none's
    #[error("the network configuration of the plugin has type {0}, not \"{PLUGIN}\"")]
    Type(Value),
}

impl From<serde_json::Error> for TemplateError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

/// The plugin's entry from the chart's template: the kubeconfig's path on the host goes in, and the installer's namespace,
/// so that the plugin lets the installer's own pod start without the API server.
///
/// # Errors
/// See [`TemplateError`].
pub fn entry(template: &str, kubeconfig: &Path, namespace: Option<&str>) -> Result<Value, TemplateError> {
    let path = Value::from(kubeconfig.to_string_lossy()).to_string();
    let text = template.replace(PLACEHOLDER, path.trim_matches('"'));
    let mut entry: serde_json::Map<String, Value> = serde_json::from_str(&text)?;
    if entry.get("type").and_then(Value::as_str) != Some(PLUGIN) {
        return Err(TemplateError::Type(entry.remove("type").unwrap_or_default()));
    }
    if let Some(namespace) = namespace {
        entry.insert("pod_namespace".into(), Value::from(namespace));
    }
    Ok(Value::Object(entry))
}

impl Installer for LinkerdInstaller {
    fn folders(&self) -> Vec<PathBuf> {
        let folder = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_owned();
        vec![folder(&self.binary.target), self.net_dir.clone(), folder(&self.kubeconfig.token)]
    }

    fn install(&self) -> Result<Installed, InstallError> {
        super::tidy(&[&self.net_dir], PLUGIN);
        let binary = self.binary.install()?;
        let kubeconfig = self.kubeconfig.write(&self.net_dir.join(&self.kubeconfig_name), KUBECONFIG_MODE)?;
        let mut installed = Installed { binary, kubeconfig, ..Installed::default() };
        let mut found = 0;
        for (name, _) in chain::configurations(&self.net_dir)? {
            match chain::add(&self.net_dir.join(&name), &self.entry) {
                Ok(Edited::Written(path)) => {
                    tracing::info!(target: "cni-agent", "reconfigured cni: {}", path.display());
                    installed.written.push(path);
                    found += 1;
                }
                Ok(Edited::Unchanged) => found += 1,
                Ok(Edited::Missing) => {}
                // It was one a moment ago: another program is writing it.
                Err(InstallError::Foreign { path, error }) => {
                    tracing::warn!(target: "cni-agent", "skipping {}: {error}", path.display());
                }
                Err(error) => return Err(error),
            }
        }
        installed.waiting = found == 0;
        Ok(installed)
    }

    fn is_installed(&self) -> bool {
        let Ok(found) = chain::configurations(&self.net_dir) else { return false };
        let configured = |(name, network): &(String, Network)| {
            Form::of(name) == Some(Form::List) && network.has(&self.entry)
        };
        !found.is_empty()
            && found.iter().all(configured)
            && self.binary.target.exists()
            && self.net_dir.join(&self.kubeconfig_name).exists()
    }

    fn uninstall(&self) -> Vec<InstallError> {
        let mut errors = Vec::new();
        match chain::configurations(&self.net_dir) {
            Err(error) => errors.push(error),
            Ok(found) => {
                errors.extend(
                    found
                        .iter()
                        .filter_map(|(name, _)| chain::remove(&self.net_dir.join(name), PLUGIN).err()),
                );
            }
        }
        let kubeconfig = files::remove(&self.net_dir.join(&self.kubeconfig_name));
        errors.extend(kubeconfig.err().map(|error| InstallError::Kubeconfig(error.into())));
        errors.extend(self.binary.uninstall().err());
        errors
    }
}
