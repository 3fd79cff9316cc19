//! Users of a pod that are others outside: Kubernetes' `hostUsers: false`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::{self, Command, Stdio};

use super::{Intercept, Namespace, User, link, oracle, privileged, skip};

/// Outside, the pod's user 0 has this number, and the others follow.
const FIRST: u32 = 100_000;
/// As many users as a kubelet gives a pod.
const COUNT: u32 = 65_536;

/// A user namespace in which users 0 to 65535 are 100000 to 165535 outside.
pub(crate) struct Users(File);

impl Users {
    /// The users of a fresh pod, and its network namespace, which is theirs, with `lo` up. None where privileges are
    /// missing or user namespaces are forbidden.
    pub(crate) fn new() -> Option<(Self, Namespace)> {
        if !privileged() || !oracle("unshare") || !oracle("nsenter") {
            return None;
        }
        // A process with more than one thread, as this one, cannot get a user namespace of its own.
        let mut command = Command::new("unshare");
        command.args(["--user", "--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().unwrap();
        let (mut to, mut from) = (holder.stdin.take().unwrap(), holder.stdout.take().unwrap());
        // An answer comes from inside the unshare.
        let there = to.write_all(b"?").and_then(|()| from.read_exact(&mut [0])).is_ok();
        let pod = there.then(|| Self::of(holder.id()));
        drop(to);
        holder.wait().unwrap();
        if pod.is_none() {
            skip("user namespaces are forbidden here");
        }
        pod
    }

    /// Those of a process whose users are not mapped yet.
    fn of(pid: u32) -> (Self, Namespace) {
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{pid}/{map}"), format!("0 {FIRST} {COUNT}\n")).unwrap();
        }
        let open = |namespace| File::open(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        let network = Namespace::from_file(open("net"));
        network.run(|| link::up("lo"));
        (Self(open("user")), network)
    }

    /// The command, run by this user of the pod: as 0 with every privilege in the pod, and with none outside.
    pub(crate) fn intercept(&self, user: User, args: &[&str]) -> Intercept {
        self.start(user, Intercept::new(args))
    }

    /// Any command, run by this user of the pod.
    pub(crate) fn start(&self, user: User, command: Intercept) -> Intercept {
        let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
        let users = format!("--user=/proc/{}/fd/{}", process::id(), self.0.as_raw_fd());
        command.through(&["nsenter", &users, "-S", &uid, "-G", &gid])
    }
}

/// The number outside of a user of the pod.
pub(crate) fn outside(user: User) -> User {
    User { uid: FIRST + user.uid, gid: FIRST + user.gid }
}
