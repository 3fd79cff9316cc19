//! `linkerd2-cni-install` and `linkerd-cni-repair-controller`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use tokio::sync::watch;

use super::state::{announce, learn};
use super::{LogOnly, RunError, Running, Signals, uninstall};
use crate::http::{self, Reply};
use crate::install::Installer;
use crate::install::linkerd::LinkerdInstaller;
use crate::kubernetes::{Access, Client};
use crate::log::AGENT;
use crate::metrics::{LinkerdMetrics, Metrics};
use crate::repair::linkerd::Controller;

/// The abstract socket by which the installer reports to the repair controller of its pod whether the plugin is installed.
const STATE: &str = "linkerd-cni-installed";

/// The settings of the installer.
#[derive(Debug)]
pub struct Install {
    /// The installation.
    pub installer: LinkerdInstaller,
    /// Whether the plugin stays at every stop. Nothing that Linkerd's role allows distinguishes an upgrade from an uninstallation.
    pub keep_on_exit: bool,
}

/// The settings of the repair controller.
#[derive(Debug)]
pub struct Repair {
    /// The API.
    pub access: Access,
    /// Where `/live`, `/ready` and `/metrics` are.
    pub admin: SocketAddr,
    /// The node.
    pub node: String,
    /// The controller's own pod.
    pub pod_name: String,
}

/// Installs until it is signalled.
///
/// # Errors
/// See [`RunError`].
pub async fn install(settings: Install) -> Result<ExitCode, RunError> {
    let mut signals = Signals::new()?;
    tracing::info!(target: AGENT, "running installer");
    let installer: Arc<dyn Installer> = Arc::new(settings.installer);
    let (_begin, begun) = watch::channel(true);
    let running = Running::start(Arc::clone(&installer), Arc::new(LogOnly), begun);
    if let Err(error) = announce(STATE, running.ready.clone()) {
        tracing::error!(
            target: AGENT,
            "another installer runs in this pod ({error}): the chart starts a second one in place of the repair controller \
             if repairController.enableSecurityContext is false"
        );
    }
    signals.received().await;
    running.stop().await;
    if settings.keep_on_exit {
        tracing::info!(target: AGENT, "leaving the plugin in place");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if uninstall(installer).await { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Repairs until it is signalled.
///
/// # Errors
/// See [`RunError`].
pub async fn repair(settings: Repair) -> Result<ExitCode, RunError> {
    let mut signals = Signals::new()?;
    let metrics = Metrics::default();
    let linkerd = LinkerdMetrics::registered(&metrics);
    let client = Client::new(settings.access)?;
    metrics.register_requests(client.requests());
    let (ready, is_ready) = watch::channel(false);
    let handler = http::at_once(move |_: &Method, path: &str, _: &[u8]| match path {
        "/live" => Reply::ok("alive\n"),
        "/ready" => Reply::ready(*is_ready.borrow(), "ready\n"),
        "/metrics" => Reply::metrics(metrics.text()),
        _ => Reply::status(StatusCode::NOT_FOUND),
    });
    http::listen("health and metrics", settings.admin, handler).await?;
    let controller = Controller {
        client,
        node: settings.node,
        pod_name: settings.pod_name,
        installed: learn(STATE.to_owned()),
        ready,
        metrics: linkerd,
    };
    tokio::select! {
        () = controller.run() => {}
        () = signals.received() => {}
    }
    Ok(ExitCode::SUCCESS)
}
