//! Installers that are killed or terminated at each system call that changes a file.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::common::{Node, PATIENCE, PRIMARY, oracle, until};
use super::{LIST, kubeconfig};

/// An installer, as far as it can be interrupted.
pub(super) struct Interrupted {
    pub(super) name: &'static str,
    plugin: &'static str,
    pub(super) command: fn(&Node) -> Command,
    kubeconfig: fn(&Node) -> PathBuf,
    /// What it logs once all is installed
    complete: &'static str,
    /// What it logs in any case, even where nothing was to be done
    begun: &'static str,
    /// How many lines it logs before it handles signals, and has done nothing
    first_lines: usize,
}

pub(super) const ISTIO: Interrupted = Interrupted {
    name: "install-cni",
    plugin: "istio-cni",
    command: Node::istio,
    kubeconfig: |node| node.path("run/istio-cni-kubeconfig"),
    complete: "initial installation complete",
    begun: "initial installation complete",
    first_lines: 2,
};

pub(super) const LINKERD: Interrupted = Interrupted {
    name: "linkerd2-cni-install",
    plugin: "linkerd-cni",
    command: Node::linkerd,
    kubeconfig: |node| node.net("ZZZ-linkerd-cni-kubeconfig"),
    complete: "reconfigured cni",
    begun: "running installer",
    first_lines: 0,
};

impl Interrupted {
    /// Runs it until it gets `signal` at the nth call of `call`. Whether it got there before it had installed everything.
    fn run(&self, node: &Node, call: &str, nth: u32, signal: &str) -> (bool, Option<i32>, String) {
        let command = (self.command)(node);
        let mut traced = Command::new("strace");
        traced.args(["-f", "-qq", "-o", "/dev/null", "-e", "signal=none"]);
        traced.arg(format!("--trace={call}")).arg(format!("--inject={call}:signal={signal}:when={nth}"));
        // The name that the program is called by does not get past strace.
        traced.arg(command.get_program()).arg(self.name).env_clear();
        for (name, value) in command.get_envs() {
            traced.env(name, value.unwrap());
        }
        let mut running = node.start(&mut traced);
        let begun = Instant::now();
        loop {
            if !running.is_running() {
                let code = running.wait();
                return (true, code, running.log());
            }
            // Valid whenever it is looked at.
            if self.is_listed(node) && running.log().contains(self.complete) {
                thread::sleep(Duration::from_millis(200));
                if running.is_running() {
                    // strace itself blocks it.
                    running.signal_child(Signal::SIGTERM);
                    let code = running.wait();
                    return (false, code, running.log());
                }
            }
            assert!(begun.elapsed() < PATIENCE, "{}", running.log());
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn is_listed(&self, node: &Node) -> bool {
        node.types(LIST) == ["bridge", "portmap", self.plugin]
    }

    /// Killed or terminated at each system call that changes a file, started again: valid at every moment, complete in the
    /// end.
    fn at_each_step(&self) {
        if !oracle("strace") {
            return;
        }
        let mut interruptions = 0;
        for signal in ["SIGKILL", "SIGTERM"] {
            for call in ["fsync", "rename,renameat2", "unlink,unlinkat", "fchmod", "write"] {
                for nth in 1.. {
                    if !self.at_step(call, nth, signal) {
                        break;
                    }
                    interruptions += 1;
                    assert!(nth < 100);
                }
            }
        }
        assert!(interruptions >= 12, "only {interruptions} steps were interrupted");
    }

    /// Whether the program got there before it had installed everything.
    fn at_step(&self, call: &str, nth: u32, signal: &str) -> bool {
        let node = Node::new();
        fs::write(node.net(LIST), PRIMARY).unwrap();
        let (early, code, log) = self.run(&node, call, nth, signal);
        let list: Value = serde_json::from_slice(&fs::read(node.net(LIST)).unwrap()).unwrap();
        assert_eq!(list["plugins"][0], serde_json::from_str::<Value>(PRIMARY).unwrap()["plugins"][0]);
        let kubeconfig_path = (self.kubeconfig)(&node);
        if kubeconfig_path.exists() {
            kubeconfig(&kubeconfig_path);
        }
        let plugin = node.path("host/opt/cni/bin").join(self.plugin);
        if plugin.exists() {
            assert_eq!(fs::read(&plugin).unwrap(), fs::read(node.path("image").join(self.plugin)).unwrap());
        }
        if signal == "SIGTERM" {
            // Every end by this signal is a clean one, once there is something to undo.
            let nothing_done = log.lines().count() <= self.first_lines;
            assert!(code == Some(0) || nothing_done, "{call} {nth}: {code:?} {log}");
            assert_eq!(node.types(LIST), ["bridge", "portmap"], "{call} {nth}: {log}");
            assert!(!kubeconfig_path.exists());
        } else {
            let mut again = node.start(&mut (self.command)(&node));
            let installed = || {
                again.log().contains(self.begun)
                    && self.is_listed(&node)
                    && kubeconfig_path.exists()
                    && plugin.exists()
            };
            until("installed", || again.log(), installed);
            assert_eq!(again.stop(), Some(0));
        }
        let folders = ["host/etc/cni/net.d", "host/opt/cni/bin", "run"];
        let names = folders.iter().flat_map(|folder| fs::read_dir(node.path(folder)).unwrap());
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let leftovers: Vec<_> = names.filter(|name| name.contains(".tmp.")).collect();
        assert!(leftovers.is_empty(), "{call} {nth}: {leftovers:?}");
        early
    }
}

#[test]
fn istios_installer_is_killed_and_terminated_at_each_step() {
    ISTIO.at_each_step();
}

#[test]
fn linkerds_installer_is_killed_and_terminated_at_each_step() {
    LINKERD.at_each_step();
}
