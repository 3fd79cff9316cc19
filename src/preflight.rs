//! What has to be known about the place before anything is changed in it.

use nix::unistd::{AccessFlags, access};

use crate::route::{RouteError, RouteSocket};

/// Exists in the initial network namespace alone (`netns_core_table` and `net_core_table` in
/// net/core/sysctl_net_core.c).
const INITIAL_NAMESPACE_ONLY: &str = "/proc/sys/net/core/netdev_max_backlog";

/// The network namespace is the machine's own, and other namespaces hang on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is the machine's own network namespace, and it holds links to others ({}): \
     intercepting here would cut the node off; run it in the pod's namespace, or pass --allow-host-network",
    some_of(links)
)]
pub struct HostNetwork {
    /// Links whose other end is in another namespace
    pub links: Vec<String>,
}

/// The links to other namespaces if the caller's network namespace is the machine's own; a run that was mistyped
/// there must not cut off a node.
///
/// Without a mounted /proc it cannot be told; then no links are reported.
///
/// # Errors
/// The links cannot be listed.
pub fn host_network(routes: &mut RouteSocket) -> Result<Option<HostNetwork>, RouteError> {
    if access(INITIAL_NAMESPACE_ONLY, AccessFlags::F_OK).is_err() {
        return Ok(None);
    }
    let links = routes.links_with_peer_elsewhere()?;
    Ok((!links.is_empty()).then_some(HostNetwork { links }))
}

fn some_of(links: &[String]) -> String {
    let shown = links.len().min(3);
    let more = if links.len() > shown { ", …" } else { "" };
    links[..shown].join(", ") + more
}
