//! That something takes its time, on standard error, where somebody can look at it.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// What is over before is not worth a line.
const DELAY: Duration = Duration::from_secs(1);
/// Between two drawings.
const PAUSE: Duration = Duration::from_millis(250);

/// Does the work; where it takes longer than a second, a terminal shows what it is and for how long it has been going on.
pub(super) fn during<T>(what: &str, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    thread::scope(|scope| {
        let (ended, wait) = channel();
        let draw = move || draw(&wait, what, DELAY, &mut io::stderr());
        // Without a thread it is not shown.
        let shown = thread::Builder::new().name("progress".into()).spawn_scoped(scope, draw);
        let result = work();
        drop(ended);
        // The line is gone before anything else is written.
        if let Ok(shown) = shown {
            let _ = shown.join();
        }
        result
    })
}

/// Draws until the other end of the channel is dropped.
fn draw(wait: &Receiver<()>, what: &str, delay: Duration, out: &mut impl Write) {
    let started = Instant::now();
    let mut pause = delay;
    // Nothing is lost where it cannot be seen.
    while wait.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let _ = write!(out, "\r\x1b[K{what}: {} s", started.elapsed().as_secs());
        pause = PAUSE;
    }
    if pause == PAUSE {
        let _ = write!(out, "\r\x1b[K");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(delay: Duration, time: Duration) -> String {
        let (ended, wait) = channel();
        let drawing = thread::spawn(move || {
            let mut out = Vec::new();
            draw(&wait, "reading", delay, &mut out);
            String::from_utf8(out).unwrap()
        });
        thread::sleep(time);
        drop(ended);
        drawing.join().unwrap()
    }

    #[test]
    fn only_what_takes_its_time_is_shown_and_nothing_stays() {
        assert_eq!(drawn(Duration::from_secs(60), Duration::ZERO), "");
        let shown = drawn(Duration::from_millis(1), Duration::from_millis(20));
        assert_eq!(shown, "\r\x1b[Kreading: 0 s\r\x1b[K");
    }

    #[test]
    fn the_result_of_the_work_is_handed_on() {
        assert_eq!(during("reading", || 7), 7);
    }
}
