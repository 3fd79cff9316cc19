//! What a test needs of the machine: privileges, and programs that we did not write. A test that lacks one of them fails
//! in CI, which is root's (`CI` is set), and says elsewhere that it was skipped.

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
/// Under CI, as [`skip`].
pub fn privileged() -> bool {
    let capabilities = effective_capabilities();
    let has = |capability: u32| capabilities & (1 << capability) != 0;
    let privileged = geteuid().is_root() && has(CAP_NET_ADMIN) && has(CAP_SYS_ADMIN);
    privileged || skip("it needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN")
}

/// Whether the external command `name`, which judges what ours has done, is on the PATH.
///
/// # Panics
/// Under CI, as [`skip`].
pub fn oracle(name: &str) -> bool {
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
/// Under CI, where a test that cannot run must not look like one that passed.
pub fn skip(reason: &str) -> bool {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    assert!(!is_ci(), "{test} cannot run: {reason}");
    say(&format!("skipped {test}: {reason}"));
    false
}

/// Whether all tests have to run here: root's run with `CI` set, as `.ci/run` is one. A user who sets it lacks root all the
/// same, and sees what was skipped.
pub fn is_ci() -> bool {
    env::var_os("CI").is_some() && geteuid().is_root()
}

/// Whether tests that are bounded take all that their figures need: `MESHWIRE_TEST_FULL` in the environment asks for it.
pub fn full() -> bool {
    env::var_os("MESHWIRE_TEST_FULL").is_some()
}

/// As [`skip`], for what has a result.
///
/// # Panics
/// As [`skip`].
pub fn skipped<T>(reason: &str) -> Option<T> {
    skip(reason);
    None
}

/// Says a line aloud: libtest keeps to itself what goes through the print macros, so this writes to the stream.
pub fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{}\n", line.trim_end()).as_bytes());
}
