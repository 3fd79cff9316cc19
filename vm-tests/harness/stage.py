"""The folder that every guest gets, with the program and its tests, and the plan of what to run."""

import shlex
import shutil
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


def tests(guest: Guest, only: str | None) -> str:
    """The plan to run the guest's tests, or those of them whose names contain `only`."""
    lines = ["status=0"]
    for line in guest.tests:
        name, *arguments = shlex.split(line)
        if only and "--exact" in arguments:
            continue
        words = shlex.join([*arguments, *([only] if only else [])])
        lines.append(f"echo 'VMTESTS {name}'; ./bin/{name} {words} || status=1")
    return "\n".join([*lines, '(exit "$status")', ""])


def command(words: list[str]) -> str:
    """The plan to run a command."""
    return f"{' '.join(words)}\n"
