"""The other programs that the tests look through, for guests that have nothing of their own: Debian's packages, of
which each program is taken with the libraries that it needs."""

import re
import subprocess
from pathlib import Path

from .apt import Suite
from .archive import Archive

# The oracles and what makes users: of the suite whose nft the project's listings are compared with.
OLD_SUITE = "bookworm"
OLD_PACKAGES = [
    "busybox-static", "dash", "nftables", "iproute2", "strace", "util-linux", "libcap2-bin", "netbase", "base-passwd",
]  # fmt: skip
OLD_PROGRAMS = ["dash", "nft", "ip", "strace", "unshare", "nsenter", "setpriv", "setarch", "setcap"]
# A second nft, as nft-newer: what meshwire leaves must be listed without a crash by any.
NEW_SUITE = "trixie"
NEW_PROGRAM = "nft"


def pack(cache: Path) -> Path:
    """The archive with all of them."""
    archive = Archive()
    old = Suite(cache, "Debian", OLD_SUITE).with_dependencies(OLD_PACKAGES)
    archive.program("/bin/busybox", find(old, "busybox"))
    archive.link("/sbin/modprobe", "/bin/busybox")
    # busybox' own shell prefers its own commands to those of the PATH.
    archive.link("/bin/sh", "/usr/bin/dash")
    for name in ("protocols", "services", *(f"iproute2/{names}" for names in ("group", "rt_dsfield", "rt_realms"))):
        archive.file(f"/etc/{name}", file_in(old, f"etc/{name}").read_bytes())
    for name in ("passwd", "group"):
        archive.file(f"/etc/{name}", file_in(old, f"usr/share/base-passwd/{name}.master").read_bytes())
    libraries = {library for name in OLD_PROGRAMS for library in needed(old, find(old, name))}
    for library in libraries:
        archive.program(f"/{'lib64' if is_loader(library) else 'lib/x86_64-linux-gnu'}/{library.name}", library)
    for name in OLD_PROGRAMS:
        archive.program(f"/usr/bin/{name}", find(old, name))

    new = Suite(cache, "Debian", NEW_SUITE).with_dependencies(["nftables"])
    program = find(new, NEW_PROGRAM)
    for file in [program, *needed(new, program)]:
        archive.program(f"/opt/newer/{file.name}", file)
    start = f"exec /opt/newer/{loader(new).name} --library-path /opt/newer /opt/newer/{NEW_PROGRAM}"
    archive.file("/usr/bin/nft-newer", f'#!/bin/sh\n{start} "$@"\n'.encode(), 0o755)

    target = cache / "tools.cpio"
    archive.write(target)
    return target


def needed(trees: list[Path], program: Path) -> list[Path]:
    """The libraries of a program, the loader among them, as the loader of the same suite finds them."""
    folders = [tree / prefix / "lib/x86_64-linux-gnu" for tree in trees for prefix in (".", "usr")]
    search = ":".join(str(folder) for folder in folders if folder.exists())
    command = [loader(trees), "--library-path", search, "--list", program]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [loader(trees), *(Path(path) for path in re.findall(r" => (/\S+)", listed))]


def loader(trees: list[Path]) -> Path:
    # Not by the link in lib64, which may lead out of the tree.
    return file_in(trees, *(f"{prefix}lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" for prefix in ("", "usr/")))


def is_loader(library: Path) -> bool:
    return library.name.startswith("ld-linux")


def find(trees: list[Path], program: str) -> Path:
    folders = ("usr/sbin", "usr/bin", "sbin", "bin")
    return file_in(trees, *(f"{folder}/{program}" for folder in folders))


def file_in(trees: list[Path], *names: str) -> Path:
    for tree in trees:
        for name in names:
            if (tree / name).exists():
                return tree / name
    raise FileNotFoundError(f"{names[0]} is in none of the packages")
