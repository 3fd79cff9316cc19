"""Pods whose rules the CNI plugins make: Debian's bridge and portmap, then istio-cni and linkerd-cni, on containerd, with a fake
Kubernetes API server. A function that starts with `it_` is a scenario; what it returns is printed."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import time

import grpc

import proxy
import scenarios
from kubelet import PLUGINS, Pod, cri, wait_for
from run import OUTSIDE, call

STATUS = {"sidecar.istio.io/status": "{}"}
TRAFFIC = "traffic.sidecar.istio.io/"
CONFIG = "config.linkerd.io/"
# What the plugin does without annotations, as flags.
ISTIO_FLAGS = ["-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*"]
ISTIO_FLAGS = ["istio-iptables", *ISTIO_FLAGS, "-d", "15020,15021,15090", "-o", "15020"]
LINKERD_FLAGS = ["--incoming-proxy-port", "4143", "--outgoing-proxy-port", "4140", "--proxy-uid", "2102", "--ipv6=false"]
LINKERD_FLAGS += ["--inbound-ports-to-ignore", "4191,4190"]
# Annotations, and the flags that they correspond to.
ISTIO_TABLE = [
    ({}, []),
    ({"sidecar.istio.io/interceptionMode": "TPROXY"}, ["-m", "TPROXY"]),
    ({TRAFFIC + "includeOutboundIPRanges": "10.0.0.0/8"}, ["-i", "10.0.0.0/8"]),
    ({TRAFFIC + "excludeOutboundIPRanges": "10.96.0.1/32"}, ["-x", "10.96.0.1/32"]),
    ({TRAFFIC + "includeInboundPorts": "80,8080"}, ["-b", "80,8080"]),
    ({TRAFFIC + "excludeInboundPorts": "9090"}, ["-d", "9090,15020,15021,15090"]),
    ({TRAFFIC + "includeOutboundPorts": "3306"}, ["-q", "3306"]),
    ({TRAFFIC + "excludeOutboundPorts": "25"}, ["-o", "25"]),
    ({TRAFFIC + "excludeInterfaces": "net1"}, ["-c", "net1"]),
    ({TRAFFIC + "kubevirtInterfaces": "k6t0"}, ["-k", "k6t0"]),
    ({"istio.io/reroute-virtual-interfaces": "tap0"}, ["-k", "tap0"]),
]
LINKERD_TABLE = [
    ({}, []),
    ({CONFIG + "skip-outbound-ports": "25,587"}, ["--outbound-ports-to-ignore", "25,587"]),
    ({CONFIG + "skip-inbound-ports": "22"}, ["--inbound-ports-to-ignore", "22"]),
    ({CONFIG + "skip-subnets": "10.9.0.0/16"}, ["--subnets-to-ignore", "10.9.0.0/16"]),
    ({CONFIG + "proxy-uid": "9"}, ["--proxy-uid", "9"]),
    ({CONFIG + "proxy-gid": "10"}, ["--proxy-gid", "10"]),
]


class Cluster:
    """The API server, and the node's network as the installers leave it."""

    def __init__(self, node):
        self.node = node
        self.run_dir = node.folder / "istio-cni"
        self.run_dir.mkdir(exist_ok=True)
        self.log = open(node.folder / "apiserver.log", "wb")
        self.server = subprocess.Popen(
            [str(node.apiserver)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        kubeconfig = ""
        for line in self.server.stdout:
            if line == "---\n":
                break
            kubeconfig += line
        # Linkerd's plugin asks for its own context.
        self.kubeconfig = self.run_dir / "istio-cni-kubeconfig"
        self.kubeconfig.write_text(re.sub(r"\bfake\b", "linkerd-cni-context", kubeconfig))
        self.put("Namespace", "default")
        self.put("Pod", "probe", spec={"containers": [{"name": "app", "image": "app"}]})
        for name in ("istio-cni", "linkerd-cni"):
            shutil.copy(node.plugin, node.plugins / name)
        self.conflist = node.folder / "net.d" / "00-chained.conflist"

    def command(self, text):
        self.server.stdin.write(text + "\n")
        self.server.stdin.flush()
        reply = self.server.stdout.readline().strip()
        assert not reply.startswith("error"), (text, reply)

    def put(self, kind, name, metadata=None, **more):
        namespace = {} if kind == "Namespace" else {"namespace": "default"}
        metadata = {"name": name, **namespace, **(metadata or {})}
        self.command("put " + json.dumps({"apiVersion": "v1", "kind": kind, "metadata": metadata, **more}))

    def entries(self):
        """The plugins' parts of the network configuration."""
        istio = {"type": "istio-cni", "name": "istio-cni", "cni_agent_run_dir": str(self.run_dir), "api_timeout_seconds": 3}
        istio |= {"exclude_namespaces": ["kube-system"], "pod_namespace": "istio-system"}
        linkerd = {"incoming-proxy-port": 4143, "outgoing-proxy-port": 4140, "proxy-uid": 2102, "ipv6": False}
        linkerd |= {"inbound-ports-to-ignore": ["4191", "4190"], "iptables-mode": "nft", "simulate": False}
        kubernetes = {"kubeconfig": str(self.kubeconfig)}
        return [istio, {"type": "linkerd-cni", "name": "linkerd-cni", "kubernetes": kubernetes, "linkerd": linkerd}]

    def chain(self, version):
        """Makes it the node's network, until it is removed."""
        ipam = {"type": "host-local", "dataDir": str(self.node.folder / "addresses"), "routes": [{"dst": "0.0.0.0/0"}]}
        ipam["ranges"] = [[{"subnet": "10.87.0.0/24"}]]
        bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipam": ipam}
        portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
        plugins = [bridge, portmap, *self.entries()]
        self.write({"cniVersion": version, "name": "chained", "plugins": plugins})

    def write(self, network, prefix="10.87."):
        temporary = self.conflist.with_suffix(".tmp")
        temporary.write_text(json.dumps(network))
        temporary.rename(self.conflist)
        self.wait_for_network(prefix)

    def wait_for_network(self, prefix):
        """containerd reads its configuration anew some time after a file changed."""

        def is_there():
            with contextlib.suppress(grpc.RpcError):
                pod = Pod(self.node, {"metadata": {"name": "probe"}, "spec": {}})
                address = pod.address
                pod.remove()
                return address.startswith(prefix)

        wait_for("the network", is_there)

    def close(self):
        self.conflist.unlink(missing_ok=True)
        self.wait_for_network("10.89.")
        self.server.stdin.close()
        self.server.wait(10)
        self.log.close()


@contextlib.contextmanager
def cluster(node, version="1.0.0"):
    cluster = Cluster(node)
    try:
        cluster.chain(version)
        yield cluster
    finally:
        for pod in list(node.pods):
            pod.remove()
        cluster.close()


def istio_proxy():
    return {
        "name": "istio-proxy",
        "args": ["proxy", "sidecar"],
        "securityContext": {"runAsUser": 1337, "runAsGroup": 1337},
    }


def announce(cluster, name, proxy_container, annotations, native):
    """The pod, as the API server has it."""
    containers = {"containers": [{"name": "app"}], "initContainers": [{"name": "validation"}]}
    containers["initContainers" if native else "containers"].append(proxy_container)
    cluster.put("Pod", name, {"annotations": annotations, "uid": name}, spec=containers)


def rules(node, pod):
    """The pod's rules, without what differs from one pod to the next."""
    debugger = {
        "name": "debugger",
        "image": scenarios.ISTIO,
        "command": ["/meshwire", "list", "ruleset"],
        "securityContext": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}},
    }
    listed = pod.start(debugger)
    assert listed.wait() == 0, listed.log()
    return re.sub(r"counter packets \d+ bytes \d+|# handle \d+", "", listed.log())


def replaced(flags, more):
    """Istio's annotations take the place of its settings; lists that are given twice would be joined."""
    values = dict(zip(flags[1::2], flags[2::2])) | dict(zip(more[::2], more[1::2]))
    return [flags[0], *(word for pair in values.items() for word in pair)]


def it_makes_the_init_containers_rules_for_each_annotation(node):
    expected = {}
    linkerd = scenarios.linkerd_container("injected.yaml")
    for mesh, table, flags in (("istio", ISTIO_TABLE, ISTIO_FLAGS), ("linkerd", LINKERD_TABLE, LINKERD_FLAGS)):
        for annotations, more in table:
            container = scenarios.init_container(replaced(flags, more))
            if mesh == "linkerd":
                container = {**linkerd, "args": [*flags, *more]}
            pod = Pod(node, scenarios.manifest(node, "expected", [container]))
            [init] = pod.initialise()
            assert init.status().exit_code == 0, init.log()
            expected[mesh, json.dumps(annotations)] = rules(node, pod)
            pod.remove()
    compared = 0
    with cluster(node) as api:
        for (mesh, annotations), desired in expected.items():
            for native in (False, True):
                name = f"{mesh}-{compared}"
                if mesh == "istio":
                    announce(api, name, istio_proxy(), STATUS | json.loads(annotations), native)
                else:
                    announce(api, name, {"name": "linkerd-proxy"}, json.loads(annotations), native)
                pod = Pod(node, scenarios.manifest(node, name, []))
                found = rules(node, pod)
                assert "redirect to :" in found and found == desired, (mesh, annotations, native, found, desired)
                pod.remove()
                compared += 1
        announce(api, "plain", {"name": "another"}, {}, False)
        pod = Pod(node, scenarios.manifest(node, "plain", []))
        assert rules(node, pod) == "", rules(node, pod)
    log = (node.folder / "containerd.log").read_text()
    assert "failed to destroy network" not in log.lower(), log[-2000:]
    return f"{compared} pods"


def it_redirects_through_envoy_without_any_privilege_in_the_pod(node):
    """A real Envoy in either proxy's place, and a pod that may not have NET_ADMIN."""
    with cluster(node, "0.4.0") as api:
        announce(api, "chained", istio_proxy(), STATUS, False)
        scenarios.Meshed(node, "chained", None).check("127.0.0.6")
        announce(api, "chained-linkerd", {"name": "linkerd-proxy"}, {}, True)
        meshed = scenarios.Meshed(node, "chained-linkerd", None, proxy.LINKERD, scenarios.Meshed.LINKERDS_USER)
        meshed.check(meshed.pod.address)


def it_starts_no_pod_without_its_rules(node):
    with cluster(node) as api:
        announce(api, "late", istio_proxy(), STATUS, False)
        api.command("revoke admin-token")
        try:
            Pod(node, scenarios.manifest(node, "late", []))
            raise AssertionError("the pod started")
        except grpc.RpcError as error:
            said = error.details()
        assert 'plugin type="istio-cni"' in said and "istio-cni-node-*" in said, said
        api.command("allow admin-token")
        pod = Pod(node, scenarios.manifest(node, "late", []))
        assert "redirect to :15006" in rules(node, pod)
    return said


def it_makes_rules_for_ipv6(node):
    with cluster(node) as api:
        network = json.loads(api.conflist.read_text())
        network["plugins"][0]["ipam"] |= {"ranges": [[{"subnet": "fd00:87::/64"}]], "routes": [{"dst": "::/0"}]}
        api.write(network, "fd00:87:")
        # What the init container makes on the same network.
        announce(api, "expected", {"name": "another"}, {}, False)
        pod = Pod(node, scenarios.manifest(node, "expected", [scenarios.init_container(ISTIO_FLAGS)]))
        [init] = pod.initialise()
        assert init.status().exit_code == 0, init.log()
        expected = rules(node, pod)
        pod.remove()
        announce(api, "of-ipv6", istio_proxy(), STATUS, False)
        pod = Pod(node, scenarios.manifest(node, "of-ipv6", []))
        found = rules(node, pod)
        assert "ip6 daddr" in found and found == expected, (found, expected)


def it_outlives_a_reboot(node):
    """The folders of the plugins and of the network configurations stay; /var/run is empty until the agent runs."""
    with cluster(node) as api:
        # Linkerd's is among the network configurations, and stays.
        kubeconfig = api.kubeconfig.read_text()
        network = json.loads(api.conflist.read_text())
        linkerds = api.conflist.with_name("ZZZ-linkerd-cni-kubeconfig")
        linkerds.write_text(kubeconfig)
        network["plugins"][-1]["kubernetes"]["kubeconfig"] = str(linkerds)
        network["plugins"][-2]["pod_namespace"] = "default"
        api.conflist.unlink()
        api.wait_for_network("10.89.")
        api.write(network)
        shutil.rmtree(api.run_dir)
        announce(api, "first", istio_proxy(), STATUS, False)
        announce(api, "istio-cni-node-x", {"name": "install-cni"}, {}, False)
        try:
            Pod(node, scenarios.manifest(node, "first", []))
            raise AssertionError("the pod started")
        except grpc.RpcError as error:
            said = error.details()
        assert str(api.kubeconfig) in said and "istio-cni-node-*" in said, said
        # The agent's own pod starts, and brings it.
        agent = Pod(node, scenarios.manifest(node, "istio-cni-node-x", []))
        assert rules(node, agent) == ""
        api.run_dir.mkdir()
        api.kubeconfig.write_text(kubeconfig)
        pod = Pod(node, scenarios.manifest(node, "first", []))
        assert "redirect to :15006" in rules(node, pod)
        linkerds.unlink()
    return said


def it_takes_pods_with_users_of_their_own(node):
    """hostUsers: false. The rules' uids are those of the user namespace that the network namespace belongs to."""
    if node.runtime.startswith("containerd 1."):
        return f"skipped: {node.runtime} makes no user namespaces for pods"
    with cluster(node) as api:
        announce(api, "host", istio_proxy(), STATUS, False)
        pod = Pod(node, scenarios.manifest(node, "host", []))
        expected = rules(node, pod)
        announce(api, "own", istio_proxy(), STATUS, False)
        manifest = scenarios.manifest(node, "own", [])
        manifest["spec"]["hostUsers"] = False
        pod = Pod(node, manifest)
        found = rules(node, pod)
        assert "skuid 1337" in found and found == expected, (found, expected)
        command = ["cat", "/proc/self/uid_map"]
        mapping = pod.start({"name": "who", "image": "localhost/busybox:test", "command": command})
        assert mapping.wait() == 0 and mapping.log().split()[-3:] == ["0", str(1 << 20), str(1 << 16)], mapping.log()


# Debian's plugins know no 1.1.0.
OF_1_0_0 = """#!/bin/sh
case $CNI_COMMAND in STATUS|GC) exit 0 ;; esac
sed 's/"cniVersion": *"1.1.0"/"cniVersion":"1.0.0"/g' | %s | sed 's/"cniVersion": *"1.0.0"/"cniVersion":"1.1.0"/g'
"""


def it_keeps_the_node_ready_with_a_list_of_1_1_0(node):
    """containerd 2 calls STATUS on each plugin whenever it is asked for its status; 1.6 knows no 1.1.0."""
    if node.runtime.startswith("containerd 1."):
        return f"skipped: {node.runtime} knows no 1.1.0"
    for name in ("bridge", "portmap"):
        file = node.plugins / f"new-{name}"
        file.write_text(OF_1_0_0 % (pathlib.Path(PLUGINS) / name))
        file.chmod(0o755)
    with cluster(node) as api:
        network = json.loads(api.conflist.read_text())
        network["cniVersion"] = "1.1.0"
        for plugin in network["plugins"][:2]:
            plugin["type"] = "new-" + plugin["type"]
        api.conflist.unlink()
        api.wait_for_network("10.89.")
        api.write(network)
        announce(api, "latest", istio_proxy(), STATUS, False)
        pod = Pod(node, scenarios.manifest(node, "latest", []))
        assert "redirect to :15006" in rules(node, pod)
        # Without a kubeconfig and an API server, too: else the agent that brings them could never start.
        api.kubeconfig.unlink()
        for _ in range(3):
            status = node.call("Status", cri.StatusRequest(), cri.StatusResponse).status
            conditions = {condition.type: condition for condition in status.conditions}
            assert conditions["NetworkReady"].status, status
            time.sleep(0.2)
        pod.remove()
        api.kubeconfig.touch()


def plugin_call(plugin, config, netns):
    """One ADD; returns the seconds that it took."""
    arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=timed"
    environment = {
        "PATH": os.environ["PATH"],
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": PLUGINS,
        "CNI_NETNS": netns,
        "CNI_ARGS": arguments,
    }
    started = time.perf_counter()
    done = subprocess.run([str(plugin)], input=json.dumps(config), env=environment, capture_output=True, text=True)
    elapsed = time.perf_counter() - started
    assert done.returncode == 0, (plugin, done.stdout, done.stderr)
    return elapsed


# Istio's plugin with native nftables runs these in the pod's namespace; Linkerd's runs about twenty commands.
STARTS_NFT = """#!/bin/sh
cat >/dev/null
in="nsenter --net=$CNI_NETNS"
$in nft --version >/dev/null
$in nft --check add table inet probe '{ comment "test" ; }'
$in nft -f %s
echo '{"cniVersion":"1.0.0"}'
"""
ROUNDS = 30


def it_tells_how_long_the_plugin_takes(node):
    """Next to a plugin that does nothing (Debian's tuning without settings), and to one that starts nft as Istio's does."""
    api = Cluster(node)
    try:
        announce(api, "timed", istio_proxy(), STATUS, False)
        file = node.folder / "timed-rules"
        command = [node.program, "istio-iptables", "--dry-run", *ISTIO_FLAGS[1:]]
        file.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
        starts_nft = node.folder / "starts-nft"
        starts_nft.write_text(STARTS_NFT % file)
        starts_nft.chmod(0o755)
        config = {"cniVersion": "1.0.0", "name": "timed", "prevResult": {"cniVersion": "1.0.0"}}
        contenders = {
            "does nothing": (pathlib.Path(PLUGINS) / "tuning", {**config, "type": "tuning"}),
            "istio-cni": (node.plugins / "istio-cni", {**config, **api.entries()[0], "name": "timed"}),
            "starts nft": (starts_nft, config),
        }
        seconds = {name: [] for name in contenders}
        for _ in range(ROUNDS):
            for name, (plugin, config) in contenders.items():
                with netns() as path:
                    seconds[name].append(plugin_call(plugin, config, path))
        medians = {name: statistics.median(values) * 1000 for name, values in seconds.items()}
        memory = peak_memory(node, api, contenders["istio-cni"][1])
    finally:
        api.server.stdin.close()
        api.server.wait(10)
    size = node.plugin.stat().st_size
    # 3 MiB is the limit with musl (tests/dist.rs); glibc takes half a MiB more.
    assert not node.is_shipped or size <= 7 << 19, size
    said = ", ".join(f"{name} {median:.2f} ms" for name, median in medians.items())
    ratio = medians["istio-cni"] / medians["does nothing"]
    return f"median of {ROUNDS}: {said}; ratio {ratio:.2f}; {size} bytes; {memory}"


@contextlib.contextmanager
def netns():
    """A network namespace with an address, as a pod has one."""
    name = f"timed-{time.monotonic_ns()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "address", "add", "10.0.0.5/32", "dev", "lo"], check=True)
        yield f"/run/netns/{name}"
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def peak_memory(node, api, config):
    """What the plugin holds at its very end: while a node agent takes its log lines, and its time."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(api.run_dir / "log.sock"))
    listener.listen()
    with netns() as path:
        environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_PATH": PLUGINS}
        environment |= {"CNI_NETNS": path, "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=timed"}
        plugin = subprocess.Popen(
            [str(node.plugins / "istio-cni")],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        plugin.stdin.write(json.dumps(config).encode())
        plugin.stdin.close()
        connection, _ = listener.accept()
        status = pathlib.Path(f"/proc/{plugin.pid}/status").read_text()
        connection.close()
        assert plugin.wait(10) == 0
    (api.run_dir / "log.sock").unlink()
    peak, anonymous = (int(re.search(rf"^{name}:\s+(\d+) kB$", status, re.M)[1]) for name in ("VmHWM", "RssAnon"))
    assert not node.is_shipped or (peak < 6 << 10 and anonymous < 1 << 10), status
    return f"at most {peak} KiB resident, {anonymous} KiB of them anonymous"
