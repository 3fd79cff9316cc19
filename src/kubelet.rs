//! Whose probes are let pass: the uid of the kubelet.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nftwire::io_text;

use crate::diagnostic::{Explain, Explanation};

/// Why the kubelet's uid is not known.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// The processes cannot be listed
    #[error("cannot look for the kubelet's process in {}: {}", proc.display(), io_text(source))]
    Read {
        /// Where a proc file system should be
        proc: PathBuf,
        /// What the system call said
        source: io::Error,
    },
    /// No process is the kubelet
    #[error("no process in {} is the kubelet (named kubelet, kubelite or k3s)", proc.display())]
    NotFound {
        /// Where it was looked for
        proc: PathBuf,
    },
}

impl Explain for KubeletError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::Read { proc, source } => source.explanation().at("file", proc.display().to_string()),
            Self::NotFound { proc } => Explanation::default()
                .at("file", proc.display().to_string())
                .help("give the kubelet's uid, or the node's own proc file system"),
        }
    }
}

/// The real uid of the kubelet's process in a proc file system, such as the node's at `/proc`: that of the oldest one
/// that is named `kubelet` or `kubelite` and has "kubelet" in an argument, or is named `k3s`.
///
/// # Errors
/// The processes cannot be listed, or none is the kubelet.
pub fn uid(proc: impl AsRef<Path>) -> Result<u32, KubeletError> {
    let proc = proc.as_ref();
    let failed = |source| KubeletError::Read { proc: proc.to_owned(), source };
    let mut processes = Vec::new();
    for entry in fs::read_dir(proc).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        processes.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    processes.sort_unstable();
    // A process that ends meanwhile, or that may not be looked at, is none.
    let uid = processes.iter().find_map(|pid| uid_if_kubelet(&proc.join(pid.to_string())));
    uid.ok_or_else(|| KubeletError::NotFound { proc: proc.to_owned() })
}

/// See proc_pid_comm(5), proc_pid_cmdline(5) and proc_pid_status(5).
fn uid_if_kubelet(process: &Path) -> Option<u32> {
    let name = fs::read(process.join("comm")).ok()?;
    let is_kubelet = match name.trim_ascii_end() {
        b"kubelet" | b"kubelite" => {
            let arguments = fs::read(process.join("cmdline")).ok()?;
            arguments.windows(b"kubelet".len()).any(|part| part == b"kubelet")
        }
        name => name == b"k3s",
    };
    if !is_kubelet {
        return None;
    }
    let status = fs::read(process.join("status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    uids.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proc file system with these processes: pid, name, arguments, uids.
    fn proc(processes: &[(u32, &str, &str, &str)]) -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        for (pid, name, arguments, uids) in processes {
            let process = proc.path().join(pid.to_string());
            fs::create_dir(&process).unwrap();
            fs::write(process.join("comm"), format!("{name}\n")).unwrap();
            fs::write(process.join("cmdline"), arguments.replace(' ', "\0")).unwrap();
            fs::write(process.join("status"), format!("Name:\t{name}\nUid:\t{uids}\nGid:\t7\t7\t7\t7\n"))
                .unwrap();
        }
        fs::create_dir(proc.path().join("sys")).unwrap();
        proc
    }

    #[track_caller]
    fn finds(processes: &[(u32, &str, &str, &str)], expected: Option<u32>) {
        assert_eq!(uid(proc(processes).path()).ok(), expected, "{processes:?}");
    }

    #[test]
    fn the_kubelet_by_its_names() {
        finds(&[(7, "kubelet", "/usr/bin/kubelet --config=x", "0\t1\t2\t3")], Some(0));
        finds(&[(7, "kubelite", "/snap/kubelite --kubelet-args-file=x", "1000\t1\t2\t3")], Some(1000));
        finds(&[(7, "k3s", "/bin/k3s agent", "4711\t0\t0\t0")], Some(4711));
    }

    #[test]
    fn what_only_looks_like_it() {
        finds(&[], None);
        finds(&[(7, "kubelet", "/usr/bin/other", "0\t0\t0\t0")], None);
        finds(&[(7, "kubelite", "/snap/kubelite", "0\t0\t0\t0")], None);
        finds(&[(7, "kubelet-helper", "kubelet", "0\t0\t0\t0")], None);
        finds(&[(7, "k3s-agent", "kubelet", "0\t0\t0\t0")], None);
        finds(&[(7, "kubelet", "kubelet", "")], None);
    }

    #[test]
    fn the_oldest_of_several() {
        let process = |pid, uid| (pid, "kubelet", "kubelet", uid);
        finds(&[process(100, "1"), process(9, "2"), process(11, "3")], Some(2));
    }

    #[test]
    fn none_is_an_error_that_says_what_to_do() {
        let empty = proc(&[]);
        let error = uid(empty.path()).unwrap_err();
        let file = empty.path().display();
        assert_eq!(
            error.to_string(),
            format!("no process in {file} is the kubelet (named kubelet, kubelite or k3s)")
        );
        let help = "give the kubelet's uid, or the node's own proc file system";
        assert_eq!(error.explanation().help.as_deref(), Some(help));
        let error = uid("/nowhere/proc").unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot look for the kubelet's process in /nowhere/proc: ENOENT: No such file or directory"
        );
    }
}
