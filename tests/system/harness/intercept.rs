//! The command under test.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::namespace::finish;
use super::{Namespace, User};

/// Where the command finds itself: in its own /etc, where every user may read it.
const PROGRAM: &str = "/etc/meshwire";
/// The same under the name of Istio's command.
const ISTIO_PROGRAM: &str = "/etc/istio-iptables";

/// Runs `meshwire istio-iptables` with the arguments inside the namespace, as [`Intercept::apply`] does.
pub(crate) fn intercept(namespace: &Namespace, args: &[&str]) {
    Intercept::new(args).apply(namespace);
}

/// A run of `meshwire istio-iptables` as an init container starts it: with an environment of its own, and with an /etc
/// that holds nothing but the files given here and the program itself.
pub(crate) struct Intercept {
    /// What starts the program: nothing, or a command that gives up privileges first.
    starter: Vec<String>,
    program: &'static str,
    args: Vec<String>,
    variables: Vec<(String, String)>,
    user: Option<User>,
    files: Vec<(String, String)>,
    folders: Vec<(PathBuf, String)>,
}

impl Intercept {
    pub(crate) fn new(args: &[&str]) -> Self {
        let args = [&["istio-iptables"], args].concat();
        Self {
            starter: Vec::new(),
            program: PROGRAM,
            args: args.iter().map(ToString::to_string).collect(),
            variables: Vec::new(),
            user: None,
            files: Vec::new(),
            folders: Vec::new(),
        }
    }

    /// Adds arguments.
    pub(crate) fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(ToString::to_string));
        self
    }

    /// Calls the program by a link of the name `istio-iptables`, and without that as its first argument.
    pub(crate) fn by_istios_name(mut self) -> Self {
        self.program = ISTIO_PROGRAM;
        self.args.remove(0);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Adds a file to /etc, such as `resolv.conf` or `group`.
    pub(crate) fn etc(mut self, name: &str, contents: &str) -> Self {
        self.files.push((name.into(), contents.into()));
        self
    }

    /// Shows the command another folder in the place of one.
    pub(crate) fn folder(mut self, there: &Path, place: &str) -> Self {
        self.folders.push((there.into(), place.into()));
        self
    }

    /// Runs the program as this user, and so without any capability unless it is root.
    pub(crate) fn user(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    /// Runs the program through another command, such as setpriv(1).
    pub(crate) fn through(mut self, starter: &[&str]) -> Self {
        self.starter.extend(starter.iter().map(ToString::to_string));
        self
    }

    /// Runs the command and returns what it prints.
    ///
    /// # Panics
    ///
    /// When the command fails, with its standard error.
    pub(crate) fn apply(self, namespace: &Namespace) -> String {
        let output = self.run(namespace);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "meshwire: {}: {stderr}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the command and returns how it ended, whatever that is.
    pub(crate) fn run(self, namespace: &Namespace) -> Output {
        let etc = tempfile::tempdir().unwrap();
        fs::set_permissions(etc.path(), Permissions::from_mode(0o755)).unwrap();
        File::create(etc.path().join("meshwire")).unwrap();
        symlink("meshwire", etc.path().join("istio-iptables")).unwrap();
        for (name, contents) in &self.files {
            fs::write(etc.path().join(name), contents).unwrap();
        }
        namespace.run(|| {
            // The whole folder and not one file over another: /etc/resolv.conf may be missing, or a link to nowhere.
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            let bind = |there: &Path, place: &str| {
                mount(Some(there), place, none, MsFlags::MS_BIND, none)
                    .unwrap_or_else(|errno| panic!("{} over {place}: {errno}", there.display()));
            };
            bind(etc.path(), "/etc");
            bind(Path::new(env!("CARGO_BIN_EXE_meshwire")), PROGRAM);
            for (there, place) in &self.folders {
                bind(there, place);
            }
            finish(&mut self.command(), "")
        })
    }

    fn command(&self) -> Command {
        let words: Vec<_> = self.starter.iter().map(String::as_str).chain([self.program]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(&self.args).env_clear();
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(User { uid, gid }) = self.user {
            command.gid(gid).uid(uid);
        }
        command
    }
}
