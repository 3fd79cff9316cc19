//! The installers as programs: what they leave on a node, at every moment; and the controllers that repair pods.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

#[path = "../common/mod.rs"]
mod common;

mod failures;
mod interruption;
mod repair;
mod rollout;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use common::{Node, PATIENCE, PRIMARY, Running, endurance, get, until};
use meshwire_agent::install::istio::{IstioInstaller, Placement};
use meshwire_agent::install::kubeconfig::Kubeconfig;
use meshwire_agent::install::{Binary, Installed, Installer};
use meshwire_testkit::kubernetes::{ADMIN, Access, Rule};
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
    let metrics = || get(node.metrics, "/metrics").1;
    until("counted", metrics, || metrics().contains("istio_cni_install_ready 1"));
    assert!(metrics().contains("istio_cni_installs_total{result=\"SUCCESS\"} "));
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
    until("alive", || running.log(), || get(node.health, "/healthz").0 == 200);
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
    let log = || istio.log() + &linkerd.log();
    // A line follows its file.
    until("both lines", log, || writes() >= 2);
    let (before, begun, mut rewrites) = (writes(), Instant::now(), 0);
    while begun.elapsed() < endurance() {
        let written = writes();
        // Half of them in place, as some do.
        if rewrites % 2 == 0 {
            fs::write(node.net(LIST), PRIMARY).unwrap();
        } else {
            fs::write(node.net("writing"), PRIMARY).unwrap();
            fs::rename(node.net("writing"), node.net(LIST)).unwrap();
        }
        rewrites += 1;
        let begun = Instant::now();
        until("both again", log, || {
            fs::read(node.net(LIST)).is_ok_and(|content| serde_json::from_slice::<Value>(&content).is_ok())
                && complete()
        });
        // Without the pauses of a fight, the longest of which takes 10 s.
        assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
        until("both lines again", log, || writes() >= written + 2);
        // Another one may still follow: as long as lines come, it is not the last.
        let mut so_far = writes();
        loop {
            thread::sleep(Duration::from_secs(1));
            match writes() {
                now if now == so_far => break,
                now => so_far = now,
            }
        }
        // Rewriting the format alone is no reason to write.
        let compact =
            serde_json::from_slice::<Value>(&fs::read(node.net(LIST)).unwrap()).unwrap().to_string();
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
