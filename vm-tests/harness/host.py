"""What the host has, whether it has been asked to stop, and how guests on it are waited for."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

# How long an emulated guest may take until its first line, in seconds: 5 to 20 on an idle machine, and a tenth of a processor
# is left to it on a busy one.
STARTS_WITHIN = 400

# Set when the run is to end: no guest outlives it.
stopping = threading.Event()


def stop_when_told() -> None:
    """Ends the guests, and then the run, on SIGINT and SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())


def follow(
    guest: subprocess.Popen, output: Path, started: Callable[[], None], timeout: float, starts_within: float
) -> None:
    """Waits until a guest has ended, takes too long, has not started in time, or is to stop."""
    begin = time.monotonic()
    has_started = False
    while guest.poll() is None:
        elapsed = time.monotonic() - begin
        if not has_started and "VMSTART" in output.read_text(errors="replace"):
            has_started = True
            started()
        late = elapsed > timeout or (elapsed > starts_within and not has_started)
        if late or stopping.is_set():
            break
        time.sleep(0.1)


def lack(packages: dict[str, str]) -> str:
    """Which of these commands are missing, each with the package that has it, in one line; empty where none is."""
    missing = [f"{command} (package {package})" for command, package in packages.items() if not path_of(command)]
    return f"not found: {', '.join(missing)}" if missing else ""


def path_of(command: str) -> str | None:
    # Some are where other users than root do not look.
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def may_have_kvm() -> bool:
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


class Accelerator:
    """Whether KVM boots a stock kernel here, as far as it was tried. Remembered for a host and its kernel."""

    def __init__(self, cache: Path) -> None:
        self.file = cache / "accelerator.json"
        self.here = f"{os.uname().nodename} {os.uname().release}"

    def known(self) -> bool | None:
        return self.read().get(self.here)

    def remember(self, works: bool) -> None:
        self.file.write_text(json.dumps(self.read() | {self.here: works}))

    def read(self) -> dict[str, bool]:
        return json.loads(self.file.read_text()) if self.file.exists() else {}
