"""A Rust toolchain that can build for a guest's architecture."""

import os
import shutil
import subprocess
from pathlib import Path

from .apt import Suite
from .architecture import Architecture

# Debian's rustc, and its standard library of the same version for other architectures. The compiler has to start on Debian 12,
# and s390x is in no security suite.
COMPILER = ("Debian-Security", "bookworm-security")
COMPILER_PACKAGES = ["rustc-web", "cargo-web", "libstd-rust-web-1.96", "libstd-rust-web-dev", "libllvm22"]
LIBRARIES = ("Debian", "bookworm")
LIBRARIES_PACKAGES = [
    "libgit2-1.5", "libmbedtls14", "libmbedcrypto7", "libmbedx509-1", "libssh2-1", "libhttp-parser2.9",
]  # fmt: skip
STANDARD_LIBRARY = {"arm64": COMPILER, "s390x": ("Debian", "trixie")}


def environment(cache: Path, architecture: Architecture) -> dict[str, str]:
    """The environment in which `cargo` builds for this architecture: the machine's own toolchain where it has the target
    (`rustup target add`), otherwise Debian's."""
    linker = f"CARGO_TARGET_{architecture.target.upper().replace('-', '_')}_LINKER"
    cross = {} if architecture.is_host else {linker: f"{architecture.libraries}-gcc"}
    command = ["rustc", "--print", "target-libdir", "--target", architecture.target]
    own = subprocess.run(command, capture_output=True, text=True)
    if own.returncode == 0 and Path(own.stdout.strip()).is_dir():
        return cross
    root = debian(cache, architecture)
    return cross | {
        "PATH": f"{root}/usr/bin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{root}/usr/lib/x86_64-linux-gnu",
        "RUSTC": f"{root}/usr/bin/rustc",
        "CARGO": f"{root}/usr/bin/cargo",
    }


def debian(cache: Path, architecture: Architecture) -> Path:
    """Debian's toolchain with the standard library of this architecture, in one tree."""
    own = Suite(cache, *COMPILER).alone(COMPILER_PACKAGES) + Suite(cache, *LIBRARIES).alone(LIBRARIES_PACKAGES)
    foreign = Suite(cache, *STANDARD_LIBRARY[architecture.name], architecture.name).alone(["libstd-rust-web-dev"])
    root = cache / "toolchains" / "-".join(sorted(tree.name[-16:] for tree in foreign))
    if not root.exists():
        half_done = root.with_suffix(".part")
        shutil.rmtree(half_done, ignore_errors=True)
        for tree in [*own, *foreign]:
            shutil.copytree(tree, half_done, symlinks=True, dirs_exist_ok=True)
        half_done.rename(root)
    return root
