"""The program and its tests: as static executables, which run on the host and in every guest of their architecture alike,
unless the guest has the host's file system."""

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
    "nft": ("meshwire", "nft"),
    "kernel": ("nftwire", "kernel"),
    "encoding": ("nftwire", "listing"),
    "nftwire": ("nftwire", "nftwire"),
    "ruleset": ("nft-ruleset", "nft_ruleset"),
    "meshwire": ("meshwire", "meshwire"),
}
PACKAGES = ("meshwire", "nftwire", "nft-ruleset")


@dataclass(frozen=True)
class Order:
    """What is to be made."""

    # Of `TESTS`.
    tests: frozenset[str]
    # The program as it is shipped, or as its tests have it, which takes less time to build.
    is_release: bool
    # Where the guest has the host's libraries, the tests are those of the host, and built for it already.
    is_static: bool


@dataclass(frozen=True)
class Build:
    """What cargo has made."""

    # None where no test starts it.
    program: Path | None
    tests: dict[str, Path]
    # Where the guests' logs stay.
    logs: Path


def build(cache: Path, architecture: Architecture, order: Order) -> Build:
    environment = toolchain.environment(cache, architecture)
    metadata = cargo(environment, "metadata", "--format-version", "1", "--no-deps", "--offline", "--locked")
    target = Path(json.loads(metadata)["target_directory"])
    program = None
    if order.is_release:
        # As it is shipped, and where the tests of the image look for the same.
        folder = target / "tmp/static" / ("" if architecture.is_host else architecture.name)
        own = [] if architecture.is_host else ["--target", architecture.target]
        subprocess.run([ROOT / "dist/build", *own, "--out", folder], check=True, env=os.environ | environment)
        program = folder / "meshwire"
    is_missing = order.tests or not program
    messages = cargo(environment | made_so(order), *arguments(architecture, order)) if is_missing else ""
    made = {}
    for message in map(json.loads, messages.splitlines()):
        if not message.get("executable"):
            continue
        # "path+file:///…/netlink#nftwire@0.1.0", or without the name where the folder says it.
        package = next((name for name in PACKAGES[1:] if name in message["package_id"]), "meshwire")
        if message["profile"]["test"]:
            made[package, message["target"]["name"]] = Path(message["executable"])
        elif message["target"]["name"] == "meshwire":
            program = program or Path(message["executable"])
    return Build(program, {name: made[TESTS[name]] for name in order.tests}, target / "vm-tests")


def made_so(order: Order) -> dict[str, str]:
    static = {"RUSTFLAGS": "-C target-feature=+crt-static", "CARGO_PROFILE_DEV_DEBUG": "0"}
    return static if order.is_static else {}


def arguments(architecture: Architecture, order: Order) -> list[str]:
    """Of cargo, which makes the tests, or where there are none, the program."""
    if not order.tests:
        where = ["--package=meshwire", "--target", architecture.target] if order.is_static else ["--workspace"]
        return ["build", *where, "--bin=meshwire", "--locked", "--message-format", "json-render-diagnostics"]
    chosen = [TESTS[name] for name in sorted(order.tests)]
    if order.is_static:
        packages = sorted({package for package, _ in chosen})
        where = [*(f"--package={package}" for package in packages), "--target", architecture.target]
    else:
        # Of fewer packages, others' features would be left out, and everything be built once more.
        where = ["--workspace"]
    # Those in a library's own sources have its name, and come with --lib.
    is_own = [test == package.replace("-", "_") for package, test in chosen]
    kinds = [f"--test={test}" for (_, test), own in zip(chosen, is_own) if not own] + ["--lib"] * any(is_own)
    return ["test", "--no-run", *where, *kinds, "--locked", "--message-format", "json-render-diagnostics"]


def cargo(environment: dict[str, str], *arguments: str) -> str:
    command = environment.get("CARGO") or os.environ.get("CARGO", "cargo")
    done = subprocess.run(
        [command, *arguments], cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"vm-tests: cargo {arguments[0]} failed")
    return done.stdout
