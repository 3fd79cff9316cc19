//! What a process's files in a proc file system say of it: whose it is, and how old.

use std::collections::BTreeSet;

/// Field 22 of proc_pid_stat(5), in clock ticks since boot. The name, field 2, may have spaces and parentheses.
#[must_use]
pub fn start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(22 - 3)?.parse().ok()
}

/// The UID in a process's cgroups (cgroups(7), `ID:CONTROLLERS:PATH`), as hexadecimal digits alone; none if they name
/// several.
#[must_use]
pub fn pod_of_cgroup(text: &str) -> Option<String> {
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

/// A UID as [`pod_of_cgroup`] has it.
#[must_use]
pub fn hex_digits(text: &str) -> String {
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
    fn cgroups_that_are_not_a_pods() {
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
