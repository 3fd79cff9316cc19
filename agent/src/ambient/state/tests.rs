//! A world that the state machine acts on: an API server whose lists may be stale, network namespaces, the host, and
//! ztunnels that do not forgive. Whatever happens in it, in whatever order, and wherever the agent is killed: once it is
//! quiet, everything becomes as it should be.

use std::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::zds::{Ack, Workload};

/// Pods are made of a few names and addresses, so that they are used again.
const NAMES: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// A pod of this name comes, inside the mesh or not, on the host's network or not
    Create {
        name: usize,
        member: bool,
        host_network: bool,
    },
    /// Its sandbox is made, or made anew; the plugin reports it, or a plugin of somebody else's made it
    Sandbox {
        pod: Index,
        reported: bool,
    },
    Label {
        pod: Index,
    },
    Finish {
        pod: Index,
    },
    Delete {
        pod: Index,
    },
    Connect,
    Disconnect {
        ztunnel: Index,
    },
    FlushPod {
        pod: Index,
    },
    FlushHost,
    /// The next steps fail
    Fail {
        steps: usize,
    },
    /// Some action is carried out, and its result handed over
    Execute {
        action: Index,
    },
    /// The agent hears of the oldest change that it does not know
    Hear,
    /// The watch is lost, and the list comes from a cache that is so many changes behind
    Relist {
        behind: usize,
    },
    Bookmark,
    /// The agent is killed; each action under way happens or does not
    Kill {
        happen: bool,
        behind: usize,
    },
    Wait {
        milliseconds: u64,
    },
    Pass,
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<Index>;
    prop_oneof![
        3 => (0..NAMES, prop::bool::weighted(0.8), prop::bool::weighted(0.1))
            .prop_map(|(name, member, host_network)| Op::Create { name, member, host_network }),
        4 => (index(), prop::bool::weighted(0.7)).prop_map(|(pod, reported)| Op::Sandbox { pod, reported }),
        1 => index().prop_map(|pod| Op::Label { pod }),
        1 => index().prop_map(|pod| Op::Finish { pod }),
        1 => index().prop_map(|pod| Op::Delete { pod }),
        2 => Just(Op::Connect),
        1 => index().prop_map(|ztunnel| Op::Disconnect { ztunnel }),
        1 => index().prop_map(|pod| Op::FlushPod { pod }),
        1 => Just(Op::FlushHost),
        1 => (1..6usize).prop_map(|steps| Op::Fail { steps }),
        20 => index().prop_map(|action| Op::Execute { action }),
        10 => Just(Op::Hear),
        1 => (0..4usize).prop_map(|behind| Op::Relist { behind }),
        2 => Just(Op::Bookmark),
        1 => (any::<bool>(), 0..4usize).prop_map(|(happen, behind)| Op::Kill { happen, behind }),
        2 => (1..3000u64).prop_map(|milliseconds| Op::Wait { milliseconds }),
        1 => Just(Op::Pass),
    ]
}

/// A change as the API server's history has it.
#[derive(Clone, Debug)]
enum Change {
    Pod(PodView),
    Deleted(Uid),
}

#[derive(Debug, Default)]
struct Ztunnel {
    id: u64,
    snapshot_sent: bool,
    in_snapshot: BTreeSet<Uid>,
    proxies: BTreeMap<Uid, NetnsId>,
}

#[derive(Debug)]
struct World {
    now: Moment,
    state: State,
    in_flight: Vec<Action>,
    /// The API server
    pods: BTreeMap<Uid, PodView>,
    history: Vec<Change>,
    /// So many changes of the history has the agent heard of
    heard: usize,
    /// What it waits for until a bookmark comes
    unconfirmed: bool,
    /// The node
    sandboxes: BTreeMap<Uid, NetnsId>,
    rules: BTreeMap<NetnsId, PodInterception>,
    host: bool,
    probes: BTreeMap<IpAddr, Uid>,
    ztunnels: Vec<Ztunnel>,
    /// Pods that have been inside the mesh for as long as they live
    always: BTreeSet<Uid>,
    numbers: u64,
    failing: usize,
    disturbed: bool,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now: Moment::from_secs(100),
            state: State::new(),
            in_flight: Vec::new(),
            pods: BTreeMap::new(),
            history: Vec::new(),
            heard: 0,
            unconfirmed: true,
            sandboxes: BTreeMap::new(),
            rules: BTreeMap::new(),
            host: false,
            probes: BTreeMap::new(),
            ztunnels: Vec::new(),
            always: BTreeSet::new(),
            numbers: 0,
            failing: 0,
            disturbed: false,
        };
        world.list(0);
        world
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn pick(&self, index: Index) -> Option<Uid> {
        let uids: Vec<_> = self.pods.keys().collect();
        (!uids.is_empty()).then(|| (*index.get(&uids)).clone())
    }

    fn hand(&mut self, input: Input) {
        self.state.handle(self.now, input);
        self.proceed();
    }

    fn proceed(&mut self) {
        for action in self.state.actions(self.now) {
            if let Action::Answer(_, Ok(())) = &action {
                // Only where nothing was taken away meanwhile.
                assert!(self.disturbed || self.is_some_pod_captured(), "{action:?} {self:#?}");
            }
            if !matches!(action, Action::Answer(..) | Action::Report(_)) {
                self.check(&action);
                self.in_flight.push(action);
            }
        }
    }

    /// What must never be started.
    fn check(&self, action: &Action) {
        let uid = match action {
            Action::Program(uid, ..)
            | Action::Unprogram(uid, ..)
            | Action::Inspect(uid, ..)
            | Action::AddProbes(uid, ..)
            | Action::RemoveProbes(uid, ..) => uid,
            Action::Annotate(uid, annotation) => {
                assert!(annotation.is_some() || !self.always.contains(uid), "{action:?} {self:#?}");
                return;
            }
            _ => return,
        };
        let same = |other: &&Action| match other {
            Action::Program(other, ..)
            | Action::Unprogram(other, ..)
            | Action::Inspect(other, ..)
            | Action::AddProbes(other, ..)
            | Action::RemoveProbes(other, ..) => other == uid,
            _ => false,
        };
        assert_eq!(self.in_flight.iter().find(same), None, "two steps for one pod: {action:?}");
        let own_network = self.pods.get(uid).is_none_or(|pod| pod.own_network);
        let enters = matches!(action, Action::Program(..) | Action::Unprogram(..) | Action::Inspect(..));
        assert!(own_network || !enters, "{action:?}");
        if self.always.contains(uid) {
            assert!(!matches!(action, Action::Unprogram(..)), "{action:?} {self:#?}");
        }
    }

    fn change(&mut self, view: PodView) {
        self.pods.insert(view.uid.clone(), view.clone());
        self.history.push(Change::Pod(view));
    }

    fn update(&mut self, uid: &Uid, change: impl FnOnce(&mut PodView)) {
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
    fn list(&mut self, behind: usize) {
        self.heard = self.history.len().saturating_sub(behind);
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

    fn hear(&mut self) -> bool {
        let Some(change) = self.history.get(self.heard).cloned() else { return false };
        self.heard += 1;
        self.hand(match change {
            Change::Pod(view) => Input::Pod(view),
            Change::Deleted(uid) => Input::Deleted(uid),
        });
        true
    }

    fn bookmark(&mut self) {
        // It says that everything up to it was sent.
        while self.hear() {}
        self.unconfirmed = false;
        self.hand(Input::Confirmed);
    }

    fn apply(&mut self, op: Op) {
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
            Op::Relist { behind } => self.list(behind),
            Op::Bookmark => self.bookmark(),
            Op::Kill { happen, behind } => self.kill(happen, behind),
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

    fn connect(&mut self) {
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

    fn kill(&mut self, happen: bool, behind: usize) {
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
        self.list(behind);
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

    fn execute(&mut self, index: usize) {
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

    /// Does it, or fails, and says what came of it.
    fn perform(&mut self, action: Action) -> Input {
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

    fn is_captured(&self, uid: &Uid) -> bool {
        let Some(netns) = self.sandboxes.get(uid) else { return false };
        let view = &self.pods[uid];
        self.rules.get(netns) == view.member.as_ref()
            && self.ztunnels.last().is_some_and(|newest| newest.proxies.get(uid) == Some(netns))
            && view.addresses.iter().all(|address| self.probes.get(address) == Some(uid))
    }

    /// Whatever its labels say by now.
    fn is_some_pod_captured(&self) -> bool {
        self.sandboxes.iter().any(|(uid, netns)| {
            self.rules.contains_key(netns)
                && self.ztunnels.last().is_some_and(|newest| newest.proxies.get(uid) == Some(netns))
                && self.probes.values().any(|owner| owner == uid)
        })
    }

    /// Nothing fails any more, and everything that is known is heard of: for 40 seconds, with two passes.
    fn settle(&mut self) {
        self.failing = 0;
        self.connect();
        let end = self.now + Duration::from_secs(75);
        let mut pass = self.now + Duration::from_secs(30);
        while self.now < end {
            for _ in 0..10_000 {
                if self.in_flight.is_empty() {
                    break;
                }
                self.execute(0);
            }
            assert!(self.in_flight.is_empty(), "it never comes to rest: {self:#?}");
            self.bookmark();
            if self.in_flight.is_empty() {
                let next = self.state.deadline(self.now).map_or(end, |due| due.min(end));
                self.now = next.min(pass).max(self.now + Duration::from_millis(1));
                if self.now >= pass {
                    self.connect();
                    pass += Duration::from_secs(30);
                    self.hand(Input::Pass);
                } else {
                    self.proceed();
                }
            }
        }
    }

    /// Everything is as it should be.
    fn assert_settled(&self) {
        assert!(self.host, "the host's rules are missing: {self:#?}");
        let mut probes = BTreeMap::new();
        for (uid, view) in &self.pods {
            let sandbox = self.sandboxes.get(uid);
            let is_member = view.member.is_some() && view.own_network && !view.terminal;
            if is_member && sandbox.is_some() {
                assert!(self.is_captured(uid), "{uid} is not captured: {self:#?}");
                assert_eq!(view.annotation, Some(Redirection::Enabled), "{uid}: {self:#?}");
                probes.extend(view.addresses.iter().map(|address| (*address, uid.clone())));
            } else if !is_member && !view.terminal {
                let rules = sandbox.and_then(|netns| self.rules.get(netns));
                assert_eq!(rules, None, "{uid} has rules: {self:#?}");
                assert_eq!(view.annotation, None, "{uid}: {self:#?}");
            }
            if !is_member {
                let proxied = self.ztunnels.iter().any(|ztunnel| ztunnel.proxies.contains_key(uid));
                assert!(!proxied, "{uid} has a proxy: {self:#?}");
            }
        }
        assert_eq!(self.probes, probes, "{self:#?}");
        for ztunnel in &self.ztunnels {
            let strangers: Vec<_> =
                ztunnel.proxies.keys().filter(|uid| !self.pods.contains_key(*uid)).collect();
            assert_eq!(strangers, Vec::<&Uid>::new(), "{self:#?}");
        }
        let wrong: Vec<_> = self
            .state
            .status()
            .filter(|pod| pod.state != PodState::Enabled && self.sandboxes.contains_key(pod.uid))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

fn view_is_heard(state: &State, uid: &Uid) -> bool {
    state.view(uid).is_some()
}

fn plays_out_well(ops: Vec<Op>) {
    let mut world = World::new();
    for op in ops {
        world.apply(op);
    }
    world.settle();
    world.assert_settled();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_events_faults_and_restarts_ends_as_desired(ops in vec(op(), 0..120)) {
        plays_out_well(ops);
    }
}
