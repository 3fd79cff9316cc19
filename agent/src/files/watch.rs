//! Changes in folders.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use super::{FileError, TEMPORARY};

/// inotify on some folders; a folder that is replaced by another one is noticed at the next [`Watch::renew`].
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    /// The same instance once more, for tokio
    readable: AsyncFd<OwnedFd>,
    folders: Vec<PathBuf>,
}

impl Watch {
    /// How long it has to be quiet before a change is reported: programs write files in several steps.
    pub const QUIET: Duration = Duration::from_millis(50);
    /// A program that never stops writing is not waited for any longer.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// Watches these folders. Those that do not exist are left out until [`Watch::renew`].
    ///
    /// # Errors
    /// The limit on inotify instances or watches is reached.
    #[expect(
        deprecated,
        reason = "its successor is unsafe; the descriptor is owned and stays open as long as this value"
    )]
    pub fn new(folders: &[PathBuf]) -> Result<Self, FileError> {
        let fail = |error: nix::Error| FileError::new("watch", Path::new("inotify"), error.into());
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(fail)?;
        let readable = inotify
            .as_fd()
            .try_clone_to_owned()
            .and_then(|descriptor| AsyncFd::with_interest(descriptor, Interest::READABLE))
            .map_err(|error| FileError::new("watch", Path::new("inotify"), error))?;
        let watch = Self { inotify, readable, folders: folders.to_vec() };
        watch.renew()?;
        Ok(watch)
    }

    /// Watches what now has the folders' names.
    ///
    /// # Errors
    /// The limit on watches is reached.
    pub fn renew(&self) -> Result<(), FileError> {
        let events = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        for folder in &self.folders {
            match self.inotify.add_watch(folder, events) {
                Ok(_) | Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => {}
                Err(error) => return Err(FileError::new("watch", folder, error.into())),
            }
        }
        Ok(())
    }

    /// Waits for a change, then until it is quiet.
    ///
    /// # Errors
    /// inotify cannot be read.
    pub async fn changed(&self) -> Result<(), FileError> {
        while !self.drain().await? {}
        let until = Instant::now() + Self::PATIENCE;
        loop {
            let quiet = (Instant::now() + Self::QUIET).min(until);
            match timeout_at(quiet, self.drain()).await {
                Err(_) => return Ok(()),
                Ok(drained) => drained?,
            };
            if Instant::now() >= until {
                return Ok(());
            }
        }
    }

    /// Takes the events; whether one of them is about more than our own temporary files.
    async fn drain(&self) -> Result<bool, FileError> {
        let fail = |error| FileError::new("watch", Path::new("inotify"), error);
        loop {
            let mut ready = self.readable.readable().await.map_err(fail)?;
            match ready.try_io(|_| self.inotify.read_events().map_err(std::io::Error::from)) {
                Err(_would_block) => {}
                Ok(events) => {
                    return Ok(events.map_err(fail)?.iter().any(|event| {
                        // Without a name it is about the folder, or the queue overflowed.
                        event.name.as_ref().is_none_or(|name| !name.to_string_lossy().contains(TEMPORARY))
                    }));
                }
            }
        }
    }
}
