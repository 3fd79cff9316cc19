//! Whether running pods with a sidecar have their mesh's rules, whoever made them: a pod that lost them is not restarted, and
//! nobody would notice that its traffic bypasses the mesh.

use std::collections::BTreeMap;
use std::path::Path;

use meshwire::leftovers;
use meshwire::mesh::Profile;
use meshwire::nft_ruleset::snapshot::{Depth, Scope, Snapshot};
use nftwire::{Family, Socket};

use crate::ambient::netns::{Netns, NetnsError, path_id};
use crate::ambient::scan::{Wanted, scan};
use crate::ambient::state::Uid;
use crate::kubernetes::Pod;

/// The meshes whose pods have a proxy of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mesh {
    Istio,
    Linkerd,
}

impl Mesh {
    /// As a label of the gauge.
    pub(super) const ALL: [(Self, &'static str); 2] = [(Self::Istio, "istio"), (Self::Linkerd, "linkerd")];

    /// What its rules are made by.
    fn profile(self) -> Profile {
        match self {
            Self::Istio => Profile::Sidecar,
            Self::Linkerd => Profile::Linkerd,
        }
    }

    /// By the pod's proxy, once the pod runs: until then its rules may be on their way.
    fn of(pod: &Pod) -> Option<Self> {
        if pod.host_network() || pod.status.phase.as_deref() != Some("Running") {
            return None;
        }
        if pod.has_container("istio-proxy") && pod.annotation("sidecar.istio.io/status").is_some() {
            Some(Self::Istio)
        } else if pod.has_container("linkerd-proxy") {
            Some(Self::Linkerd)
        } else {
            None
        }
    }
}

/// The pods that are looked at.
#[derive(Debug, Default)]
pub(super) struct Guarded(BTreeMap<Uid, (Mesh, Wanted)>);

impl Guarded {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn remove(&mut self, pod: &Pod) {
        self.0.remove(&Uid::from(pod.metadata.uid.as_str()));
    }

    pub(super) fn note(&mut self, pod: &Pod) {
        let uid = Uid::from(pod.metadata.uid.as_str());
        match Mesh::of(pod) {
            Some(mesh) => drop(self.0.insert(uid, (mesh, Wanted::running(pod)))),
            None => drop(self.0.remove(&uid)),
        }
    }

    pub(super) fn pods(&self) -> Vec<(Mesh, Wanted)> {
        self.0.values().cloned().collect()
    }
}

/// The meshes of the pods without rules. The thread visits their namespaces, and has to end. A pod whose namespace is not
/// found, such as one that has just ended, is none of them.
pub(super) fn unprotected(proc: &Path, pods: &[(Mesh, Wanted)]) -> Vec<Mesh> {
    let Ok(host) = path_id(&proc.join("1/ns/net")) else { return Vec::new() };
    let wanted: Vec<_> = pods.iter().map(|(_, wanted)| wanted.clone()).collect();
    let found = scan(proc, host, &wanted);
    let lacks_rules = |(mesh, wanted): &(Mesh, Wanted)| {
        let netns = found.get(&wanted.uid)?;
        match has_rules(*mesh, netns) {
            Ok(true) => None,
            Ok(false) => {
                tracing::error!(target: "cni-agent", "pod {} is running without its mesh's rules", wanted.uid);
                Some(*mesh)
            }
            Err(error) => {
                tracing::warn!(target: "cni-agent", "cannot see whether pod {} has rules: {error}", wanted.uid);
                None
            }
        }
    };
    pods.iter().filter_map(lacks_rules).collect()
}

/// Whether the rules of the pod's own mesh get packets. Those of legacy iptables cannot be read; where there are some, they
/// count as the mesh's.
fn has_rules(mesh: Mesh, netns: &Netns) -> Result<bool, NetnsError> {
    netns.enter(|nft: &mut Socket, _| {
        let ruleset = Snapshot::read(nft, Scope::Family(Family::Unspec), Depth::Rules)?.listed()?;
        Ok(mesh.profile().is_in_force(&ruleset) || !leftovers::legacy_tables().is_empty())
    })
}
