//! Network namespaces: to do something inside one without moving the caller.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc::O_NONBLOCK;
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::fstat;
use nix::sys::statfs::{NSFS_MAGIC, Statfs, fstatfs, statfs};

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
#[non_exhaustive]
pub enum NamespaceError {
    /// There is no such file: the namespace is gone, or the process that was in it.
    #[error("there is no network namespace {}: {}", path.display(), Errno::ENOENT)]
    Gone {
        /// The file
        path: PathBuf,
    },
    /// No process has this number.
    #[error("there is no process {pid}")]
    NoProcess {
        /// The number
        pid: u32,
    },
    /// The file is not a namespace: a file, a folder, a FIFO, a device.
    #[error("{} is not a namespace", path.display())]
    NotANamespace {
        /// The file
        path: PathBuf,
    },
    /// Its file cannot be opened.
    #[error("cannot open the network namespace {}: {}", path.display(), io_text(error))]
    Open {
        /// The file
        path: PathBuf,
        /// What the system call said
        error: io::Error,
    },
    /// It cannot be entered: setns(2) failed. EINVAL: the file is not a network namespace, or no longer one; EPERM:
    /// CAP_SYS_ADMIN is missing, here or in the namespace's own user namespace.
    #[error("cannot enter the network namespace: {}", io_text(.0))]
    Enter(io::Error),
    /// No thread could be started to enter it.
    #[error("cannot start a thread to enter the network namespace: {}", io_text(.0))]
    Thread(io::Error),
}

impl Namespace {
    /// The namespace of a file such as `/var/run/netns/NAME` or `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// [`NamespaceError::Gone`] where there is no such file; the file cannot be opened.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, NamespaceError> {
        let path = path.as_ref();
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => NamespaceError::Gone { path: path.to_owned() },
            _ => NamespaceError::Open { path: path.to_owned(), error },
        };
        let checked = |kind: nix::Result<Statfs>| match kind {
            Ok(file_system) if file_system.filesystem_type() == NSFS_MAGIC => Ok(()),
            Ok(_) => Err(NamespaceError::NotANamespace { path: path.to_owned() }),
            Err(errno) => Err(failed(errno.into())),
        };
        // Checked before it is opened: opening a FIFO would block, and opening a device may have effects.
        checked(statfs(path))?;
        let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path).map_err(failed)?;
        checked(fstatfs(&file))?;
        Ok(Self { fd: file.into() })
    }

    /// The namespace that the process is in.
    ///
    /// # Errors
    /// [`NamespaceError::Gone`] where there is no such process; it may not be looked at.
    pub fn from_pid(pid: u32) -> Result<Self, NamespaceError> {
        Self::from_path(format!("/proc/{pid}/ns/net")).map_err(|error| match error {
            NamespaceError::Gone { .. } => NamespaceError::NoProcess { pid },
            error => error,
        })
    }

    /// What distinguishes it from all others: the device and the inode of its file.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        let stat = fstat(&self.fd)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Enters the namespace for good: the calling thread must not return to others that expect to be elsewhere.
    ///
    /// # Errors
    /// As [`Namespace::enter`]; the thread stays where it was then.
    pub fn enter_for_good(&self) -> Result<(), NamespaceError> {
        setns(self.fd.as_fd(), CloneFlags::CLONE_NEWNET).map_err(|errno| NamespaceError::Enter(errno.into()))
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
                self.enter_for_good()?;
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
    fn a_missing_file() {
        let error = Namespace::from_path("/nowhere/netns").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no network namespace /nowhere/netns: ENOENT: No such file or directory"
        );
        assert!(matches!(Namespace::from_pid(u32::MAX), Err(NamespaceError::NoProcess { .. })));
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
    fn a_file_that_is_not_a_namespace() {
        for path in ["/dev/null", "/etc/passwd", "/"] {
            let error = Namespace::from_path(path).unwrap_err();
            assert_eq!(error.to_string(), format!("{path} is not a namespace"));
        }
        let other = Namespace::from_path("/proc/self/ns/mnt").unwrap();
        let error = other.enter(|| ()).unwrap_err();
        assert!(
            matches!(&error, NamespaceError::Enter(cause) if cause.raw_os_error() == Some(22)),
            "{error:?}"
        );
        assert_eq!(error.to_string(), "cannot enter the network namespace: EINVAL: Invalid argument");
    }

    #[test]
    fn a_namespace_is_itself() {
        let net = || Namespace::from_path("/proc/self/ns/net").unwrap().identity().unwrap();
        let mnt = Namespace::from_path("/proc/self/ns/mnt").unwrap().identity().unwrap();
        assert_eq!(net(), net());
        assert_ne!(net(), mnt);
    }
}
