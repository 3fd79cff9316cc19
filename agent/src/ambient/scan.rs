//! Which network namespace is a pod's: found by its processes.
//!
//! A process belongs to a pod by its cgroup. It may be visiting another namespace, so one counts only if an interface
//! there has an address of the pod.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use meshwire::pods::{hex_digits, pod_of_cgroup, start_time};

use super::netns::{Netns, path_id};
use super::state::{NetnsId, Uid};
use crate::kubernetes::Pod;

/// The annotation of static pods whose value is in their cgroups' names in place of their UID.
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// A pod that is looked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its UID
    pub uid: Uid,
    /// Another name of its cgroup: that of a static pod's configuration
    pub config_hash: Option<String>,
    /// Its addresses
    pub addresses: BTreeSet<IpAddr>,
    /// Where the runtime has bound its namespace, and which one that was: it has no process yet while the plugin is at
    /// work
    pub bound: Option<(PathBuf, NetnsId)>,
}

impl Wanted {
    /// A pod whose plugin has returned: its processes are found.
    #[must_use]
    pub fn running(pod: &Pod) -> Self {
        Self {
            uid: pod.metadata.uid.as_str().into(),
            config_hash: pod.annotation(CONFIG_HASH).map(str::to_owned),
            addresses: pod.addresses().into_iter().collect(),
            bound: None,
        }
    }
}

/// Finds namespaces in the node's proc file system. The thread ends up in one of them, and has to end.
#[must_use]
pub fn scan(proc: &Path, host: NetnsId, wanted: &[Wanted]) -> BTreeMap<Uid, Netns> {
    let candidates = candidates(proc, host, wanted);
    let mut found = BTreeMap::new();
    for pod in wanted {
        let in_age = candidates.get(&pod.uid).into_iter().flatten();
        let by_process = in_age.map(|(_, (_, pid))| proc.join(pid.to_string()).join("ns/net"));
        let is_still_bound = |(path, id): &&(PathBuf, NetnsId)| path_id(path).is_ok_and(|bound| bound == *id);
        let by_bind = pod.bound.as_ref().filter(is_still_bound).map(|(path, _)| path.clone());
        let netns = by_process.chain(by_bind).find_map(|path| {
            let netns = Netns::open(&path, host).ok()?;
            let present = netns.addresses().ok()?;
            (!present.is_disjoint(&pod.addresses)).then_some(netns)
        });
        if let Some(netns) = netns {
            found.insert(pod.uid.clone(), netns);
        }
    }
    found
}

/// For each pod the namespaces that its processes are in: the oldest process of each, oldest first.
type Candidates<'a> = BTreeMap<&'a Uid, Vec<(NetnsId, (u64, u32))>>;

fn candidates<'a>(proc: &Path, host: NetnsId, wanted: &'a [Wanted]) -> Candidates<'a> {
    let by_cgroup: BTreeMap<String, &Uid> = wanted
        .iter()
        .flat_map(|pod| {
            let names = [Some(pod.uid.as_ref()), pod.config_hash.as_deref()];
            names.into_iter().flatten().map(|name| (hex_digits(name), &pod.uid))
        })
        .collect();
    let mut oldest: BTreeMap<&Uid, BTreeMap<NetnsId, (u64, u32)>> = BTreeMap::new();
    for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let process = entry.path();
        // A process that ends meanwhile is none.
        let Ok(netns) = path_id(&process.join("ns/net")) else { continue };
        if netns == host {
            continue;
        }
        let Ok(cgroup) = fs::read(process.join("cgroup")) else { continue };
        let Some(uid) = pod_of_cgroup(&String::from_utf8_lossy(&cgroup)) else { continue };
        let Some(uid) = by_cgroup.get(&uid) else { continue };
        let Some(started) = fs::read_to_string(process.join("stat")).ok().and_then(|stat| start_time(&stat))
        else {
            continue;
        };
        let age = (started, pid);
        oldest
            .entry(*uid)
            .or_default()
            .entry(netns)
            .and_modify(|oldest| *oldest = age.min(*oldest))
            .or_insert(age);
    }
    oldest
        .into_iter()
        .map(|(uid, namespaces)| {
            let mut namespaces: Vec<_> = namespaces.into_iter().collect();
            namespaces.sort_by_key(|(_, age)| *age);
            (uid, namespaces)
        })
        .collect()
}
