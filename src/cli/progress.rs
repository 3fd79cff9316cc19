//! Shows that a long step is in progress, on standard error if that is a terminal.
//!
//! A thread draws it, because most of such a time is spent in a single system call. It is the process's only one of its kind, and
//! starts with the first work, or earlier where a run will lose the right to start any: it has no capabilities, and is bound by
//! the same filter of system calls as the others.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use caps::CapSet;

/// Work that ends earlier is not shown.
const DELAY: Duration = Duration::from_secs(1);
/// Between two drawings.
const PAUSE: Duration = Duration::from_millis(250);

/// The channels by which the thread learns what is being done and confirms that its line is erased.
struct Drawer {
    /// The work in progress; `None` when it is done
    sender: Sender<Option<String>>,
    gone: Receiver<()>,
}

/// `None` if that is not a terminal, or if no thread can be started: then nothing is shown.
static DRAWER: OnceLock<Option<Mutex<Drawer>>> = OnceLock::new();

/// Starts the thread that shows progress, where standard error is a terminal.
pub(super) fn prepare() {
    DRAWER.get_or_init(|| {
        if !io::stderr().is_terminal() {
            return None;
        }
        let ((sender, receiver), (say_gone, gone)) = (channel(), channel());
        let show = move || {
            if give_up_capabilities() && say_gone.send(()).is_ok() {
                draw_all(&receiver, &say_gone, DELAY, &mut io::stderr());
            }
        };
        thread::Builder::new().name("progress".into()).spawn(show).ok()?;
        // What it does to begin, a filter would forbid, and the C library does not expect that.
        gone.recv().ok()?;
        Some(Mutex::new(Drawer { sender, gone }))
    });
}

/// Only this thread's.
fn give_up_capabilities() -> bool {
    [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted]
        .iter()
        .all(|set| caps::clear(None, *set).is_ok())
}

/// Does the work; where it takes longer than a second, a terminal shows what it is and for how long it has been going on.
pub(super) fn during<T>(what: &str, work: impl FnOnce() -> T) -> T {
    prepare();
    let Some(drawer) = DRAWER.get().and_then(Option::as_ref) else { return work() };
    let begin = drawer.lock().unwrap_or_else(PoisonError::into_inner).sender.send(Some(what.to_owned()));
    let result = work();
    if begin.is_ok() {
        let drawer = drawer.lock().unwrap_or_else(PoisonError::into_inner);
        // The line is gone before anything else is written.
        if drawer.sender.send(None).is_ok() {
            let _ = drawer.gone.recv();
        }
    }
    result
}

/// Draws each message, from when it has lasted for the delay until it is over, until the sender is dropped.
fn draw_all(receiver: &Receiver<Option<String>>, gone: &Sender<()>, delay: Duration, out: &mut impl Write) {
    let mut next = receiver.recv().ok();
    while let Some(message) = next {
        next = match message {
            Some(what) => draw(receiver, &what, delay, out),
            None => {
                let _ = gone.send(());
                receiver.recv().ok()
            }
        };
    }
}

/// Draws until the next message, and returns it; `None` once the sender is dropped.
fn draw(
    receiver: &Receiver<Option<String>>,
    what: &str,
    delay: Duration,
    out: &mut impl Write,
) -> Option<Option<String>> {
    let started = Instant::now();
    let mut pause = delay;
    let next = loop {
        match receiver.recv_timeout(pause) {
            Ok(next) => break Some(next),
            Err(RecvTimeoutError::Disconnected) => break None,
            // Nothing is lost where it cannot be seen.
            Err(RecvTimeoutError::Timeout) => {
                let _ = write!(out, "\r\x1b[K{what}: {} s", started.elapsed().as_secs());
                let _ = out.flush();
                pause = PAUSE;
            }
        }
    };
    if pause == PAUSE {
        let _ = write!(out, "\r\x1b[K");
        let _ = out.flush();
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells a channel of each drawing.
    struct Terminal {
        drawing: Vec<u8>,
        seen: Sender<String>,
    }

    impl Write for Terminal {
        fn write(&mut self, part: &[u8]) -> io::Result<usize> {
            self.drawing.extend(part);
            Ok(part.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            let _ = self.seen.send(String::from_utf8(std::mem::take(&mut self.drawing)).unwrap());
            Ok(())
        }
    }

    /// What is drawn while the messages are sent by the function given, which learns of each drawing and of each confirmation.
    fn drawn(
        delay: Duration,
        send: impl FnOnce(&Sender<Option<String>>, &Receiver<String>, &Receiver<()>) -> Vec<String>,
    ) -> Vec<String> {
        let ((sender, receiver), (say_gone, gone), (say_seen, seen)) = (channel(), channel(), channel());
        let drawing = thread::spawn(move || {
            assert!(give_up_capabilities() && caps::read(None, CapSet::Permitted).unwrap().is_empty());
            draw_all(&receiver, &say_gone, delay, &mut Terminal { drawing: Vec::new(), seen: say_seen });
        });
        let mut drawings = send(&sender, &seen, &gone);
        drop(sender);
        drawing.join().unwrap();
        drawings.extend(seen);
        drawings
    }

    #[test]
    fn what_takes_its_time_is_shown_and_nothing_stays() {
        let drawings = drawn(Duration::from_millis(1), |sender, seen, gone| {
            let mut drawings = Vec::new();
            for work in ["reading", "writing"] {
                sender.send(Some(work.to_owned())).unwrap();
                // It takes until it is shown.
                drawings.push(seen.recv().unwrap());
                sender.send(None).unwrap();
                gone.recv().unwrap();
                drawings.extend(seen.try_iter());
            }
            drawings
        });
        // On a busy machine a line may have been drawn again before the work was over, and later than it began.
        let mut lines: Vec<&str> =
            drawings.iter().map(|drawing| drawing.split(':').next().unwrap()).collect();
        lines.dedup();
        assert_eq!(lines, ["\r\x1b[Kreading", "\r\x1b[K", "\r\x1b[Kwriting", "\r\x1b[K"]);
        assert!(drawings[0].starts_with("\r\x1b[Kreading: ") && drawings[0].ends_with(" s"), "{drawings:?}");
    }

    #[test]
    fn what_ends_before_the_delay_is_not_shown() {
        let drawings = drawn(Duration::from_secs(600), |sender, _, gone| {
            // Also as part of other work.
            for message in [Some("looking".to_owned()), Some("asking".to_owned()), None, None] {
                sender.send(message).unwrap();
            }
            gone.recv().and_then(|()| gone.recv()).unwrap();
            Vec::new()
        });
        assert_eq!(drawings, [""; 0]);
    }

    #[test]
    fn the_result_of_the_work_is_handed_on() {
        assert_eq!(during("reading", || during("looking", || 7)), 7);
    }
}
