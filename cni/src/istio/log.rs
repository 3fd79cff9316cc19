//! Log lines: JSON, on standard error at once, and at the end to a file and to the node agent, which prints them as its own.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::config::{Config, Level};
use crate::protocol::Arguments;
use crate::unix_http::post;

/// Where the node agent listens for log lines.
pub(super) const SOCKET: &str = "log.sock";
const FILE: &str = "istio-cni.log";
/// The file before, once one is full.
const BACKUP: &str = "istio-cni.log.1";
const MAX_FILE: u64 = 10 << 20;
const MAX_AGE: Duration = Duration::from_secs(2 * 24 * 60 * 60);
/// For the whole exchange with the agent.
const LIMIT: Duration = Duration::from_secs(1);

/// The log of one call.
pub(super) struct Log {
    run_dir: PathBuf,
    level: Level,
    pod: String,
    namespace: String,
    lines: RefCell<Vec<String>>,
}

#[derive(Serialize)]
struct Line<'a> {
    level: &'static str,
    time: String,
    scope: &'static str,
    msg: &'a str,
    pod: &'a str,
    namespace: &'a str,
}

impl Log {
    pub(super) fn new(config: &Config, arguments: &Arguments) -> Self {
        Self {
            run_dir: config.run_dir.clone(),
            level: config.log_level,
            pod: arguments.pod_name.clone(),
            namespace: arguments.pod_namespace.clone(),
            lines: RefCell::default(),
        }
    }

    pub(super) fn info(&self, message: &str) {
        self.write(Level::Info, "info", message);
    }

    pub(super) fn warn(&self, message: &str) {
        self.write(Level::Warn, "warn", message);
    }

    pub(super) fn error(&self, message: &str) {
        self.write(Level::Error, "error", message);
    }

    fn write(&self, level: Level, name: &'static str, message: &str) {
        if level < self.level {
            return;
        }
        let line = Line {
            level: name,
            time: humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
            scope: "cni-plugin",
            msg: message,
            pod: &self.pod,
            namespace: &self.namespace,
        };
        let Ok(line) = serde_json::to_string(&line) else { return };
        // A log that cannot be written keeps no pod from starting; so it is with the file and the agent.
        let _ = writeln!(io::stderr(), "{line}");
        self.lines.borrow_mut().push(line);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let lines = self.lines.take();
        if lines.is_empty() {
            return;
        }
        let _ = append(&self.run_dir, &(lines.join("\n") + "\n"));
        let socket = self.run_dir.join(SOCKET);
        if socket.exists()
            && let Ok(body) = serde_json::to_string(&lines)
        {
            let _ = post(&socket, "/log", &body, LIMIT);
        }
    }
}

fn append(run_dir: &Path, text: &str) -> io::Result<()> {
    let path = run_dir.join(FILE);
    let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
    let mut file = open()?;
    if file.metadata()?.len() > MAX_FILE {
        rotate(run_dir, &path, &file)?;
        file = open()?;
    }
    // In one piece: many plugins run at the same time.
    file.write_all(text.as_bytes())
}

/// Renames a full file, unless another plugin is about to or already did.
fn rotate(run_dir: &Path, path: &Path, file: &File) -> io::Result<()> {
    if file.try_lock().is_err() || fs::metadata(path)?.ino() != file.metadata()?.ino() {
        return Ok(());
    }
    let backup = run_dir.join(BACKUP);
    fs::rename(path, &backup)?;
    let age = file.metadata()?.created().ok().and_then(|created| created.elapsed().ok());
    if age.is_some_and(|age| age > 2 * MAX_AGE) { fs::remove_file(backup) } else { Ok(()) }
}
