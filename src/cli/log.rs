//! What is said besides the result: on standard error, as text or as JSON, one line each.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use serde_json::{Value as Json, json};

use crate::diagnostic::Explanation;
use crate::text_file;

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
    /// `{"level":"info","msg":"…","time":"…"}`, with Istio's field names; a failure has its parts under `error`
    Json,
}

impl Log {
    /// JSON where the result is JSON, plain text otherwise.
    pub(super) fn for_output(output_is_json: bool) -> Self {
        if output_is_json { Self::Json } else { Self::Plain }
    }

    pub(super) fn info(self, message: &str) {
        self.line("info", message);
    }

    pub(super) fn warn(self, message: &str) {
        self.line("warn", message);
    }

    /// Wrong usage; it also goes where Kubernetes looks for the reason of a failure.
    pub(super) fn error(self, message: &str) {
        self.failure(message, &Explanation::default());
    }

    /// A failure, and what to do about it; it also goes where Kubernetes looks for the reason.
    pub(super) fn failure(self, message: &str, explanation: &Explanation) {
        let help = explanation.help.as_ref();
        let lines = help.map_or_else(|| message.to_owned(), |help| format!("{message}\nhelp: {help}"));
        match self {
            Self::Plain => write(&format!("error: {lines}\n")),
            Self::Json => write_object("error", message, Some(explanation.to_json(message).0)),
        }
        termination_message(&lines);
    }

    fn line(self, level: &str, message: &str) {
        match self {
            Self::Plain => write(&format!("{level}: {message}\n")),
            Self::Json => write_object(level, message, None),
        }
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
    KEPT.get_or_init(|| {
        text_file::open_regular(Path::new(TERMINATION_LOG), OpenOptions::new().write(true)).ok()
    });
}

fn write_object(level: &str, message: &str, error: Option<Json>) {
    let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let mut object = json!({ "level": level, "time": time, "msg": message });
    if let Some(error) = error {
        object["error"] = error;
    }
    write(&format!("{object}\n"));
}

fn write(line: &str) {
    // Nothing is left to be done where standard error is closed.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Leaves the reason of a failure for Kubernetes, where the file exists and can be written.
fn termination_message(message: &str) {
    keep_termination_log();
    if let Some(Some(file)) = KEPT.get().map(Option::as_ref) {
        let end = message.floor_char_boundary(TERMINATION_LOG_LIMIT);
        let _ = file.set_len(0).and_then(|()| file.write_all_at(&message.as_bytes()[..end], 0));
    }
}
