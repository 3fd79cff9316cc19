//! `install-cni`: Istio's plugin.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::chain::{self, Edited};
use super::conflist::{Form, Network};
use super::kubeconfig::Kubeconfig;
use super::{Binary, InstallError, Installed, Installer};
use crate::files;

/// The plugin's type and name.
pub const PLUGIN: &str = "istio-cni";
/// The kubeconfig's name in the agent's folder.
pub const KUBECONFIG: &str = "istio-cni-kubeconfig";
/// The file of a plugin that another one calls by name (Multus).
const UNCHAINED: &str = "YYY-istio-cni.conf";

/// Where the plugin's entry goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Into the primary CNI's list: the one of this name, or the first that the runtime reads.
    Chained(Option<String>),
    /// Into a file of its own that is not a list, with this name or Istio's.
    Alone(Option<String>),
    /// Into a list of its own, which has the primary's plugins, too, and has to be read first.
    Owned {
        /// Its name
        name: String,
        /// The primary's, if it is not the first other one
        primary: Option<String>,
    },
}

/// The installation of Istio's plugin.
#[derive(Clone, Debug)]
pub struct IstioInstaller {
    /// The executable.
    pub binary: Binary,
    /// The folder of the network configurations, as this container sees it.
    pub net_dir: PathBuf,
    /// The agent's folder; the same path on the host.
    pub run_dir: PathBuf,
    /// Where the entry goes.
    pub placement: Placement,
    /// The mode of a network configuration that did not exist.
    pub config_mode: u32,
    /// The kubeconfig's content.
    pub kubeconfig: Kubeconfig,
    /// The kubeconfig's mode.
    pub kubeconfig_mode: u32,
    /// The plugin's entry: `name`, `type` and its settings.
    pub entry: Value,
}

impl Installer for IstioInstaller {
    fn folders(&self) -> Vec<PathBuf> {
        let folder = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_owned();
        vec![
            folder(&self.binary.target),
            self.net_dir.clone(),
            folder(&self.kubeconfig.token),
            self.run_dir.clone(),
        ]
    }

    fn install(&self) -> Result<Installed, InstallError> {
        super::tidy(&[&self.net_dir, &self.run_dir], PLUGIN);
        let binary = self.binary.install()?;
        let kubeconfig = self.kubeconfig.write(&self.kubeconfig_path(), self.kubeconfig_mode)?;
        let mut installed = Installed { binary, kubeconfig, ..Installed::default() };
        match self.configure()? {
            Edited::Written(path) => {
                tracing::info!(target: "cni-agent", "Wrote CNI config to {}", path.display());
                installed.written.push(path);
            }
            Edited::Unchanged => {}
            Edited::Missing => installed.waiting = true,
        }
        Ok(installed)
    }

    fn is_installed(&self) -> bool {
        let desired = |path: &Path, form| {
            let content = files::read(path).ok().flatten()?;
            Network::parse(&content, form).ok()
        };
        let configured = match self.target() {
            Err(_) | Ok(None) => false,
            Ok(Some(path)) => match &self.placement {
                Placement::Alone(_) => self.alone_is_as_desired(&path),
                Placement::Owned { .. } => {
                    self.owned_text().ok().flatten().is_some_and(|text| same_json(&path, &text))
                }
                Placement::Chained(_) => {
                    desired(&path, Form::List).is_some_and(|network| network.has(&self.entry))
                }
            },
        };
        configured && self.binary.target.exists() && self.kubeconfig_path().exists()
    }

    fn uninstall(&self) -> Vec<InstallError> {
        let mut errors = Vec::new();
        let mut attempt = |result: Result<(), InstallError>| errors.extend(result.err());
        match chain::configurations(&self.net_dir) {
            Err(error) => attempt(Err(error)),
            Ok(found) => {
                for (name, network) in
                    found.iter().filter(|(_, network)| network.types().iter().any(|kind| kind == PLUGIN))
                {
                    let path = self.net_dir.join(name);
                    // With it go the copies of the primary's plugins.
                    let owned =
                        matches!(&self.placement, Placement::Owned { name: owned, .. } if owned == name);
                    attempt(if owned || network.types().len() == 1 {
                        files::remove(&path).map(drop).map_err(InstallError::Config)
                    } else {
                        chain::remove(&path, PLUGIN).map(drop)
                    });
                }
            }
        }
        attempt(
            files::remove(&self.kubeconfig_path())
                .map(drop)
                .map_err(|error| InstallError::Kubeconfig(error.into())),
        );
        attempt(self.binary.uninstall());
        errors
    }
}

impl IstioInstaller {
    fn kubeconfig_path(&self) -> PathBuf {
        self.run_dir.join(KUBECONFIG)
    }

    fn configure(&self) -> Result<Edited, InstallError> {
        let Some(path) = self.target()? else { return Ok(Edited::Missing) };
        match &self.placement {
            Placement::Chained(_) => chain::add(&path, &self.entry),
            Placement::Alone(_) if self.alone_is_as_desired(&path) => Ok(Edited::Unchanged),
            Placement::Alone(_) => self.write_own(path, &format!("{:#}\n", self.alone())),
            Placement::Owned { .. } => match self.owned_text()? {
                None => Ok(Edited::Missing),
                Some(text) if same_json(&path, &text) => Ok(Edited::Unchanged),
                Some(text) => self.write_own(path, &text),
            },
        }
    }

    fn write_own(&self, path: PathBuf, text: &str) -> Result<Edited, InstallError> {
        let mode = files::mode(&path).map_err(InstallError::Config)?.unwrap_or(self.config_mode);
        files::replace(&path, text.as_bytes(), mode, PLUGIN).map_err(InstallError::Config)?;
        Ok(Edited::Written(path))
    }

    /// The file that holds the entry, or is to.
    fn target(&self) -> Result<Option<PathBuf>, InstallError> {
        let name = match &self.placement {
            Placement::Alone(name) => Some(name.clone().unwrap_or_else(|| UNCHAINED.to_owned())),
            Placement::Owned { name, .. } => Some(name.clone()),
            Placement::Chained(name) => self.primary(name.as_deref(), None)?.map(|(name, _)| name),
        };
        Ok(name.map(|name| self.net_dir.join(name)))
    }

    /// The primary CNI's configuration: the one of this name with either suffix, or the first one.
    fn primary(
        &self,
        name: Option<&str>,
        except: Option<&str>,
    ) -> Result<Option<(String, Network)>, InstallError> {
        let stem = |name: &str| name.trim_end_matches(".conflist").trim_end_matches(".conf").to_owned();
        let mut found = chain::configurations(&self.net_dir)?;
        found.retain(|(found, _)| Some(found.as_str()) != except);
        let Some(name) = name else { return Ok(found.into_iter().next()) };
        let position = found.iter().position(|(found, _)| found == name);
        let position = position.or_else(|| found.iter().position(|(found, _)| stem(found) == stem(name)));
        Ok(position.map(|index| found.swap_remove(index)))
    }

    /// The plugin's entry as a file of its own.
    fn alone(&self) -> Value {
        let mut alone = self.entry.clone();
        alone["cniVersion"] = json!("0.3.1");
        alone
    }

    fn alone_is_as_desired(&self, path: &Path) -> bool {
        same_json(path, &self.alone().to_string())
    }

    /// The primary's list with the entry: the content of the list of our own. `None` while there is no primary.
    fn owned_text(&self) -> Result<Option<String>, InstallError> {
        let Placement::Owned { name, primary } = &self.placement else { return Ok(None) };
        let primary = self.primary(primary.as_deref(), Some(name))?;
        Ok(primary.map(|(_, network)| network.with(&self.entry)))
    }
}

/// Whether the file holds the same JSON, however it is formatted.
fn same_json(path: &Path, text: &str) -> bool {
    let content = files::read(path).ok().flatten();
    let parsed = content.and_then(|content| serde_json::from_slice::<Value>(&content).ok());
    parsed.is_some_and(|parsed| serde_json::from_str::<Value>(text).is_ok_and(|text| text == parsed))
}
