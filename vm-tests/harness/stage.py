"""The folders that guests get, one for each architecture, with the program and its tests, and the plan of what to run."""

import shlex
import shutil
from pathlib import Path

from .build import ROOT, Build
from .kernel import Guest

# What tests read.
FOLDERS = ("tests/corpus", "docs", "deploy")


def fill(folder: Path, builds: dict[str, Build]) -> None:
    # Others than root run things in here.
    folder.chmod(0o755)
    for architecture, build in builds.items():
        own = folder / architecture
        (own / "bin").mkdir(parents=True)
        shutil.copy(Path(__file__).resolve().parents[1] / "guest/run", own)
        if build.program:
            shutil.copy(build.program, own / "meshwire")
        for name, test in build.tests.items():
            shutil.copy(test, own / "bin" / name)
        for read in FOLDERS:
            shutil.copytree(ROOT / read, own / read)


# Comes before a plan of short tests: properties are tried with few inputs, for each of which an emulated guest takes long.
FEW_INPUTS = "export PROPTEST_CASES=16\n"


def tests(guest: Guest, only: list[str] | None) -> str:
    """The plan to run the guest's tests, or those of them whose names contain one of `only`."""
    lines = ["status=0"]
    patterns = " ".join(f"-e {shlex.quote(part)}" for part in only or [])
    for line in guest.tests:
        name, *arguments = shlex.split(line)
        run = f"./bin/{name} {shlex.join(arguments)}"
        if only:
            # Names on a test's command line add up, and do not narrow each other.
            ignored = "--ignored" if "--ignored" in arguments else ""
            lines += [
                f"names=$({run} --list --format terse | sed -n 's/: test$//p' | grep -F {patterns})",
                f"[ -z \"$names\" ] || {{ echo 'VMTESTS {name}'; ./bin/{name} {ignored} --exact $names || status=1; }}",
            ]
        else:
            lines.append(f"echo 'VMTESTS {name}'; {run} || status=1")
    return "\n".join([*lines, '(exit "$status")', ""])


def command(words: list[str]) -> str:
    """The plan to run a command."""
    return f"{' '.join(words)}\n"
