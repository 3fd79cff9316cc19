//! What is to be done: the steps that make actual what is desired.

use std::collections::BTreeSet;

use super::{
    Action, Connection, GRACE, Moment, NetnsId, Pod, REPORTS, Redirection, Report, Rules, State, Uid,
};
use crate::zds::Request;

impl State {
    /// Everything that may be started now. It counts as started; its result is to be handed to
    /// [`State::handle`], whatever it is.
    pub fn actions(&mut self, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        self.forget();
        self.answer(now, &mut actions);
        self.host_step(now, &mut actions);
        for (uid, step) in self.pod_steps(now) {
            self.with(&uid, |pod| pod.start(&step));
            actions.push(step);
        }
        self.scan(now, &mut actions);
        self.requests(now, &mut actions);
        self.ask(now, &mut actions);
        self.report(now, &mut actions);
        self.may_accept |= self.listed && self.host.read && self.all_attempted();
        actions
    }

    /// When [`State::actions`] may have something new although nothing happened.
    #[must_use]
    pub fn deadline(&self, now: Moment) -> Option<Moment> {
        let pods = self.pods.values().flat_map(|pod| {
            let grace = pod.differs_since.map(|since| since + GRACE);
            let tickets = pod.tickets.iter().map(|(_, deadline)| *deadline);
            let retries =
                [&pod.retry, &pod.scan_retry, &pod.patch_retry, &pod.ask_retry].map(|retry| retry.due());
            let retries = retries.into_iter().chain([pod.repairs.due()]);
            grace.into_iter().chain(tickets).chain(retries)
        });
        let host = [self.host.retry.due(), self.host.repairs.due()];
        let announced = self.connections.values().flat_map(|connection| connection.announced.values());
        let announced = announced.map(|announced| announced.retry.due());
        let all = pods.chain(host).chain(self.host.read_at).chain(announced);
        all.filter(|due| *due > now).min()
    }

    fn answer(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let mut answers = Vec::new();
        for (uid, pod) in &self.pods {
            // Before its sandbox is made there is nothing to do.
            let exists = pod.netns.is_some() || !pod.addresses.is_empty();
            let differs = exists && self.wanted(pod).is_some() && !self.captured(uid, pod);
            // Of most pods nothing has to be noted, and all of them are looked at whenever something happens to one.
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
    fn pod_steps(&self, now: Moment) -> Vec<(Uid, Action)> {
        let mut steps = Vec::new();
        for (uid, pod) in &self.pods {
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

    fn scan(&mut self, now: Moment, actions: &mut Vec<Action>) {
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
            self.pods.iter().filter(|(_, pod)| needed(pod)).map(|(uid, _)| uid.clone()).collect();
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
    fn ask(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let is_due = |pod: &Pod| !pod.asking && pod.ask_retry.due() <= now;
        let uncertain = self.pods.iter().filter(|(uid, pod)| is_due(pod) && self.is_uncertain(uid, pod));
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
        let leaving = connection.announced.iter().find(|(uid, announced)| {
            announced.retry.due() <= now && self.pods.get(*uid).is_none_or(|pod| !self.keeps_proxy(pod))
        });
        if let Some((uid, _)) = leaving {
            return Some((Request::Del { uid: uid.to_string() }, None));
        }
        let mut pods = self.pods.iter().filter(|_| is_newest);
        pods.find_map(|(uid, pod)| {
            let announced = connection.announced.get(uid);
            let is_due = announced.is_none_or(|announced| announced.retry.due() <= now);
            if is_due && !self.acknowledged(uid, pod) { self.add(uid, pod) } else { None }
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
    fn report(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let is_old = |reported: Option<Moment>| reported.is_none_or(|at| at + REPORTS <= now);
        let uncaptured: Vec<_> = self
            .pods
            .iter()
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
        for (uid, pod) in &mut self.pods {
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
    fn start(&mut self, action: &Action) {
        match action {
            Action::Annotate(..) => self.patching = true,
            Action::Inspect(..) => (self.busy, self.inspection_due) = (true, false),
            _ => self.busy = true,
        }
    }
}
