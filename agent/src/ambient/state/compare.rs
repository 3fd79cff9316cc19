//! What is desired, and what of it exists.

use std::collections::BTreeSet;
use std::net::IpAddr;

use meshwire::mesh::istio::ambient::PodInterception;

use super::{Pod, Presence, Rules, State, Uid};

impl State {
    /// Whether its containers have ended for good, or will be.
    pub(super) fn gone(&self, pod: &Pod) -> bool {
        match pod.presence {
            Presence::Deleted => true,
            Presence::Unlisted => self.pods_confirmed,
            Presence::Listed => pod.view.as_ref().is_some_and(|view| view.terminal),
        }
    }

    /// The rules of a pod that belongs to the mesh.
    pub(super) fn wanted<'a>(&self, pod: &'a Pod) -> Option<&'a PodInterception> {
        let view = pod.view.as_ref()?;
        view.member.as_ref().filter(|_| view.own_network && !self.gone(pod))
    }

    /// Whether it lives on outside the mesh, for certain.
    pub(super) fn leaves(&self, pod: &Pod) -> bool {
        let outside = pod.view.as_ref().is_some_and(|view| view.own_network && view.member.is_none());
        outside && (self.confirmed || pod.asked) && !self.gone(pod)
    }

    /// Whether something of it would have to go, and that is not certain: nothing but a list or a watch says so.
    pub(super) fn is_uncertain(&self, uid: &Uid, pod: &Pod) -> bool {
        let Some(view) = &pod.view else { return false };
        let leaves = match pod.presence {
            Presence::Deleted => false,
            Presence::Unlisted => true,
            Presence::Listed => view.own_network && view.member.is_none(),
        };
        leaves && !self.gone(pod) && !self.leaves(pod) && self.has_traces(uid, pod)
    }

    pub(super) fn programmed_as(pod: &Pod, settings: &PodInterception) -> bool {
        pod.netns.is_some() && matches!(&pod.rules, Rules::Present(present) if present == settings)
    }

    pub(super) fn acknowledged(&self, uid: &Uid, pod: &Pod) -> bool {
        let newest = self.connections.values().next_back();
        let announced = newest.and_then(|connection| connection.announced.get(uid));
        announced.is_some_and(|announced| announced.accepted && announced.netns == pod.netns)
            && pod.netns.is_some()
    }

    /// The pod's addresses without those that have become another pod's.
    pub(super) fn own_addresses(&self, uid: &Uid, pod: &Pod) -> BTreeSet<IpAddr> {
        let is_rival = |other: &Uid| {
            let newer = self.pods.get(other).filter(|rival| rival.claim > pod.claim);
            other != uid && newer.is_some_and(|rival| self.wanted(rival).is_some())
        };
        let claimed = |address: &IpAddr| self.holders.get(address).into_iter().flatten().any(is_rival);
        pod.addresses.iter().filter(|address| !claimed(address)).copied().collect()
    }

    pub(super) fn missing_probes(&self, uid: &Uid, pod: &Pod) -> BTreeSet<IpAddr> {
        if pod.addresses.is_subset(&pod.probes) {
            return BTreeSet::new();
        }
        self.own_addresses(uid, pod).difference(&pod.probes).copied().collect()
    }

    /// Whether its traffic goes through ztunnel, and its probes do not.
    pub(super) fn captured(&self, uid: &Uid, pod: &Pod) -> bool {
        self.wanted(pod).is_some_and(|settings| {
            Self::programmed_as(pod, settings)
                && self.acknowledged(uid, pod)
                && self.missing_probes(uid, pod).is_empty()
        })
    }

    /// Whether ztunnel is to keep the pod's proxy, if it has one.
    pub(super) fn keeps_proxy(&self, pod: &Pod) -> bool {
        if self.wanted(pod).is_some() {
            return true;
        }
        let traces = !pod.probes.is_empty() || pod.annotation.is_some();
        match pod.rules {
            _ if self.gone(pod) => false,
            Rules::Present(_) | Rules::Damaged => true,
            Rules::Unknown => traces,
            Rules::Absent => traces && !self.leaves(pod),
        }
    }

    pub(super) fn announced_anywhere(&self, uid: &Uid) -> bool {
        self.connections.values().any(|connection| {
            let sent = connection.in_flight.as_ref().and_then(|(request, _)| request.uid());
            connection.announced.contains_key(uid) || sent == Some(uid.as_ref())
        })
    }

    /// Whether something of the pod is still there that leaves with it.
    pub(super) fn has_traces(&self, uid: &Uid, pod: &Pod) -> bool {
        let inside = !self.gone(pod)
            && (pod.annotation.is_some() || matches!(pod.rules, Rules::Present(_) | Rules::Damaged));
        inside || !pod.probes.is_empty() || self.announced_anywhere(uid)
    }
}
