"""A kernel and its modules, ready to boot."""

import fnmatch
import hashlib
import lzma
import shutil
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

from .apt import Suite, Vanished
from .architecture import ARCHITECTURES, Architecture
from .archive import Archive

# What the tests use of the network, whatever of it a kernel has; what these depend on comes with them. crc32c_generic
# is needed up to 6.12 where it is a module, and no other module says so.
MODULES = [
    "nf_*", "nft_*", "nfnetlink*", "xt_*", "x_tables", "ip*_tables", "ip*table_*",
    "ipt_*", "ip6t_*",
    "*_diag", "veth", "dummy", "bridge", "br_netfilter", "af_packet", "crc32c_generic",
]  # fmt: skip


@dataclass(frozen=True)
class Guest:
    """An entry of kernels.toml, which explains the fields."""

    name: str
    archive: str = ""
    suite: str = ""
    architecture: str = "amd64"
    package: str = ""
    like: str = ""
    required: bool = False
    without: list[str] = field(default_factory=list)
    may_skip: list[str] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)
    short: list[str] = field(default_factory=list)

    @property
    def programs(self) -> set[str]:
        """The tests of harness/build.py that it runs."""
        return {line.split()[0] for line in self.tests}


@dataclass(frozen=True)
class Kernel:
    """What a guest boots."""

    version: str
    architecture: Architecture
    image: Path
    # The package's own folder of modules.
    modules: Path
    # The modules that the tests need, as an archive for the guest.
    archive: Path


def read(file: Path) -> list[Guest]:
    """The guests of kernels.toml; one that is like another is so in all that it does not say itself."""
    guests: dict[str, Guest] = {}
    described = tomllib.loads(file.read_text())
    for entry in described["kernel"]:
        common = {name: described[name] for name in ("tests", "short")}
        base = guests[entry["like"]] if "like" in entry else Guest(entry["name"], **common)
        may_skip = described["may_skip"] + entry.get("may_skip", base.may_skip)
        guests[entry["name"]] = replace(base, **entry | {"may_skip": may_skip})
    return list(guests.values())


def prepare(guest: Guest, cache: Path) -> Kernel:
    """Fetches the kernel; raises Vanished where that cannot be done."""
    suite = Suite(cache, guest.archive, guest.suite, guest.architecture)
    trees = suite.alone(suite.concrete(guest.package))
    image = first(trees, "boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz")
    modules = first(trees, "lib/modules/*/kernel", "usr/lib/modules/*/kernel").parent
    version = modules.name
    key = hashlib.sha256(repr((version, guest.architecture, MODULES, guest.without)).encode()).hexdigest()[:16]
    archive = cache / "modules" / f"{version}-{key}.cpio"
    if not archive.exists():
        archive.parent.mkdir(exist_ok=True)
        pack(modules, guest.without, archive)
    return Kernel(version, ARCHITECTURES[guest.architecture], image, modules, archive)


def first(trees: list[Path], *patterns: str) -> Path:
    for tree in trees:
        for pattern in patterns:
            for path in tree.glob(pattern):
                return path
    raise Vanished(f"{patterns[0]} is in none of {', '.join(tree.name for tree in trees)}")


def pack(modules: Path, without: list[str], target: Path) -> None:
    """The modules that the tests need, uncompressed, and what modprobe needs to find them by their aliases."""
    # The packages leave this to the installation.
    if not (modules / "modules.dep").exists():
        depmod(modules)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "lib/modules" / modules.name
        root.mkdir(parents=True)
        for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
            if (modules / name).exists():
                shutil.copy(modules / name, root)
        for path in closure((modules / "modules.dep").read_text(), without):
            unpacked = root / path.removesuffix(".xz")
            unpacked.parent.mkdir(parents=True, exist_ok=True)
            content = (modules / path).read_bytes()
            unpacked.write_bytes(lzma.decompress(content) if path.endswith(".xz") else content)
        depmod(root)
        archive = Archive()
        archive.tree(f"lib/modules/{modules.name}", root)
        archive.write(target)


def closure(dependencies: str, without: list[str]) -> set[str]:
    """Paths of the modules that the tests need, and of all that these depend on."""
    needs = {path: rest.split() for path, _, rest in (line.partition(":") for line in dependencies.splitlines())}
    name = {path: path.rsplit("/")[-1].split(".")[0].replace("-", "_") for path in needs}
    wanted = {path for path in needs if any(fnmatch.fnmatch(name[path], pattern) for pattern in MODULES)}
    all_of = wanted | {needed for path in wanted for needed in needs[path]}
    return {path for path in all_of if not {name[path], *(name[needed] for needed in needs[path])} & {*without}}


def depmod(modules: Path) -> None:
    # It warns of lists that only some of the packages have.
    command = ["depmod", "-b", modules.parents[2], modules.name]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"vm-tests: {' '.join(map(str, command))}: {done.stderr}")
