"""The folder that every guest gets, with the program and its tests, and the plan of what to run."""

import shlex
import shutil
import subprocess
from pathlib import Path

from .build import ROOT, Build
from .kernel import Guest


def fill(folder: Path, build: Build) -> None:
    # Others than root run things in here.
    folder.chmod(0o755)
    shutil.copy(Path(__file__).resolve().parents[1] / "guest/run", folder)
    shutil.copy(build.program, folder / "meshwire")
    (folder / "bin").mkdir()
    for name, test in build.tests.items():
        shutil.copy(test, folder / "bin" / name)
    shutil.copytree(ROOT / "tests/corpus", folder / "tests/corpus")


def tests(guest: Guest, build: Build, only: str | None) -> str:
    """The plan to run the guest's tests, or those of them whose names contain `only`."""
    lines = ["status=0"]
    for line in guest.tests:
        name, *arguments = shlex.split(line)
        if only:
            # Names on a test's command line add up, and do not narrow each other.
            names = [test for test in listed(build.tests[name], arguments) if only in test]
            if not names:
                continue
            arguments = [*(["--ignored"] if "--ignored" in arguments else []), "--exact", *names]
        lines.append(f"echo 'VMTESTS {name}'; ./bin/{name} {shlex.join(arguments)} || status=1")
    return "\n".join([*lines, '(exit "$status")', ""])


def listed(test: Path, arguments: list[str]) -> list[str]:
    """The names of the tests that these arguments choose."""
    command = [test, "--list", "--format", "terse", *arguments]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.removesuffix(": test") for line in lines if line.endswith(": test")]


def command(words: list[str]) -> str:
    """The plan to run a command."""
    return f"{' '.join(words)}\n"
