//! Network namespaces: to do something inside one without moving the caller.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use crate::error::io_text;

/// A network namespace, held open.
///
/// It lives as long as this value: drop it as soon as the work is done, so that a pod that is deleted meanwhile
/// can go.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
}

/// Why a network namespace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// There is no such file: the namespace is gone, or the process that was in it.
    #[error("the network namespace {} is gone: {}", path.display(), Errno::ENOENT)]
    Gone {
        /// The file
        path: PathBuf,
    },
    /// The file that stands for it cannot be opened.
    #[error("cannot open the network namespace {}: {}", path.display(), io_text(source))]
    Open {
        /// The file
        path: PathBuf,
        /// What the system call said
        source: io::Error,
    },
    /// It cannot be entered: setns(2) failed. EINVAL: the file is not a network namespace, or not any more; EPERM:
    /// CAP_SYS_ADMIN is missing, here or in the namespace's own user namespace.
    #[error("cannot enter the network namespace: {0}")]
    Enter(nix::Error),
    /// No thread could be started to enter it.
    #[error("cannot start a thread to enter the network namespace: {}", io_text(.0))]
    Thread(io::Error),
}

impl Namespace {
    /// The namespace that a file stands for, such as `/var/run/netns/NAME` or `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// [`NamespaceError::Gone`] where there is no such file; the file cannot be opened.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, NamespaceError> {
        let path = path.as_ref();
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => NamespaceError::Gone { path: path.to_owned() },
            _ => NamespaceError::Open { path: path.to_owned(), source },
        };
        Ok(Self { fd: File::open(path).map_err(failed)?.into() })
    }

    /// The namespace that the process is in.
    ///
    /// # Errors
    /// [`NamespaceError::Gone`] where there is no such process; it may not be looked at.
    pub fn from_pid(pid: u32) -> Result<Self, NamespaceError> {
        Self::from_path(format!("/proc/{pid}/ns/net"))
    }

    /// Runs `work` inside the namespace, on a thread that ends with it.
    ///
    /// The caller's own thread stays where it is. What `work` opens stays in the namespace: a socket, for example.
    ///
    /// # Errors
    /// The namespace cannot be entered (no network namespace: EINVAL; no CAP_SYS_ADMIN in it: EPERM), or no
    /// thread could be started.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        std::thread::scope(|scope| {
            let inside = || {
                setns(self.fd.as_fd(), CloneFlags::CLONE_NEWNET).map_err(NamespaceError::Enter)?;
                Ok(work())
            };
            let thread = std::thread::Builder::new()
                .name("netns".into())
                .spawn_scoped(scope, inside)
                .map_err(NamespaceError::Thread)?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl From<OwnedFd> for Namespace {
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there() {
        let error = Namespace::from_path("/nowhere/netns").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the network namespace /nowhere/netns is gone: ENOENT: No such file or directory"
        );
        assert!(matches!(Namespace::from_pid(u32::MAX), Err(NamespaceError::Gone { .. })));
    }

    #[test]
    fn a_file_that_cannot_be_opened() {
        let error = Namespace::from_path("/dev/null/netns").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot open the network namespace /dev/null/netns: ENOTDIR: Not a directory"
        );
    }

    #[test]
    fn a_file_that_is_no_namespace() {
        let file = Namespace::from_path("/dev/null").unwrap();
        let error = file.enter(|| ()).unwrap_err();
        assert!(matches!(error, NamespaceError::Enter(nix::Error::EINVAL)), "{error:?}");
        assert_eq!(error.to_string(), "cannot enter the network namespace: EINVAL: Invalid argument");
    }
}
