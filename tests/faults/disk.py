"""A small disk that can be filled: a tmpfs of its own."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path


class SmallDisk:
    """`with SmallDisk(folder, megabytes) as disk:` mounts one; whoever may not mount is told how to."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._megabytes = megabytes
        self._filler = folder / ".filler"

    def mount(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={self._megabytes}m", "tmpfs", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PermissionError(
                f"a small disk cannot be mounted ({done.stderr.strip()}). The fault harness needs root, or user "
                "namespaces (unshare -rm), to fill a disk."
            )

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)

    def fill(self) -> None:
        """Take all room that is left."""
        with self._filler.open("ab", buffering=0) as stream:
            for size in (1 << 20, 1 << 12):
                block = bytes(size)
                while True:
                    try:
                        stream.write(block)
                    except OSError as error:
                        if error.errno != errno.ENOSPC:
                            raise
                        break

    def free(self) -> None:
        """Give it back."""
        self._filler.unlink(missing_ok=True)

    @property
    def bytes_left(self) -> int:
        stat = os.statvfs(self.folder)
        return stat.f_bavail * stat.f_frsize


def may_mount() -> bool:
    """Whether this process may mount, as root or inside a user namespace of its own."""
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


def with_mounts(command: list[str]) -> list[str]:
    """The command, run where it may mount: in namespaces of its own, so that nothing mounted stays behind."""
    return ["unshare", *(() if may_mount() else ("-r",)), "-m", *command]
