"""What is tried, each in a pod of its own. A function that starts with `it_` is a scenario; what it returns is printed."""

import re
import statistics
import subprocess
import tarfile

import kubernetes_validate
import yaml

import images
import proxy
from kubelet import Pod, wait_for
from run import OUTSIDE, ROOT, call

ISTIO = "localhost/meshwire:istio"
APP = "http://127.0.0.1:8080/cgi-bin/peer"
# What Istio's injector renders with its default values.
ISTIO_ARGS = ["istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*"]
ISTIO_ARGS += ["-d", "15090,15021,15020", "--log_output_level=default:info"]
ROOT_WITH_NET_ADMIN = {
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
    "readOnlyRootFilesystem": False,
    "runAsGroup": 0,
    "runAsNonRoot": False,
    "runAsUser": 0,
}
# Istio's node agent makes the rules, and this container only proves that they are there.
VALIDATION = {
    **ROOT_WITH_NET_ADMIN,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsGroup": 1337,
    "runAsNonRoot": True,
    "runAsUser": 1337,
}
# Linkerd's: not root, no new privileges, and nothing dropped.
NOBODY_WITH_NET_ADMIN = {
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "capabilities": {"add": ["NET_ADMIN", "NET_RAW"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65534,
    "runAsGroup": 65534,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def init_container(args=ISTIO_ARGS, context=ROOT_WITH_NET_ADMIN, **more):
    return {"name": "istio-init", "image": ISTIO, "args": list(args), "securityContext": context, **more}


def linkerd_container(file, **more):
    """The init container of a manifest in deploy/linkerd; iptables' lock, which it mounts, is left out."""
    document = yaml.safe_load((ROOT / "deploy" / "linkerd" / file).read_text().replace("example.com/", "localhost/"))
    [init] = document["spec"]["initContainers"]
    return {**init, "volumeMounts": [], **more}


def app_container():
    user = {"runAsUser": 1000, "runAsGroup": 1000}
    return {
        "name": "app",
        "image": "localhost/busybox:test",
        "command": ["httpd", "-f", "-p", "0.0.0.0:8080", "-h", "/www"],
        "securityContext": user,
    }


def envoy_container(context, place):
    """Envoy's executable and the libraries that it needs are the machine's own."""
    return {
        "name": "istio-proxy",
        "image": "localhost/busybox:test",
        "command": ["/opt/envoy", "--concurrency", "1", "--log-level", "warning", "--config-yaml"],
        "args": [proxy.configuration(place)],
        "securityContext": context,
        "volumeMounts": [
            {"name": "envoy", "mountPath": "/opt/envoy", "readOnly": True},
            {"name": "lib", "mountPath": "/lib", "readOnly": True},
            {"name": "lib64", "mountPath": "/lib64", "readOnly": True},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }


def manifest(node, name, init_containers, containers=()):
    files = {"envoy": str(node.envoy), "lib": "/lib", "lib64": "/lib64"}
    volumes = [{"name": name, "hostPath": {"path": path}} for name, path in files.items()]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "initContainers": list(init_containers),
            "containers": list(containers),
            "volumes": [*volumes, {"name": "shm", "emptyDir": {}}],
        },
    }


class Meshed:
    """An initialised pod in which Envoy and the app run."""

    LINKERDS_USER = {"runAsUser": 2102, "runAsGroup": 2102, "capabilities": {"drop": ["ALL"]}}
    USER = {"runAsUser": 1337, "runAsGroup": 1337, "capabilities": {"drop": ["ALL"]}}
    # As Istio: the group keeps the rules off it.
    TRANSPARENT = {
        "runAsUser": 0,
        "runAsGroup": 1337,
        "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
    }

    def __init__(self, node, name, init, place=proxy.ISTIO, user=USER):
        containers = [envoy_container(user, place), app_container()]
        self.pod = Pod(node, manifest(node, name, [init] if init else [], containers))
        # Without an init container, a CNI plugin makes the rules.
        for self.init in self.pod.initialise():
            assert self.init.status().exit_code == 0, self.init.log()
        self.envoy, self.app = (self.pod.start(container) for container in containers)
        wait_for("Envoy", lambda: self.envoy.execute(*self.admin("ready"))[0] == 0)
        wait_for("the app", lambda: self.app.execute("wget", "-q", "-O", "-", APP)[0] == 0)

    @staticmethod
    def admin(path):
        return ["wget", "-q", "-O", "-", f"http://127.0.0.1:{proxy.ADMIN_PORT}/{path}"]

    def counted(self):
        """How many requests Envoy has served: in, out."""
        _, stats, _ = self.envoy.execute(*self.admin("stats"))
        values = dict(re.findall(r"^http\.(\w+)\.downstream_rq_2xx: (\d+)$", stats, re.MULTILINE))
        return int(values.get("inbound", 0)), int(values.get("outbound", 0))

    def call_out(self):
        code, answer, error = self.app.execute("wget", "-q", "-O", "-", f"http://{OUTSIDE}/")
        assert code == 0, (code, error, self.envoy.log())
        return answer.strip()

    def check(self, peer):
        """One call in and one out, each through Envoy; the app sees this peer."""
        before = self.counted()
        answer, server = call(self.pod.address)
        assert (answer, server) == (f"app sees {peer}\n", "envoy"), (answer, server)
        assert self.call_out() == f"outside sees {self.pod.address} through envoy"
        assert self.counted() == (before[0] + 1, before[1] + 1), (before, self.counted())


def it_holds_one_file(node):
    size = sum(file.stat().st_size for file in node.folder.glob("meshwire/**/*") if file.is_file())
    # With glibc; with musl it is smaller.
    assert not node.is_shipped or size < 5 << 19, size
    [layer] = [file for file in node.folder.glob("meshwire/blobs/sha256/*") if file.stat().st_size > 100_000]
    with tarfile.open(layer) as archive:
        names = [entry.name for entry in archive if not entry.isdir()]
        files = [entry for entry in archive if entry.isfile()]
    assert names == ["meshwire", *images.NAMES] and len(files) == 1, names
    return f"{size} bytes"


def it_redirects_http_in_and_out_through_envoy(node):
    meshed = Meshed(node, "redirect", init_container())
    assert "applied: tables 1, chains 6, rules 20, " in meshed.init.log(), meshed.init.log()
    meshed.check("127.0.0.6")
    return f"the app sees 127.0.0.6, init took {meshed.init.seconds() * 1000:.0f} ms"


def it_is_transparent_for_envoy_with_tproxy(node):
    args = ["TPROXY" if argument == "REDIRECT" else argument for argument in ISTIO_ARGS]
    meshed = Meshed(node, "tproxy", init_container(args), proxy.ISTIO_TPROXY, Meshed.TRANSPARENT)
    meshed.check(OUTSIDE)
    return f"the app sees {OUTSIDE}"


def it_redirects_for_a_proxy_in_linkerds_place(node):
    """As its template has it: user 65534, no new privileges. The app sees the pod's own address."""
    init = linkerd_container("injected.yaml")
    meshed = Meshed(node, "linkerd", init, proxy.LINKERD, Meshed.LINKERDS_USER)
    meshed.check(meshed.pod.address)


def it_sets_the_close_wait_timeout_where_the_container_is_privileged(node):
    init = linkerd_container("injected-close-wait.yaml")
    seconds = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait"
    look = {"name": "look", "image": "localhost/busybox:test", "command": ["cat", seconds]}
    pod = Pod(node, manifest(node, "close-wait", [init, look]))
    _, looked = pod.initialise()
    assert looked.log() == "3600\n", looked.log()
    [refused] = Pod(node, manifest(node, "unprivileged", [{**init, "securityContext": ROOT_WITH_NET_ADMIN}])).initialise()
    said = refused.termination.read_text()
    assert refused.status().exit_code == 1 and "privileged: true" in said, (refused.log(), said)
    return said.replace("\n", "; ")


def it_runs_again_and_restarts_without_harm(node):
    init = init_container()
    meshed = Meshed(node, "again", init)
    for _ in range(2):
        again = meshed.pod.start(init)
        assert again.wait() == 0, again.log()
        meshed.check("127.0.0.6")


def it_works_for_nobody_without_new_privileges(node):
    Meshed(node, "nobody", init_container(context=NOBODY_WITH_NET_ADMIN)).check("127.0.0.6")


def it_says_what_is_missing_without_net_admin(node):
    without = {**ROOT_WITH_NET_ADMIN, "capabilities": {"drop": ["ALL"]}}
    nobody = {**without, "runAsUser": 65534, "runAsGroup": 65534}
    for number, context in enumerate([without, nobody]):
        [init] = Pod(node, manifest(node, f"without-{number}", [init_container(context=context)])).initialise()
        assert init.status().exit_code == 1, init.log()
        said = init.termination.read_text()
        assert re.fullmatch(r".* EPERM: .*\nhelp: CAP_NET_ADMIN is needed .*", said), said
        assert init.log().endswith(f"error: {said}\n"), (said, init.log())
    return said.replace("\n", "; ")


def it_proves_interception_without_any_capability(node):
    args = [*ISTIO_ARGS, "--run-validation", "--skip-rule-apply", "--probe-timeout=2s"]
    validation = {**init_container(args, VALIDATION), "name": "istio-validation"}
    containers = Pod(node, manifest(node, "validated", [init_container(), validation])).initialise()
    assert [one.status().exit_code for one in containers] == [0, 0], [one.log() for one in containers]
    [alone] = Pod(node, manifest(node, "bypassed", [validation])).initialise()
    assert alone.status().exit_code == 126, alone.log()


def it_takes_what_deploy_says(node):
    """Every manifest is what Kubernetes' schema allows, and every pod's init containers do what they are there for."""
    pods = 0
    for file in sorted(ROOT.glob("deploy/**/*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            if not re.match(r"(v1|apps/v1|admissionregistration\.k8s\.io/v1)$", str(document.get("apiVersion"))):
                continue
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
            if document["kind"] == "Pod":
                initialise_and_debug(node, document)
                pods += 1
    assert pods > 5
    return f"{pods} pods"


def initialise_and_debug(node, document):
    local = yaml.safe_load(yaml.safe_dump(document).replace("example.com/", "localhost/"))
    pod = Pod(node, local)
    for container in pod.initialise():
        assert container.status().exit_code == 0, (document["metadata"], container.log())
    # As `kubectl debug --profile netadmin` adds it.
    debugger = {
        "name": "debugger",
        "image": ISTIO,
        "command": ["/meshwire", "list", "ruleset"],
        "securityContext": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}},
    }
    listed = pod.start(debugger)
    assert listed.wait() == 0 and "redirect to :" in listed.log(), listed.log()
    pod.remove()


# Linkerd's proxy-init runs these for the arguments of deploy/linkerd/injected.yaml.
LINKERD_COMMANDS = """
iptables-nft-save -t nat
iptables-nft -t nat -N PROXY_INIT_REDIRECT
iptables-nft -t nat -A PROXY_INIT_REDIRECT -p tcp --match multiport --dports 4190,4191,4567,4568 -j RETURN -m comment --comment a
iptables-nft -t nat -A PROXY_INIT_REDIRECT -p tcp -j REDIRECT --to-port 4143 -m comment --comment b
iptables-nft -t nat -A PREROUTING -j PROXY_INIT_REDIRECT -m comment --comment c
iptables-nft -t nat -N PROXY_INIT_OUTPUT
iptables-nft -t nat -A PROXY_INIT_OUTPUT -m owner --uid-owner 2102 -j RETURN -m comment --comment d
iptables-nft -t nat -A PROXY_INIT_OUTPUT -o lo -j RETURN -m comment --comment e
iptables-nft -t nat -A PROXY_INIT_OUTPUT -p tcp --match multiport --dports 4567,4568 -j RETURN -m comment --comment f
iptables-nft -t nat -A PROXY_INIT_OUTPUT -p tcp -j REDIRECT --to-port 4140 -m comment --comment g
iptables-nft -t nat -A OUTPUT -j PROXY_INIT_OUTPUT -m comment --comment h
iptables-nft-save -t nat
"""
# Istio's nftables backend: knftables asks for the version and for one feature, then sends the ruleset.
ISTIO_COMMANDS = """
nft --version
nft --check add table inet probe '{ comment "test" ; }'
nft -f /rules
"""
ROUNDS = 15


def it_tells_how_long_init_takes(node):
    """How long the init container keeps a new pod waiting. The others' commands are run by a shell: without the start of the
    Go programs that run them, and from an image that is already there."""
    rules = node.folder / "rules"
    command = [node.program, "istio-iptables", "--dry-run", *ISTIO_ARGS[1:-1]]
    rules.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    # All in the same security context: setting up a system call filter alone takes the runtime some 50 ms.
    linkerd = linkerd_container("injected.yaml", securityContext=ROOT_WITH_NET_ADMIN)
    contenders = {
        "meshwire istio-iptables": init_container(),
        "Istio's nft commands": shell(node, ISTIO_COMMANDS, rules),
        "meshwire proxy-init": linkerd,
        "Linkerd's iptables commands": shell(node, LINKERD_COMMANDS, rules),
        # What the runtime takes for either kind of container.
        "meshwire --version": {**init_container(["--version"]), "command": ["/meshwire"]},
        "a shell that does nothing": shell(node, "", rules),
    }
    seconds = {name: [] for name in contenders}
    for number in range(ROUNDS):
        for name, container in contenders.items():
            volumes = container.pop("volumes", [])
            document = manifest(node, f"timed-{number}", [container])
            document["spec"]["volumes"] += volumes
            container["volumes"] = volumes
            pod = Pod(node, document)
            [init] = pod.initialise()
            assert init.status().exit_code == 0, (name, init.log())
            seconds[name].append(init.seconds())
            pod.remove()
    # For people to read: most of it is the runtime's own work, and a busy machine moves it more than what is compared.
    shortest = {name: min(values) * 1000 for name, values in seconds.items()}
    medians = {name: statistics.median(values) * 1000 for name, values in seconds.items()}
    both = [f"{name} {medians[name]:.0f} ({shortest[name]:.0f})" for name in contenders]
    return f"milliseconds from the request to the end, median (shortest) of {ROUNDS}: " + ", ".join(both)


def shell(node, commands, rules):
    """A container in which a shell runs commands of the machine, as root."""
    folders = ["/usr", "/lib", "/lib64", "/etc/alternatives"]
    return {
        "name": "commands",
        "image": "localhost/busybox:test",
        "command": ["/bin/sh", "-e", "-c", commands + "\ntrue"],
        "env": [{"name": "PATH", "value": "/usr/sbin:/usr/bin:/bin"}],
        "securityContext": ROOT_WITH_NET_ADMIN,
        "volumes": [{"name": f"v{at}", "hostPath": {"path": path}} for at, path in enumerate([*folders, str(rules)])],
        "volumeMounts": [
            {"name": f"v{at}", "mountPath": path, "readOnly": True} for at, path in enumerate([*folders, "/rules"])
        ],
    }


def it_is_only_that_part_of_pilot_agent(node):
    [init] = Pod(node, manifest(node, "agent", [init_container(["proxy", "sidecar"])])).initialise()
    assert init.status().exit_code == 2, init.log()
    assert "only initialises" in init.log(), init.log()
