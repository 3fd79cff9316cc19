//! The programs: which tasks run, and how they end.

pub mod istio;
pub mod linkerd;
mod pods;
mod state;

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::ambient::StartError;
use crate::http::BindError;
use crate::install::{self, InstallError, Installed, Installer, Observer};
use crate::kubernetes::ApiError;
use crate::log::AGENT;

/// Why a program ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A server cannot listen
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The API cannot be used at all
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Signals cannot be received
    #[error("cannot wait for signals: {0}")]
    Signal(std::io::Error),
    /// The ambient half cannot start
    #[error(transparent)]
    Ambient(#[from] StartError),
    /// The agent's folder cannot be made
    #[error("cannot create {}: {error}", path.display())]
    Folder {
        /// The folder
        path: std::path::PathBuf,
        /// What the system call replied
        error: std::io::Error,
    },
}

/// Waits for SIGTERM or SIGINT.
struct Signals(tokio::signal::unix::Signal, tokio::signal::unix::Signal);

impl Signals {
    fn new() -> Result<Self, RunError> {
        let open = |kind| signal(kind).map_err(RunError::Signal);
        Ok(Self(open(SignalKind::terminate())?, open(SignalKind::interrupt())?))
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// An installer that runs until it is stopped.
struct Running {
    ready: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    /// Starts it once `begin` is true: what the plugin needs must exist before its entry does.
    fn start(
        installer: Arc<dyn Installer>,
        observer: Arc<dyn Observer>,
        mut begin: watch::Receiver<bool>,
    ) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let (sender, ready) = watch::channel(false);
        let task = tokio::spawn(async move {
            tokio::select! {
                _ = stopped.changed() => return,
                // It fails if that will never be.
                begun = begin.wait_for(|begin| *begin) => if begun.is_err() { return },
            }
            install::run(installer, observer, sender, stopped).await;
        });
        Self { ready, stop, task }
    }

    /// Ends it between two passes.
    async fn stop(self) {
        self.stop.send_replace(true);
        // It fails only if the installer panicked.
        let _ = self.task.await;
    }
}

/// Logs what an installer does.
struct LogOnly;

impl Observer for LogOnly {
    fn pass(&self, result: &Result<Installed, InstallError>) {
        if let Ok(Installed { kubeconfig: true, .. }) = result {
            tracing::info!(target: AGENT, "wrote the plugin's kubeconfig");
        }
    }

    fn reverted(&self, pause: Duration) {
        log_revert(pause);
    }
}

fn log_revert(pause: Duration) {
    tracing::info!(target: AGENT, "detected changes to the node-level CNI setup");
    if !pause.is_zero() {
        tracing::warn!(
            target: AGENT,
            "another component keeps taking the plugin's entry out of the network configuration; it is put back in {} s. \
             With Cilium, set cni.exclusive=false",
            pause.as_secs()
        );
    }
}

/// Uninstalls; whether all of it could be removed.
async fn uninstall(installer: Arc<dyn Installer>) -> bool {
    let errors = tokio::task::spawn_blocking(move || installer.uninstall()).await;
    let Ok(errors) = errors else { return false };
    for error in &errors {
        tracing::error!(target: AGENT, "while uninstalling: {error}");
    }
    errors.is_empty()
}
