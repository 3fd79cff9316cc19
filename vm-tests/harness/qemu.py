"""Guests that boot from an archive of our own: nothing in them but the kernel's modules, the tests, and the programs
that the tests look through."""

import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import host, tools
from .architecture import Architecture
from .archive import Archive
from .kernel import Kernel

GUEST = Path(__file__).resolve().parents[1] / "guest"

# Until a guest's first line, in seconds: it takes 1.
STARTS_UNDER_KVM_WITHIN = 20


@dataclass
class Runner:
    """Boots guests from archives."""

    cache: Path
    # See stage.py.
    stage: Path
    # For a guest, in seconds.
    timeout: float
    # Those of the guests.
    architectures: list[Architecture]

    def __post_init__(self) -> None:
        self.tools = {one.name: tools.pack(self.cache, one) for one in self.architectures}
        self.one_at_a_time = threading.Lock()

    @staticmethod
    def lack(architectures: list[Architecture]) -> str:
        """What the host lacks for such guests; empty where it has everything."""
        emulators = {one.qemu: one.qemu_package for one in architectures}
        common = {"depmod": "kmod", "apt-get": "apt", "dpkg-deb": "dpkg", "readelf": "binutils"}
        return host.lack(emulators | common)

    def run(self, kernel: Kernel, plan: str, log: Path, started: Callable[[], None]) -> str:
        """Boots the kernel, and returns what the guest printed. A guest that never said that it started is booted
        once more: an emulated machine may hang before its kernel does anything."""
        with tempfile.TemporaryDirectory(dir=self.cache) as scratch:
            initrd = Path(scratch) / "initrd"
            self.write_initrd(initrd, kernel, plan)
            accelerator = self.accelerator(kernel, initrd)
            for _ in range(2):
                output = boot(kernel, initrd, accelerator, log, self.timeout, host.STARTS_WITHIN, started)
                if "VMSTART" in output or host.stopping.is_set():
                    break
            return output

    def write_initrd(self, initrd: Path, kernel: Kernel, plan: str) -> None:
        archive = Archive()
        archive.program("/init", GUEST / "init")
        archive.tree("/meshwire", self.stage / kernel.architecture.name)
        archive.file("/meshwire/plan", plan.encode())
        archive.write(initrd, self.tools[kernel.architecture.name], kernel.archive)

    def accelerator(self, kernel: Kernel, initrd: Path) -> str:
        """KVM where a stock kernel boots with it, otherwise emulation. Tried once."""
        if not kernel.architecture.is_host:
            return "tcg"
        remembered = host.Accelerator(self.cache)
        with self.one_at_a_time:
            works = remembered.known()
            if works is None:
                limit = STARTS_UNDER_KVM_WITHIN
                log = self.cache / "kvm.log"
                works = host.may_have_kvm() and "VMSTART" in boot(kernel, initrd, "kvm", log, limit, limit)
                remembered.remember(works)
        return "kvm" if works else "tcg"


def boot(
    kernel: Kernel,
    initrd: Path,
    accelerator: str,
    log: Path,
    timeout: float,
    starts_within: float,
    started: Callable[[], None] = lambda: None,
) -> str:
    """Runs a guest until it ends, takes too long, or has not started in time. The kernel's own console is next to the
    log.

    QEMU 7.2 emulates two things of x86 wrongly of which a kernel dies now and then. With two processors, one may still meet the
    breakpoint that the other has taken out of the kernel's code (int3 where it switches a static key). And cmpxchg16b, by which
    the kernel takes memory where it exists, may leave garbage in the flags (a double fault after it)."""
    architecture = kernel.architecture
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    emulated = "max,-cx16" if architecture.name == "amd64" else "max"
    model, processors = ("host", "2") if accelerator == "kvm" else (emulated, "1")
    files = {"console": log.with_suffix(".console"), "output": log}
    command = [
        architecture.qemu, *(part.format(**files) for part in architecture.board),
        "-accel", accelerator, "-cpu", model, "-smp", processors,
        "-m", "1024", "-nodefaults", "-display", "none", "-no-reboot", "-kernel", kernel.image, "-initrd", initrd,
        # What the kernel does not know goes into the environment of the first process.
        "-append", f"console={architecture.console} panic=-1 quiet OUTPUT={architecture.output}",
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as guest:
        try:
            host.follow(guest, log, started, timeout, starts_within)
        finally:
            guest.kill()
    return log.read_text(errors="replace")
