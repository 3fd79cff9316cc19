//! The command under test.

use std::fs;
use std::process::{Command, Output};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::Namespace;
use super::namespace::finish;

/// Runs `meshwire istio-iptables` with the arguments inside the namespace, as [`Intercept::apply`] does.
pub(crate) fn intercept(namespace: &Namespace, args: &[&str]) {
    Intercept::new(args).apply(namespace);
}

/// A run of `meshwire istio-iptables` as an init container starts it: with an environment of its own, and with an /etc
/// that holds nothing but the files given here.
pub(crate) struct Intercept {
    command: Command,
    files: Vec<(String, String)>,
}

impl Intercept {
    pub(crate) fn new(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshwire"));
        command.arg("istio-iptables").args(args).env_clear();
        Self { command, files: Vec::new() }
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Adds a file to /etc, such as `resolv.conf` or `group`.
    pub(crate) fn etc(mut self, name: &str, contents: &str) -> Self {
        self.files.push((name.into(), contents.into()));
        self
    }

    /// Runs the command.
    ///
    /// # Panics
    ///
    /// When the command fails, with its standard error.
    pub(crate) fn apply(self, namespace: &Namespace) {
        let output = self.run(namespace);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "meshwire: {}: {stderr}", output.status);
    }

    /// Runs the command and returns how it ended, whatever that is.
    pub(crate) fn run(mut self, namespace: &Namespace) -> Output {
        let etc = tempfile::tempdir().unwrap();
        for (name, contents) in &self.files {
            fs::write(etc.path().join(name), contents).unwrap();
        }
        namespace.run(|| {
            // The whole folder and not one file over another: /etc/resolv.conf may be missing, or a link to nowhere.
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            mount(Some(etc.path()), "/etc", none, MsFlags::MS_BIND, none).unwrap();
            finish(&mut self.command, "")
        })
    }
}
