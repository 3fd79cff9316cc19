"""The program and its tests as static executables, which run on the host and in every guest of their architecture alike."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import toolchain
from .architecture import Architecture

ROOT = Path(__file__).resolve().parents[2]

# The tests that need privileges or look at what the kernel does, and those in the libraries' own sources, which depend on a byte
# order: a package and its test.
TESTS = {
    "system": ("meshwire", "system"),
    "listing": ("meshwire", "listing"),
    "demo": ("meshwire", "demo"),
    "kernel": ("nftwire", "kernel"),
    "encoding": ("nftwire", "listing"),
    "nftwire": ("nftwire", "nftwire"),
    "ruleset": ("nft-ruleset", "nft_ruleset"),
    "meshwire": ("meshwire", "meshwire"),
}
PACKAGES = ("meshwire", "nftwire", "nft-ruleset")


@dataclass(frozen=True)
class Build:
    """What cargo has made."""

    program: Path
    tests: dict[str, Path]
    # Where the guests' logs stay.
    logs: Path


def build(cache: Path, architecture: Architecture) -> Build:
    environment = toolchain.environment(cache, architecture)
    metadata = cargo(environment, "metadata", "--format-version", "1", "--no-deps", "--offline", "--locked")
    target = Path(json.loads(metadata)["target_directory"])
    # As it is shipped, and where the tests of the image look for the same.
    folder = target / "tmp/static" / ("" if architecture.is_host else architecture.name)
    own = [] if architecture.is_host else ["--target", architecture.target]
    subprocess.run([ROOT / "dist/build", *own, "--out", folder], check=True, env=os.environ | environment)
    # Those in a library's own sources have its name, and come with --lib.
    wanted = [f"--test={test}" for package, test in TESTS.values() if test != package.replace("-", "_")]
    messages = cargo(
        environment | {"RUSTFLAGS": "-C target-feature=+crt-static", "CARGO_PROFILE_DEV_DEBUG": "0"},
        "test", "--no-run", *(part for package in PACKAGES for part in ("-p", package)), "--locked",
        "--target", architecture.target, "--message-format", "json-render-diagnostics", "--lib", *wanted,
    )  # fmt: skip
    made = {}
    for message in map(json.loads, messages.splitlines()):
        if message.get("executable") and message["profile"]["test"]:
            # "path+file:///…/netlink#nftwire@0.1.0", or without the name where the folder says it.
            package = next((name for name in PACKAGES[1:] if name in message["package_id"]), "meshwire")
            made[package, message["target"]["name"]] = Path(message["executable"])
    return Build(folder / "meshwire", {name: made[test] for name, test in TESTS.items()}, target / "vm-tests")


def cargo(environment: dict[str, str], *arguments: str) -> str:
    command = environment.get("CARGO") or os.environ.get("CARGO", "cargo")
    done = subprocess.run(
        [command, *arguments], cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"vm-tests: cargo {arguments[0]} failed")
    return done.stdout
