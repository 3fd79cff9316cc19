//! What an installer says and does where something is missing or wrong.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::json;

use super::common::{Node, PRIMARY, get, root, until};
use super::interruption::{ISTIO, LINKERD};
use super::{LIST, istio_ready};

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
    until("alive", || running.log(), || get(node.health, "/healthz").0 == 200);
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
            until("alive", || running.log(), || get(node.health, "/healthz").0 == 200);
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
