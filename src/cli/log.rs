//! What is said beside the result: on standard error, as text or as JSON, one line each.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::time::SystemTime;

use serde_json::json;

/// Where Kubernetes reads why a container failed (`terminationMessagePath`, its default).
const TERMINATION_LOG: &str = "/dev/termination-log";
/// Kubernetes cuts longer messages off.
const TERMINATION_LOG_LIMIT: usize = 4096;

/// The same file, opened while that is still allowed.
static KEPT: OnceLock<Option<File>> = OnceLock::new();

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    /// `info: …`
    Plain,
    /// `{"level":"info","msg":"…","time":"…"}`, with Istio's field names
    Json,
}

impl Log {
    pub(super) fn info(self, message: &str) {
        self.line("info", message);
    }

    pub(super) fn warn(self, message: &str) {
        self.line("warn", message);
    }

    /// A failure; it also goes where Kubernetes looks for the reason.
    pub(super) fn error(self, message: &str) {
        self.line("error", message);
        termination_message(message);
    }

    fn line(self, level: &str, message: &str) {
        let line = match self {
            Self::Plain => format!("{level}: {message}\n"),
            Self::Json => {
                let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
                format!("{}\n", json!({ "level": level, "time": time, "msg": message }))
            }
        };
        // Nothing is left to be done where standard error is closed.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// What is said at least. There is nothing below the level info.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Error,
    Warn,
    Info,
}

/// A log that leaves out what is below a level.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filtered {
    pub(super) log: Log,
    pub(super) level: Level,
}

impl Filtered {
    pub(super) fn info(self, message: &str) {
        if self.level >= Level::Info {
            self.log.info(message);
        }
    }

    pub(super) fn warn(self, message: &str) {
        if self.level >= Level::Warn {
            self.log.warn(message);
        }
    }
}

/// Opens what a failure is written to, for a process that will not be allowed to open anything.
pub(super) fn keep_termination_log() {
    KEPT.get_or_init(|| OpenOptions::new().write(true).open(TERMINATION_LOG).ok());
}

/// Leaves the reason of a failure for Kubernetes, where the file is there and can be written.
fn termination_message(message: &str) {
    keep_termination_log();
    if let Some(Some(file)) = KEPT.get().map(Option::as_ref) {
        let end = message.floor_char_boundary(TERMINATION_LOG_LIMIT);
        let _ = file.set_len(0).and_then(|()| file.write_all_at(&message.as_bytes()[..end], 0));
    }
}
