"""The architectures that guests have."""

import platform
from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """What differs between machines, in everybody's words."""

    # Debian's, as of its packages.
    name: str
    # The kernel's (uname -m), of which QEMU's name and Rust's are made.
    machine: str
    # The package that has the emulator.
    qemu_package: str
    # How the emulated machine is made: its board, and a console and a second line that write into these files.
    board: tuple[str, ...]
    # The kernel's console, and the line on which the guest says how the tests went.
    console: str
    output: str
    # Where programs expect their loader.
    loader: str

    @property
    def qemu(self) -> str:
        return f"qemu-system-{self.machine}"

    @property
    def libraries(self) -> str:
        """Debian's folder of libraries, and the beginning of its cross tools' names."""
        return f"{self.machine}-linux-gnu"

    @property
    def target(self) -> str:
        """Rust's name."""
        return f"{self.machine}-unknown-linux-gnu"

    @property
    def is_host(self) -> bool:
        return self.machine == platform.machine()


ARCHITECTURES = {
    one.name: one
    for one in [
        Architecture(
            "amd64", "x86_64", "qemu-system-x86",
            ("-M", "q35", "-serial", "file:{console}", "-serial", "file:{output}"),
            "ttyS0", "/dev/ttyS1", "/lib64/ld-linux-x86-64.so.2",
        ),
        # These have a single line, which the kernel keeps out of as long as nothing goes wrong.
        Architecture(
            "arm64", "aarch64", "qemu-system-arm",
            ("-M", "virt", "-serial", "file:{output}"),
            "ttyAMA0", "/dev/console", "/lib/ld-linux-aarch64.so.1",
        ),
        Architecture(
            "s390x", "s390x", "qemu-system-misc",
            ("-M", "s390-ccw-virtio", "-chardev", "file,id=line,path={output}", "-device", "sclpconsole,chardev=line"),
            "ttysclp0", "/dev/console", "/lib/ld64.so.1",
        ),
    ]
}  # fmt: skip
