"""The program and its tests as static executables, which run on the host and in every guest alike."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = "x86_64-unknown-linux-gnu"

# The tests that need privileges or look at what the kernel does: a package and its test.
TESTS = {
    "system": ("meshwire", "system"),
    "listing": ("meshwire", "listing"),
    "demo": ("meshwire", "demo"),
    "kernel": ("nftwire", "kernel"),
    "encoding": ("nftwire", "listing"),
}


@dataclass(frozen=True)
class Build:
    """What cargo has made."""

    program: Path
    tests: dict[str, Path]
    # Where the guests' logs stay.
    logs: Path


def build() -> Build:
    metadata = cargo("metadata", "--format-version", "1", "--no-deps", "--offline", "--locked")
    target = Path(json.loads(metadata)["target_directory"])
    # As it is shipped, and where the tests of the image look for the same.
    folder = target / "tmp/static"
    subprocess.run([ROOT / "dist/build", "--out", folder], check=True)
    wanted = [part for _, test in TESTS.values() for part in ("--test", test)]
    messages = cargo(
        "test", "--no-run", "-p", "meshwire", "-p", "nftwire", "--locked", "--target", TARGET, "--message-format", "json", *wanted,
        RUSTFLAGS="-C target-feature=+crt-static", CARGO_PROFILE_DEV_DEBUG="0",
    )  # fmt: skip
    made = {}
    for message in map(json.loads, messages.splitlines()):
        if message.get("executable") and message["profile"]["test"]:
            # "path+file:///…/netlink#nftwire@0.1.0", or without the name where the folder says it.
            package = "nftwire" if "nftwire" in message["package_id"] else "meshwire"
            made[package, message["target"]["name"]] = Path(message["executable"])
    return Build(folder / "meshwire", {name: made[test] for name, test in TESTS.items()}, target / "vm-tests")


def cargo(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [os.environ.get("CARGO", "cargo"), *arguments],
        cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"vm-tests: cargo {arguments[0]} failed")
    return done.stdout
