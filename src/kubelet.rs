//! The kubelet's uid: its probes are not intercepted.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nftwire::io_text;

use crate::diagnostic::{Explain, Explanation};
use crate::text_file;

/// The kubelet's names as proc_pid_comm(5) has them; whether an argument must say "kubelet", too.
const NAMES: [(&str, bool); 5] =
    [("kubelet", true), ("kubelite", true), ("k3s", false), ("k3s-server", false), ("k3s-agent", false)];

/// A process that is the kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubelet {
    /// Its number, in the proc file system in which it was found
    pub pid: u32,
    /// Its name, one of those that the kubelet has in the distributions
    pub name: &'static str,
    /// Its real uid
    pub uid: u32,
}

impl fmt::Display for Kubelet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({}) with uid {}", self.pid, self.name, self.uid)
    }
}

/// Why the kubelet's uid is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubeletError {
    /// The processes cannot be listed
    #[error("cannot look for the kubelet's process in {}: {}", proc.display(), io_text(error))]
    Read {
        /// Where a proc file system should be
        proc: PathBuf,
        /// What the system call said
        error: io::Error,
    },
    /// No process is the kubelet
    #[error(
        "no process in {} is the kubelet (named kubelet, kubelite, k3s, k3s-server or k3s-agent){}", proc.display(),
        elsewhere(*.ignored)
    )]
    NotFound {
        /// Where it was looked for
        proc: PathBuf,
        /// How many processes had its name, but were in other namespaces, or in unknown ones
        ignored: usize,
    },
}

fn elsewhere(ignored: usize) -> String {
    match ignored {
        0 => String::new(),
        1 => "; one with such a name is in other namespaces, or its namespaces cannot be read".to_owned(),
        _ => format!("; {ignored} with such a name are in other namespaces, or theirs cannot be read"),
    }
}

impl Explain for KubeletError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::Read { proc, error } => error.explanation().at("file", proc.display().to_string()),
            Self::NotFound { proc, ignored } => {
                Explanation::default().at("file", proc.display().to_string()).help(match ignored {
                    0 => "give the kubelet's uid, or the node's own proc file system",
                    _ => "give the kubelet's uid; reading another process's namespaces takes CAP_SYS_PTRACE",
                })
            }
        }
    }
}

/// The processes of a proc file system, such as the node's at `/proc`, that are the kubelet, the oldest first: those
/// that are named `kubelet` or `kubelite` and have "kubelet" in an argument, or are named `k3s`, `k3s-server` or
/// `k3s-agent`.
///
/// Anybody can give a process such a name. Only those count that are in the same network, user and PID namespace as the
/// first process there, or as the caller: a pod is not, unless it shares all of them with its node.
///
/// # Errors
/// The processes cannot be listed, or none is the kubelet.
pub fn find(proc: impl AsRef<Path>) -> Result<Vec<Kubelet>, KubeletError> {
    let proc = proc.as_ref();
    let failed = |error| KubeletError::Read { proc: proc.to_owned(), error };
    let mut processes = Vec::new();
    for entry in fs::read_dir(proc).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        processes.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    processes.sort_unstable();
    let nodes = [proc.join("1"), PathBuf::from("/proc/thread-self")].map(|process| Namespaces::of(&process));
    let nodes: Vec<_> = nodes.into_iter().flatten().collect();
    let (mut kubelets, mut ignored) = (Vec::new(), 0);
    for pid in processes {
        let process = proc.join(pid.to_string());
        // A process that ends meanwhile, or that may not be looked at, is none.
        let Some(name) = name_if_kubelet(&process) else { continue };
        let Some(uid) = real_uid(&process) else { continue };
        if Namespaces::of(&process).is_some_and(|namespaces| nodes.contains(&namespaces)) {
            kubelets.push(Kubelet { pid, name, uid });
        } else {
            ignored += 1;
        }
    }
    match kubelets.is_empty() {
        true => Err(KubeletError::NotFound { proc: proc.to_owned(), ignored }),
        false => Ok(kubelets),
    }
}

/// The namespaces in which a process is, as proc_pid_ns(5) names them: `net:[4026531840]`.
#[derive(PartialEq, Eq)]
enum Namespaces {
    Of([PathBuf; 3]),
    /// There is no such folder: it is not a proc file system, or the kernel has no namespaces
    None,
}

impl Namespaces {
    /// `None` where they cannot be read, also of a process that has ended and was not waited for.
    fn of(process: &Path) -> Option<Self> {
        let folder = process.join("ns");
        match fs::symlink_metadata(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Self::None),
            _ => {
                let read = |name| fs::read_link(folder.join(name)).ok();
                Some(Self::Of([read("net")?, read("user")?, read("pid")?]))
            }
        }
    }
}

fn name_if_kubelet(process: &Path) -> Option<&'static str> {
    let name = read(process.join("comm")).ok()?;
    let name = name.trim_ascii_end();
    let &(name, in_arguments) = NAMES.iter().find(|(known, _)| known.as_bytes() == name)?;
    if in_arguments {
        let arguments = read(process.join("cmdline")).ok()?;
        arguments.windows(b"kubelet".len()).find(|part| *part == b"kubelet")?;
    }
    Some(name)
}

/// A process chooses how long its arguments are; what counts is at their start.
fn read(file: PathBuf) -> io::Result<Vec<u8>> {
    text_file::read_start(file, 64 * 1024)
}

/// See proc_pid_status(5).
fn real_uid(process: &Path) -> Option<u32> {
    let status = read(process.join("status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    uids.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A process: its number, name, arguments, uids, and the namespaces that it is in.
    type Process<'a> = (u32, &'a str, &'a str, &'a str, &'a str);

    const INIT: Process<'_> = (1, "systemd", "/sbin/init", "0\t0\t0\t0", "node");

    /// A proc file system with these processes.
    fn proc(processes: &[Process<'_>]) -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        for (pid, name, arguments, uids, namespaces) in processes {
            let process = proc.path().join(pid.to_string());
            fs::create_dir_all(process.join("ns")).unwrap();
            fs::write(process.join("comm"), format!("{name}\n")).unwrap();
            fs::write(process.join("cmdline"), arguments.replace(' ', "\0")).unwrap();
            fs::write(process.join("status"), format!("Name:\t{name}\nUid:\t{uids}\nGid:\t7\t7\t7\t7\n"))
                .unwrap();
            for (kind, namespace) in ["net", "user", "pid"].iter().zip(namespaces.split(' ').cycle()) {
                symlink(format!("{kind}:[{namespace}]"), process.join("ns").join(kind)).unwrap();
            }
        }
        fs::create_dir(proc.path().join("sys")).unwrap();
        proc
    }

    /// The uids that are found where the first process is in the namespaces `node`.
    #[track_caller]
    fn finds(processes: &[Process<'_>], expected: &[u32]) {
        let proc = proc(&[&[INIT], processes].concat());
        let found = find(proc.path()).unwrap_or_default();
        assert_eq!(found.iter().map(|kubelet| kubelet.uid).collect::<Vec<_>>(), expected, "{processes:?}");
    }

    #[test]
    fn the_kubelet_by_its_names() {
        finds(&[(7, "kubelet", "/usr/bin/kubelet --config=x", "0\t1\t2\t3", "node")], &[0]);
        finds(&[(7, "kubelite", "/snap/kubelite --kubelet-args-file=x", "1000\t1\t2\t3", "node")], &[1000]);
        for name in ["k3s", "k3s-server", "k3s-agent"] {
            finds(&[(7, name, "/usr/local/bin/k3s server", "4711\t0\t0\t0", "node")], &[4711]);
        }
    }

    #[test]
    fn processes_that_only_resemble_the_kubelet() {
        finds(&[], &[]);
        finds(&[(7, "kubelet", "/usr/bin/other", "0\t0\t0\t0", "node")], &[]);
        finds(&[(7, "kubelite", "/snap/kubelite", "0\t0\t0\t0", "node")], &[]);
        finds(&[(7, "kubelet-helper", "kubelet", "0\t0\t0\t0", "node")], &[]);
        finds(&[(7, "k3s-agents", "kubelet", "0\t0\t0\t0", "node")], &[]);
        finds(&[(7, "kubelet", "kubelet", "", "node")], &[]);
    }

    /// Whatever a pod calls its process, one of the three namespaces gives it away.
    #[test]
    fn a_pods_process_is_not_the_kubelet() {
        let named = |pid, namespaces| (pid, "k3s", "k3s", "1337", namespaces);
        for namespaces in ["pod", "pod node node", "node pod node", "node node pod"] {
            finds(&[named(3, namespaces)], &[]);
        }
        finds(&[named(3, "pod"), (7, "k3s", "k3s", "0", "node"), named(9, "node node pod")], &[0]);
        // A process that has ended is in no namespace that can be read.
        let proc = proc(&[INIT, named(3, "node")]);
        fs::remove_file(proc.path().join("3/ns/net")).unwrap();
        assert!(matches!(find(proc.path()), Err(KubeletError::NotFound { ignored: 1, .. })));
    }

    #[test]
    fn the_callers_namespaces_count_as_well() {
        let proc = proc(&[INIT, (7, "k3s", "k3s", "5", "other")]);
        let ns = proc.path().join("7/ns");
        for kind in ["net", "user", "pid"] {
            fs::remove_file(ns.join(kind)).unwrap();
            symlink(fs::read_link(format!("/proc/thread-self/ns/{kind}")).unwrap(), ns.join(kind)).unwrap();
        }
        let found = find(proc.path()).unwrap();
        assert_eq!(found, [Kubelet { pid: 7, name: "k3s", uid: 5 }]);
        assert_eq!(found[0].to_string(), "process 7 (k3s) with uid 5");
    }

    #[test]
    fn all_of_several_the_oldest_first() {
        let process = |pid, uid| (pid, "kubelet", "kubelet", uid, "node");
        finds(&[process(100, "1"), process(9, "2"), process(11, "3")], &[2, 3, 1]);
    }

    #[test]
    fn none_is_an_error_that_says_what_to_do() {
        let empty = proc(&[]);
        let error = find(empty.path()).unwrap_err();
        let none = format!(
            "no process in {} is the kubelet (named kubelet, kubelite, k3s, k3s-server or k3s-agent)",
            empty.path().display()
        );
        assert_eq!(error.to_string(), none);
        let help = "give the kubelet's uid, or the node's own proc file system";
        assert_eq!(error.explanation().help.as_deref(), Some(help));
        let forged = proc(&[INIT, (3, "k3s", "k3s", "0", "pod")]);
        assert_eq!(
            find(forged.path()).unwrap_err().to_string().split_once("; ").unwrap().1,
            "one with such a name is in other namespaces, or its namespaces cannot be read"
        );
        let error = find("/nowhere/proc").unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot look for the kubelet's process in /nowhere/proc: ENOENT: No such file or directory"
        );
    }
}
