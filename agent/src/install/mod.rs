//! Installs a CNI plugin on the node: its executable, its kubeconfig, and, last, its entry in the network configuration.
//!
//! Whatever happens at any moment, each of the files is either as it was or as it is to be.

pub mod chain;
pub mod conflist;
pub mod istio;
pub mod kubeconfig;
pub mod linkerd;
mod run;

use std::path::{Path, PathBuf};

use crate::files::{self, FileError};
use conflist::ConflistError;
use kubeconfig::KubeconfigError;
pub use run::{Observer, run};

/// Why the plugin is not installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The executable was not copied
    #[error("cannot install the plugin's executable: {0}")]
    Binary(FileError),
    /// The kubeconfig was not written
    #[error("cannot write the plugin's kubeconfig: {0}")]
    Kubeconfig(KubeconfigError),
    /// The network configuration was not written
    #[error("cannot write the network configuration: {0}")]
    Config(FileError),
    /// The file that was chosen is none
    #[error("{}: {error}", path.display())]
    Foreign {
        /// The file
        path: PathBuf,
        /// What is wrong with it
        error: ConflistError,
    },
    /// Another program keeps writing the file
    #[error("{} changed during each of {attempts} attempts to edit it", path.display())]
    KeepsChanging {
        /// The file
        path: PathBuf,
        /// How often it was tried
        attempts: u32,
    },
    /// A thread of the runtime died
    #[error("the installation was interrupted")]
    Interrupted,
}

impl From<KubeconfigError> for InstallError {
    fn from(error: KubeconfigError) -> Self {
        Self::Kubeconfig(error)
    }
}

impl InstallError {
    /// As the metric `istio_cni_installs_total` names it.
    pub fn result(&self) -> &'static str {
        match self {
            Self::Binary(_) => "COPY_BINARIES_FAILURE",
            Self::Kubeconfig(_) => "CREATE_KUBECONFIG_FAILURE",
            Self::Config(_) | Self::Foreign { .. } | Self::KeepsChanging { .. } | Self::Interrupted => {
                "CREATE_CNI_CONFIG_FAILURE"
            }
        }
    }
}

/// What one pass of an installer did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// The executable was copied
    pub binary: bool,
    /// The kubeconfig was written
    pub kubeconfig: bool,
    /// These network configurations were written
    pub written: Vec<PathBuf>,
    /// No other CNI has a network configuration yet
    pub waiting: bool,
}

/// A plugin's installation. All of it is level-triggered: a pass makes it so, whatever existed before.
pub trait Installer: Send + Sync + 'static {
    /// Folders in which a change may need another pass.
    fn folders(&self) -> Vec<PathBuf>;

    /// Makes it so.
    ///
    /// # Errors
    /// See [`InstallError`].
    fn install(&self) -> Result<Installed, InstallError>;

    /// Whether all of it is as it is to be, without changing anything.
    fn is_installed(&self) -> bool;

    /// Removes the entry and the kubeconfig, and the executable if the settings say so. Goes on after a failure.
    fn uninstall(&self) -> Vec<InstallError>;
}

/// Where a plugin's executable comes from and goes to.
#[derive(Clone, Debug)]
pub struct Binary {
    /// In the image.
    pub source: PathBuf,
    /// On the host.
    pub target: PathBuf,
    /// Whether it is removed with the rest. Runtimes replay configurations that they have cached: without the executable,
    /// pods stay in Terminating.
    pub remove: bool,
}

impl Binary {
    fn install(&self) -> Result<bool, InstallError> {
        let name = self.source.file_name().unwrap_or_default().to_string_lossy();
        let folder = self.target.parent().unwrap_or(Path::new("/"));
        tidy(&[folder], &name);
        let copied =
            files::copy_if_different(&self.source, &self.target, &name).map_err(InstallError::Binary)?;
        if copied {
            tracing::info!(target: "cni-agent", "Copied {name} to {}.", folder.display());
        }
        Ok(copied)
    }

    fn uninstall(&self) -> Result<(), InstallError> {
        if self.remove {
            files::remove(&self.target).map_err(InstallError::Binary)?;
        }
        Ok(())
    }
}

/// Removes what an installer that was killed has left. It does not matter if that fails.
fn tidy(folders: &[&Path], plugin: &str) {
    for folder in folders {
        if let Err(error) = files::remove_leftovers(folder, plugin) {
            tracing::debug!(target: "cni-agent", "{error}");
        }
    }
}
