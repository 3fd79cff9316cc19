//! The installers as programs: what they leave on a node, at every moment.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::{Node, PATIENCE, PRIMARY, Running, endurance, get, oracle, root, until};
use meshwire_agent::install::istio::{IstioInstaller, Placement};
use meshwire_agent::install::kubeconfig::Kubeconfig;
use meshwire_agent::install::{Binary, Installed, Installer};
use meshwire_testkit::kubernetes::{ADMIN, Access, Rule};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const LIST: &str = "10-primary.conflist";

/// Starts Istio's installer and waits until it is ready.
fn istio_ready(node: &Node) -> Running {
    let running = node.start(&mut node.istio());
    until("ready", || running.log(), || node.ready());
    running
}

fn kubeconfig(path: &std::path::Path) -> kube::config::Kubeconfig {
    kube::config::Kubeconfig::from_yaml(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn istios_plugin_is_installed_and_removed() {
    let node = Node::new();
    fs::write(node.net(LIST), PRIMARY).unwrap();
    fs::set_permissions(node.net(LIST), fs::Permissions::from_mode(0o640)).unwrap();
    let mut running = istio_ready(&node);
    assert_eq!(node.types(LIST), ["bridge", "portmap", "istio-cni"]);
    let text = fs::read_to_string(node.net(LIST)).unwrap();
    assert!(
        text.contains(r#"{"type": "bridge", "mtu": 1450.0, "ipam": {"type": "host-local", "a": 1}}"#),
        "{text}"
    );
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&node.net(LIST)), 0o640);
    let plugin = node.path("host/opt/cni/bin/istio-cni");
    assert_eq!(fs::read(&plugin).unwrap(), fs::read(node.path("image/istio-cni")).unwrap());
    assert_eq!(mode(&plugin), 0o755);
    let path = node.path("run/istio-cni-kubeconfig");
    assert_eq!(mode(&path), 0o600);
    let config = kubeconfig(&path);
    assert_eq!(config.current_context.as_deref(), Some("istio-cni-context"));
    assert_eq!(config.clusters[0].cluster.as_ref().unwrap().server, Some(node.server.url()));
    assert_eq!(get(node.health, "/healthz").0, 200);
    let metrics = get(node.metrics, "/metrics").1;
    assert!(
        metrics.contains("istio_cni_install_ready 1")
            && metrics.contains("istio_cni_installs_total{result=\"SUCCESS\"} ")
    );
    assert!(running.log().contains("initial installation complete, start watching for re-installation"));

    // Nothing that says that it is an upgrade: the entry and the kubeconfig go, the executable stays.
    assert_eq!(running.stop(), Some(0));
    assert_eq!(node.types(LIST), ["bridge", "portmap"]);
    assert!(!path.exists() && plugin.exists());
    assert_eq!(
        serde_json::from_str::<Value>(PRIMARY).unwrap(),
        serde_json::from_slice::<Value>(&fs::read(node.net(LIST)).unwrap()).unwrap()
    );
    assert_eq!(node.configurations(), [LIST]);
}

#[test]
fn an_upgrade_keeps_the_plugin() {
    let node = Node::new();
    fs::write(node.net(LIST), PRIMARY).unwrap();
    let daemon_set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "istio-cni-node", "namespace": "istio-system"}});
    node.server.put(daemon_set.clone());
    let mut running = istio_ready(&node);
    assert_eq!(running.stop(), Some(0));
    assert!(
        running.log().contains("terminating, but parent DaemonSet istio-cni-node is still present"),
        "{}",
        running.log()
    );
    assert_eq!(node.types(LIST), ["bridge", "portmap", "istio-cni"]);
    assert!(node.path("run/istio-cni-kubeconfig").exists());

    // The role without ambient mode: nobody may know, so it goes. With a deletion it goes, too.
    let role = Rule {
        groups: &[""],
        resources: &["pods", "nodes", "namespaces"],
        verbs: &["get", "list", "watch"],
        names: &[],
    };
    for prepare in [true, false] {
        let mut running = istio_ready(&node);
        if prepare {
            node.server.allow("no-daemonsets", "istio-cni", Access::Role(vec![role.clone()]));
            node.rotate("no-daemonsets");
            let written = || kubeconfig(&node.path("run/istio-cni-kubeconfig")).auth_infos.len() == 1;
            until("rotated", || running.log(), written);
            node.server.revoke(ADMIN);
        } else {
            node.server.allow(ADMIN, "admin", Access::Everything);
            node.rotate(ADMIN);
            let mut doomed = daemon_set.clone();
            doomed["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            node.server.put(doomed);
        }
        assert_eq!(running.stop(), Some(0));
        assert_eq!(node.types(LIST), ["bridge", "portmap"], "{}", running.log());
    }
}

#[test]
fn a_hundred_token_rotations_without_a_flap() {
    let node = Node::new();
    fs::write(node.net(LIST), PRIMARY).unwrap();
    let mut running = istio_ready(&node);
    let path = node.path("run/istio-cni-kubeconfig");
    let (mut flaps, mut looks) = (0, 0);
    for index in 0..100 {
        let token = format!("token-{index}");
        node.rotate(&token);
        let begun = Instant::now();
        loop {
            looks += 1;
            flaps += usize::from(!node.ready());
            // It parses whenever it is read.
            let config = serde_json::to_value(kubeconfig(&path)).unwrap();
            assert_eq!(node.types(LIST), ["bridge", "portmap", "istio-cni"]);
            if config["users"][0]["user"]["token"] == token {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{}", running.log());
        }
    }
    assert_eq!(flaps, 0, "of {looks} looks");
    assert!(running.is_running());
    let metrics = get(node.metrics, "/metrics").1;
    assert!(metrics.contains("meshwire_config_reverts_total 0"), "{metrics}");
}

#[test]
fn a_single_configuration_becomes_a_list_among_broken_files() {
    let node = Node::new();
    fs::write(node.net("00-empty.conflist"), "").unwrap();
    fs::write(node.net("01-half.conflist"), &PRIMARY[..60]).unwrap();
    fs::write(node.net("02-typeless.conf"), "{}").unwrap();
    fs::write(node.net("03-ignored.json"), PRIMARY).unwrap();
    fs::write(
        node.net("10-primary.conf"),
        r#"{"cniVersion": "0.4.0", "name": "p", "type": "ptp", "z": 1, "a": 2}"#,
    )
    .unwrap();
    let mut running = istio_ready(&node);
    let names = ["00-empty.conflist", "01-half.conflist", "02-typeless.conf", "03-ignored.json", LIST];
    assert_eq!(node.configurations(), names);
    assert_eq!(node.types(LIST), ["ptp", "istio-cni"]);
    // What was broken is complete now, and is what the runtime reads first.
    fs::write(node.net("00-empty.conflist"), PRIMARY).unwrap();
    until(
        "in the first list",
        || running.log(),
        || fs::read_to_string(node.net("00-empty.conflist")).unwrap().contains("istio-cni"),
    );
    assert_eq!(running.stop(), Some(0));
    assert_eq!(
        (node.types("00-empty.conflist"), node.types(LIST)),
        (vec!["bridge".into(), "portmap".into()], vec!["ptp".into()])
    );
}

#[test]
fn it_waits_for_a_primary() {
    let node = Node::new();
    let mut running = node.start(&mut node.istio());
    until("waiting", || running.log(), || running.log().contains("no network configuration yet"));
    assert_eq!(get(node.health, "/readyz"), (503, "Service Unavailable".into()));
    fs::write(node.net("10-primary.conflist.writing"), PRIMARY).unwrap();
    fs::rename(node.net("10-primary.conflist.writing"), node.net(LIST)).unwrap();
    until("ready", || running.log(), || node.ready());
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn lists_of_its_own() {
    let node = Node::new();
    fs::write(node.net(LIST), PRIMARY).unwrap();
    // As a value: in ambient mode the whole agent would take on this machine.
    let owned = IstioInstaller {
        binary: Binary {
            source: node.path("image/istio-cni"),
            target: node.path("host/opt/cni/bin/istio-cni"),
            remove: false,
        },
        net_dir: node.path("host/etc/cni/net.d"),
        run_dir: node.path("run"),
        placement: Placement::Owned { name: "02-own.conflist".into(), primary: None },
        config_mode: 0o600,
        kubeconfig: Kubeconfig {
            server: node.server.url(),
            ca: Some(node.path("account/ca.crt")),
            token: node.path("account/token"),
            user: "istio-cni",
            context: "istio-cni-context",
        },
        kubeconfig_mode: 0o600,
        entry: json!({"name": "istio-cni", "type": "istio-cni"}),
    };
    assert!(!owned.is_installed());
    owned.install().unwrap();
    assert!(owned.is_installed());
    assert_eq!(owned.install().unwrap(), Installed::default());
    assert_eq!(node.types("02-own.conflist"), ["bridge", "portmap", "istio-cni"]);
    assert_eq!(fs::read_to_string(node.net(LIST)).unwrap(), PRIMARY);
    // The primary's changes arrive in it.
    fs::write(node.net(LIST), PRIMARY.replace("portmap", "bandwidth")).unwrap();
    assert!(!owned.is_installed());
    owned.install().unwrap();
    assert_eq!(node.types("02-own.conflist"), ["bridge", "bandwidth", "istio-cni"]);
    assert!(owned.uninstall().is_empty());
    assert_eq!(node.configurations(), [LIST]);

    let mut alone = node.istio();
    alone.env("CHAINED_CNI_PLUGIN", "false").env("CNI_CONF_NAME", "istio-cni.conf");
    let mut running = node.start(&mut alone);
    until("ready", || running.log(), || node.ready());
    let conf: Value = serde_json::from_slice(&fs::read(node.net("istio-cni.conf")).unwrap()).unwrap();
    assert_eq!((conf["type"].as_str(), conf["cniVersion"].as_str()), (Some("istio-cni"), Some("0.3.1")));
    assert_eq!(running.stop(), Some(0));
    assert_eq!(node.configurations(), [LIST]);
}

#[test]
fn linkerds_plugin_is_installed_and_removed() {
    let node = Node::new();
    fs::write(node.net(LIST), PRIMARY).unwrap();
    fs::write(node.net("20-other.conf"), r#"{"name": "o", "type": "ptp"}"#).unwrap();
    let mut running = node.start(&mut node.linkerd());
    let installed =
        || node.configurations().contains(&"20-other.conflist".to_owned()) && node.types(LIST).len() == 3;
    until("installed", || running.log(), installed);
    assert_eq!(node.types("20-other.conflist"), ["ptp", "linkerd-cni"]);
    let list: Value = serde_json::from_slice(&fs::read(node.net(LIST)).unwrap()).unwrap();
    let entry = &list["plugins"][2];
    assert_eq!(entry["kubernetes"]["kubeconfig"], "/etc/cni/net.d/ZZZ-linkerd-cni-kubeconfig");
    assert_eq!(entry["pod_namespace"], "istio-system");
    let path = node.net("ZZZ-linkerd-cni-kubeconfig");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(kubeconfig(&path).current_context.as_deref(), Some("linkerd-cni-context"));
    assert_eq!(running.stop(), Some(0));
    assert_eq!(node.configurations(), [LIST, "20-other.conflist"]);
    assert_eq!((node.types(LIST).len(), node.types("20-other.conflist").len()), (2, 1));
    assert!(node.path("host/opt/cni/bin/linkerd-cni").exists());

    let mut keep = node.linkerd();
    let mut running = node.start(keep.env("KEEP_ON_EXIT", "true"));
    until("installed", || running.log(), || node.types(LIST).len() == 3);
    assert_eq!(running.stop(), Some(0));
    assert_eq!(node.types(LIST).len(), 3);
    let mut remove = node.linkerd();
    let mut running = node.start(remove.env("REMOVE_BINARY", "true"));
    until("installed", || running.log(), || running.log().contains("running installer"));
    thread::sleep(Duration::from_millis(300));
    assert_eq!(running.stop(), Some(0));
    assert!(!node.path("host/opt/cni/bin/linkerd-cni").exists());
    assert_eq!(node.types(LIST).len(), 2);
}

/// One pod of each mesh, and a primary CNI that rewrites its file: each rewrite is answered by each installer once.
#[test]
fn two_installers_do_not_fight() {
    let node = Node::new();
    fs::write(node.net(LIST), PRIMARY).unwrap();
    let istio = istio_ready(&node);
    let linkerd = node.start(&mut node.linkerd());
    let both = BTreeSet::from(["bridge", "portmap", "istio-cni", "linkerd-cni"].map(str::to_owned));
    let complete =
        || node.types(LIST).into_iter().collect::<BTreeSet<_>>() == both && node.types(LIST).len() == 4;
    until("both", || istio.log() + &linkerd.log(), complete);
    let writes = || {
        istio.log().matches("Wrote CNI config to ").count()
            + linkerd.log().matches("reconfigured cni").count()
    };
    let (before, begun, mut rewrites) = (writes(), Instant::now(), 0);
    while begun.elapsed() < endurance() {
        // Half of them in place, as some do.
        if rewrites % 2 == 0 {
            fs::write(node.net(LIST), PRIMARY).unwrap();
        } else {
            fs::write(node.net("writing"), PRIMARY).unwrap();
            fs::rename(node.net("writing"), node.net(LIST)).unwrap();
        }
        rewrites += 1;
        let begun = Instant::now();
        until(
            "both again",
            || istio.log() + &linkerd.log(),
            || {
                fs::read(node.net(LIST))
                    .is_ok_and(|content| serde_json::from_slice::<Value>(&content).is_ok())
                    && complete()
            },
        );
        // Without the pauses of a fight; a busy machine takes some of it.
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        // Rewriting the format alone is no reason to write.
        let compact =
            serde_json::from_slice::<Value>(&fs::read(node.net(LIST)).unwrap()).unwrap().to_string();
        // The line follows the file.
        thread::sleep(Duration::from_millis(200));
        let so_far = writes();
        fs::write(node.net("writing"), compact).unwrap();
        fs::rename(node.net("writing"), node.net(LIST)).unwrap();
        // Longer than what counts as a fight, however late an installer hears of a change.
        thread::sleep(Duration::from_millis(3100));
        assert_eq!(writes(), so_far);
    }
    // An installer that saw the other's file half-way writes twice at most.
    let caused = writes() - before;
    assert!((2 * rewrites..=3 * rewrites).contains(&caused), "{caused} writes after {rewrites} rewrites");
    let quiet = fs::metadata(node.net(LIST)).unwrap().modified().unwrap();
    thread::sleep(Duration::from_secs(2));
    assert_eq!(fs::metadata(node.net(LIST)).unwrap().modified().unwrap(), quiet);
}

/// An installer, as far as it can be interrupted.
struct Interrupted {
    name: &'static str,
    plugin: &'static str,
    command: fn(&Node) -> Command,
    kubeconfig: fn(&Node) -> PathBuf,
    /// What it logs once all is installed
    complete: &'static str,
    /// What it logs in any case, even where nothing was to be done
    begun: &'static str,
    /// How many lines it logs before it handles signals, and has done nothing
    first_lines: usize,
}

const ISTIO: Interrupted = Interrupted {
    name: "install-cni",
    plugin: "istio-cni",
    command: Node::istio,
    kubeconfig: |node| node.path("run/istio-cni-kubeconfig"),
    complete: "initial installation complete",
    begun: "initial installation complete",
    first_lines: 2,
};

const LINKERD: Interrupted = Interrupted {
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

#[test]
fn a_folder_that_cannot_be_written_is_named_and_does_not_end_the_agent() {
    if !root() {
        return;
    }
    let node = Node::new();
    fs::write(node.net(LIST), PRIMARY).unwrap();
    for name in ["run", "account/token"] {
        std::os::unix::fs::chown(node.path(name), Some(65534), None).unwrap();
    }
    for entry in fs::read_dir(node.path("account")).unwrap() {
        fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = node.istio();
    let mut running = node.start(command.uid(65534));
    until("refused", || running.log(), || running.log().contains("cannot install the plugin's executable"));
    let log = running.log();
    assert!(
        log.contains("Permission denied")
            && log.contains("SELinux")
            && log.contains("seLinuxOptions.type: spc_t"),
        "{log}"
    );
    assert_eq!(get(node.health, "/healthz").0, 200);
    assert_eq!(get(node.health, "/readyz").0, 503);
    assert!(
        get(node.metrics, "/metrics")
            .1
            .contains("istio_cni_installs_total{result=\"COPY_BINARIES_FAILURE\"}")
    );
    assert!(running.is_running());
    assert_eq!(fs::read_to_string(node.net(LIST)).unwrap(), PRIMARY);
    // As soon as it can be written, it is.
    for name in ["host/opt/cni/bin", "host/etc/cni/net.d", "host/etc/cni/net.d/10-primary.conflist"] {
        std::os::unix::fs::chown(node.path(name), Some(65534), None).unwrap();
    }
    until("ready", || running.log(), || node.ready());
    assert_eq!(running.stop(), Some(0));
}

/// A folder that the platform mounts read-only: the error names it and what to set, nothing is half done, and the rest lives on.
#[test]
fn a_read_only_folder_is_named_with_what_to_set() {
    if !root() {
        return;
    }
    for (installer, folder, what) in [
        (&ISTIO, "host/opt/cni/bin", "cannot install the plugin's executable"),
        (&ISTIO, "host/etc/cni/net.d", "cannot write the network configuration"),
        (&LINKERD, "host/opt/cni/bin", "cannot install the plugin's executable"),
        (&LINKERD, "host/etc/cni/net.d", "cannot write the plugin's kubeconfig"),
    ] {
        let node = Node::new();
        fs::write(node.net(LIST), PRIMARY).unwrap();
        let mut running =
            node.start(&mut read_only(&(installer.command)(&node), installer.name, &node.path(folder)));
        until("refused", || running.log(), || running.log().contains(what));
        let log = running.log();
        for part in
            [&*node.path(folder).to_string_lossy(), "Read-only file system", "cniBinDir", "destCNIBinDir"]
        {
            assert!(log.contains(part), "{part}: {log}");
        }
        assert!(running.is_running(), "{log}");
        assert_eq!(fs::read_to_string(node.net(LIST)).unwrap(), PRIMARY);
        assert_eq!(node.configurations(), [LIST]);
        if installer.name == ISTIO.name {
            assert_eq!(get(node.health, "/readyz").0, 503);
        }
        running.stop();
    }
}

/// The same program where one folder is read-only, in a mount namespace of its own.
fn read_only(command: &Command, name: &str, folder: &std::path::Path) -> Command {
    const MOUNTS: &str =
        "set -e; mount --bind \"$1\" \"$1\"; mount -o remount,ro,bind \"$1\"; shift; exec \"$@\"";
    let mut unshared = Command::new("unshare");
    unshared
        .args(["--mount", "sh", "-c", MOUNTS, "sh"])
        .arg(folder)
        .arg(command.get_program())
        .arg(name)
        .env_clear();
    unshared.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for (name, value) in command.get_envs() {
        unshared.env(name, value.unwrap());
    }
    unshared
}

/// Whoever has the port would answer the kubelet's questions. Without metrics pods start, so their port is only logged.
#[test]
fn a_port_that_is_taken_is_named() {
    let node = Node::new();
    fs::write(node.net(LIST), PRIMARY).unwrap();
    let take = |port: u16| TcpListener::bind(("0.0.0.0", port)).unwrap();
    let metrics = take(node.metrics);
    let mut running = istio_ready(&node);
    assert!(running.log().contains(&format!("{}", node.metrics)), "{}", running.log());
    assert_eq!(running.stop(), Some(0));
    drop(metrics);
    let _health = take(node.health);
    let mut running = node.start(&mut node.istio());
    assert_eq!(running.wait(), Some(1));
    let log = running.log();
    assert!(log.contains("health") && log.contains(&format!(":{}", node.health)), "{log}");
}

#[test]
fn the_plugins_lines_are_logged() {
    let node = Node::new();
    fs::write(node.net(LIST), PRIMARY).unwrap();
    let running = istio_ready(&node);
    let line =
        json!({"level": "info", "time": "2026-01-01T00:00:00.000000Z", "msg": "excluded", "pod": "a/p"});
    let body = serde_json::to_string(&[line.to_string()]).unwrap();
    let mut stream = UnixStream::connect(node.path("run/log.sock")).unwrap();
    write!(
        stream,
        "POST /log HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    assert!(running.log().contains("\tinfo\tcni-plugin\texcluded\tpod=a/p\n"), "{}", running.log());
    let mode = fs::metadata(node.path("run/log.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn wrong_settings_are_named() {
    let node = Node::new();
    let mut command = node.istio();
    let output = command.env("CHAINED_CNI_PLUGIN", "perhaps").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("CHAINED_CNI_PLUGIN") && text.contains("perhaps"), "{text}");
    let mut command = node.istio();
    assert_eq!(command.arg("--no-such-flag").output().unwrap().status.code(), Some(2));
    let mut command = node.istio();
    let output = command.arg("version").output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    let mut command = node.linkerd();
    let output = command.env("CNI_NETWORK_CONFIG", "{").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("CNI_NETWORK_CONFIG"));
}
