//! A world that the state machine acts on: an API server whose lists may be stale, network namespaces, the host, and
//! ztunnels that do not forgive. Whatever happens in it, in whatever order, and wherever the agent is killed: once it is
//! quiet, everything becomes as it should be.

mod happenings;
mod op;
mod steps;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use op::{Op, op};

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
        let actions = self.state.actions(self.now);
        // All that may be started is named at once.
        assert_eq!(self.state.actions(self.now), [], "after {actions:?}: {self:#?}");
        for pod in self.state.status().filter(|pod| pod.state == PodState::Enabled) {
            let leaves = |action: &Action| matches!(action, Action::Unprogram(uid, _) if uid == pod.uid);
            assert!(
                !self.in_flight.iter().chain(&actions).any(leaves),
                "{pod:?} is losing its rules: {self:#?}"
            );
        }
        for action in actions {
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
    fn settle(&mut self, with_bookmarks: bool) {
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
            if with_bookmarks {
                self.bookmark();
            } else {
                // Pods change all the time somewhere in the cluster; namespaces may not for days.
                while self.hear() {}
                self.hand(Input::PodsConfirmed);
            }
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

fn plays_out_well(ops: Vec<Op>, with_bookmarks: bool) {
    let mut world = World::new();
    for op in ops {
        world.apply(op);
    }
    world.settle(with_bookmarks);
    world.assert_settled();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_events_faults_and_restarts_ends_as_desired(
        ops in vec(op(), 0..120),
        with_bookmarks: bool,
    ) {
        plays_out_well(ops, with_bookmarks);
    }
}
