//! Pods made of network namespaces, the command under test run in them, and traffic that tells where it arrived.
//!
//! Links and addresses are set up over rtnetlink and users are taken on by a thread, so that the tests also run where
//! there is no other program at all.

mod age;
pub(crate) mod ambient;
mod arrival;
mod client;
mod intercept;
pub(crate) mod link;
pub(crate) mod linkerd;
mod namespace;
mod network;
pub(crate) mod nft;
mod owner;
mod pod;
#[path = "../../common/program.rs"]
mod program;
mod segment;
mod server;
mod users;

pub(crate) use client::{Client, Outcome, captured, straight};
pub(crate) use intercept::{Intercept, intercept};
pub(crate) use namespace::Namespace;
pub(crate) use network::{network, of_the_command};
pub(crate) use owner::owned_table;
pub(crate) use pod::{Addresses, BOTH, Pod, User, V4, V6};
pub(crate) use program::{GIVEN, program};
pub(crate) use server::Server;
pub(crate) use users::{Users, outside};

use std::io::Write;
use std::{env, fs, io, thread};

use nix::unistd::geteuid;

/// `capabilities(7)`: networking, rules and routes.
const CAP_NET_ADMIN: u32 = 12;
/// `capabilities(7)`: namespaces and mounts.
const CAP_SYS_ADMIN: u32 = 21;

/// Whether this process may do what the tests need: be root, with CAP_NET_ADMIN and CAP_SYS_ADMIN.
///
/// # Panics
///
/// Under CI (`CI` is set), where a test that cannot run must not look like one that passed.
pub(crate) fn privileged() -> bool {
    let capabilities = effective_capabilities();
    let has = |capability: u32| capabilities & (1 << capability) != 0;
    let privileged = geteuid().is_root() && has(CAP_NET_ADMIN) && has(CAP_SYS_ADMIN);
    privileged || skip("it needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN")
}

/// Whether tests whose time is bounded take all the time that their figures need: it is asked for by
/// `MESHWIRE_TEST_FULL` in the environment.
pub(crate) fn full() -> bool {
    env::var_os("MESHWIRE_TEST_FULL").is_some()
}

/// Whether the external command `name`, which judges what ours has done, is on the PATH.
///
/// # Panics
///
/// Under CI (`CI` is set), as in [`privileged`].
pub(crate) fn oracle(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(name).is_file())
        || skip(&format!("it needs the command {name}"))
}

/// The thread's CapEff, as `proc_pid_status(5)` shows it.
fn effective_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap()
}

/// False, and said why: this test cannot run here.
///
/// # Panics
///
/// Under CI (`CI` is set), as in [`privileged`].
pub(crate) fn skip(reason: &str) -> bool {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    assert!(env::var_os("CI").is_none(), "{test} cannot run: {reason}");
    say(&format!("skipped {test}: {reason}"));
    false
}

/// Says a line aloud: libtest keeps to itself what goes through the print macros, so this writes to the stream.
pub(crate) fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
