//! What takes longer than a second is shown on a terminal, and only there.

use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};

use crate::harness::{Namespace, oracle, privileged, program};

/// The lock of runs (src/network/lock.rs), for which one waits for a second.
const LOCK: u32 = 0x6d77_6972;

/// A run that takes longer than a second: the lock is held, and the rules are many.
fn slow_run(namespace: &Namespace, more: &str, terminal: bool) -> (bool, String) {
    let ports: Vec<_> = (0..15_000).map(|index| (1 + 2 * index).to_string()).collect();
    let command =
        format!("{} istio-iptables -i '*' -b '*' -d {} {more}", program().display(), ports.join(","));
    let mut run = match terminal {
        true => Command::new("script"),
        false => Command::new("sh"),
    };
    match terminal {
        true => run.args(["-qefc", &command, "/dev/null"]),
        false => run.args(["-c", &format!("{command} 2>&1")]),
    };
    let output =
        namespace.output(run.env_clear().env("PATH", "/usr/sbin:/usr/bin:/bin").stdin(Stdio::null()), "");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_slow_run_is_shown_on_a_terminal_also_locked_down() {
    if !(privileged() && oracle("script")) {
        return;
    }
    let namespace = Namespace::with_addresses(&["10.0.0.2"]);
    let holder = namespace.run(|| {
        let kind = (AddressFamily::Netlink, SockType::Raw);
        let holder = socket(kind.0, kind.1, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute).unwrap();
        bind(holder.as_raw_fd(), &NetlinkAddr::new(LOCK, 0)).unwrap();
        holder
    });
    for more in ["--lockdown", "--lockdown=false"] {
        let (succeeded, shown) = slow_run(&namespace, more, true);
        assert!(succeeded, "{more}: {shown:?}");
        let last = shown.rfind("applying: ").unwrap_or_else(|| panic!("{more}: {shown:?}"));
        let (_, first) = shown.split_once("\r\u{1b}[Kapplying: ").unwrap();
        let (seconds, _) = first.split_once(" s").unwrap();
        // After one, or later on a busy machine.
        assert!(seconds.parse::<u32>().is_ok_and(|seconds| seconds >= 1), "{more}: {shown:?}");
        // The line is gone before anything else is written.
        let (_, after) = shown[last..].split_once(" s").unwrap();
        assert!(
            after.starts_with("\r\u{1b}[K") && after.contains("done without waiting for others"),
            "{more}: {after:?}"
        );
        let (succeeded, shown) = slow_run(&namespace, more, false);
        assert!(succeeded && !shown.contains("applying"), "{more}: {shown:?}");
    }
    drop(holder);
}
