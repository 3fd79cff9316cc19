//! Probes of pods that have a network interface of their own at the cloud provider: see [`BranchRoute`].

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use meshwire::network::{BranchRoute, Change, Family, RouteError, RouteSocket};

/// The rules that were made or found, by the pods' addresses. The provider's plugin removes its routes before the pod is
/// known to be gone: only this knows then which rules are to go, too.
#[derive(Debug, Default)]
pub(super) struct Branches {
    enabled: bool,
    made: BTreeMap<IpAddr, BranchRoute>,
}

impl Branches {
    /// Sees whether this node can have such pods: AWS asks for net.ipv4.tcp_early_demux=0 there, which is not the kernel's
    /// default. The calling thread is in the node's network namespace, whose setting it is.
    pub(super) fn look(&mut self, wanted: bool, proc: &Path) {
        let setting = || fs::read(proc.join("sys/net/ipv4/tcp_early_demux"));
        self.enabled = wanted && setting().is_ok_and(|value| value.starts_with(b"0"));
    }

    /// Makes the rules of those pods, of these addresses, that have such an interface.
    ///
    /// # Errors
    /// The first one; the rest is tried nevertheless.
    pub(super) fn add(
        &mut self,
        routes: &mut RouteSocket,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), RouteError> {
        if !self.enabled {
            return Ok(());
        }
        let mut found: BTreeMap<_, _> = BTreeMap::new();
        for family in [Family::V4, Family::V6] {
            found.extend(routes.branch_routes(family)?.into_iter().map(|branch| (branch.address, branch)));
        }
        let mut result = Ok(());
        for address in addresses {
            if let Some(branch) = found.remove(&address)
                && let Err(error) = self.make(routes, branch)
            {
                result = result.and(Err(error));
            }
        }
        result
    }

    fn make(&mut self, routes: &mut RouteSocket, branch: BranchRoute) -> Result<(), RouteError> {
        // Another pod had the address before.
        if self.made.get(&branch.address).is_some_and(|before| *before != branch) {
            self.remove(routes, [branch.address])?;
        }
        if routes.add_branch_rules(&branch)? == Change::Made {
            let BranchRoute { address, link, table, .. } = &branch;
            tracing::info!(target: "cni-agent", "probes of {address} stay on the node: table {table} routes it over {link}");
        }
        self.made.insert(branch.address, branch);
        Ok(())
    }

    /// Removes the rules of the pods that had these addresses.
    ///
    /// # Errors
    /// The first one; what was not removed is still known.
    pub(super) fn remove(
        &mut self,
        routes: &mut RouteSocket,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), RouteError> {
        for address in addresses {
            if let Some(branch) = self.made.get(&address) {
                let _ = routes.remove_branch_rules(branch)?;
                self.made.remove(&address);
            }
        }
        Ok(())
    }

    /// Removes all of them.
    ///
    /// # Errors
    /// As [`Branches::remove`].
    pub(super) fn clear(&mut self, routes: &mut RouteSocket) -> Result<(), RouteError> {
        let addresses: Vec<_> = self.made.keys().copied().collect();
        self.remove(routes, addresses)
    }
}
