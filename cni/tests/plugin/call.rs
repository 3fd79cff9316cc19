//! One call of a plugin, with a folder in which its kubeconfig, its sockets and its log are.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use meshwire_testkit::kubernetes::ApiServer;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const TOKEN: &str = "plugin-token";

/// Where a node's plugin is, and what it was installed with.
pub(crate) struct Node {
    folder: TempDir,
}

/// What the plugin did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
}

impl Node {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["istio-cni", "linkerd-cni"] {
            symlink(env!("CARGO_BIN_EXE_meshwire-cni"), folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.path().join("istio-cni-kubeconfig")
    }

    /// Writes the kubeconfig as an installer does: in one step. Both meshes' contexts are in it.
    pub(crate) fn install(&self, api: &ApiServer, token: &str) {
        self.write_kubeconfig(&api.kubeconfig("linkerd-cni-context", "cni", token));
    }

    pub(crate) fn write_kubeconfig(&self, text: &str) {
        let temporary = self.path().join("kubeconfig.tmp");
        std::fs::write(&temporary, text).unwrap();
        std::fs::rename(temporary, self.kubeconfig()).unwrap();
    }

    /// A network configuration of istio-cni, with more fields.
    pub(crate) fn istio(&self, more: &Value) -> Value {
        let base = json!({
            "cniVersion": "1.0.0",
            "name": "k8s-pod-network",
            "type": "istio-cni",
            "cni_agent_run_dir": self.path(),
            "exclude_namespaces": ["kube-system"],
            "pod_namespace": "istio-system",
            "prevResult": previous(),
        });
        merged(base, more)
    }

    /// A network configuration of linkerd-cni, as the chart renders it, with other fields of its part `linkerd`.
    pub(crate) fn linkerd(&self, more: &Value) -> Value {
        let linkerd = json!({
            "incoming-proxy-port": 4143,
            "outgoing-proxy-port": 4140,
            "proxy-uid": 2102,
            "ports-to-redirect": [],
            "inbound-ports-to-ignore": ["4191", "4190"],
            "simulate": false,
            "use-wait-flag": false,
            "iptables-mode": "nft",
            "ipv6": false,
        });
        json!({
            "cniVersion": "1.0.0",
            "name": "k8s-pod-network",
            "type": "linkerd-cni",
            "log_level": "debug",
            "pod_namespace": "linkerd-cni",
            "policy": {"type": "k8s"},
            "kubernetes": {"kubeconfig": self.kubeconfig()},
            "linkerd": merged(linkerd, more),
            "prevResult": previous(),
        })
    }

    /// ADD of a pod.
    pub(crate) fn add(&self, config: &Value, netns: &str, namespace: &str, pod: &str) -> Done {
        let arguments = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={pod};K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u1"
        );
        self.call("ADD", config, &[("CNI_NETNS", netns), ("CNI_ARGS", &arguments)])
    }

    pub(crate) fn call(&self, verb: &str, config: &Value, variables: &[(&str, &str)]) -> Done {
        self.call_text(verb, config["type"].as_str().unwrap(), &config.to_string(), variables)
    }

    pub(crate) fn call_text(&self, verb: &str, name: &str, config: &str, variables: &[(&str, &str)]) -> Done {
        let started = Instant::now();
        let mut child = Command::new(self.path().join(name))
            .env_clear()
            // Of the container runtime, and nothing to the plugin.
            .envs([("HTTPS_PROXY", "http://127.0.0.1:1"), ("https_proxy", "http://127.0.0.1:1")])
            .envs([("ALL_PROXY", "socks5://127.0.0.1:1"), ("http_proxy", "http://127.0.0.1:1")])
            .envs([("CNI_COMMAND", verb), ("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0")])
            .envs([("CNI_PATH", "/opt/cni/bin"), ("CNI_NETNS", "")])
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // VERSION does not read it.
        let _ = stdin.write_all(config.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        Done {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            elapsed: started.elapsed(),
        }
    }
}

impl Done {
    /// The result, which has to be that of the plugins before.
    #[track_caller]
    pub(crate) fn passed(&self) {
        assert_eq!(self.code, 0, "{self:?}");
        let result: Value = serde_json::from_str(&self.stdout).unwrap();
        assert_eq!(result, previous());
    }

    /// The error's message.
    #[track_caller]
    pub(crate) fn refused(&self) -> String {
        let error: Value = serde_json::from_str(&self.stdout).unwrap();
        assert_eq!((self.code, &error["code"]), (1, &json!(999)), "{self:?}");
        error["msg"].as_str().unwrap().to_owned()
    }
}

/// What the plugins before have done.
pub(crate) fn previous() -> Value {
    json!({
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "sandbox": "/n"}],
        "ips": [{"interface": 0, "address": "10.0.0.5/24", "gateway": "10.0.0.1"}],
        "dns": {},
    })
}

fn merged(mut base: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().into_iter().flatten() {
        base[name] = value.clone();
    }
    base
}
