//! Signals that would end a run between its routes and its rules wait until it is over.
//!
//! A run takes some milliseconds, and the kernel keeps the signal that long. What is left is SIGKILL, which nothing can
//! delay.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Those by which a terminal, a container's runtime and a user end a process.
const SIGNALS: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

/// Whether deferred signals stay deferred until the process exits.
static TO_THE_END: AtomicBool = AtomicBool::new(false);

/// Until it is dropped, the signals wait, for this thread and those that it starts meanwhile.
#[must_use]
pub(super) struct Deferred {
    before: Option<SigSet>,
}

/// From here on they wait. Threads that exist already would get them: call it before there are any.
pub(super) fn defer() -> Deferred {
    Deferred { before: SIGNALS.into_iter().collect::<SigSet>().thread_swap_mask(SigmaskHow::SIG_BLOCK).ok() }
}

/// Deferred signals stay so until the process exits, so that none replaces its exit code. timeout(1) sends each signal twice, to
/// the process and to its group, and the second one can be late.
pub(super) fn defer_to_the_end() {
    TO_THE_END.store(true, Ordering::Relaxed);
}

/// They may end the process again, for what takes seconds and changes nothing.
pub(super) fn allow() {
    // It cannot fail: the set is valid.
    let _ = SIGNALS.into_iter().collect::<SigSet>().thread_unblock();
}

/// Can be read when one of them has come, while they are [deferred](defer).
pub(super) fn receive() -> io::Result<SignalFd> {
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    Ok(SignalFd::with_flags(&SIGNALS.into_iter().collect(), flags)?)
}

impl Drop for Deferred {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && !TO_THE_END.load(Ordering::Relaxed)
        {
            let _ = before.thread_set_mask();
        }
    }
}
