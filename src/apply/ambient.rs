//! What a node agent does for Istio's ambient mode: [`mesh::istio::ambient`](crate::mesh::istio::ambient) says what the
//! kernel is to hold, and this makes it so, in this process.
//!
//! ```no_run
//! use meshwire::probes::{self, PodUid};
//! use meshwire::apply::ApplyError;
//! use meshwire::mesh::istio::ambient::{HostInterception, PodInterception};
//! use meshwire::netns::{Namespace, inside};
//!
//! // A pod has come: its traffic goes to ztunnel, and the kubelet's probes of it do not.
//! fn pod_added(netns: &str, address: std::net::IpAddr, uid: &str) -> Result<(), Box<dyn std::error::Error>> {
//!     let pod = PodInterception { dns: true, ..PodInterception::default() };
//!     if inside(&Namespace::from_path(netns)?, |nft, routes| pod.apply(nft, routes))?.without_fib {
//!         eprintln!("this kernel has no fib: guests in the pod have no DNS over UDP");
//!     }
//!     probes::add(&mut nftwire::Socket::open()?, &[address], PodUid::new(uid)?)?;
//!     Ok(())
//! }
//!
//! // Once, when the agent starts, in the node's own namespace.
//! fn started() -> Result<(), Box<dyn std::error::Error>> {
//!     let kubelets = meshwire::kubelet::find("/proc")?;
//!     let uids: Vec<_> = kubelets.iter().map(|kubelet| kubelet.uid).collect();
//!     HostInterception::new(uids).apply(&mut nftwire::Socket::open()?)?;
//!     Ok(())
//! }
//! ```

use nftwire::{Commit, Socket};

use super::{Applied, ApplyError, Counters, apply_ruleset};
use crate::mesh::istio::ambient::{HostInterception, PodInterception};
use crate::network::RouteSocket;

impl PodInterception {
    /// Applies it in the sockets' namespace, which is the pod's: all of it, or nothing. Rules that exist already
    /// stay, with their counters. On a kernel without `fib`, its rules are left out.
    ///
    /// # Errors
    /// See [`ApplyError`]; after a failure, everything is as it was before.
    pub fn apply(&self, nft: &mut Socket, routes: &mut RouteSocket) -> Result<Applied, ApplyError> {
        self.interception().apply(nft, routes, Counters::Keep)
    }

    /// Removes everything that any settings make. What no longer exists is skipped.
    ///
    /// # Errors
    /// See [`ApplyError`]; what was removed before the failure stays removed.
    pub fn remove(nft: &mut Socket, routes: &mut RouteSocket) -> Result<Applied, ApplyError> {
        Self::nothing().remove(nft, routes)
    }
}

impl HostInterception {
    /// Applies it in the socket's namespace, which is the node's own: all of it, or nothing. The [probe set](crate::probes)
    /// keeps what is in it.
    ///
    /// # Errors
    /// See [`ApplyError`]; after a failure, everything is as it was before.
    pub fn apply(&self, nft: &mut Socket) -> Result<Applied, ApplyError> {
        apply_ruleset(nft, &self.interception(), Counters::Keep)
    }

    /// Removes the rules and leaves the probe set. What no longer exists is skipped.
    ///
    /// # Errors
    /// As [`HostInterception::apply`].
    pub fn remove(nft: &mut Socket) -> Result<Commit, ApplyError> {
        Ok(apply_ruleset(nft, &Self::nothing(), Counters::Keep)?.commit)
    }

    /// Removes the rules and the probe set with all its elements. What no longer exists is skipped.
    ///
    /// # Errors
    /// As [`HostInterception::apply`].
    pub fn destroy(nft: &mut Socket) -> Result<Commit, ApplyError> {
        Ok(apply_ruleset(nft, &Self::nothing().without_kept_sets(), Counters::Keep)?.commit)
    }
}
