//! What happens, and what the agent hears of it.

use std::net::Ipv4Addr;

use super::op::Op;
use super::*;
use crate::zds::Workload;

impl World {
    fn change(&mut self, view: PodView) {
        self.pods.insert(view.uid.clone(), view.clone());
        self.history.push(Change::Pod(view));
    }

    pub(super) fn update(&mut self, uid: &Uid, change: impl FnOnce(&mut PodView)) {
        let mut view = self.pods[uid].clone();
        change(&mut view);
        self.change(view);
    }

    fn delete(&mut self, uid: &Uid) {
        self.pods.remove(uid);
        self.history.push(Change::Deleted(uid.clone()));
        self.end_sandbox(uid);
    }

    fn end_sandbox(&mut self, uid: &Uid) {
        if let Some(netns) = self.sandboxes.remove(uid) {
            self.disturbed = true;
            self.rules.remove(&netns);
        }
    }

    /// A list of pods as of so many changes ago; the watch goes on from there.
    pub(super) fn list(&mut self, lag: usize) {
        self.heard = self.history.len().saturating_sub(lag);
        let mut pods = BTreeMap::new();
        for change in &self.history[..self.heard] {
            match change {
                Change::Pod(view) => pods.insert(view.uid.clone(), view.clone()),
                Change::Deleted(uid) => pods.remove(uid),
            };
        }
        let uids = pods.keys().cloned().collect();
        for view in pods.into_values() {
            self.state.handle(self.now, Input::Pod(view));
        }
        self.unconfirmed = true;
        self.hand(Input::Listed(uids));
    }

    pub(super) fn hear(&mut self) -> bool {
        let Some(change) = self.history.get(self.heard).cloned() else { return false };
        self.heard += 1;
        self.hand(match change {
            Change::Pod(view) => Input::Pod(view),
            Change::Deleted(uid) => Input::Deleted(uid),
        });
        true
    }

    pub(super) fn bookmark(&mut self) {
        // It says that everything up to it was sent.
        while self.hear() {}
        self.unconfirmed = false;
        self.hand(Input::Confirmed);
    }

    pub(super) fn apply(&mut self, op: Op) {
        match op {
            Op::Create { name, member, host_network } => {
                let taken = self.pods.values().any(|pod| pod.workload.name == format!("pod-{name}"));
                if !taken {
                    self.create(name, member, host_network);
                }
            }
            Op::Sandbox { pod, reported } => {
                if let Some(uid) = self.pick(pod) {
                    self.make_sandbox(&uid, reported);
                }
            }
            Op::Label { pod } => {
                let Some(uid) = self.pick(pod) else { return };
                self.always.remove(&uid);
                self.update(&uid, |view| {
                    view.member = if view.member.is_some() { None } else { Some(PodInterception::default()) };
                });
            }
            Op::Finish { pod } => {
                let Some(uid) = self.pick(pod) else { return };
                self.always.remove(&uid);
                self.end_sandbox(&uid);
                self.update(&uid, |view| view.terminal = true);
            }
            Op::Delete { pod } => {
                let Some(uid) = self.pick(pod) else { return };
                self.always.remove(&uid);
                self.delete(&uid);
            }
            Op::Connect => self.connect(),
            Op::Disconnect { ztunnel } => {
                if !self.ztunnels.is_empty() {
                    let gone = self.ztunnels.remove(ztunnel.index(self.ztunnels.len()));
                    self.disconnected(gone.id);
                }
            }
            Op::FlushPod { pod } => {
                let Some(uid) = self.pick(pod) else { return };
                if let Some(netns) = self.sandboxes.get(&uid) {
                    self.rules.remove(netns);
                    self.disturbed = true;
                }
            }
            Op::FlushHost => {
                self.host = false;
                self.probes.clear();
                self.disturbed = true;
                self.hand(Input::HostChanged(None));
            }
            Op::Fail { steps } => self.failing = steps,
            Op::Execute { action } => {
                if !self.in_flight.is_empty() {
                    let index = action.index(self.in_flight.len());
                    self.execute(index);
                }
            }
            Op::Hear => {
                self.hear();
            }
            Op::Relist { lag } => self.list(lag),
            Op::Bookmark => self.bookmark(),
            Op::Kill { happen, lag } => self.kill(happen, lag),
            Op::Wait { milliseconds } => {
                self.now += Duration::from_millis(milliseconds);
                self.proceed();
            }
            Op::Pass => self.hand(Input::Pass),
        }
    }

    fn create(&mut self, name: usize, member: bool, host_network: bool) {
        let number = self.number();
        let uid = Uid::from(format!("uid-{number}").as_str());
        if member && !host_network {
            self.always.insert(uid.clone());
        }
        self.change(PodView {
            uid,
            workload: Workload {
                name: format!("pod-{name}"),
                namespace: "n".to_owned(),
                service_account: "sa".to_owned(),
            },
            addresses: BTreeSet::new(),
            member: member.then(PodInterception::default),
            own_network: !host_network,
            terminal: false,
            annotation: None,
        });
    }

    /// A pod of one name always gets the same address, as the next pod may get the last one's.
    fn make_sandbox(&mut self, uid: &Uid, reported: bool) {
        let view = &self.pods[uid];
        if view.terminal || !view.own_network {
            return;
        }
        let name: u8 = view.workload.name["pod-".len()..].parse().unwrap();
        let addresses = BTreeSet::from([IpAddr::from(Ipv4Addr::new(10, 0, 0, name))]);
        self.end_sandbox(uid);
        let netns = NetnsId { dev: 4, ino: self.number() };
        self.sandboxes.insert(uid.clone(), netns);
        if reported && view_is_heard(&self.state, uid) {
            let ticket = self.number();
            let deadline = self.now + Duration::from_secs(5);
            self.hand(Input::Event {
                uid: uid.clone(),
                netns,
                addresses: addresses.clone(),
                ticket,
                deadline,
            });
        }
        self.update(uid, |view| view.addresses = addresses);
    }

    pub(super) fn connect(&mut self) {
        if !self.state.may_accept() || self.ztunnels.len() == 2 {
            return;
        }
        let id = self.number();
        // A new ztunnel of a rollout, or the old one again: it keeps its proxies.
        let proxies = self.ztunnels.last().map(|old| old.proxies.clone()).unwrap_or_default();
        self.ztunnels.push(Ztunnel { id, proxies, ..Ztunnel::default() });
        self.hand(Input::Connected(ConnectionId(id)));
    }

    fn disconnected(&mut self, id: u64) {
        self.disturbed = true;
        self.in_flight.retain(|action| !matches!(action, Action::Send(ConnectionId(to), ..) if *to == id));
        self.hand(Input::Disconnected(ConnectionId(id)));
    }

    fn kill(&mut self, happen: bool, lag: usize) {
        self.disturbed = true;
        while !self.in_flight.is_empty() {
            let action = self.in_flight.remove(0);
            if happen && !matches!(action, Action::Send(..)) {
                let _ = self.perform(action);
            }
        }
        for ztunnel in &mut self.ztunnels {
            ztunnel.snapshot_sent = false;
            ztunnel.in_snapshot.clear();
        }
        let waiting = std::mem::take(&mut self.ztunnels);
        self.state = State::new();
        self.list(lag);
        // ztunnel keeps its proxies, and waits to be accepted.
        for _ in 0..1000 {
            if self.state.may_accept() || self.in_flight.is_empty() {
                break;
            }
            self.execute(0);
        }
        for ztunnel in waiting {
            if self.state.may_accept() {
                let id = self.number();
                self.ztunnels.push(Ztunnel { id, proxies: ztunnel.proxies, ..Ztunnel::default() });
                self.hand(Input::Connected(ConnectionId(id)));
            }
        }
    }
}

fn view_is_heard(state: &State, uid: &Uid) -> bool {
    state.view(uid).is_some()
}
