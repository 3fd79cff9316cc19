//! Which network namespace is a pod's: found by its processes.
//!
//! A process belongs to a pod by its cgroup. It may be visiting another namespace, so one counts only if an interface
//! there has an address of the pod.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::netns::{Netns, path_id};
use super::state::{NetnsId, Uid};

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

/// Field 22 of proc_pid_stat(5), in clock ticks since boot. The name, field 2, may have spaces and parentheses.
fn start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(22 - 3)?.parse().ok()
}

/// The UID in a process's cgroups (cgroups(7), `ID:CONTROLLERS:PATH`), as hexadecimal digits alone; none if they name
/// several.
fn pod_of_cgroup(text: &str) -> Option<String> {
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut uids: BTreeSet<_> = paths.filter_map(pod_of_path).collect();
    let uid = uids.pop_first();
    uid.filter(|_| uids.is_empty())
}

/// `…pod<UID>…<container>`: the drivers of cgroups write the UID with `-`, `_` or nothing between its parts, and put a
/// sign before and after.
fn pod_of_path(path: &str) -> Option<String> {
    let path = path.strip_suffix(".scope").unwrap_or(path);
    path.match_indices("pod").find_map(|(start, pod)| {
        let before = path[..start].chars().next_back()?;
        let (uid, rest) = uid(&path[start + pod.len()..])?;
        let mut rest = rest.chars();
        let after = rest.next()?;
        let container = rest.next_back()?;
        let fits =
            before.is_ascii_punctuation() && after.is_ascii_punctuation() && container.is_alphanumeric();
        fits.then_some(uid)
    })
}

/// Splits off 8, 4, 4, 4 and 12 hexadecimal digits, with a sign between them or not.
fn uid(text: &str) -> Option<(String, &str)> {
    let mut digits = String::with_capacity(32);
    let mut rest = text;
    for (index, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix(|sign: char| sign.is_ascii_punctuation()).unwrap_or(rest);
        }
        let (part, after) = rest.split_at_checked(length)?;
        if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        digits.push_str(&part.to_ascii_lowercase());
        rest = after;
    }
    Some((digits, rest))
}

fn hex_digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_hexdigit).map(|digit| digit.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "2c48913c-b29f-11e7-9350-020968147796";
    const CONTAINER: &str = "9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961";

    #[track_caller]
    fn is(path: &str, is_pods: bool) {
        let expected = is_pods.then(|| hex_digits(UID));
        assert_eq!(pod_of_cgroup(&format!("0::{path}\n")), expected, "{path}");
    }

    #[test]
    fn cgroups_of_all_drivers() {
        let underscores = UID.replace('-', "_");
        let bare = UID.replace('-', "");
        is(&format!("/kubepods/besteffort/pod{UID}/{CONTAINER}"), true);
        is(&format!("/kubepods/pod{UID}/{CONTAINER}"), true);
        is(
            &format!(
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{underscores}.slice/cri-containerd-{CONTAINER}.scope"
            ),
            true,
        );
        is(&format!("/kubepods.slice/kubepods-pod{underscores}.slice/crio-{CONTAINER}.scope"), true);
        is(&format!("/../../pod{UID}/{CONTAINER}"), true);
        is(&format!("/kubelet/kubepods/burstable/pod{bare}/{CONTAINER}"), true);
        is(
            &format!(
                "/system.slice/containerd.service/kubepods-besteffort-pod{underscores}.slice:cri-containerd:{CONTAINER}"
            ),
            true,
        );
    }

    #[test]
    fn what_is_no_pods_cgroup() {
        is("/", false);
        is("/system.slice/kubelet.service", false);
        is(&format!("/kubepods/besteffort/pod{UID}"), false);
        is(&format!("/kubepods/besteffort/pod{UID}/"), false);
        is(&format!("/kubepods/xpod{UID}/{CONTAINER}"), false);
        is(&format!("/kubepods/pod{}/{CONTAINER}", &UID[1..]), false);
        is(&format!("/kubepods/pod{}/{CONTAINER}", UID.replace('2', "x")), false);
        is("/kubepods/podé", false);
        let two = format!(
            "1:cpu:/kubepods/pod{UID}/{CONTAINER}\n2:memory:/kubepods/pod{}/{CONTAINER}\n",
            UID.replace('2', "3")
        );
        assert_eq!(pod_of_cgroup(&two), None);
        let same =
            format!("1:cpu:/kubepods/pod{UID}/{CONTAINER}\n2:memory:/kubepods/pod{UID}/{CONTAINER}\n0::/\n");
        assert_eq!(pod_of_cgroup(&same), Some(hex_digits(UID)));
    }

    #[test]
    fn start_times() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 5";
        assert_eq!(start_time(stat), Some(4711));
        assert_eq!(start_time("7 (a"), None);
    }
}
