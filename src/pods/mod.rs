//! The pods of a node, and their network namespaces: by the node's processes, and by the names of the kubelet's folders.
//!
//! Nothing is read from inside of a pod, whose processes could write it.

mod cgroup;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nftwire::io_text;

use crate::diagnostic::{Explain, Explanation};
pub use cgroup::{hex_digits, pod_of_cgroup, start_time};

/// A node's files, at `/` on the node itself.
#[derive(Clone, Debug)]
pub struct Node {
    root: PathBuf,
}

/// A network namespace of processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNetwork {
    /// Its oldest process, as the node's proc file system numbers it
    pub pid: u32,
    /// The UID of the pod that the process belongs to, in hexadecimal digits; none for what is not a pod's
    pub uid: Option<String>,
    /// The namespace's file
    pub path: PathBuf,
}

/// A pod by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    /// Its namespace in the cluster
    pub namespace: String,
    /// Its name
    pub name: String,
}

/// Why a pod's network namespace is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PodsError {
    /// A file of the node cannot be read
    #[error("cannot read {}: {}", path.display(), io_text(error))]
    Read {
        /// The file
        path: PathBuf,
        /// What the system call said
        error: io::Error,
    },
    /// The kubelet has no folder for such a pod
    #[error("there is no pod {namespace}/{name} on this node: {} has no folder for it", logs.display())]
    NoPod {
        /// Its namespace
        namespace: String,
        /// Its name
        name: String,
        /// Where the kubelet's folders are
        logs: PathBuf,
    },
    /// No process belongs to it, or only such as are in the node's own network namespace
    #[error("pod {namespace}/{name} has no process in a network namespace of its own that {} shows", proc.display())]
    NoProcess {
        /// Its namespace
        namespace: String,
        /// Its name
        name: String,
        /// The proc file system
        proc: PathBuf,
    },
}

impl Explain for PodsError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::Read { path, error } => error
                .explanation()
                .at("file", path.display().to_string())
                .help("this takes the node's own file system, and root"),
            Self::NoPod { logs, .. } => Explanation::default().at("file", logs.display().to_string()),
            Self::NoProcess { proc, .. } => Explanation::default()
                .at("file", proc.display().to_string())
                .help("it has ended, it has hostNetwork: true, or this proc file system is not the node's (hostPID)"),
        }
    }
}

impl Node {
    /// The node whose root file system is here: `/` on the node, `/host` in the pod of `kubectl debug node/NODE`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn proc(&self) -> PathBuf {
        self.root.join("proc")
    }

    /// Each network namespace but the node's own and this process's, by its oldest process, the oldest first.
    ///
    /// # Errors
    /// [`PodsError::Read`].
    pub fn networks(&self) -> Result<Vec<PodNetwork>, PodsError> {
        let proc = self.proc();
        let host = proc.join("1/ns/net");
        let host = id(&host).map_err(|error| PodsError::Read { path: host, error })?;
        let own = id(Path::new("/proc/thread-self/ns/net")).ok();
        networks_in(&proc, |namespace| namespace != host && Some(namespace) != own)
    }

    /// The pods that the kubelet keeps logs of, by their UIDs in hexadecimal digits. A static pod has its configuration's
    /// hash there, and in its cgroups' names, too.
    ///
    /// # Errors
    /// [`PodsError::Read`].
    pub fn names(&self) -> Result<BTreeMap<String, PodName>, PodsError> {
        let logs = self.logs();
        let failed = |error| PodsError::Read { path: logs.clone(), error };
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(&logs).map_err(failed)? {
            let folder = entry.map_err(failed)?.file_name();
            let Some(folder) = folder.to_str() else { continue };
            // NAMESPACE_NAME_UID, and neither of the names has `_`.
            if let [namespace, name, uid] = folder.split('_').collect::<Vec<_>>()[..] {
                let pod = PodName { namespace: namespace.to_owned(), name: name.to_owned() };
                names.insert(hex_digits(uid), pod);
            }
        }
        Ok(names)
    }

    /// The network namespace of a pod. Of pods that had the same name after one another, the one that has processes counts.
    ///
    /// # Errors
    /// See [`PodsError`].
    pub fn find(&self, namespace: &str, name: &str) -> Result<PodNetwork, PodsError> {
        let names = self.names()?;
        let is_it =
            |uid: &String| names.get(uid).is_some_and(|pod| pod.namespace == namespace && pod.name == name);
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        if !names.keys().any(is_it) {
            return Err(PodsError::NoPod { namespace, name, logs: self.logs() });
        }
        let found = self.networks()?.into_iter().find(|network| network.uid.as_ref().is_some_and(is_it));
        found.ok_or_else(|| PodsError::NoProcess { namespace, name, proc: self.proc() })
    }

    fn logs(&self) -> PathBuf {
        self.root.join("var/log/pods")
    }
}

/// A pod's namespace and name, of `NAMESPACE/NAME`; `None` unless both are DNS subdomains (RFC 1123), as all of them are.
#[must_use]
pub fn namespace_and_name(text: &str) -> Option<(&str, &str)> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    let is_name =
        |text: &str| (1..=253).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.');
    text.split_once('/').filter(|(namespace, name)| is_name(namespace) && is_name(name))
}

/// Each network namespace that a process of this proc file system is in, the node's own too, by its oldest process, the
/// oldest first.
///
/// # Errors
/// [`PodsError::Read`].
pub fn all_networks(proc: &Path) -> Result<Vec<PodNetwork>, PodsError> {
    networks_in(proc, |_| true)
}

/// The device and the inode of a namespace's file.
type NamespaceId = (u64, u64);

fn networks_in(proc: &Path, counts: impl Fn(NamespaceId) -> bool) -> Result<Vec<PodNetwork>, PodsError> {
    let mut oldest = BTreeMap::new();
    for pid in pids(proc)? {
        let process = proc.join(pid.to_string());
        // A process that ends meanwhile is none.
        let Ok(namespace) = id(&process.join("ns/net")) else { continue };
        let started = fs::read_to_string(process.join("stat")).ok();
        let Some(started) = started.and_then(|stat| start_time(&stat)) else { continue };
        if counts(namespace) {
            let age = oldest.entry(namespace).or_insert((started, pid));
            *age = (*age).min((started, pid));
        }
    }
    let mut ages: Vec<_> = oldest.into_values().collect();
    ages.sort_unstable();
    let network = |(_, pid): (u64, u32)| {
        let process = proc.join(pid.to_string());
        let cgroup = fs::read(process.join("cgroup")).unwrap_or_default();
        let uid = pod_of_cgroup(&String::from_utf8_lossy(&cgroup));
        PodNetwork { pid, uid, path: process.join("ns/net") }
    };
    Ok(ages.into_iter().map(network).collect())
}

fn id(path: &Path) -> io::Result<NamespaceId> {
    path.metadata().map(|file| (file.dev(), file.ino()))
}

fn pids(proc: &Path) -> Result<Vec<u32>, PodsError> {
    let failed = |error| PodsError::Read { path: proc.to_owned(), error };
    let mut pids = Vec::new();
    for entry in fs::read_dir(proc).map_err(failed)? {
        pids.extend(entry.map_err(failed)?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(pids)
}
