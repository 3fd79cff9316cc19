//! Whether this is the machine's own network namespace, where a mistyped run would cut off a node.

use nix::unistd::{AccessFlags, access};

use crate::diagnostic::{Explain, Explanation};
use crate::network::{RouteError, RouteSocket};

/// Exists in the initial network namespace alone (`netns_core_table` and `net_core_table` in
/// net/core/sysctl_net_core.c).
const INITIAL_NAMESPACE_ONLY: &str = "/proc/sys/net/core/netdev_max_backlog";

/// The network namespace is the machine's own, and other namespaces hang on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is the machine's own network namespace, and it holds links to others ({}): intercepting here would cut the \
     node off",
    some_of(links)
)]
pub struct HostNetwork {
    /// Links whose other end is in another namespace
    pub links: Vec<String>,
}

/// Whether the calling thread is in the machine's own network namespace; `None` where no /proc is mounted to tell.
#[must_use]
pub fn is_initial_namespace() -> Option<bool> {
    exists("/proc/sys/net/core").then(|| exists(INITIAL_NAMESPACE_ONLY))
}

fn exists(path: &str) -> bool {
    access(path, AccessFlags::F_OK).is_ok()
}

/// The links to other namespaces if the caller's network namespace is the machine's own; a run that was mistyped
/// there must not cut off a node.
///
/// Without a mounted /proc it cannot be told; then no links are reported.
///
/// # Errors
/// The links cannot be listed.
pub fn host_network(routes: &mut RouteSocket) -> Result<Option<HostNetwork>, RouteError> {
    if !exists(INITIAL_NAMESPACE_ONLY) {
        return Ok(None);
    }
    let links = routes.links_with_peer_elsewhere()?;
    Ok((!links.is_empty()).then_some(HostNetwork { links }))
}

impl Explain for HostNetwork {
    fn explanation(&self) -> Explanation {
        Explanation::default()
            .at("links", self.links.clone())
            .help("run it in the pod's namespace, or pass --allow-host-network")
    }
}

fn some_of(links: &[String]) -> String {
    let shown = links.len().min(3);
    let more = if links.len() > shown { ", …" } else { "" };
    links[..shown].join(", ") + more
}
