//! The node's own network namespace: rules for the kubelet's probes, and the set of the pods that they go to.
//!
//! One thread enters it, stays, and does one thing after another, so that what is read is never older than what was
//! written before. A second one waits there for changes by others.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use meshwire::kubelet::{self, KubeletError};
use meshwire::leftovers;
use meshwire::mesh::istio::ambient::HostInterception;
use meshwire::probes::{self, PodUid, PodUidError, ProbesError};
use meshwire::verify::verify;

use super::branch::Branches;
use super::netns::{Netns, NetnsError};
use super::settings::Settings;
use super::state::{Input, Uid};
use super::take_over;
use crate::metrics::AmbientMetrics;

/// The thread's name, by which the kernel reports what it changed. At most 15 bytes.
pub(super) const THREAD: &str = "meshwire-host";

/// The kubelet may be restarted as another user; its process is looked for again so often.
const KUBELET: Duration = Duration::from_secs(25);

/// Something to be done there.
#[derive(Debug)]
pub(super) enum Job {
    /// See whether the rules are intact, and read the set
    Read,
    /// Make the rules
    Program,
    /// Add addresses of pods
    Add(Vec<NewProbes>),
    /// Remove those that are the pod's
    Remove(Uid, BTreeSet<IpAddr>),
    /// Make exactly the rules of Istio's native backend, or not, from now on
    Native(bool),
    /// Remove the table, rules and set
    Destroy(tokio::sync::oneshot::Sender<Result<(), String>>),
}

/// A pod, and addresses of it.
pub(super) type NewProbes = (Uid, BTreeSet<IpAddr>);

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum HostError {
    /// The uid that the probes have is not known
    #[error(transparent)]
    Kubelet(#[from] KubeletError),
    /// The namespace cannot be entered, or its rules cannot be made or read
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The set cannot be read or changed
    #[error(transparent)]
    Probes(#[from] ProbesError),
    /// No comment can hold the pod's UID
    #[error(transparent)]
    Uid(#[from] PodUidError),
}

/// Starts the thread. It ends when the sender is dropped.
///
/// # Errors
/// No thread can be started.
pub(super) fn start(
    netns: Netns,
    settings: Settings,
    metrics: AmbientMetrics,
    results: impl Fn(Input) + Send + 'static,
) -> std::io::Result<mpsc::Sender<Job>> {
    let (sender, jobs) = mpsc::channel();
    let mut host = Host {
        netns,
        proc: settings.proc.clone(),
        settings,
        metrics,
        kubelets: None,
        is_taken_over: false,
        branches: Branches::default(),
    };
    thread::Builder::new().name(THREAD.to_owned()).spawn(move || {
        let mut following = None;
        while let Some(mut job) = following.take().or_else(|| jobs.recv().ok()) {
            // Those of many pods that come at once are one transaction.
            if let Job::Add(pods) = &mut job {
                following = jobs.try_recv().ok();
                while let Some(Job::Add(more)) = following {
                    pods.extend(more);
                    following = jobs.try_recv().ok();
                }
            }
            host.work(job).into_iter().for_each(&results);
        }
    })?;
    Ok(sender)
}

struct Host {
    netns: Netns,
    settings: Settings,
    proc: PathBuf,
    metrics: AmbientMetrics,
    kubelets: Option<(Vec<u32>, Instant)>,
    /// Whether nothing is left of an agent that was here before
    is_taken_over: bool,
    branches: Branches,
}

impl Host {
    fn work(&mut self, job: Job) -> Vec<Input> {
        match job {
            Job::Read => vec![Input::HostRead(text(self.read()))],
            Job::Program => vec![Input::HostProgrammed(text(self.program()))],
            Job::Add(pods) => self.add_probes(pods),
            Job::Remove(uid, addresses) => {
                let result = text(self.remove(&uid, &addresses));
                vec![Input::ProbesRemoved(uid, addresses, result)]
            }
            Job::Native(native) => {
                self.settings.pod.native_nftables = native;
                Vec::new()
            }
            Job::Destroy(reply) => {
                let _ = reply.send(text(self.destroy()));
                Vec::new()
            }
        }
    }

    fn read(&mut self) -> Result<(bool, Vec<(IpAddr, Uid)>), HostError> {
        let desired = self.interception()?;
        let is_taken_over = self.is_taken_over;
        let read = self.netns.enter(|nft, routes| {
            let intact = verify(&desired.interception(), nft, routes)?.is_empty();
            let is_taken_over = is_taken_over || leftovers::find(nft)?.is_empty();
            Ok((intact, is_taken_over, probes::list(nft)))
        });
        let (intact, is_taken_over, probes) = read?;
        self.is_taken_over = is_taken_over;
        let elements = probes?.into_iter();
        // Elements without an owner's name belong to other programs.
        let owned = elements.filter_map(|probe| Some((probe.address, Uid::from(&*probe.pod_uid?))));
        let owned: Vec<_> = owned.collect();
        self.keep_probes_on_the_node(&owned);
        // Rules of iptables next to intact ones of ours have to go, too.
        Ok((intact && is_taken_over, owned))
    }

    /// Makes what is missing of the rules of pods that an agent before this one has added, or whose rules somebody removed.
    fn keep_probes_on_the_node(&mut self, probes: &[(IpAddr, Uid)]) {
        let (branches, wanted, proc) = (&mut self.branches, self.settings.branch_interfaces, &self.proc);
        let made = self.netns.enter(|_, routes| {
            branches.look(wanted, proc);
            Ok(branches.add(routes, probes.iter().map(|(address, _)| *address))?)
        });
        if let Err(error) = made {
            tracing::warn!(target: "cni-agent", "probes of pods with a branch interface may fail, which is looked at again in 30 s: {error}");
        }
    }

    fn destroy(&mut self) -> Result<(), HostError> {
        let branches = &mut self.branches;
        self.netns.enter(|nft, routes| {
            branches.clear(routes)?;
            HostInterception::destroy(nft)?;
            Ok(())
        })?;
        Ok(())
    }

    fn program(&mut self) -> Result<(), HostError> {
        let desired = self.interception()?;
        self.netns.enter(|nft, routes| take_over::make(&desired.interception(), nft, routes))?;
        self.is_taken_over = true;
        Ok(())
    }

    /// Adds addresses of pods. Where that fails for all of them together, each is tried alone.
    fn add_probes(&mut self, pods: Vec<NewProbes>) -> Vec<Input> {
        let begun = Instant::now();
        let are_added = pods.len() > 1 && self.add(&pods).is_ok();
        let mut added = Vec::new();
        for pod in pods {
            let result = if are_added { Ok(()) } else { text(self.add(std::slice::from_ref(&pod))) };
            self.metrics.took("set", begun.elapsed());
            let (uid, addresses) = pod;
            if let Err(error) = &result {
                tracing::warn!(target: "cni-agent", "cannot add the addresses of pod {uid} to the probe set yet: {error}");
            }
            added.push(Input::ProbesAdded(uid, addresses, result));
        }
        added
    }

    fn add(&mut self, pods: &[NewProbes]) -> Result<(), HostError> {
        let mut probes = Vec::new();
        for (uid, addresses) in pods {
            let owner = PodUid::new(uid.as_ref())?;
            probes.extend(addresses.iter().map(|address| (*address, owner)));
        }
        let addresses: Vec<_> = probes.iter().map(|(address, _)| *address).collect();
        let branches = &mut self.branches;
        self.netns.enter(|nft, routes| {
            let added = probes::add_all(nft, probes);
            branches.add(routes, addresses)?;
            Ok(added)
        })??;
        Ok(())
    }

    fn remove(&mut self, uid: &Uid, addresses: &BTreeSet<IpAddr>) -> Result<(), HostError> {
        let owner = PodUid::new(uid.as_ref())?;
        let addresses: Vec<_> = addresses.iter().copied().collect();
        let branches = &mut self.branches;
        let removal = self.netns.enter(|nft, routes| {
            let removal = probes::remove(nft, &addresses, Some(owner));
            if let Ok(removal) = &removal {
                let is_others =
                    |address: &IpAddr| removal.others.iter().any(|probe| probe.address == *address);
                branches.remove(routes, addresses.into_iter().filter(|address| !is_others(address)))?;
            }
            Ok(removal)
        })??;
        for probe in removal.others {
            let other = probe.pod_uid.as_deref().unwrap_or("nobody");
            tracing::warn!(target: "cni-agent", "{} has become {other}'s, not pod {uid}'s: it stays", probe.address);
        }
        Ok(())
    }

    fn interception(&mut self) -> Result<HostInterception, HostError> {
        let is_fresh = |(_, since): &&(Vec<u32>, Instant)| since.elapsed() < KUBELET;
        let uids = match self.kubelets.as_ref().filter(is_fresh) {
            Some((uids, _)) => uids.clone(),
            None => match kubelet::find(&self.proc) {
                Ok(kubelets) => {
                    let uids: Vec<_> = kubelets.iter().map(|kubelet| kubelet.uid).collect();
                    self.kubelets = Some((uids.clone(), Instant::now()));
                    uids
                }
                // It is being restarted: what was right so far is a better guess than nothing.
                Err(error) => self.kubelets.clone().ok_or(error)?.0,
            },
        };
        Ok(self.settings.host(uids))
    }
}

fn text<T>(result: Result<T, HostError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}
