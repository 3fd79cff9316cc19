//! An installer's loop: a pass, then another one whenever something changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{InstallError, Installed, Installer};
use crate::files::Watch;

/// A pass without a change: for folders that were replaced and events that got lost.
const SWEEP: Duration = Duration::from_secs(60);
/// The first pause after a failure; it doubles.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// What is reported of each pass.
pub trait Observer: Send + Sync + 'static {
    /// A pass ended.
    fn pass(&self, result: &Result<Installed, InstallError>);
    /// Another program took our entry out again; it is put back after this pause.
    fn reverted(&self, pause: Duration);
}

/// How often the entry was put back in a row. The first five times happen at once; then the pause doubles, to ten seconds: for
/// as long as the entry is missing, pods start without their rules.
#[derive(Clone, Copy, Debug, Default)]
struct Reverts {
    count: u32,
    last: Option<Instant>,
    pause: Duration,
}

impl Reverts {
    const IMMEDIATE: u32 = 5;
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(10);
    /// A program that rewrites its file less often than this does not fight us.
    const IN_A_ROW: Duration = Duration::from_secs(2);

    /// The entry is gone once more: how long to wait before it is put back.
    fn pause(&mut self, now: Instant) -> Duration {
        if self.last.is_none_or(|last| now.duration_since(last) > self.pause + Self::IN_A_ROW) {
            self.count = 0;
        }
        self.last = Some(now);
        self.count = self.count.saturating_add(1);
        self.pause = match self.count.checked_sub(Self::IMMEDIATE + 1) {
            None => Duration::ZERO,
            Some(doublings) => Self::FIRST.saturating_mul(1 << doublings.min(6)).min(Self::LONGEST),
        };
        self.pause
    }
}

/// Installs, and keeps it so until `stop` changes; `ready` says whether pods can be started. An error does not end it.
///
/// Ready stays true while files are replaced that readers only ever see whole, such as a kubeconfig with a new token.
pub async fn run(
    installer: Arc<dyn Installer>,
    observer: Arc<dyn Observer>,
    ready: watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) {
    let mut watch = open_watch(&*installer);
    let (mut reverts, mut failures, mut was_installed) = (Reverts::default(), 0_u32, false);
    loop {
        if was_installed && !blocking(&installer, Installer::is_installed).await.unwrap_or(false) {
            let pause = reverts.pause(Instant::now());
            observer.reverted(pause);
            if !pause.is_zero() {
                ready.send_replace(false);
                tokio::select! {
                    _ = stop.changed() => return,
                    () = sleep(pause) => {}
                }
            }
        }
        let result = blocking(&installer, Installer::install).await.unwrap_or(Err(InstallError::Interrupted));
        observer.pass(&result);
        let pause = match &result {
            Ok(installed) => {
                failures = 0;
                was_installed = !installed.waiting;
                ready.send_replace(was_installed);
                SWEEP
            }
            Err(error) => {
                tracing::error!(target: "cni-agent", "{error}");
                ready.send_replace(false);
                failures += 1;
                FIRST_RETRY.saturating_mul(1 << (failures - 1).min(10)).min(LONGEST_RETRY)
            }
        };
        if let Some(watch) = &watch
            && let Err(error) = watch.renew()
        {
            tracing::warn!(target: "cni-agent", "{error}");
        }
        if watch.is_none() {
            watch = open_watch(&*installer);
        }
        tokio::select! {
            _ = stop.changed() => return,
            () = sleep(pause) => {}
            changed = changed(watch.as_ref()) => if let Err(error) = changed {
                tracing::warn!(target: "cni-agent", "{error}");
                watch = None;
            }
        }
    }
}

fn open_watch(installer: &dyn Installer) -> Option<Watch> {
    let watch = Watch::new(&installer.folders());
    watch
        .inspect_err(
            |error| tracing::warn!(target: "cni-agent", "{error}; files are looked at once a minute"),
        )
        .ok()
}

async fn changed(watch: Option<&Watch>) -> Result<(), crate::files::FileError> {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// File systems can be slow, and health is to be replied to meanwhile.
async fn blocking<T: Send + 'static>(
    installer: &Arc<dyn Installer>,
    work: impl FnOnce(&dyn Installer) -> T + Send + 'static,
) -> Option<T> {
    let installer = Arc::clone(installer);
    tokio::task::spawn_blocking(move || work(&*installer)).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn putting_back_slows_down() {
        let mut reverts = Reverts::default();
        let now = Instant::now();
        let pauses: Vec<u64> = (0..12).map(|_| reverts.pause(now).as_secs()).collect();
        assert_eq!(pauses, [0, 0, 0, 0, 0, 1, 2, 4, 8, 10, 10, 10]);
        assert_eq!(reverts.pause(now + Duration::from_secs(12)), Reverts::LONGEST);
        assert_eq!(reverts.pause(now + Duration::from_secs(25)), Duration::ZERO);
    }
}
