"""Packages of any Debian suite, by the machine's own apt and from its own sources, without touching what it has.

Each suite has an apt configuration of its own, in which nothing is installed. What was downloaded is kept, unpacked.
"""

import fnmatch
import hashlib
import re
import shutil
import subprocess
import tempfile
import time
import urllib.parse
from pathlib import Path

# Lists of packages that are older are fetched again, in seconds.
LISTS_KEEP = 6 * 3600


class Vanished(Exception):
    """The suite, or the package in it, is not to be had."""


class Suite:
    """One suite of one of Debian's archives, for one architecture."""

    def __init__(self, cache: Path, archive: str, suite: str, architecture: str = "amd64") -> None:
        self.name = suite
        self.architecture = architecture
        self.trees = cache / "trees"
        self.folder = cache / "apt" / f"{suite}-{architecture}"
        for folder in (self.trees, self.folder / "state/lists/partial", self.folder / "cache/archives/partial"):
            folder.mkdir(parents=True, exist_ok=True)
        # Nothing is installed here.
        (self.folder / "status").touch()
        site, signed_by = source_of(archive)
        options = f"[signed-by={signed_by}] " if signed_by else ""
        (self.folder / "sources.list").write_text(f"deb {options}{site} {suite} main\n")
        self.update()

    def update(self) -> None:
        """Fetches the lists of packages unless that was done lately. Where it cannot be done, those of the last time serve."""
        stamp = self.folder / "updated"
        if stamp.exists() and time.time() - stamp.stat().st_mtime < LISTS_KEEP:
            return
        try:
            self.apt("apt-get", "-qq", "--error-on=any", "update")
        except Vanished as reason:
            if not stamp.exists():
                raise
            print(f"vm-tests: older lists of {self.name} for {self.architecture} are used: {reason}")
        else:
            stamp.touch()

    def concrete(self, package: str) -> list[str]:
        """The packages that hold the kernel of a meta package, or of a pattern's highest version.

        From 6.19 on the image's own package is empty, and linux-binary and linux-modules hold what it had.
        """
        if "*" in package:
            names = fnmatch.filter(self.apt("apt-cache", "pkgnames", package.split("*")[0]).split(), package)
            if not names:
                raise Vanished(f"no {package} in {self.name}")
            package = max(names, key=by_version)
        found = [package]
        for name in found:
            depends = self.apt("apt-cache", "depends", "--important", name)
            found += [word for word in re.findall(r"Depends: (linux-\w+-\d\S+)", depends) if word not in found]
        return [name for name in found if re.match(r"linux-(image|binary|modules)-\d+\.\d+\.\d", name)]

    def alone(self, names: list[str]) -> list[Path]:
        """These packages, unpacked, each into a folder of its own."""
        return self.unpacked("download", *names)

    def with_dependencies(self, names: list[str]) -> list[Path]:
        """These packages and all that they depend on, unpacked, each into a folder of its own."""
        return self.unpacked("install", "--no-install-recommends", *names)

    def unpacked(self, *command: str) -> list[Path]:
        """The packages that this command of apt-get would download. The folder's name has the checksum of what was
        unpacked there."""
        # 'URI' FILE SIZE SHA256:SUM, one a line
        announced = self.apt("apt-get", "-qq", "--print-uris", *command)
        found = re.findall(r"^'[^']+' (\S+) \d+ SHA256:(\S+)$", announced, re.MULTILINE)
        trees = {self.trees / f"{file}-{sum[:16]}": (file, sum) for file, sum in found}
        missing = {tree: package for tree, package in trees.items() if not tree.exists()}
        if missing:
            with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
                self.download([file for file, _ in missing.values()], Path(scratch))
                for tree, (file, sum) in missing.items():
                    unpack(Path(scratch) / file, sum, tree)
        return list(trees)

    def download(self, files: list[str], folder: Path) -> None:
        """Puts these packages there, in just these versions."""
        split = (urllib.parse.unquote(file).split("_") for file in files)
        self.apt("apt-get", "-qq", "download", *(f"{name}={version}" for name, version, _ in split), cwd=folder)

    def apt(self, command: str, *arguments: str, cwd: Path | None = None) -> str:
        options = {
            "Dir::Etc::SourceList": self.folder / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State": self.folder / "state",
            "Dir::State::Status": self.folder / "status",
            "Dir::Cache": self.folder / "cache",
            "APT::Architecture": self.architecture,
            "APT::Architectures": self.architecture,
            "Acquire::Languages": "none",
            "Acquire::ForceHash": "SHA256",
            "Acquire::Retries": "3",
            # The download folder need not be open to apt's own user.
            "APT::Sandbox::User": "root",
        }
        options = [f"-o{name}={value}" for name, value in options.items()]
        done = subprocess.run([command, *options, *arguments], cwd=cwd, capture_output=True, text=True)
        if done.returncode != 0:
            reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[:1]
            raise Vanished(f"{self.name}: {command} {arguments[-1]}: {' '.join(reason)}")
        return done.stdout


def source_of(archive: str) -> tuple[str, str]:
    """Where the machine has this archive of Debian's from, and the keys that it trusts for it."""
    form = "$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(SIGNED_BY)"
    targets = subprocess.run(["apt-get", "indextargets", "--format", form], capture_output=True, text=True, check=True)
    for line in targets.stdout.splitlines():
        origin, label, site, signed_by = line.split("|")
        if (origin, label) == ("Debian", archive):
            return site, "" if signed_by.startswith("$") else signed_by
    raise Vanished(f"this machine has no apt source of the archive {archive} (after apt-get update)")


def unpack(package: Path, sha256: str, tree: Path) -> None:
    with package.open("rb") as opened:
        if hashlib.file_digest(opened, "sha256").hexdigest() != sha256:
            raise Vanished(f"{package.name} is not what the list of packages says")
    half_done = tree.with_name(f"{tree.name}.part")
    shutil.rmtree(half_done, ignore_errors=True)
    subprocess.run(["dpkg-deb", "-x", package, half_done], check=True)
    half_done.rename(tree)


def by_version(name: str) -> list[tuple[bool, int | str]]:
    """Numbers in the order of numbers."""
    return [(part.isdigit(), int(part) if part.isdigit() else part) for part in re.split(r"(\d+)", name)]
