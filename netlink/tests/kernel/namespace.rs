//! Network namespaces that last as long as a test.

use std::io::Write;
use std::panic::resume_unwind;
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// Runs `work` in a network namespace of its own, on a thread that ends with it; what it left behind goes with it.
pub(crate) fn in_new_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    let inside = || match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => Some(work()),
        Err(errno) => skip(&format!("no network namespace could be made ({errno}): run as root")),
    };
    // Named as the test, for `skip` to tell.
    let name = thread::current().name().unwrap_or_default().to_owned();
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name).spawn_scoped(scope, inside).unwrap();
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Says that a test did not happen. With CI in the environment, where all of them have to, it fails.
pub(crate) fn skip<T>(why: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "a test did not happen: {why}");
    // Behind the back of the test harness, which keeps back what a test that passes prints.
    let line = format!("SKIPPED {}: {why}\n", thread::current().name().unwrap_or_default());
    let _ = std::io::stderr().write_all(line.as_bytes());
    None
}
