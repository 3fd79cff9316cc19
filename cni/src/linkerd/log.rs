//! Log lines on standard error, as Linkerd's logger (logrus, text) writes them.

use std::io::{self, Write};
use std::time::SystemTime;

use crate::protocol::Arguments;

/// What is logged at least; the order is that of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    /// debug and info; anything else is warn.
    pub(super) fn parse(text: Option<&str>) -> Self {
        match text.map(str::to_ascii_lowercase).as_deref() {
            Some("debug") => Self::Debug,
            Some("info") => Self::Info,
            _ => Self::Warn,
        }
    }
}

/// The log of one call.
pub(super) struct Log {
    level: Level,
    /// The pod, at the end of each line
    pod: String,
}

impl Log {
    pub(super) fn new(level: Level, arguments: &Arguments, container_id: &str) -> Self {
        let (name, namespace) = (value(&arguments.pod_name), value(&arguments.pod_namespace));
        let container = value(container_id);
        Self { level, pod: format!("ContainerID={container} Namespace={namespace} Pod={name}") }
    }

    pub(super) fn info(&self, message: &str) {
        self.write(Level::Info, "info", message);
    }

    pub(super) fn warn(&self, message: &str) {
        self.write(Level::Warn, "warning", message);
    }

    pub(super) fn error(&self, message: &str) {
        self.write(Level::Error, "error", message);
    }

    fn write(&self, level: Level, name: &str, message: &str) {
        if level < self.level {
            return;
        }
        let time = humantime::format_rfc3339_seconds(SystemTime::now());
        let message = value(&format!("linkerd-cni: {message}"));
        // A log that cannot be written keeps no pod from starting.
        let _ = writeln!(io::stderr(), "time=\"{time}\" level={name} msg={message} {}", self.pod);
    }
}

/// As it is, or in quotation marks where it has anything but letters, digits and some signs.
fn value(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("{text:?}") }
}
