"""A disk that is said to be full takes no write, and takes them again when it is freed."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.disk import LimitedFiles, SmallDisk, database_in

# Writes a page to the end of the file for each line that it reads, and says what came of it.
WRITER = """
import sys
with open(sys.argv[1], "ab", buffering=0) as file:
    for _ in sys.stdin:
        try:
            print(file.write(bytes(4096)), flush=True)
        except OSError as error:
            print(-error.errno, flush=True)
"""


class Writer(subprocess.Popen[str]):
    """A process that writes to the end of a file."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-c", WRITER, str(path)]
        super().__init__(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def write(self) -> int:
        """Let it write a page; return how many bytes it could write, or the negative error."""
        assert self.stdin is not None
        assert self.stdout is not None
        self.stdin.write("\n")
        self.stdin.flush()
        return int(self.stdout.readline())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Name the log of the database, which is not there yet."""
    return Path(f"{database_in(tmp_path)}-wal")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    try:
        disk = SmallDisk(tmp_path, 1)
    except PermissionError:
        pytest.skip("no permission to mount a file system")
    try:
        yield disk
    finally:
        if database_in(tmp_path).parent.is_mount():
            disk.close()


def test_small_disk_is_full_until_it_is_freed(small_disk: SmallDisk, log: Path) -> None:
    with Writer(log) as writer:
        assert writer.write() == 4096
        small_disk.fill()
        assert writer.write() == -errno.ENOSPC
        small_disk.free()
        assert writer.write() == 4096


def test_small_disk_leaves_its_files_in_an_ordinary_folder(small_disk: SmallDisk, log: Path) -> None:
    log.write_bytes(b"committed")
    small_disk.fill()
    small_disk.close()

    assert not log.parent.is_mount()
    assert [(path.name, path.read_bytes()) for path in log.parent.iterdir()] == [(log.name, b"committed")]


@pytest.mark.skipif(sys.platform != "linux", reason="another process is limited by means of Linux")
def test_limited_file_does_not_grow_until_it_is_freed(tmp_path: Path, log: Path) -> None:
    pids: list[int] = []
    disk = LimitedFiles(tmp_path, lambda: pids)
    with Writer(log) as writer:
        pids.append(writer.pid)
        assert writer.write() == 4096
        disk.fill()
        assert writer.write() == -errno.EFBIG
        disk.free()
        assert writer.write() == 4096
