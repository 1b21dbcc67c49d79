"""The disk that the database is on, which can be made full: a small one of its own, or files that may not grow."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

_BLOCKS = (1024 * 1024, 4096)


def database_in(folder: Path) -> Path:
    """Return the database of the workers in *folder*."""
    return folder / "disk" / "durable.db"


class Disk(Protocol):
    """
    A disk that can be full.

    Attributes:
        title: What it is, for the report.
    """

    title: str

    def fill(self) -> None:
        """Let every write fail from here on."""

    def free(self) -> None:
        """Let writes succeed again; harmless when they do."""

    def close(self) -> None:
        """Leave what is on it in an ordinary folder."""


class SmallDisk:
    """
    A file system in memory, and a file that takes all that is left of it. Only root may mount one.

    Args:
        folder: Of the workers.
        mebibytes: Its size.

    Raises:
        PermissionError: It cannot be mounted here.
    """

    def __init__(self, folder: Path, mebibytes: int) -> None:
        self._place = database_in(folder).parent
        self._filler = self._place / "filler"
        self._place.mkdir(mode=0o700)
        self.title = f"a file system of {mebibytes} MiB in memory"
        command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=700", "none", str(self._place)]
        if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
            self._place.rmdir()
            raise PermissionError("no permission to mount a file system")

    def fill(self) -> None:
        """Let every write fail from here on."""
        with self._filler.open("wb", buffering=0) as filler:
            for size in _BLOCKS:
                try:
                    while filler.write(bytes(size)):
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """Let writes succeed again."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Copy what is on it, unmount it, and put the copy in its place."""
        self.free()
        copy = self._place.with_name("disk-copy")
        try:
            shutil.copytree(self._place, copy)
        finally:
            subprocess.run(["umount", "--lazy", str(self._place)], check=True)
        self._place.rmdir()
        copy.rename(self._place)


class LimitedFiles:
    """
    The ordinary disk, on which the workers may not make any file longer than the database's log is (RLIMIT_FSIZE).

    Args:
        folder: Of the workers.
        pids: Gives the processes of the workers that live.
    """

    title = "files that may not grow"

    def __init__(self, folder: Path, pids: Callable[[], Iterable[int]]) -> None:
        self._database = database_in(folder)
        self._database.parent.mkdir(mode=0o700)
        self._pids = pids

    def fill(self) -> None:
        """Let every write to the end of the log fail from here on."""
        log = Path(f"{self._database}-wal")
        self._limit(log.stat().st_size if log.exists() else 0)

    def free(self) -> None:
        """Let writes succeed again."""
        self._limit(resource.RLIM_INFINITY)

    def close(self) -> None:
        """Do nothing: it is an ordinary folder."""

    def _limit(self, size: int) -> None:
        for pid in self._pids():
            try:
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
            except ProcessLookupError:
                # A limit dies with its process.
                continue
