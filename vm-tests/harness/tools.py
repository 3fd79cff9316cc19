"""The other programs that the tests look through, for guests that have nothing of their own: Debian's packages, of
which each program is taken with the libraries that it needs."""

import re
import subprocess
from pathlib import Path

from .apt import Suite, Vanished
from .architecture import Architecture
from .archive import Archive

# The oracles and what makes users: of the suite whose nft the project's listings are compared with.
OLD_SUITE = "bookworm"
OLD_PACKAGES = [
    "busybox-static", "dash", "nftables", "iproute2", "strace", "util-linux", "libcap2-bin", "netbase", "base-passwd",
    "iptables", "coreutils", "bsdutils",
]  # fmt: skip
OLD_PROGRAMS = ["dash", "nft", "ip", "strace", "unshare", "nsenter", "setpriv", "setarch", "setcap", "timeout", "script"]
# One program for all commands of iptables, over nf_tables and over the old interface, with a plugin for each match and target.
IPTABLES = {"nft": "xtables-nft-multi", "legacy": "xtables-legacy-multi"}
# A second nft, as nft-newer: what meshwire leaves must be listed without a crash by any.
NEW_SUITE = "trixie"
NEW_PROGRAM = "nft"


def pack(cache: Path, architecture: Architecture) -> Path:
    """The archive with all of them."""
    archive = Archive()
    old = Suite(cache, "Debian", OLD_SUITE, architecture.name).with_dependencies(OLD_PACKAGES)
    archive.program("/bin/busybox", find(old, "busybox"))
    archive.link("/sbin/modprobe", "/bin/busybox")
    archive.link("/bin/wget", "/bin/busybox")
    # busybox' own shell prefers its own commands to those of the PATH.
    archive.link("/bin/sh", "/usr/bin/dash")
    for name in ("protocols", "services", *(f"iproute2/{names}" for names in ("group", "rt_dsfield", "rt_realms"))):
        archive.file(f"/etc/{name}", file_in(old, f"etc/{name}").read_bytes())
    for name in ("passwd", "group"):
        archive.file(f"/etc/{name}", file_in(old, f"usr/share/base-passwd/{name}.master").read_bytes())
    programs = [*OLD_PROGRAMS, *IPTABLES.values()]
    plugins = file_in(old, f"usr/lib/{architecture.libraries}/xtables")
    linked = [*(find(old, name) for name in programs), *plugins.glob("*.so")]
    libraries = {library for file in linked for library in needed(old, file, architecture)}
    loader = Path(architecture.loader)
    for library in libraries:
        folder = loader.parent if library.name == loader.name else f"/lib/{architecture.libraries}"
        archive.program(f"{folder}/{library.name}", library)
    for name in programs:
        archive.program(f"/usr/bin/{name}", find(old, name))
    archive.tree(f"/usr/lib/{architecture.libraries}/xtables", plugins)
    for backend, program in IPTABLES.items():
        for command in ("iptables", "ip6tables"):
            for suffix in ("", "-save", "-restore"):
                archive.link(f"/usr/bin/{command}-{backend}{suffix}", program)

    try:
        new = Suite(cache, "Debian", NEW_SUITE, architecture.name).with_dependencies(["nftables"])
    except Vanished as reason:
        # A mirror may lack packages of the rarer architectures. Tests say so, and fail where it is not expected.
        print(f"vm-tests: no newer nft for {architecture.name}: {reason}")
    else:
        program = find(new, NEW_PROGRAM)
        for file in [program, *needed(new, program, architecture)]:
            archive.program(f"/opt/newer/{file.name}", file)
        start = f"exec /opt/newer/{loader.name} --library-path /opt/newer /opt/newer/{NEW_PROGRAM}"
        archive.file("/usr/bin/nft-newer", f'#!/bin/sh\n{start} "$@"\n'.encode(), 0o755)

    target = cache / f"tools-{architecture.name}.cpio"
    archive.write(target)
    return target


def needed(trees: list[Path], program: Path, architecture: Architecture) -> set[Path]:
    """The libraries of a program, the loader among them, of the same suite. The program's machine need not be the host's."""
    found: set[Path] = set()
    open_ones = [program]
    while open_ones:
        listed = subprocess.run(["readelf", "-d", open_ones.pop()], capture_output=True, text=True, check=True).stdout
        for name in re.findall(r"\(NEEDED\).*\[(.+)\]", listed):
            library = file_in(trees, *(f"{prefix}lib/{architecture.libraries}/{name}" for prefix in ("", "usr/")))
            if library not in found:
                found.add(library)
                open_ones.append(library)
    return found


def find(trees: list[Path], program: str) -> Path:
    folders = ("usr/sbin", "usr/bin", "sbin", "bin")
    return file_in(trees, *(f"{folder}/{program}" for folder in folders))


def file_in(trees: list[Path], *names: str) -> Path:
    for tree in trees:
        for name in names:
            # A link may lead to a file of the machine itself.
            if (tree / name).exists() and (tree / name).resolve().is_relative_to(tree.resolve()):
                return tree / name
    raise FileNotFoundError(f"{names[0]} is in none of the packages")
