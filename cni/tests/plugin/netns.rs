//! Network namespaces with a name, as runtimes make them, until the value is dropped.

use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::unistd::geteuid;

static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// A network namespace.
pub(crate) struct Netns(String);

impl Netns {
    /// One whose eth0 has these addresses, or nothing where that is not possible here; under CI it has to be.
    pub(crate) fn with(addresses: &[&str]) -> Option<Self> {
        let netns = Self::bare()?;
        netns.command(&["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer0"]);
        netns.command(&["ip", "link", "set", "eth0", "up"]);
        for address in addresses {
            let mut add = vec!["ip", "address", "add", address, "dev", "eth0"];
            if address.contains(':') {
                add.push("nodad");
            }
            netns.command(&add);
        }
        Some(netns)
    }

    /// One that has nothing but `lo`.
    pub(crate) fn bare() -> Option<Self> {
        if !geteuid().is_root() {
            skip("only root can make network namespaces");
            return None;
        }
        let netns = Self(format!("mwcni-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        run(&["ip", "netns", "add", &netns.0]);
        netns.command(&["ip", "link", "set", "lo", "up"]);
        Some(netns)
    }

    /// What `ip netns` calls it.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// The file that represents it.
    pub(crate) fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }

    /// What a command prints inside of it.
    #[track_caller]
    pub(crate) fn command(&self, command: &[&str]) -> String {
        run(&[&["ip", "netns", "exec", &self.0][..], command].concat())
    }

    /// Everything that an interception consists of: rules, policy rules, routes and addresses, as the kernel has them.
    #[track_caller]
    pub(crate) fn state(&self) -> String {
        let commands: [&[&str]; 6] = [
            &["nft", "--stateless", "list", "ruleset"],
            &["ip", "-4", "rule"],
            &["ip", "-6", "rule"],
            &["ip", "-4", "route", "show", "table", "all"],
            &["ip", "-6", "route", "show", "table", "all"],
            &["ip", "-oneline", "address", "show", "dev", "lo"],
        ];
        commands.map(|command| format!("{command:?}\n{}", self.command(command))).concat()
    }

    /// The rules alone; nothing where there are none.
    #[track_caller]
    pub(crate) fn rules(&self) -> String {
        self.command(&["nft", "--stateless", "list", "ruleset"])
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).stderr(Stdio::null()).status();
    }
}

#[track_caller]
fn run(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Says that a test cannot run here; under CI it has to.
pub(crate) fn skip(reason: &str) {
    meshwire_testkit::skip(reason);
}
