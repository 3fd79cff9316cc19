//! Progress of a benchmark, on standard error if that is a terminal.

use std::io::Write;

/// Characters of the bar.
const WIDTH: usize = 30;

/// A bar that is drawn again with each run, and gone at the end.
pub(super) struct Progress {
    steps: usize,
    shown: bool,
}

impl Progress {
    pub(super) fn new(steps: usize, shown: bool) -> Self {
        Self { steps, shown }
    }

    /// So many steps are done, and the next one is at this.
    pub(super) fn show(&self, done: usize, what: &str) {
        let full = WIDTH * done / self.steps.max(1);
        self.draw(&format!("[{}{}] {what}", "#".repeat(full), ".".repeat(WIDTH.saturating_sub(full))));
    }

    fn draw(&self, line: &str) {
        if self.shown {
            // Nothing is lost where it cannot be seen.
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.draw("");
    }
}
