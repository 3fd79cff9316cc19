//! A node made of temporary folders, and the programs run on it.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "what goes wrong here fails the test; not every test uses all of it"
)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use meshwire_testkit::kubernetes::{ADMIN, ApiServer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Longer than any of this takes on a machine that does other things, too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A list as a primary CNI writes it.
pub(crate) const PRIMARY: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "primary",
  "plugins": [
    {"type": "bridge", "mtu": 1450.0, "ipam": {"type": "host-local", "a": 1}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
"#;

/// The folders that a chart mounts.
pub(crate) struct Node {
    folder: TempDir,
    pub(crate) server: ApiServer,
    pub(crate) health: u16,
    pub(crate) metrics: u16,
    pub(crate) admin: u16,
}

impl Node {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Whoever the installer runs as has to get there.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let server = ApiServer::start().unwrap();
        let node = Self { folder, server, health: free_port(), metrics: free_port(), admin: free_port() };
        for name in ["host/opt/cni/bin", "host/etc/cni/net.d", "image", "run", "account"] {
            fs::create_dir_all(node.path(name)).unwrap();
        }
        for plugin in ["istio-cni", "linkerd-cni"] {
            fs::write(node.path("image").join(plugin), format!("the executable of {plugin}").repeat(1000))
                .unwrap();
            fs::set_permissions(node.path("image").join(plugin), fs::Permissions::from_mode(0o755)).unwrap();
        }
        node.rotate(ADMIN);
        fs::write(node.path("account/ca.crt"), node.server.ca()).unwrap();
        fs::write(node.path("account/namespace"), "istio-system").unwrap();
        node
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn net(&self, name: &str) -> PathBuf {
        self.path("host/etc/cni/net.d").join(name)
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Another token, as the kubelet does it: a new folder, and a link that is renamed.
    pub(crate) fn rotate(&self, token: &str) {
        let account = self.path("account");
        let data = account.join(format!("..{}", unique()));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("token"), token).unwrap();
        let (link, old) = (account.join("..data_tmp"), fs::read_link(account.join("..data")).ok());
        symlink(data.file_name().unwrap(), &link).unwrap();
        fs::rename(&link, account.join("..data")).unwrap();
        if !account.join("token").is_symlink() {
            symlink("..data/token", account.join("token")).unwrap();
        }
        if let Some(old) = old {
            fs::remove_dir_all(account.join(old)).unwrap();
        }
    }

    /// The variables of Istio's chart.
    pub(crate) fn istio(&self) -> Command {
        let mut command = self.program("install-cni");
        command
            .env("MOUNTED_CNI_BIN_DIR", self.path("host/opt/cni/bin"))
            .env("MOUNTED_CNI_NET_DIR", self.path("host/etc/cni/net.d"))
            .env("CNI_SOURCE_DIR", self.path("image"))
            .env("CNI_AGENT_RUN_DIR", self.path("run"))
            .env("SERVICE_ACCOUNT_DIR", self.path("account"))
            .env("POD_NAMESPACE", "istio-system")
            .env("EXCLUDE_NAMESPACES", "kube-system")
            .env("REPAIR_ENABLED", "false")
            .env("MONITORING_PORT", self.metrics.to_string())
            .env("HEALTH_PORT", self.health.to_string());
        command
    }

    /// The variables of Linkerd's chart.
    pub(crate) fn linkerd(&self) -> Command {
        let template = r#"{"name": "linkerd-cni", "type": "linkerd-cni", "log_level": "info",
            "kubernetes": {"kubeconfig": "__KUBECONFIG_FILEPATH__"}, "linkerd": {"incoming-proxy-port": 4143}}"#;
        let mut command = self.program("linkerd2-cni-install");
        command
            .env("CONTAINER_MOUNT_PREFIX", self.path("host"))
            .env("CONTAINER_CNI_BIN_DIR", self.path("image"))
            .env("SERVICE_ACCOUNT_DIR", self.path("account"))
            .env("CNI_NETWORK_CONFIG", template);
        command
    }

    /// The repair controller of Linkerd's chart.
    pub(crate) fn repair_controller(&self) -> Command {
        let mut command = self.program("linkerd-cni-repair-controller");
        command
            .args(["--admin-addr", &format!("127.0.0.1:{}", self.admin)])
            .env("LINKERD_CNI_REPAIR_CONTROLLER_NODE_NAME", "node")
            .env("LINKERD_CNI_REPAIR_CONTROLLER_POD_NAME", "linkerd-cni-x")
            .env("LINKERD_CNI_REPAIR_CONTROLLER_SERVICE_ACCOUNT_DIR", self.path("account"));
        command
    }

    /// The agent's executable: what cargo has built, or what `MESHWIRE_AGENT` names, such as the one that is shipped.
    fn program(&self, name: &str) -> Command {
        let built = || env!("CARGO_BIN_EXE_meshwire-agent").into();
        let mut command = Command::new(env::var_os("MESHWIRE_AGENT").unwrap_or_else(built));
        let address = self.server.address();
        command
            .arg0(name)
            .env_clear()
            .env("KUBERNETES_SERVICE_HOST", address.ip().to_string())
            .env("KUBERNETES_SERVICE_PORT", address.port().to_string());
        command
    }

    /// Starts a program whose output goes to a file.
    pub(crate) fn start(&self, command: &mut Command) -> Running {
        let log = self.path(&format!("log-{}", unique()));
        let output = File::create(&log).unwrap();
        let child =
            command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
        Running { child, log }
    }

    pub(crate) fn ready(&self) -> bool {
        get(self.health, "/readyz").0 == 200
    }

    /// The types of the plugins in a list, which has to be valid at any moment.
    pub(crate) fn types(&self, name: &str) -> Vec<String> {
        types(&fs::read(self.net(name)).unwrap())
    }

    /// The names in the folder of the network configurations.
    pub(crate) fn configurations(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("host/etc/cni/net.d")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A program that runs; it is killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Signals the program that this one started, unless that has ended meanwhile.
    pub(crate) fn signal_child(&self, signal: Signal) {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        if let Ok(child) = children.trim().parse() {
            let _ = kill(Pid::from_raw(child), signal);
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What of it is in memory, in KiB (proc_pid_status(5)).
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How many files it has open.
    pub(crate) fn descriptors(&self) -> u64 {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count() as u64
    }

    /// The exit code, once it has ended by itself; `None` if a signal ended it.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn types(content: &[u8]) -> Vec<String> {
    let list: Value = serde_json::from_slice(content).unwrap();
    let plugins = list["plugins"].as_array().unwrap();
    plugins.iter().map(|plugin| plugin["type"].as_str().unwrap().to_owned()).collect()
}

/// Waits until something holds.
pub(crate) fn until(what: &str, log: impl Fn() -> String, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never {what}: {}", log());
        thread::sleep(Duration::from_millis(10));
    }
}

/// GET over plain HTTP: the status code, 0 if nobody listens, and the body.
pub(crate) fn get(port: u16, path: &str) -> (u16, String) {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return (0, String::new()) };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let code = reply.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (code, reply.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned())
}

/// A port that nobody listens on, another one each time. It is below those that the kernel chooses from (ip_local_port_range):
/// until the program listens, another test's server or connection could get one of these.
fn free_port() -> u16 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = process::id().wrapping_mul(97).wrapping_add(LAST.fetch_add(1, Ordering::Relaxed));
        let port = 20_000 + u16::try_from(number % 12_000).unwrap();
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

fn unique() -> u128 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let count = LAST.fetch_add(1, Ordering::Relaxed);
    u128::from(count) + std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
}

/// Whether an external command that judges the result is installed; in CI it has to be.
pub(crate) fn oracle(name: &str) -> bool {
    meshwire_testkit::oracle(name)
}

/// Whether this is root; in CI it has to be.
pub(crate) fn root() -> bool {
    nix::unistd::geteuid().is_root() || meshwire_testkit::skip("it needs root")
}

/// How long a test of endurance takes: ten minutes if all is asked for, two in CI, some seconds elsewhere.
pub(crate) fn endurance() -> Duration {
    if env::var_os("MESHWIRE_TEST_FULL").is_some() {
        Duration::from_secs(600)
    } else if env::var_os("CI").is_some() {
        Duration::from_secs(60)
    } else {
        Duration::from_secs(15)
    }
}
