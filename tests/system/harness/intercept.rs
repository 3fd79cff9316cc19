//! The command under test.

use std::env;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::age::without_age;
use super::{Namespace, User, program};
use meshwire_testkit::finish;

/// Where the command finds itself: in its own /etc, where every user may read it.
const FOLDER: &str = "/etc";
/// The program's own name.
const PROGRAM: &str = "meshwire";
/// Other names for it, by links.
const LINKS: [&str; 3] = ["istio-iptables", "proxy-init", "linkerd2-proxy-init"];

/// The arguments of Istio's injection template, with a logging flag.
pub(crate) const ISTIO_ARGS: [&str; 17] = [
    "-p",
    "15001",
    "-z",
    "15006",
    "-u",
    "1337",
    "-m",
    "REDIRECT",
    "-i",
    "*",
    "-x",
    "",
    "-b",
    "*",
    "-d",
    "15090,15021,15020",
    "--log_output_level=default:info",
];

/// Runs `meshwire istio-iptables` with the arguments inside the namespace, as [`Intercept::apply`] does.
pub(crate) fn intercept(namespace: &Namespace, args: &[&str]) {
    Intercept::new(args).apply(namespace);
}

/// A run of one of meshwire's commands as an init container starts it: with an environment of its own, and with an /etc
/// that holds nothing but the files given here and the program itself.
pub(crate) struct Intercept {
    /// What starts the program: nothing, or a command that gives up privileges first.
    starter: Vec<String>,
    program: &'static str,
    /// Capabilities of the program's file, as setcap(8) takes them.
    capabilities: Option<&'static str>,
    args: Vec<String>,
    variables: Vec<(String, String)>,
    user: Option<User>,
    files: Vec<(String, String)>,
    folders: Vec<(PathBuf, String)>,
    read_only: Vec<&'static str>,
}

impl Intercept {
    /// `meshwire istio-iptables` with these arguments.
    pub(crate) fn new(args: &[&str]) -> Self {
        Self::command_line(&[&["istio-iptables"], args].concat())
    }

    /// `meshwire proxy-init` with these arguments.
    pub(crate) fn linkerd(args: &[&str]) -> Self {
        Self::command_line(&[&["proxy-init"], args].concat())
    }

    /// `meshwire` with these arguments.
    pub(crate) fn command_line(args: &[&str]) -> Self {
        Self {
            starter: Vec::new(),
            program: PROGRAM,
            capabilities: None,
            args: args.iter().map(ToString::to_string).collect(),
            variables: Vec::new(),
            user: None,
            files: Vec::new(),
            folders: Vec::new(),
            read_only: Vec::new(),
        }
    }

    /// Adds arguments.
    pub(crate) fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(ToString::to_string));
        self
    }

    /// Calls the program by a link of the name `istio-iptables`, and without that as its first argument.
    pub(crate) fn by_istios_name(self) -> Self {
        self.by_name("istio-iptables")
    }

    /// Calls the program by a link of this name, and without the command as its first argument.
    pub(crate) fn by_name(mut self, name: &'static str) -> Self {
        self.program = name;
        self.args.remove(0);
        self
    }

    /// Gives the program's file these capabilities, as setcap(8) takes them.
    pub(crate) fn file_capabilities(mut self, capabilities: &'static str) -> Self {
        self.capabilities = Some(capabilities);
        self
    }

    /// Makes this folder read-only, as a container's runtime does.
    pub(crate) fn read_only(mut self, folder: &'static str) -> Self {
        self.read_only.push(folder);
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
        self.put_program(&etc.path().join(PROGRAM));
        for link in LINKS {
            symlink(PROGRAM, etc.path().join(link)).unwrap();
        }
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
            bind(etc.path(), FOLDER);
            if self.capabilities.is_none() {
                bind(&program(), &format!("{FOLDER}/{PROGRAM}"));
            }
            for (there, place) in &self.folders {
                bind(there, place);
            }
            for folder in &self.read_only {
                // The root is a mount already, and one over it would not be seen. Our own files stay writable.
                let own = env::temp_dir();
                let own = if *folder == "/" { own.to_str().unwrap() } else { folder };
                mount(Some(own), own, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).unwrap();
                let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
                mount(none, *folder, none, flags, none).unwrap();
            }
            without_age(finish(&mut self.command(), ""))
        })
    }

    /// A place to mount the program at; or a copy, where it needs capabilities of its own.
    fn put_program(&self, place: &Path) {
        let Some(capabilities) = self.capabilities else {
            File::create(place).unwrap();
            return;
        };
        meshwire_testkit::copy_executable(&program(), place);
        fs::set_permissions(place, Permissions::from_mode(0o755)).unwrap();
        let output = finish(Command::new("setcap").arg(capabilities).arg(place), "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn command(&self) -> Command {
        let program = format!("{FOLDER}/{}", self.program);
        let words: Vec<_> = self.starter.iter().map(String::as_str).chain([program.as_str()]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(&self.args).env_clear();
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(User { uid, gid }) = self.user {
            command.gid(gid).uid(uid);
        }
        command
    }
}
