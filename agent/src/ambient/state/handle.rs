//! What happened: each input changes what is known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use meshwire::mesh::istio::ambient::PodInterception;

use super::{
    Connection, Host, Input, Moment, NetnsId, Pod, PodView, Presence, QUIET, Retry, Rules, State, Uid,
};
use crate::zds::{Ack, ConnectionId, Request};

impl State {
    /// Takes note of what happened.
    pub fn handle(&mut self, now: Moment, input: Input) {
        self.note_whom_it_concerns(&input);
        match input {
            Input::Pod(view) => self.seen(view),
            Input::Deleted(uid) => self.with(&uid, |pod| pod.presence = Presence::Deleted),
            Input::Listed(uids) => {
                for (uid, pod) in &mut self.pods {
                    if pod.presence == Presence::Listed && !uids.contains(uid) {
                        pod.presence = Presence::Unlisted;
                    }
                }
                self.listed = true;
                self.pods_confirmed = false;
                self.unconfirmed();
            }
            Input::Unconfirmed => self.unconfirmed(),
            Input::PodsConfirmed => self.pods_confirmed = self.listed,
            Input::Confirmed => (self.pods_confirmed, self.confirmed) = (self.listed, self.listed),
            Input::Asked(uid, answer) => self.with(&uid, |pod| {
                pod.asking = false;
                match answer {
                    Ok(exists) => {
                        pod.ask_retry = Retry::default();
                        pod.asked = exists && pod.view.as_ref().is_some_and(|view| view.member.is_none());
                        if !exists {
                            pod.presence = Presence::Deleted;
                        }
                    }
                    Err(pause) => pod.ask_retry.failed_for(now, pause),
                }
            }),
            Input::Event { uid, netns, addresses, ticket, deadline } => {
                self.event(&uid, netns, addresses, (ticket, deadline));
            }
            Input::Scanned(found) => self.scanned(now, &found),
            Input::Programmed(uid, netns, settings, result) => {
                self.programmed(now, &uid, netns, settings, result);
            }
            Input::Inspected(uid, netns, result) => self.inspected(now, &uid, netns, result),
            Input::Unprogrammed(uid, netns, result) => self.with(&uid, |pod| {
                pod.busy = false;
                if pod.netns == Some(netns) && pod.note(now, result) {
                    pod.rules = Rules::Absent;
                }
            }),
            Input::ProbesAdded(uid, addresses, result) => {
                self.probes_added(now, &uid, &addresses, result.is_ok());
            }
            Input::ProbesRemoved(uid, addresses, result) => self.with(&uid, |pod| {
                pod.busy = false;
                if pod.note(now, result) {
                    pod.probes.retain(|address| !addresses.contains(address));
                }
            }),
            Input::Annotated(uid, annotation, result) => self.with(&uid, |pod| {
                pod.patching = false;
                match result {
                    Ok(()) => {
                        pod.annotation = annotation;
                        (pod.patch_retry, pod.patch_failed) = (Retry::default(), false);
                    }
                    Err(pause) => {
                        pod.patch_retry.failed_for(now, pause);
                        pod.patch_failed = true;
                    }
                }
            }),
            Input::HostRead(result) => self.host_read(now, result),
            Input::HostProgrammed(result) => self.host_programmed(now, result),
            Input::HostChanged(writer) => {
                self.host.writer = writer;
                // A series of changes without a pause is looked at when the pass comes.
                self.host.read_at = Some(now + QUIET);
            }
            Input::HostOutdated => {
                // Making them is no repair of what others did.
                (self.host.rules, self.host.ever) = (false, false);
                self.host.read_at = Some(now);
            }
            Input::Connected(id) => {
                self.connections.insert(id, Connection::default());
            }
            Input::Acknowledged(id, ack) => self.replied(now, id, ack),
            Input::Disconnected(id) => {
                self.connections.remove(&id);
            }
            Input::Pass => {
                self.host.read_at = Some(now);
                for pod in self.pods.values_mut() {
                    pod.inspection_due = true;
                    pod.scan_due = true;
                }
            }
        }
    }

    fn note_whom_it_concerns(&mut self, input: &Input) {
        match input {
            Input::Pod(PodView { uid, .. })
            | Input::Deleted(uid)
            | Input::Asked(uid, _)
            | Input::Event { uid, .. }
            | Input::Programmed(uid, ..)
            | Input::Inspected(uid, ..)
            | Input::Unprogrammed(uid, ..)
            | Input::ProbesAdded(uid, ..)
            | Input::ProbesRemoved(uid, ..)
            | Input::Annotated(uid, ..) => {
                self.changed.insert(uid.clone());
            }
            Input::Acknowledged(id, _) => {
                let in_flight = self.connections.get(id).and_then(|connection| connection.in_flight.as_ref());
                match in_flight.and_then(|(request, _)| request.uid()) {
                    Some(uid) => {
                        self.changed.insert(uid.into());
                    }
                    None => self.all_changed = true,
                }
            }
            // Of the host, which is looked at anyway.
            Input::HostChanged(_) | Input::HostOutdated => {}
            Input::Listed(_)
            | Input::Unconfirmed
            | Input::PodsConfirmed
            | Input::Confirmed
            | Input::HostRead(_)
            | Input::HostProgrammed(_)
            | Input::Connected(_)
            | Input::Disconnected(_)
            | Input::Scanned(_)
            | Input::Pass => self.all_changed = true,
        }
    }

    /// Lists have come that may be out of date.
    fn unconfirmed(&mut self) {
        self.confirmed = false;
        self.pods.values_mut().for_each(|pod| pod.asked = false);
    }

    pub(super) fn with(&mut self, uid: &Uid, change: impl FnOnce(&mut Pod)) {
        if let Some(pod) = self.pods.get_mut(uid) {
            change(pod);
        }
    }

    fn seen(&mut self, view: PodView) {
        let pod = self.pods.entry(view.uid.clone()).or_default();
        // A stale list or watch may show a pod whose deletion is known.
        if pod.presence != Presence::Deleted {
            pod.presence = Presence::Listed;
        }
        let before = pod.view.as_ref().map(|view| &view.addresses);
        let is_new =
            before != Some(&view.addresses) && !view.addresses.is_empty() && pod.addresses != view.addresses;
        pod.annotation = view.annotation;
        pod.asked &= view.member.is_none();
        let (uid, addresses) = (view.uid.clone(), view.addresses.clone());
        pod.view = Some(view);
        if is_new {
            self.claim(&uid, addresses);
        }
    }

    /// The pod has these addresses now; whoever had them before does not any more.
    fn claim(&mut self, uid: &Uid, addresses: BTreeSet<IpAddr>) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        self.claims += 1;
        pod.claim = self.claims;
        for address in &addresses {
            self.holders.entry(*address).or_default().insert(uid.clone());
        }
        let before = std::mem::replace(&mut pod.addresses, addresses);
        let lost: Vec<_> = before.difference(&pod.addresses).copied().collect();
        self.unhold(uid, lost);
    }

    fn unhold(&mut self, uid: &Uid, addresses: impl IntoIterator<Item = IpAddr>) {
        for address in addresses {
            if let Some(holders) = self.holders.get_mut(&address) {
                holders.remove(uid);
                self.changed.extend(holders.iter().cloned());
                if holders.is_empty() {
                    self.holders.remove(&address);
                }
            }
        }
    }

    fn event(&mut self, uid: &Uid, netns: NetnsId, addresses: BTreeSet<IpAddr>, ticket: (u64, Moment)) {
        // A scan that is under way may have seen the sandbox before this one.
        self.scanning.remove(uid);
        let pod = self.pods.entry(uid.clone()).or_default();
        if pod.netns != Some(netns) {
            pod.netns = Some(netns);
            pod.rules = Rules::Unknown;
        }
        pod.tickets.push(ticket);
        pod.failure = None;
        (pod.retry, pod.patch_retry, pod.patch_failed) = (Retry::default(), Retry::default(), false);
        let addresses = if addresses.is_empty() { pod.addresses.clone() } else { addresses };
        self.claim(uid, addresses);
    }

    fn scanned(&mut self, now: Moment, found: &BTreeMap<Uid, NetnsId>) {
        for uid in std::mem::take(&mut self.scanning) {
            let Some(pod) = self.pods.get_mut(&uid) else { continue };
            match found.get(&uid) {
                Some(netns) => {
                    pod.scan_retry = Retry::default();
                    if pod.netns != Some(*netns) {
                        pod.netns = Some(*netns);
                        pod.rules = Rules::Unknown;
                    }
                }
                None => {
                    pod.netns = None;
                    pod.rules = Rules::Unknown;
                    pod.attempted = true;
                    pod.scan_retry.failed(now);
                    if pod.view.as_ref().is_some_and(|view| view.member.is_some()) {
                        pod.failure = Some("its network namespace was not found".to_owned());
                    }
                }
            }
        }
        self.scan_under_way = false;
    }

    fn programmed(
        &mut self,
        now: Moment,
        uid: &Uid,
        netns: NetnsId,
        settings: PodInterception,
        result: Result<(), String>,
    ) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        pod.busy = false;
        pod.attempted = true;
        if pod.netns != Some(netns) {
            return;
        }
        if pod.note(now, result) {
            if pod.rules == Rules::Damaged {
                pod.repairs.repaired(now);
                self.heals.pods += 1;
            }
            pod.rules = Rules::Present(settings);
        } else {
            // The namespace may be that of a sandbox that is gone.
            pod.scan_due = true;
        }
    }

    fn inspected(&mut self, now: Moment, uid: &Uid, netns: NetnsId, result: Result<bool, String>) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        pod.busy = false;
        if pod.netns != Some(netns) {
            return;
        }
        match result {
            Ok(true) if pod.rules == Rules::Unknown => pod.rules = Rules::Absent,
            Ok(true) => {}
            Ok(false) => pod.rules = Rules::Damaged,
            Err(error) => {
                pod.note(now, Err(error));
                pod.scan_due = true;
            }
        }
        pod.attempted = true;
    }

    fn probes_added(&mut self, now: Moment, uid: &Uid, addresses: &BTreeSet<IpAddr>, added: bool) {
        self.with(uid, |pod| {
            pod.busy = false;
            if added {
                pod.probes.extend(addresses);
            } else {
                // The set is missing, most likely, and comes back with the host's rules: no fault of the pod's.
                pod.retry.failed(now);
            }
        });
        if added {
            // An element has one owner.
            for (other, pod) in &mut self.pods {
                if other != uid && !pod.probes.is_disjoint(addresses) {
                    pod.probes.retain(|address| !addresses.contains(address));
                    self.changed.insert(other.clone());
                }
            }
        } else {
            self.host.read_at.get_or_insert(now);
        }
    }

    fn host_read(&mut self, now: Moment, result: Result<(bool, Vec<(IpAddr, Uid)>), String>) {
        self.host.busy = false;
        let (intact, probes) = match result {
            Ok(read) => read,
            Err(error) => {
                self.host.failed(now, error);
                self.host.read_at = Some(self.host.retry.due());
                return;
            }
        };
        self.host.read = true;
        self.host.rules = intact;
        self.host.ever |= intact;
        if intact {
            (self.host.failure, self.host.retry) = (None, Retry::default());
        }
        for pod in self.pods.values_mut() {
            pod.probes.clear();
        }
        for (address, uid) in probes {
            self.pods.entry(uid).or_default().probes.insert(address);
        }
    }

    fn host_programmed(&mut self, now: Moment, result: Result<(), String>) {
        self.host.busy = false;
        match result {
            Ok(()) => {
                if self.host.ever {
                    self.host.repairs.repaired(now);
                    self.heals.host += 1;
                }
                self.host = Host {
                    rules: true,
                    ever: true,
                    failure: None,
                    retry: Retry::default(),
                    // Somebody may have been faster, and the sets may be new.
                    read_at: Some(now),
                    ..std::mem::take(&mut self.host)
                };
            }
            Err(error) => self.host.failed(now, error),
        }
    }

    fn replied(&mut self, now: Moment, id: ConnectionId, ack: Ack) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some((request, netns)) = connection.in_flight.take() else { return };
        let Some(uid) = request.uid().map(Uid::from) else {
            // What refuses the end of a snapshot is in no state to go on; but it says so by closing the connection.
            connection.snapshot_sent = true;
            return;
        };
        if matches!(request, Request::Del { .. }) && ack == Ack::Accepted {
            connection.announced.remove(&uid);
            return;
        }
        let announced = connection.announced.entry(uid.clone()).or_default();
        announced.netns = netns;
        announced.accepted = ack == Ack::Accepted;
        match ack {
            Ack::Accepted => {
                announced.retry = Retry::default();
                self.with(&uid, |pod| pod.failure = None);
            }
            Ack::Refused(error) => {
                announced.retry.failed(now);
                self.with(&uid, |pod| pod.failure = Some(format!("ztunnel: {error}")));
            }
        }
    }

    /// Drops pods that are gone without a trace.
    pub(super) fn forget(&mut self, changed: &BTreeSet<Uid>) {
        let gone: Vec<Uid> = self
            .those(changed)
            .filter(|(uid, pod)| {
                let idle = !pod.busy && !pod.patching && !pod.asking && pod.tickets.is_empty();
                let known = pod.view.is_none() || self.gone(pod);
                self.host.read && idle && known && self.gone(pod) && !self.has_traces(uid, pod)
            })
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in gone {
            if let Some(pod) = self.pods.remove(&uid) {
                self.unhold(&uid, pod.addresses);
            }
        }
    }
}

impl Pod {
    /// Notes how a step in the kernel ended; returns whether it succeeded.
    fn note(&mut self, now: Moment, result: Result<(), String>) -> bool {
        match result {
            Ok(()) => {
                self.failure = None;
                self.retry = Retry::default();
                true
            }
            Err(error) => {
                self.failure = Some(error);
                self.retry.failed(now);
                false
            }
        }
    }
}

impl Host {
    fn failed(&mut self, now: Moment, error: String) {
        self.failure = Some(error);
        self.retry.failed(now);
    }
}
