"""Real processes on one file: they do not lose each other's writes, and a kill loses nothing that resolved."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path

import pytest
from inngest_durable.engines.embedded.store import SqliteStore

PROGRAM = Path(__file__).with_name("writing_process.py")


class Writer:
    """A process that writes until it is told to end, or is killed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._resolved: set[tuple[str, str]] = set()

    @classmethod
    async def start(cls, path: Path, name: str) -> Writer:
        """Start a process that writes to *path*; its store is open when this returns."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(PROGRAM), str(path), name),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"open\n"
        return cls(process)

    async def writes(self, count: int) -> None:
        """Return when so many further writes have resolved."""
        assert self.process.stdout is not None
        for _ in range(count):
            self._note(await self.process.stdout.readline())

    async def end(self) -> set[tuple[str, str]]:
        """Let the process end, unless it was killed; return run and step of each write that it saw resolved."""
        output, _ = await self.process.communicate(b"")
        for line in output.splitlines(keepends=True):
            self._note(line)
        return self._resolved

    def _note(self, line: bytes) -> None:
        run_id, space, key = line.decode().partition(" ")
        # Who is killed may leave half a line.
        if space and key.endswith("\n"):
            self._resolved.add((run_id, key.rstrip()))


def stored(path: Path) -> set[tuple[str, str]]:
    """Return run and step of each memo that is in the database."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return set(connection.execute("SELECT run_id, key FROM steps").fetchall())
    finally:
        connection.close()


async def test_two_processes_write_to_one_file(path: Path) -> None:
    first, second = await asyncio.gather(Writer.start(path, "x"), Writer.start(path, "y"))
    await asyncio.gather(first.writes(60), second.writes(60))
    written = await asyncio.gather(first.end(), second.end())

    assert (first.process.returncode, second.process.returncode) == (0, 0)
    assert stored(path) == written[0] | written[1]


async def test_processes_that_make_the_same_file_at_once_agree(path: Path) -> None:
    writers = await asyncio.gather(*(Writer.start(path, name) for name in "abcdef"))
    for writer in writers:
        await writer.end()

    assert [writer.process.returncode for writer in writers] == [0] * 6


@pytest.mark.parametrize("delay", [0.05, 0.11, 0.23, 0.31])
async def test_kill_loses_nothing_that_resolved(path: Path, delay: float) -> None:
    killed = await Writer.start(path, "x")
    await killed.writes(1)
    await asyncio.sleep(delay)
    killed.process.kill()
    acknowledged = await killed.end()
    store = SqliteStore(path)
    store.open()
    orphans = store.orphans([f"x{number}" for number in range(8)])
    await store.close()

    assert acknowledged <= stored(path)
    assert len(orphans) <= 16


async def test_kill_of_one_process_leaves_the_other_writing(path: Path) -> None:
    survivor, killed = await asyncio.gather(Writer.start(path, "x"), Writer.start(path, "y"))
    await asyncio.gather(survivor.writes(60), killed.writes(60))
    killed.process.kill()
    lost = await killed.end()
    await survivor.writes(60)
    kept = await survivor.end()

    assert survivor.process.returncode == 0
    assert lost | kept <= stored(path)
