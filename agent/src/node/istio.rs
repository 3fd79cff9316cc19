//! `install-cni`: installer, health, metrics, log socket and repair.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::pods::Pods;
use super::{RunError, Running, Signals, log_revert, uninstall};
use crate::ambient::handover::{Handover, Stop};
use crate::ambient::settings::Settings;
use crate::ambient::{self, Query, StartError, Summary};
use crate::http::{self, Reply};
use crate::install::istio::IstioInstaller;
use crate::install::{InstallError, Installed, Installer, Observer};
use crate::kubernetes::{Access, Client, Collection};
use crate::log::{self, AGENT};
use crate::metrics::{AmbientMetrics, IstioMetrics, Metrics};
use crate::repair::istio::{Action, Broken, Controller};

/// The socket in the agent's folder to which plugins send their log lines.
const LOG_SOCKET: &str = "log.sock";

/// The settings of Istio's node agent.
#[derive(Debug)]
pub struct Agent {
    /// The installation.
    pub installer: IstioInstaller,
    /// The API.
    pub access: Access,
    /// The port of `/metrics`.
    pub monitoring_port: Option<u16>,
    /// The port of `/healthz` and `/readyz`.
    pub health_port: u16,
    /// What decides whether the plugin stays when the agent ends.
    pub handover: Handover,
    /// The ambient half.
    pub ambient: Option<Settings>,
    /// What is done with broken pods.
    pub repair: Option<Repair>,
    /// Where the host's /proc is mounted, if it is.
    pub proc: PathBuf,
    /// Whether the plugin makes exactly the rules of Istio's native backend.
    pub native_nftables: bool,
}

/// What is done with broken pods.
#[derive(Debug, PartialEq, Eq)]
pub struct Repair {
    /// Which pods.
    pub collection: Collection,
    /// What a broken one looks like.
    pub broken: Broken,
    /// What is done with it.
    pub action: Action,
}

/// Runs until it is signalled. An installer that fails leaves the rest running, and the agent not ready.
///
/// # Errors
/// See [`RunError`].
pub async fn run(agent: Agent) -> Result<ExitCode, RunError> {
    let mut signals = Signals::new()?;
    let metrics = Arc::new(Metrics::default());
    let istio = IstioMetrics::registered(&metrics);
    serve_metrics(agent.monitoring_port, &metrics).await;
    let installer: Arc<dyn Installer> = Arc::new(agent.installer.clone());
    let counting = Counting { metrics: istio.clone(), complete: false.into() };
    let client = match Client::new(agent.access.clone()) {
        Ok(client) => {
            metrics.register_requests(client.requests());
            Some(client)
        }
        Err(error) => {
            tracing::error!(target: AGENT, "the API server cannot be used: {error}");
            None
        }
    };
    let (queries, asked) = mpsc::channel(1);
    let pods = client.clone().map(|client| Pods {
        client,
        proc: agent.proc.clone(),
        node: agent.handover.node.clone(),
        native_nftables: agent.native_nftables,
        queries: agent.ambient.is_some().then_some(queries),
    });
    serve_run_dir(&agent.installer.run_dir, pods)?;
    let (stop, stopped) = oneshot::channel();
    let (mut ambient, nodes) = start_ambient(agent.ambient, client.as_ref(), &metrics, asked, stopped);
    let running = Running::start(Arc::clone(&installer), Arc::new(counting), nodes.clone());
    let ready = both(running.ready.clone(), nodes);
    serve_health(agent.health_port, ready).await?;
    tokio::spawn(keep_gauge(running.ready.clone(), istio.clone()));
    if let (Some(client), Some(Repair { collection, broken, action })) = (client.clone(), agent.repair) {
        let controller = Controller { client, collection, broken, action, metrics: istio };
        tokio::spawn(controller.run());
    }
    tokio::select! {
        () = signals.received() => {}
        ended = &mut ambient => return Err(ended.into()),
    }
    running.stop().await;
    let decision = match &client {
        Some(client) => agent.handover.decide(client).await,
        None if agent.handover.owned_config => Stop::Keep,
        None => Stop::Clean,
    };
    // Without an ambient half nobody waits for it.
    if stop.send(decision).is_ok() {
        let _ = timeout(HANDOVER, ambient).await;
    }
    if decision == Stop::Keep {
        tracing::info!(
            target: AGENT,
            "terminating, but parent DaemonSet istio-cni-node is still present, this is an upgrade or a node reboot, \
             leaving plugin in place"
        );
        return Ok(ExitCode::SUCCESS);
    }
    uninstall(installer).await;
    Ok(ExitCode::SUCCESS)
}

/// How long the ambient half may take to end. The kubelet waits for 30 s in all.
const HANDOVER: Duration = Duration::from_secs(10);

/// A future that ends only if the ambient half cannot go on.
type Ambient = Pin<Box<dyn Future<Output = StartError> + Send>>;

/// Starts the ambient half, if there is one. The receiver says whether it, or what is left without it, is ready.
fn start_ambient(
    settings: Option<Settings>,
    client: Option<&Client>,
    metrics: &Metrics,
    queries: mpsc::Receiver<Query>,
    stopped: oneshot::Receiver<Stop>,
) -> (Ambient, watch::Receiver<bool>) {
    let (ready, is_ready) = watch::channel(settings.is_none());
    let (Some(settings), Some(client)) = (settings, client.cloned()) else {
        // The sender has to stay as long as nobody asks to stop.
        return (
            Box::pin(async move {
                let _ready = ready;
                std::future::pending().await
            }),
            is_ready,
        );
    };
    let (sender, mut summary) = watch::channel(Summary::default());
    let metrics = AmbientMetrics::registered(metrics);
    let gauges = metrics.clone();
    tokio::spawn(async move {
        while summary.changed().await.is_ok() {
            let now = *summary.borrow_and_update();
            gauges.set(&now);
            ready.send_if_modified(|ready| std::mem::replace(ready, now.ready) != now.ready);
        }
    });
    let run = async move {
        let stop = async { stopped.await.unwrap_or(Stop::Keep) };
        match ambient::run(settings, client, metrics, sender, queries, stop).await {
            Err(error) => error,
            Ok(()) => std::future::pending().await,
        }
    };
    (Box::pin(run), is_ready)
}

/// Whether both are true.
fn both(mut one: watch::Receiver<bool>, mut two: watch::Receiver<bool>) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            let now = *one.borrow_and_update() && *two.borrow_and_update();
            sender.send_if_modified(|before| std::mem::replace(before, now) != now);
            tokio::select! {
                changed = one.changed() => if changed.is_err() { return },
                changed = two.changed() => if changed.is_err() { return },
            }
        }
    });
    receiver
}

/// A port that is taken is only logged, as Istio does: pods need the plugin, not its metrics.
async fn serve_metrics(port: Option<u16>, metrics: &Arc<Metrics>) {
    let Some(port) = port else { return };
    let metrics = Arc::clone(metrics);
    let handler = http::at_once(move |method: &Method, path: &str, _: &[u8]| match (method, path) {
        (&Method::GET, "/metrics") => Reply::metrics(metrics.text()),
        _ => Reply::status(StatusCode::NOT_FOUND),
    });
    if let Err(error) = http::listen("metrics", any(port), handler).await {
        tracing::error!(target: AGENT, "{error}");
    }
}

/// Without it the pod never becomes ready, and nobody would know why.
async fn serve_health(port: u16, ready: watch::Receiver<bool>) -> Result<(), RunError> {
    let handler = http::at_once(move |_: &Method, path: &str, _: &[u8]| match path {
        "/healthz" => Reply::ok(""),
        "/readyz" => Reply::ready(*ready.borrow(), ""),
        _ => Reply::status(StatusCode::NOT_FOUND),
    });
    http::listen("health", any(port), handler).await?;
    Ok(())
}

/// Plugins' log lines, and what is known of pods.
fn serve_run_dir(folder: &Path, pods: Option<Pods>) -> Result<(), RunError> {
    std::fs::create_dir_all(folder).map_err(|error| RunError::Folder { path: folder.to_owned(), error })?;
    let handler =
        move |method: Method, path: String, body: Bytes| -> Pin<Box<dyn Future<Output = Reply> + Send>> {
            let reply = match (&method, path.as_str()) {
                (&Method::POST, "/log") if log::relay(&body).is_some() => Reply::ok(""),
                (&Method::POST, "/log") => Reply::status(StatusCode::BAD_REQUEST),
                (&Method::GET, path) => {
                    let pods = pods.clone();
                    match (path.strip_prefix("/pods").map(str::to_owned), pods) {
                        (Some(rest), Some(pods)) => {
                            return Box::pin(async move { pods.reply(&rest).await });
                        }
                        _ => Reply::status(StatusCode::NOT_FOUND),
                    }
                }
                _ => Reply::status(StatusCode::NOT_FOUND),
            };
            Box::pin(async move { reply })
        };
    Ok(http::listen_unix(&folder.join(LOG_SOCKET), Arc::new(handler))?)
}

/// All addresses, of both families where there are both.
fn any(port: u16) -> SocketAddr {
    let has_ipv6 = Path::new("/proc/net/if_inet6").exists();
    if has_ipv6 { SocketAddr::from(([0; 16], port)) } else { SocketAddr::from(([0; 4], port)) }
}

async fn keep_gauge(mut ready: watch::Receiver<bool>, metrics: IstioMetrics) {
    loop {
        metrics.ready.set(i64::from(*ready.borrow_and_update()));
        if ready.changed().await.is_err() {
            return;
        }
    }
}

/// Counts installations.
struct Counting {
    metrics: IstioMetrics,
    complete: std::sync::atomic::AtomicBool,
}

impl Observer for Counting {
    fn pass(&self, result: &Result<Installed, InstallError>) {
        use std::sync::atomic::Ordering;
        match result {
            Ok(installed) if installed.waiting => {
                tracing::info!(target: AGENT, "no network configuration yet: waiting for the node's CNI");
            }
            Ok(installed) => {
                let first = !self.complete.swap(true, Ordering::Relaxed);
                if first {
                    tracing::info!(target: AGENT, "initial installation complete, start watching for re-installation");
                }
                if first || installed.binary || installed.kubeconfig || !installed.written.is_empty() {
                    self.metrics.install("SUCCESS");
                }
            }
            Err(error) => self.metrics.install(error.result()),
        }
    }

    fn reverted(&self, pause: Duration) {
        self.metrics.reverts.inc();
        log_revert(pause);
    }
}
