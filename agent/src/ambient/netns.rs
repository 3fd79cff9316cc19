//! Pods' network namespaces: opening and entering them.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meshwire::apply::ApplyError;
use meshwire::migrate::MigrateError;
use meshwire::network::{RouteError, RouteSocket};
use meshwire::verify::VerifyError;
use nftwire::{NamespaceError, Socket, io_text};
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{FsType, fstatfs};

use super::state::NetnsId;

/// `NSFS_MAGIC` in linux/magic.h.
const NSFS: FsType = FsType(0x6e73_6673);

/// A namespace that is held open, so that its number stays its own.
#[derive(Clone, Debug)]
pub struct Netns {
    /// Which one
    pub id: NetnsId,
    /// A descriptor of its file
    pub fd: Arc<OwnedFd>,
    /// The file by which it was found
    pub path: PathBuf,
}

/// Why a pod's namespace cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetnsError {
    /// Its file cannot be opened
    #[error("cannot open the network namespace {}: {}", path.display(), io_text(error))]
    Open {
        /// The file
        path: PathBuf,
        /// What the system call said
        error: io::Error,
    },
    /// The file is something else
    #[error("{} is not a namespace", path.display())]
    NotANamespace {
        /// The file
        path: PathBuf,
    },
    /// It is the node's own
    #[error("{} is the node's own network namespace, not a pod's", path.display())]
    Host {
        /// The file
        path: PathBuf,
    },
    /// Somebody else's: the pod's addresses are missing
    #[error("the network namespace has no interface with the pod's address {missing}")]
    OtherPod {
        /// One of them
        missing: IpAddr,
    },
    /// It cannot be entered
    #[error(transparent)]
    Enter(#[from] NamespaceError),
    /// The thread is in another namespace than it should be in
    #[error("the thread did not arrive in the network namespace")]
    Elsewhere,
    /// Its interfaces cannot be listed, or a route cannot be read or changed
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The socket for rules cannot be opened
    #[error("nf_tables: {0}")]
    Netlink(nftwire::Error),
    /// The rules cannot be made or removed
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Rules of another agent cannot be replaced
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// There is no thread to enter it
    #[error("cannot start a thread: {}", io_text(.0))]
    Thread(io::Error),
    /// The rules cannot be compared
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

impl From<nftwire::Error> for NetnsError {
    fn from(error: nftwire::Error) -> Self {
        Self::Netlink(error)
    }
}

impl Netns {
    /// Opens a file of nsfs, unless it is the node's own namespace.
    ///
    /// # Errors
    /// [`NetnsError::Open`], [`NetnsError::NotANamespace`], [`NetnsError::Host`].
    pub fn open(path: &Path, host: NetnsId) -> Result<Self, NetnsError> {
        let failed = |error| NetnsError::Open { path: path.to_owned(), error };
        // Whatever the path names, opening it must not block.
        let options = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = OpenOptions::new().read(true).custom_flags(options.bits()).open(path).map_err(failed)?;
        let fs = fstatfs(&file).map_err(|errno| failed(errno.into()))?;
        if fs.filesystem_type() != NSFS {
            return Err(NetnsError::NotANamespace { path: path.to_owned() });
        }
        let id = id(&file).map_err(failed)?;
        if id == host {
            return Err(NetnsError::Host { path: path.to_owned() });
        }
        Ok(Self { id, fd: Arc::new(file.into()), path: path.to_owned() })
    }

    /// Moves the calling thread there, for good, and works with sockets that are closed afterwards: an open one would keep
    /// the namespace of a deleted pod alive.
    ///
    /// # Errors
    /// It cannot be entered, a socket cannot be opened, or those of `work`.
    pub fn enter<T>(
        &self,
        work: impl FnOnce(&mut Socket, &mut RouteSocket) -> Result<T, NetnsError>,
    ) -> Result<T, NetnsError> {
        self.move_thread()?;
        work(&mut Socket::open()?, &mut RouteSocket::open()?)
    }

    /// Whether the interfaces there have all these addresses; the thread stays there.
    ///
    /// # Errors
    /// [`NetnsError::OtherPod`] if not; it cannot be entered, or its interfaces cannot be listed.
    pub fn belongs_to(&self, addresses: &BTreeSet<IpAddr>) -> Result<(), NetnsError> {
        let present = self.addresses()?;
        match addresses.iter().find(|address| !present.contains(address)) {
            Some(missing) => Err(NetnsError::OtherPod { missing: *missing }),
            None => Ok(()),
        }
    }

    /// The addresses of its interfaces; the thread stays there.
    ///
    /// # Errors
    /// It cannot be entered, or its interfaces cannot be listed.
    pub fn addresses(&self) -> Result<BTreeSet<IpAddr>, NetnsError> {
        self.move_thread()?;
        let addresses = RouteSocket::open()?.interface_addresses()?;
        Ok(addresses.into_iter().map(|found| found.address).collect())
    }

    fn move_thread(&self) -> Result<(), NetnsError> {
        setns(self.fd.as_fd(), CloneFlags::CLONE_NEWNET)
            .map_err(|errno| NamespaceError::Enter(errno.into()))?;
        match path_id(Path::new("/proc/thread-self/ns/net")) {
            Ok(id) if id == self.id => Ok(()),
            _ => Err(NetnsError::Elsewhere),
        }
    }
}

/// Which namespace the file is.
///
/// # Errors
/// It cannot be looked at, such as where the process is gone.
pub fn path_id(path: &Path) -> io::Result<NetnsId> {
    let metadata = path.metadata()?;
    Ok(NetnsId { dev: metadata.dev(), ino: metadata.ino() })
}

fn id(file: &File) -> io::Result<NetnsId> {
    let metadata = file.metadata()?;
    Ok(NetnsId { dev: metadata.dev(), ino: metadata.ino() })
}
