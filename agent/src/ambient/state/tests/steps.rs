//! What the agent does: its steps happen, or fail.

use super::*;
use crate::zds::Ack;

impl World {
    pub(super) fn execute(&mut self, index: usize) {
        // The host's steps happen in their order: one thread does them.
        let is_hosts = |action: &Action| {
            matches!(
                action,
                Action::AddProbes(..) | Action::RemoveProbes(..) | Action::ReadHost | Action::ProgramHost
            )
        };
        let first = self.in_flight.iter().position(is_hosts);
        let index = if is_hosts(&self.in_flight[index]) { first.unwrap() } else { index };
        let action = self.in_flight.remove(index);
        let input = self.perform(action);
        self.hand(input);
    }

    /// Does it, or fails, and returns the result.
    pub(super) fn perform(&mut self, action: Action) -> Input {
        let fails = self.failing > 0 && !matches!(action, Action::Scan(_) | Action::Send(..));
        self.failing -= usize::from(fails);
        let result = if fails { Err("a fault".to_owned()) } else { Ok(()) };
        match action {
            Action::Scan(uids) => Input::Scanned(
                uids.into_iter().filter_map(|uid| Some((uid.clone(), *self.sandboxes.get(&uid)?))).collect(),
            ),
            Action::Program(uid, netns, settings) => {
                let exists = self.sandboxes.values().any(|sandbox| *sandbox == netns);
                let result = if exists { result } else { Err("the namespace is gone".to_owned()) };
                if result.is_ok() {
                    self.rules.insert(netns, settings.clone());
                }
                Input::Programmed(uid, netns, settings, result)
            }
            Action::Inspect(uid, netns, settings) => {
                let holds = self.rules.get(&netns) == settings.as_ref();
                Input::Inspected(uid, netns, result.map(|()| holds))
            }
            Action::Unprogram(uid, netns) => {
                if result.is_ok() {
                    self.rules.remove(&netns);
                }
                Input::Unprogrammed(uid, netns, result)
            }
            Action::AddProbes(uid, addresses) => {
                let result = if self.host { result } else { Err("no set".to_owned()) };
                if result.is_ok() {
                    self.probes.extend(addresses.iter().map(|address| (*address, uid.clone())));
                }
                Input::ProbesAdded(uid, addresses, result)
            }
            Action::RemoveProbes(uid, addresses) => {
                if result.is_ok() {
                    self.probes.retain(|address, owner| *owner != uid || !addresses.contains(address));
                }
                Input::ProbesRemoved(uid, addresses, result)
            }
            Action::Annotate(uid, annotation) => {
                if result.is_ok() && self.pods.contains_key(&uid) {
                    self.update(&uid, |view| view.annotation = annotation);
                }
                Input::Annotated(uid, annotation, result.map_err(|_: String| Duration::ZERO))
            }
            Action::Ask(uid) => {
                let answer =
                    result.map(|()| self.pods.contains_key(&uid)).map_err(|_: String| Duration::ZERO);
                if answer == Ok(true) {
                    self.state.handle(self.now, Input::Pod(self.pods[&uid].clone()));
                }
                Input::Asked(uid, answer)
            }
            Action::ReadHost => {
                let probes = self.probes.iter().map(|(address, uid)| (*address, uid.clone())).collect();
                Input::HostRead(result.map(|()| (self.host, probes)))
            }
            Action::ProgramHost => {
                self.host |= result.is_ok();
                Input::HostProgrammed(result)
            }
            Action::Send(id, request, netns) => self.request(id, &request, netns),
            Action::Answer(..) | Action::Report(_) => unreachable!(),
        }
    }

    fn request(&mut self, id: ConnectionId, request: &Request, netns: Option<NetnsId>) -> Input {
        let always = self.always.clone();
        let refuses = self.failing > 0 && matches!(request, Request::Add { .. });
        self.failing -= usize::from(refuses);
        let known: BTreeSet<_> = self.probes.values().cloned().collect();
        let ztunnel = self.ztunnels.iter_mut().find(|ztunnel| ztunnel.id == id.0).unwrap();
        match request {
            Request::Add { uid, .. } => {
                let uid = Uid::from(uid.as_str());
                if !ztunnel.snapshot_sent {
                    ztunnel.in_snapshot.insert(uid.clone());
                }
                if refuses {
                    return Input::Acknowledged(id, Ack::Refused("a fault".to_owned()));
                }
                ztunnel.proxies.insert(uid, netns.unwrap());
            }
            Request::Keep { uid } => {
                assert!(!ztunnel.snapshot_sent, "Keep after SnapshotSent");
                ztunnel.in_snapshot.insert(Uid::from(uid.as_str()));
            }
            Request::Del { uid } => {
                let uid = Uid::from(uid.as_str());
                assert!(!always.contains(&uid), "Del of {uid}, which never left the mesh");
                ztunnel.proxies.remove(&uid);
            }
            Request::SnapshotSent => {
                assert!(!ztunnel.snapshot_sent, "a second SnapshotSent");
                ztunnel.snapshot_sent = true;
                let Ztunnel { proxies, in_snapshot, .. } = ztunnel;
                proxies.retain(|uid, _| {
                    let stays = in_snapshot.contains(uid);
                    // What a stale list lacks is known by the probe set.
                    assert!(stays || !known.contains(uid) || !always.contains(uid), "{uid} was drained");
                    stays
                });
            }
        }
        Input::Acknowledged(id, Ack::Accepted)
    }
}
