#!/usr/bin/env python3
"""Pods with a real Envoy, from the image, on containerd, as their manifests say. Needs root, containerd, runc, busybox (static),
the CNI reference plugins, and grpcio-tools and PyYAML for Python.

    tests/pods/run.py --program FILE --plugin FILE --apiserver FILE [--envoy FILE] [SCENARIO …]

Everything happens in namespaces of its own: a node without any link to the machine's network, and pods on it. Each scenario
prints one line; the first one that fails ends it all with the logs.
"""

import argparse
import contextlib
import http.client
import http.server
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import traceback

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
INSIDE = "MESHWIRE_PODS_INSIDE"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, required=True, help="meshwire, static")
    parser.add_argument("--plugin", type=pathlib.Path, required=True, help="meshwire-cni")
    parser.add_argument("--shipped", action="store_true", help="both are as they are shipped: their sizes and memory have limits")
    parser.add_argument("--apiserver", type=pathlib.Path, required=True, help="testkit's fake-kube-apiserver")
    parser.add_argument("--envoy", type=pathlib.Path, help="Envoy's executable; by default that of the Python package")
    parser.add_argument("scenarios", nargs="*")
    given = parser.parse_args()
    if INSIDE not in os.environ:
        # All processes end with the first one, and all mounts with their namespace.
        flags = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
        command = ["unshare", *flags, sys.executable, *sys.argv]
        sys.exit(subprocess.run(command, env={**os.environ, INSIDE: "1"}).returncode)

    import chained
    import scenarios

    known = {name: it for module in (scenarios, chained) for name, it in vars(module).items() if name.startswith("it_")}
    names = given.scenarios or list(known)
    with tempfile.TemporaryDirectory(prefix="pods-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        # As on a node: the root of a pod with users of its own gets through.
        os.chmod(folder, 0o711)
        with world(pathlib.Path(folder), given) as node:
            print(f"on {node.runtime}", flush=True)
            for name in names:
                run(name, known[name], node)


def run(name, scenario, node):
    try:
        said = scenario(node)
    except Exception:
        traceback.print_exc()
        for log in sorted(node.folder.glob("pods/*/*.log")):
            print(f"--- {log.name}\n{log.read_text()[-4000:]}", file=sys.stderr)
        print("--- containerd\n" + (node.folder / "containerd.log").read_text()[-3000:], file=sys.stderr)
        sys.exit(f"{name} failed")
    finally:
        for pod in list(node.pods):
            pod.remove()
    print(f"ok {name}" + (f": {said}" if said else ""), flush=True)


@contextlib.contextmanager
def world(folder, given):
    """The node, with the image and what surrounds it."""
    import images
    import kubelet

    for command in (
        ["ip", "link", "set", "lo", "up"],
        ["ip", "address", "add", f"{OUTSIDE}/32", "dev", "lo"],
    ):
        subprocess.run(command, check=True)
    # The node's own state: what a container runtime keeps outside of its folder stays inside of the mount namespace.
    (folder / "run").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    node = kubelet.Node(folder)
    try:
        node.load(images.meshwire(folder, given.program))
        node.load(images.busybox(folder))
        node.program, node.plugin, node.apiserver = given.program, given.plugin, given.apiserver
        node.is_shipped = given.shipped
        node.envoy = given.envoy or images.packaged_envoy()
        server = http.server.ThreadingHTTPServer((OUTSIDE, 80), Outside)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield node
    finally:
        node.close()
        with contextlib.suppress(OSError):
            remove_cgroups(node.cgroup)


# Somebody whom the pods call: an address of the documentation range.
OUTSIDE = "203.0.113.10"


class Outside(http.server.BaseHTTPRequestHandler):
    """Says who called, and whether it came through Envoy."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        through = "envoy" if "x-envoy-expected-rq-timeout-ms" in self.headers else "nothing"
        body = f"outside sees {self.client_address[0]} through {through}\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def call(address, port=8080, path="/cgi-bin/peer"):
    """A call from outside: the answer, and the server's name in it."""
    connection = http.client.HTTPConnection(address, port, timeout=10, source_address=(OUTSIDE, 0))
    connection.request("GET", path)
    response = connection.getresponse()
    return response.read().decode(), response.getheader("server")


def remove_cgroups(name):
    for hierarchy in pathlib.Path("/sys/fs/cgroup").glob(f"*{name}"):
        for folder, _, _ in os.walk(hierarchy, topdown=False):
            os.rmdir(folder)
    top = pathlib.Path("/sys/fs/cgroup" + name)
    if top.exists():
        for folder, _, _ in os.walk(top, topdown=False):
            os.rmdir(folder)


if __name__ == "__main__":
    # Scenarios import this module by its name.
    sys.modules["run"] = sys.modules["__main__"]
    main()
