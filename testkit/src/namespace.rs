//! Network namespaces that exist as long as a value or a closure does.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic;
use std::process::{self, Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};

use crate::{link, skipped};

/// No command in these tests takes longer; one that does hangs.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);

/// A network namespace, held by nothing but a descriptor: it ends with the value and the last socket in it.
#[derive(Debug)]
pub struct Namespace(File);

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Namespace {
    /// A fresh namespace with `lo` up, and so with 127.0.0.1 and ::1.
    pub fn new() -> Self {
        in_thread(|| {
            enter_new();
            link::up("lo");
            Self(File::open("/proc/thread-self/ns/net").unwrap())
        })
    }

    /// A fresh namespace with these addresses on `lo`, which settle a pod's families as well as those of a link would.
    pub fn with_addresses(addresses: &[&str]) -> Self {
        let namespace = Self::new();
        namespace.add_addresses(addresses);
        namespace
    }

    /// Gives `lo` these addresses.
    pub fn add_addresses(&self, addresses: &[&str]) {
        self.run(|| {
            for address in addresses {
                let address: IpAddr = address.parse().unwrap();
                link::address("lo", address, if address.is_ipv4() { 32 } else { 128 });
            }
        });
    }

    /// The network namespace of this file.
    #[must_use]
    pub fn from_file(file: File) -> Self {
        Self(file)
    }

    /// Runs the closure in a thread of its own inside the namespace. Its panic is the caller's.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        in_thread(|| {
            setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }

    /// A path at which other processes find the namespace, as long as the value lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.0.as_raw_fd())
    }

    /// What the command prints.
    ///
    /// # Panics
    ///
    /// When the command fails, with its standard error.
    pub fn command(&self, argv: &[&str]) -> String {
        self.feed(argv, "")
    }

    /// As [`command`](Self::command), with `input` on its standard input.
    pub fn feed(&self, argv: &[&str], input: &str) -> String {
        let output = self.output(Command::new(argv[0]).args(&argv[1..]), input);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{argv:?}: {}: {stderr}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// How the command ends, whatever that is, with `input` on its standard input.
    pub fn output(&self, command: &mut Command, input: &str) -> Output {
        self.run(|| finish(command, input))
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Moves the calling thread into a new network namespace, for good. `lo` is down.
///
/// # Panics
/// Without CAP_SYS_ADMIN.
pub fn enter_new() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
}

/// Runs `work` in a network namespace of its own, in which `lo` is down, on a thread that ends with it. None, and
/// [said](crate::skip), where none can be made.
///
/// # Panics
/// When `work` does, and under CI where no namespace can be made.
pub fn in_new_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    in_thread(|| match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => Some(work()),
        Err(errno) => skipped(&format!("no network namespace could be made ({errno}): run as root")),
    })
}

/// Runs the closure in a thread that takes its namespaces and users with it when it ends.
pub fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    // Named as the test, for messages.
    let name = thread::current().name().unwrap_or_default().to_owned();
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name).spawn_scoped(scope, work).unwrap();
        thread.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
    })
}

/// Runs a command to its end, or kills it when it hangs. Files instead of pipes: none of them can fill up.
pub fn finish(command: &mut Command, input: &str) -> Output {
    let mut stdin = tempfile::tempfile().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    stdin.rewind().unwrap();
    let (mut stdout, mut stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());

    command.stdin(stdin).stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));

    let deadline = Instant::now() + COMMAND_TIMEOUT;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} still ran after {COMMAND_TIMEOUT:?}");
        }
        thread::sleep(Duration::from_micros(500));
    };
    Output { status, stdout: contents(&mut stdout), stderr: contents(&mut stderr) }
}

fn contents(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}
