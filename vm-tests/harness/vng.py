"""Guests of virtme-ng: the host's own file system, read-only, under another kernel. What the tests look through is
therefore the host's, and has to be there."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import host, tools
from .apt import Suite, Vanished
from .architecture import ARCHITECTURES, Architecture
from .kernel import Kernel

# Of PyPI, where the host has none of its own.
VIRTME_NG = "virtme-ng==1.42"
# The daemon in Rust: Debian 12 has the one in C, with which vng does not work, and cloud kernels have no 9p.
SUITE, PACKAGE = "trixie", "virtiofsd"

# It mounts a file system that is not local, and sets up much over it.
STARTS_UNDER_KVM_WITHIN = 60


@dataclass
class Runner:
    """Boots guests by vng."""

    cache: Path
    # See stage.py.
    stage: Path
    # For a guest, in seconds.
    timeout: float
    # It boots those of the host's alone: the file system is the host's.
    architectures: list[Architecture]

    def __post_init__(self) -> None:
        self.environment = dict(os.environ)
        programs = [daemon(self.cache)]
        if not host.path_of("vng"):
            folder = virtme_ng(self.cache)
            programs.append(folder / "bin")
            self.environment["PYTHONPATH"] = str(folder)
        self.environment["PATH"] = ":".join([*map(str, programs), os.environ.get("PATH", ""), "/usr/sbin:/sbin"])

    @staticmethod
    def lack(_: list[Architecture]) -> str:
        """What the host lacks; empty where it has everything."""
        packages = {
            "qemu-system-x86_64": "qemu-system-x86", "depmod": "kmod", "apt-get": "apt", "dpkg-deb": "dpkg",
            "readelf": "binutils", "file": "file", "script": "bsdutils", "nft": "nftables", "ip": "iproute2", "strace": "strace",
        }  # fmt: skip
        if not host.path_of("vng"):
            packages["pip3"] = "python3-pip, which fetches virtme-ng"
        return host.lack(packages)

    def run(self, kernel: Kernel, plan: str, log: Path, started: Callable[[], None]) -> str:
        """Boots the kernel, and returns what the guest printed: with KVM where a kernel boots with it, which is tried once."""
        remembered = host.Accelerator(self.cache)
        works = remembered.known() if host.may_have_kvm() else False
        if works is not False:
            output = self.boot(kernel, plan, log, started, STARTS_UNDER_KVM_WITHIN, is_emulated=False)
            has_started = "VMSTART" in output
            if works is None:
                remembered.remember(has_started)
            if has_started or works:
                return output
        return self.boot(kernel, plan, log, started, host.STARTS_WITHIN, is_emulated=True)

    def boot(
        self,
        kernel: Kernel,
        plan: str,
        log: Path,
        started: Callable[[], None],
        starts_within: float,
        is_emulated: bool,
    ) -> str:
        with tempfile.TemporaryDirectory(dir=self.cache) as scratch:
            root = Path(scratch)
            # As on a disk: vng finds the modules by the place of the kernel.
            for link, target in [
                (root / "boot" / f"vmlinuz-{kernel.version}", kernel.image),
                (root / "lib/modules" / kernel.version, kernel.modules),
            ]:
                link.parent.mkdir(parents=True)
                link.symlink_to(target)
            (root / "plan").write_text(plan)
            output = root / "output"
            output.touch()
            # The terminal drops what comes last, so that the guest writes a file of the host's.
            # Tests act as other users, who may not enter root's home.
            enter = f"mount --bind {self.stage}/{kernel.architecture.name} /mnt"
            inside = f"exec >{output} 2>&1; {enter} && sh /mnt/run {root}/plan; echo VMEXIT $?"
            command = ["vng", "--run", root / "boot" / f"vmlinuz-{kernel.version}", "--memory", "1G", "--rwdir", root]
            # See `boot` in qemu.py.
            emulated = ["--disable-kvm", "--cpus", "1", "--qemu-opts=-cpu max,-cx16"]
            command += emulated if is_emulated else ["--cpus", "2"]
            self.follow([*map(str, command), "--exec", inside], output, log, started, starts_within)
            return output.read_text(errors="replace")

    def follow(
        self, command: list[str], output: Path, log: Path, started: Callable[[], None], starts_within: float
    ) -> None:
        """Runs vng on a terminal of its own, without which it does not run a command."""
        log.parent.mkdir(parents=True, exist_ok=True)
        console = log.with_suffix(".console")
        on_terminal = ["script", "--quiet", "--flush", "--command", shlex.join(command), str(console)]
        with subprocess.Popen(
            on_terminal, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=self.environment
        ) as guest:  # fmt: skip
            try:
                host.follow(guest, output, started, self.timeout, starts_within)
            finally:
                guest.terminate()


def virtme_ng(cache: Path) -> Path:
    """A folder of Python's with vng and what it needs."""
    folder = cache / VIRTME_NG
    if not folder.exists():
        half_done = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(half_done, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        command += ["--no-warn-script-location", "--root-user-action=ignore", "--target", half_done, VIRTME_NG]
        if subprocess.run(command).returncode != 0:
            raise Vanished(f"pip cannot install {VIRTME_NG}")
        half_done.rename(folder)
    return folder


def daemon(cache: Path) -> Path:
    """A folder with virtiofsd, which is of a newer suite than the host may be, and so runs with the libraries of that suite."""
    host_architecture = ARCHITECTURES["amd64"]
    trees = Suite(cache, "Debian", SUITE).with_dependencies([PACKAGE])
    program = tools.file_in(trees, "usr/libexec/virtiofsd")
    # The tree's name has its checksum.
    folder = cache / f"daemon-{program.parents[2].name}"
    if not folder.exists():
        half_done = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(half_done, ignore_errors=True)
        half_done.mkdir()
        shutil.copy(program, half_done / "daemon")
        for library in tools.needed(trees, program, host_architecture):
            shutil.copy(library, half_done)
        loader = Path(host_architecture.loader).name
        start = half_done / PACKAGE
        start.write_text(f'#!/bin/sh\nexec {folder}/{loader} --library-path {folder} {folder}/daemon "$@"\n')
        start.chmod(0o755)
        half_done.rename(folder)
    return folder
