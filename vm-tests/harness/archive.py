"""A root file system for a guest, as the archive that the kernel unpacks at boot (cpio's `newc`,
Documentation/driver-api/early-userspace/buffer-format.rst)."""

import os
import stat
from pathlib import Path


class Archive:
    """Files, links and folders; everything belongs to root, and every folder is open to all: the pod's users have to
    reach what they run."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.folders: set[str] = set()

    def folder(self, path: str) -> None:
        path = path.strip("/")
        if path and path not in self.folders:
            self.folder(os.path.dirname(path))
            self.folders.add(path)
            self.entry(path, stat.S_IFDIR | 0o755, b"")

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self.folder(os.path.dirname(path))
        self.entry(path.strip("/"), stat.S_IFREG | mode, content)

    def program(self, path: str, source: Path) -> None:
        self.file(path, source.read_bytes(), 0o755)

    def link(self, path: str, target: str) -> None:
        self.folder(os.path.dirname(path))
        self.entry(path.strip("/"), stat.S_IFLNK | 0o777, target.encode())

    def tree(self, path: str, source: Path) -> None:
        """All files below a folder, as executable as they are."""
        for file in sorted(source.rglob("*")):
            if file.is_file():
                mode = 0o755 if os.access(file, os.X_OK) else 0o644
                self.file(f"{path}/{file.relative_to(source)}", file.read_bytes(), mode)

    def write(self, target: Path, *before: Path) -> None:
        """Writes the archive after others: the kernel takes several in one file."""
        self.entry("TRAILER!!!", 0, b"")
        with target.open("wb") as out:
            for earlier in before:
                out.write(earlier.read_bytes())
            out.writelines(self.parts)

    def entry(self, path: str, mode: int, content: bytes) -> None:
        name = path.encode() + b"\0"
        # Inode, mode, owner, group, links, time, size, four numbers of devices, length of the name, checksum.
        numbers = [len(self.parts) + 1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0]
        header = b"070701" + b"".join(b"%08X" % number for number in numbers)
        self.parts.append(padded(header + name) + padded(content))


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)
