"""Guests of virtme-ng: the host's own file system, read-only, under another kernel. What the tests look through is
therefore the host's, and has to be there."""

import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import host
from .architecture import Architecture
from .kernel import Kernel

# It starts the guest's services, over a file system that is not local.
STARTS_WITHIN = 180


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

    @staticmethod
    def lack(_: list[Architecture]) -> str:
        """What the host lacks; empty where it has everything."""
        packages = {
            "vng": "virtme-ng, of PyPI", "virtme-run": "virtme-ng", "qemu-system-x86_64": "qemu-system-x86",
            "depmod": "kmod", "udevadm": "udev", "apt-get": "apt", "dpkg-deb": "dpkg", "script": "bsdutils",
            "virtiofsd": "virtiofsd, or `cargo install virtiofsd`: the cloud kernels have no 9p",
            "nft": "nftables", "ip": "iproute2", "strace": "strace",
        }  # fmt: skip
        return host.lack(packages)

    def run(self, kernel: Kernel, plan: str, log: Path, started: Callable[[], None]) -> str:
        """Boots the kernel, and returns what the guest printed."""
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
            inside = f"sh {self.stage}/{kernel.architecture.name}/run {root}/plan; echo VMEXIT $?"
            command = ["vng", "--run", root / "boot" / f"vmlinuz-{kernel.version}", "--cpus", "2", "--memory", "1G"]
            # The other runner finds out whether KVM is more than a file.
            if not host.may_have_kvm() or host.Accelerator(self.cache).known() is False:
                command.append("--disable-kvm")
            return self.follow([*map(str, command), "--exec", inside], log, started)

    def follow(self, command: list[str], log: Path, started: Callable[[], None]) -> str:
        """Runs vng on a terminal of its own, without which it does not run a command."""
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        on_terminal = ["script", "--quiet", "--flush", "--command", shlex.join(command), str(log)]
        begin = time.monotonic()
        has_started = False
        with subprocess.Popen(on_terminal, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as guest:
            try:
                while guest.poll() is None:
                    elapsed = time.monotonic() - begin
                    if not has_started and "VMSTART" in log.read_text(errors="replace"):
                        has_started = True
                        started()
                    late = elapsed > self.timeout or (elapsed > STARTS_WITHIN and not has_started)
                    if late or host.stopping.is_set():
                        break
                    time.sleep(0.2)
            finally:
                guest.terminate()
        return log.read_text(errors="replace")
