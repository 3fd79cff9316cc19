//! What is to be done: the steps that make actual what is desired.

use std::collections::BTreeSet;

use super::{
    Action, Connection, GRACE, Moment, NetnsId, Pod, REPORTS, Redirection, Report, Retry, Rules, State, Uid,
};
use crate::zds::Request;

impl State {
    /// Everything that may be started now. It counts as started; its result is to be handed to
    /// [`State::handle`], whatever it is.
    pub fn actions(&mut self, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        let changed = self.take_changed(now);
        self.forget(&changed);
        self.answer(now, &changed, &mut actions);
        self.host_step(now, &mut actions);
        for (uid, step) in self.pod_steps(now, &changed) {
            self.with(&uid, |pod| pod.start(&step));
            actions.push(step);
        }
        self.scan(now, &changed, &mut actions);
        self.unsent.extend(changed.iter().cloned());
        self.requests(now, &mut actions);
        self.ask(now, &changed, &mut actions);
        self.report(now, &changed, &mut actions);
        self.may_accept = self.may_accept || self.listed && self.host.read && self.all_attempted();
        self.next_time = self.pods.values().flat_map(Pod::times).filter(|time| *time > now).min();
        actions
    }

    /// The pods of which something may have to be started: those of which something has changed, also by the time that it
    /// is. There are hundreds of pods, and each of them is looked at many times while all of them are found.
    fn take_changed(&mut self, now: Moment) -> BTreeSet<Uid> {
        let before = std::mem::replace(&mut self.looked_at, now);
        let mut changed = std::mem::take(&mut self.changed);
        if std::mem::take(&mut self.all_changed) {
            return self.pods.keys().cloned().collect();
        }
        if self.next_time.is_some_and(|time| time <= now) {
            let is_due = |pod: &Pod| pod.times().any(|time| before < time && time <= now);
            changed.extend(self.pods.iter().filter(|(_, pod)| is_due(pod)).map(|(uid, _)| uid.clone()));
        }
        // Of pods that have had the same address one has it.
        let addresses = changed.iter().filter_map(|uid| self.pods.get(uid)).flat_map(|pod| &pod.addresses);
        let rivals: Vec<_> = addresses
            .filter_map(|address| self.holders.get(address).filter(|holders| holders.len() > 1))
            .flatten()
            .cloned()
            .collect();
        changed.extend(rivals);
        changed
    }

    pub(super) fn those<'a>(&'a self, uids: &'a BTreeSet<Uid>) -> impl Iterator<Item = (&'a Uid, &'a Pod)> {
        uids.iter().filter_map(|uid| self.pods.get_key_value(uid))
    }

    /// When [`State::actions`], which was called after all that happened, may have something new although nothing happens.
    #[must_use]
    pub fn deadline(&self, now: Moment) -> Option<Moment> {
        let host = [self.host.retry.due(), self.host.repairs.due()];
        let announced = self.connections.values().flat_map(|connection| connection.announced.values());
        let announced = announced.map(|announced| announced.retry.due());
        let all = host.into_iter().chain(self.host.read_at).chain(announced);
        all.filter(|due| *due > now).chain(self.next_time).min()
    }

    fn answer(&mut self, now: Moment, changed: &BTreeSet<Uid>, actions: &mut Vec<Action>) {
        let mut answers = Vec::new();
        for (uid, pod) in self.those(changed) {
            // Before its sandbox is made there is nothing to do.
            let exists = pod.netns.is_some() || !pod.addresses.is_empty();
            let differs = exists && self.wanted(pod).is_some() && !self.captured(uid, pod);
            // Of most pods nothing has to be noted.
            if pod.tickets.is_empty() && differs == pod.differs_since.is_some() {
                continue;
            }
            let finished = pod.annotation == Some(Redirection::Enabled) || pod.patch_failed;
            let result = if self.wanted(pod).is_none() {
                Some(Err("the pod does not belong to the mesh any more".to_owned()))
            } else if !differs && finished {
                Some(Ok(()))
            } else {
                pod.failure.clone().map(Err)
            };
            answers.push((uid.clone(), differs, result, self.lacks(uid, pod)));
        }
        for (uid, differs, result, lacks) in answers {
            self.with(&uid, |pod| {
                pod.differs_since = if differs { pod.differs_since.or(Some(now)) } else { None };
                pod.tickets.retain(|(ticket, deadline)| {
                    let late = (*deadline <= now).then(|| Err(lacks.to_owned()));
                    match result.clone().or(late) {
                        Some(result) => {
                            actions.push(Action::Answer(*ticket, result));
                            false
                        }
                        None => true,
                    }
                });
            });
        }
    }

    /// What a pod waits for, in words.
    fn lacks(&self, uid: &Uid, pod: &Pod) -> &'static str {
        if self.wanted(pod).is_none_or(|settings| !Self::programmed_as(pod, settings)) {
            "its rules are not in place yet"
        } else if self.connections.is_empty() {
            "no ztunnel connection"
        } else if !self.acknowledged(uid, pod) {
            "ztunnel has not acknowledged the pod yet"
        } else if !self.missing_probes(uid, pod).is_empty() {
            "its addresses are not in the host's probe set yet"
        } else {
            "its annotation is not written yet"
        }
    }

    fn host_step(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let host = &mut self.host;
        if host.busy {
            return;
        }
        let due = if host.ever { host.repairs.due().max(host.retry.due()) } else { host.retry.due() };
        if host.read_at.is_some_and(|at| at <= now) {
            host.read_at = None;
            host.busy = true;
            actions.push(Action::ReadHost);
        } else if host.read && !host.rules && due <= now {
            host.busy = true;
            actions.push(Action::ProgramHost);
        }
    }

    /// At most one step in the kernel and one patch for each pod.
    fn pod_steps(&self, now: Moment, changed: &BTreeSet<Uid>) -> Vec<(Uid, Action)> {
        let mut steps = Vec::new();
        for (uid, pod) in self.those(changed) {
            if !pod.busy
                && let Some(step) = self.kernel_step(uid, pod, now)
            {
                steps.push((uid.clone(), step));
            }
            if !pod.patching
                && pod.patch_retry.due() <= now
                && let Some(annotation) = self.patch(uid, pod, now)
            {
                steps.push((uid.clone(), Action::Annotate(uid.clone(), annotation)));
            }
        }
        steps
    }

    fn kernel_step(&self, uid: &Uid, pod: &Pod, now: Moment) -> Option<Action> {
        if pod.retry.due() > now {
            return None;
        }
        let settings = self.wanted(pod);
        let inside = pod.netns.and_then(|netns| match (settings, &pod.rules) {
            (Some(settings), Rules::Present(present)) if present == settings => {
                pod.inspection_due.then(|| Action::Inspect(uid.clone(), netns, Some(settings.clone())))
            }
            (Some(_), Rules::Damaged) if pod.repairs.due() > now => None,
            (Some(settings), _) => Some(Action::Program(uid.clone(), netns, settings.clone())),
            (None, _) if self.gone(pod) => None,
            (None, Rules::Unknown) => Some(Action::Inspect(uid.clone(), netns, None)),
            (None, Rules::Present(_) | Rules::Damaged) if self.leaves(pod) => {
                Some(Action::Unprogram(uid.clone(), netns))
            }
            (None, _) => None,
        });
        inside.or_else(|| self.probe_step(uid, pod))
    }

    fn probe_step(&self, uid: &Uid, pod: &Pod) -> Option<Action> {
        if !self.host.read || !self.host.rules {
            return None;
        }
        if let Some(settings) = self.wanted(pod) {
            let missing = self.missing_probes(uid, pod);
            if Self::programmed_as(pod, settings) && !missing.is_empty() {
                return Some(Action::AddProbes(uid.clone(), missing));
            }
            let surplus: BTreeSet<_> = pod.probes.difference(&pod.addresses).copied().collect();
            let is_known = self.pods_confirmed && !pod.addresses.is_empty();
            return (is_known && !surplus.is_empty()).then(|| Action::RemoveProbes(uid.clone(), surplus));
        }
        let is_out = self.leaves(pod) && pod.rules == Rules::Absent && !self.announced_anywhere(uid);
        ((self.gone(pod) || is_out) && !pod.probes.is_empty())
            .then(|| Action::RemoveProbes(uid.clone(), pod.probes.clone()))
    }

    /// The annotation to write, if it is another one.
    fn patch(&self, uid: &Uid, pod: &Pod, now: Moment) -> Option<Option<Redirection>> {
        if self.wanted(pod).is_some() {
            let is_late = pod.differs_since.is_some_and(|since| since + GRACE <= now);
            let annotation = if self.captured(uid, pod) {
                Redirection::Enabled
            } else if pod.failure.is_some() || is_late {
                Redirection::Pending
            } else {
                return None;
            };
            return (pod.annotation != Some(annotation)).then_some(Some(annotation));
        }
        let is_out = self.leaves(pod)
            && pod.rules == Rules::Absent
            && pod.probes.is_empty()
            && !self.announced_anywhere(uid);
        (is_out && pod.annotation.is_some()).then_some(None)
    }

    fn scan(&mut self, now: Moment, changed: &BTreeSet<Uid>, actions: &mut Vec<Action>) {
        // All pods are looked at again when it is over.
        if self.scan_under_way {
            return;
        }
        let needed = |pod: &Pod| {
            let Some(view) = &pod.view else { return false };
            // The runtime has made no sandbox before there are addresses.
            let may_exist = view.own_network && !self.gone(pod) && !pod.addresses.is_empty();
            // Outside the mesh a pod is looked for until it is known to have none of our rules.
            let of_use = view.member.is_some()
                || pod.rules != Rules::Absent && !pod.attempted
                || pod.annotation.is_some()
                || !pod.probes.is_empty();
            let due = pod.netns.is_none() && pod.scan_retry.due() <= now || pod.scan_due;
            may_exist && of_use && due && pod.tickets.is_empty()
        };
        let uids: BTreeSet<Uid> =
            self.those(changed).filter(|(_, pod)| needed(pod)).map(|(uid, _)| uid.clone()).collect();
        if uids.is_empty() {
            return;
        }
        for uid in &uids {
            self.with(uid, |pod| pod.scan_due = false);
        }
        self.scanning.clone_from(&uids);
        self.scan_under_way = true;
        actions.push(Action::Scan(uids));
    }

    /// One request for each connection that waits for none.
    fn requests(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let newest = self.connections.keys().next_back().copied();
        let mut connections = self.connections.values();
        if connections.any(|connection| connection.snapshot_sent && connection.in_flight.is_none()) {
            let mut unsent = std::mem::take(&mut self.unsent);
            unsent.retain(|uid| self.may_be_unsent(uid));
            self.unsent = unsent;
        }
        let requests: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.in_flight.is_none())
            .filter_map(|(id, connection)| {
                let request = if connection.snapshot_sent {
                    self.live_request(connection, newest == Some(*id), now)
                } else {
                    Some(self.snapshot_request(connection))
                };
                Some((*id, request?))
            })
            .collect();
        for (id, (request, netns)) in requests {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.in_flight = Some((request.clone(), netns));
                actions.push(Action::Send(id, request, netns));
            }
        }
    }

    /// Asks for pods that would have to go.
    fn ask(&mut self, now: Moment, changed: &BTreeSet<Uid>, actions: &mut Vec<Action>) {
        let is_due = |pod: &Pod| !pod.asking && pod.ask_retry.due() <= now;
        let uncertain = self.those(changed).filter(|(uid, pod)| is_due(pod) && self.is_uncertain(uid, pod));
        let uids: Vec<_> = uncertain.map(|(uid, _)| uid.clone()).collect();
        for uid in uids {
            self.with(&uid, |pod| pod.asking = true);
            actions.push(Action::Ask(uid));
        }
    }

    fn snapshot_request(&self, connection: &Connection) -> (Request, Option<NetnsId>) {
        let mut rest = self.pods.iter().filter(|(uid, _)| !connection.announced.contains_key(*uid));
        let next = rest.find_map(|(uid, pod)| match self.add(uid, pod) {
            Some(add) => Some(add),
            None => self.keeps_proxy(pod).then(|| (Request::Keep { uid: uid.to_string() }, None)),
        });
        next.unwrap_or((Request::SnapshotSent, None))
    }

    fn live_request(
        &self,
        connection: &Connection,
        is_newest: bool,
        now: Moment,
    ) -> Option<(Request, Option<NetnsId>)> {
        let leaving = self.unsent.iter().find(|uid| {
            let announced = connection.announced.get(*uid);
            announced.is_some_and(|announced| announced.retry.due() <= now) && self.has_left(uid)
        });
        if let Some(uid) = leaving {
            return Some((Request::Del { uid: uid.to_string() }, None));
        }
        let mut pods = self.those(&self.unsent).filter(|_| is_newest);
        pods.find_map(|(uid, pod)| {
            let announced = connection.announced.get(uid);
            let is_due = announced.is_none_or(|announced| announced.retry.due() <= now);
            if is_due && !self.acknowledged(uid, pod) { self.add(uid, pod) } else { None }
        })
    }

    fn has_left(&self, uid: &Uid) -> bool {
        self.pods.get(uid).is_none_or(|pod| !self.keeps_proxy(pod))
    }

    /// Whether a ztunnel has still to hear of the pod, now or after a pause.
    fn may_be_unsent(&self, uid: &Uid) -> bool {
        if self.has_left(uid) {
            return self.announced_anywhere(uid);
        }
        self.pods.get(uid).is_some_and(|pod| {
            let settings = self.wanted(pod);
            settings.is_some_and(|settings| Self::programmed_as(pod, settings))
                && !self.acknowledged(uid, pod)
        })
    }

    /// Hands over a pod that has its rules.
    fn add(&self, uid: &Uid, pod: &Pod) -> Option<(Request, Option<NetnsId>)> {
        let settings = self.wanted(pod)?;
        let view = pod.view.as_ref()?;
        Self::programmed_as(pod, settings).then(|| {
            let add = Request::Add { uid: uid.to_string(), workload: view.workload.clone() };
            (add, pod.netns)
        })
    }

    fn all_attempted(&self) -> bool {
        self.pods.values().all(|pod| {
            let exists = pod.view.as_ref().is_some_and(|view| view.own_network);
            pod.attempted || !exists || self.gone(pod) || pod.addresses.is_empty()
        })
    }

    /// What users are to know, and have not heard lately.
    fn report(&mut self, now: Moment, changed: &BTreeSet<Uid>, actions: &mut Vec<Action>) {
        let is_old = |reported: Option<Moment>| reported.is_none_or(|at| at + REPORTS <= now);
        let uncaptured: Vec<_> = self
            .those(changed)
            .filter(|(uid, pod)| {
                let is_late = pod.differs_since.is_some_and(|since| since + GRACE <= now);
                let counts = pod.failure.is_some() && pod.differs_since.is_some() || is_late;
                counts && is_old(pod.reported) && !self.captured(uid, pod)
            })
            .map(|(uid, pod)| {
                (uid.clone(), pod.failure.clone().unwrap_or_else(|| self.lacks(uid, pod).to_owned()))
            })
            .collect();
        for (uid, reason) in uncaptured {
            self.with(&uid, |pod| pod.reported = Some(now));
            actions.push(Action::Report(Report::Uncaptured(uid, reason)));
        }
        for uid in changed {
            let Some(pod) = self.pods.get_mut(uid) else { continue };
            if pod.repairs.is_backing_off(now) && is_old(pod.contest_reported) {
                pod.contest_reported = Some(now);
                actions.push(Action::Report(Report::PodContested(uid.clone())));
            }
        }
        if self.host.repairs.is_backing_off(now) && is_old(self.host.contest_reported) {
            self.host.contest_reported = Some(now);
            actions.push(Action::Report(Report::HostContested(self.host.writer.clone())));
        }
    }
}

impl Pod {
    /// When something of it may have to be done although nothing happens.
    fn times(&self) -> impl Iterator<Item = Moment> {
        let grace = self.differs_since.map(|since| since + GRACE);
        let tickets = self.tickets.iter().map(|(_, deadline)| *deadline);
        let retries = [self.retry, self.scan_retry, self.patch_retry, self.ask_retry].map(Retry::due);
        grace.into_iter().chain(tickets).chain(retries).chain([self.repairs.due()])
    }

    fn start(&mut self, action: &Action) {
        match action {
            Action::Annotate(..) => self.patching = true,
            Action::Inspect(..) => (self.busy, self.inspection_due) = (true, false),
            // If its label comes back meanwhile, it counts as captured only once its rules are made again.
            Action::Unprogram(..) => (self.busy, self.rules) = (true, Rules::Unknown),
            _ => self.busy = true,
        }
    }
}
