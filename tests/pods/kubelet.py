"""As much of a kubelet as the pod tests need: a node of its own with containerd on it, and pods as their manifests say.

The node is a network namespace, a mount namespace and a process namespace that this process was started in (`run.py` makes
them). Pods get their network from the reference plugin `ptp`: a link from each pod's namespace to the node's. What
a manifest says of a container's command, environment, security context and volumes goes to containerd over Kubernetes' container
runtime interface (CRI), translated as the kubelet does it (pkg/kubelet/kuberuntime).
"""

import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import grpc

HERE = pathlib.Path(__file__).parent
PLUGINS = "/usr/lib/cni"
POD_NETWORK = "10.89.0.0/24"
# What every container finds empty, and what it cannot write to, unless it is privileged (pkg/securitycontext/util.go).
MASKED = ["acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats"]
MASKED_PATHS = [f"/proc/{name}" for name in MASKED] + ["/sys/devices/virtual/powercap", "/sys/firmware"]
READ_ONLY_PATHS = [f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger")]
# Long enough for a machine that is busy; a test that waits this long has failed.
DEADLINE = 60


def messages():
    """The classes of the CRI's messages, made of cri.proto."""
    from grpc_tools import protoc

    folder = tempfile.mkdtemp()
    protoc.main(["", f"-I{HERE}", f"--python_out={folder}", "cri.proto"])
    sys.path.insert(0, folder)
    return importlib.import_module("cri_pb2")


cri = messages()


def wait_for(what, condition):
    """Polls until the condition holds, and returns its value."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise TimeoutError(f"waited {DEADLINE} s for {what}")


# What the kubelet asks for where a pod says hostUsers: false.
IDENTITIES = [cri.IDMapping(host_id=1 << 20, container_id=0, length=1 << 16)]
USER_NAMESPACE = cri.NamespaceOption(
    pid=cri.CONTAINER, userns_options=cri.UserNamespace(mode=cri.POD, uids=IDENTITIES, gids=IDENTITIES)
)


class Node:
    """containerd with a folder of its own, until it is closed."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.socket = self.folder / "containerd.sock"
        self.cgroup = f"/meshwire-pods-{os.path.basename(folder)}"
        self.pods = []
        # The reference plugins, and room for others.
        self.plugins = self.folder / "plugins"
        self.plugins.mkdir()
        for plugin in os.listdir(PLUGINS):
            (self.plugins / plugin).symlink_to(pathlib.Path(PLUGINS) / plugin)
        self.write_configuration()
        self.log = open(self.folder / "containerd.log", "wb")
        command = ["containerd", "--config", str(self.folder / "containerd.toml")]
        self.containerd = subprocess.Popen(command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        channel = grpc.insecure_channel(f"unix:{self.socket}")
        grpc.channel_ready_future(channel).result(DEADLINE)
        self.channel = channel
        version = self.call("Version", cri.VersionRequest(), cri.VersionResponse)
        self.runtime = f"{version.runtime_name} {version.runtime_version}"

    def write_configuration(self):
        network = {
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "ptp",
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(self.folder / "addresses"),
                        "ranges": [[{"subnet": POD_NETWORK}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                }
            ],
        }
        (self.folder / "net.d").mkdir()
        (self.folder / "net.d" / "pods.conflist").write_text(json.dumps(network))
        (self.folder / "containerd.toml").write_text(
            f"""
version = 2
root = "{self.folder}/root"
state = "{self.folder}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/busybox:test"
  # Inside of a container nobody may make a process harder to kill than it is itself.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{self.plugins}"
    conf_dir = "{self.folder}/net.d"
[plugins."io.containerd.internal.v1.opt"]
  path = "{self.folder}/opt"
"""
        )

    def load(self, archive):
        """Makes the images of an archive known."""
        command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", "images", "import", str(archive)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def call(self, method, request, response):
        path = f"/runtime.v1.RuntimeService/{method}"
        unary = self.channel.unary_unary(
            path, request_serializer=type(request).SerializeToString, response_deserializer=response.FromString
        )
        return unary(request, timeout=DEADLINE)

    def close(self):
        for pod in list(self.pods):
            pod.remove()
        self.channel.close()
        self.containerd.terminate()
        self.containerd.wait()
        self.log.close()


class Container:
    """A container, started when it is made."""

    def __init__(self, node, identity, log, termination):
        self.node, self.identity = node, identity
        self.log_file, self.termination = log, termination
        self.asked = time.time_ns()
        node.call("StartContainer", cri.ContainerRequest(container_id=identity), cri.Nothing)

    def status(self):
        request = cri.ContainerRequest(container_id=self.identity)
        return self.node.call("ContainerStatus", request, cri.ContainerStatusResponse).status

    def wait(self):
        """Waits for its end; returns its exit code."""
        exited = cri.ContainerStatus.EXITED
        wait_for("the end of a container", lambda: self.status().state == exited)
        return self.status().exit_code

    def seconds(self):
        """From the request to start it to its end."""
        return (self.status().finished_at - self.asked) / 1e9

    def log(self):
        """What it wrote, without the runtime's time stamps."""
        lines = self.log_file.read_text().splitlines() if self.log_file.exists() else []
        return "".join(line.split(" ", 3)[3] + "\n" for line in lines)

    def execute(self, *command):
        """Runs a command in it; returns the exit code and what it wrote."""
        request = cri.ExecSyncRequest(container_id=self.identity, cmd=command, timeout=20)
        answer = self.node.call("ExecSync", request, cri.ExecSyncResponse)
        return answer.exit_code, answer.stdout.decode(), answer.stderr.decode()


class Pod:
    """A pod of a manifest: its sandbox first, its containers when they are asked for."""

    def __init__(self, node, manifest):
        self.node, self.manifest = node, manifest
        self.name = manifest["metadata"]["name"]
        self.folder = node.folder / "pods" / f"{self.name}-{len(os.listdir(node.folder))}-{time.monotonic_ns()}"
        self.folder.mkdir(parents=True)
        self.attempts = {}
        self.config = cri.PodSandboxConfig(
            metadata=cri.PodSandboxMetadata(name=self.name, uid=self.folder.name, namespace="default"),
            hostname=self.name,
            log_directory=str(self.folder),
            linux=cri.LinuxPodSandboxConfig(
                cgroup_parent=node.cgroup, security_context=cri.LinuxSandboxSecurityContext(privileged=self.privileged())
            ),
        )
        if not self.host_users():
            self.config.linux.security_context.namespace_options.CopyFrom(USER_NAMESPACE)
        request = cri.RunPodSandboxRequest(config=self.config)
        self.identity = node.call("RunPodSandbox", request, cri.RunPodSandboxResponse).pod_sandbox_id
        node.pods.append(self)
        self.sandbox = cri.PodSandboxRequest(pod_sandbox_id=self.identity)
        self.address = node.call("PodSandboxStatus", self.sandbox, cri.PodSandboxStatusResponse).status.network.ip

    def specifications(self, kind):
        return self.manifest["spec"].get(kind, [])

    def privileged(self):
        every = self.specifications("initContainers") + self.specifications("containers")
        return any(one.get("securityContext", {}).get("privileged") for one in every)

    def host_users(self):
        return self.manifest["spec"].get("hostUsers", True)

    def initialise(self):
        """Runs the init containers in their order, each to its end. As the kubelet, it goes on only after success."""
        done = []
        for specification in self.specifications("initContainers"):
            container = self.start(specification)
            done.append(container)
            if container.wait() != 0:
                break
        return done

    def start(self, specification):
        """Creates and starts one container."""
        name = specification["name"]
        attempt = self.attempts[name] = self.attempts.get(name, -1) + 1
        termination = self.folder / f"{name}-{attempt}.termination"
        termination.touch()
        termination.chmod(0o666)
        config = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name=name, attempt=attempt),
            image=cri.ImageSpec(image=specification["image"]),
            # As numbers are texts to the kubelet once the API server has let them pass.
            command=specification.get("command", []),
            args=specification.get("args", []),
            envs=[cri.KeyValue(key=one["name"], value=one.get("value", "")) for one in specification.get("env", [])],
            mounts=[cri.Mount(container_path="/dev/termination-log", host_path=str(termination))],
            log_path=f"{name}-{attempt}.log",
            linux=cri.LinuxContainerConfig(security_context=self.security_context(specification)),
        )
        config.mounts.extend(self.mounts(specification))
        request = cri.CreateContainerRequest(pod_sandbox_id=self.identity, config=config, sandbox_config=self.config)
        identity = self.node.call("CreateContainer", request, cri.CreateContainerResponse).container_id
        return Container(self.node, identity, self.folder / config.log_path, termination)

    def security_context(self, specification):
        """What the kubelet makes of a container's security context, over that of its pod (securitycontext.go)."""
        given = {**self.manifest["spec"].get("securityContext", {}), **specification.get("securityContext", {})}
        capabilities = given.get("capabilities", {})
        privileged = given.get("privileged", False)
        context = cri.LinuxContainerSecurityContext(
            capabilities=cri.Capability(
                add_capabilities=capabilities.get("add", []), drop_capabilities=capabilities.get("drop", [])
            ),
            privileged=privileged,
            masked_paths=[] if privileged else MASKED_PATHS,
            readonly_paths=[] if privileged else READ_ONLY_PATHS,
            readonly_rootfs=given.get("readOnlyRootFilesystem", False),
            no_new_privs=given.get("allowPrivilegeEscalation") is False,
            seccomp=cri.SecurityProfile(profile_type="RuntimeDefault" if "seccompProfile" in given else "Unconfined"),
        )
        if not self.host_users():
            context.namespace_options.CopyFrom(USER_NAMESPACE)
        if "runAsUser" in given:
            context.run_as_user.value = given["runAsUser"]
        if "runAsGroup" in given:
            context.run_as_group.value = given["runAsGroup"]
        if given.get("runAsNonRoot") and not given.get("runAsUser"):
            raise ValueError(f"{specification['name']}: runAsNonRoot, and no user but root")
        return context

    def mounts(self, specification):
        """Volumes: of the node, of the images (a folder in place of one), or empty."""
        volumes = {volume["name"]: volume for volume in self.specifications("volumes")}
        for mount in specification.get("volumeMounts", []):
            volume = volumes[mount["name"]]
            if "hostPath" in volume:
                place = volume["hostPath"]["path"]
            else:
                place = self.folder / "volumes" / mount["name"]
                place.mkdir(parents=True, exist_ok=True)
                place.chmod(0o777)
            read_only = mount.get("readOnly", False)
            yield cri.Mount(container_path=mount["mountPath"], host_path=str(place), readonly=read_only)

    def remove(self):
        self.node.call("StopPodSandbox", self.sandbox, cri.Nothing)
        self.node.call("RemovePodSandbox", self.sandbox, cri.Nothing)
        self.node.pods.remove(self)
