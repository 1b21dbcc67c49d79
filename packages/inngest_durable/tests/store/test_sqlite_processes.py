"""Real processes on one file: they do not lose each other's writes, and a kill loses nothing that resolved."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path

import pytest
from inngest_durable.engines.embedded.store import SqliteStore

PROGRAM = Path(__file__).with_name("writing_process.py")


async def start(path: Path, name: str, seconds: float) -> asyncio.subprocess.Process:
    """Start a process that writes to *path* for *seconds*; its store is open when this returns."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), str(path), name, str(seconds), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"open\n"
    return process


async def resolved(process: asyncio.subprocess.Process) -> set[tuple[str, str]]:
    """Return run and step of each write the process saw resolved, once it has ended."""
    output, _ = await process.communicate()
    lines = [line.split(" ") for line in output.decode().split("\n") if line.count(" ") == 1]
    return {(run_id, key) for run_id, key in lines}


def stored(path: Path) -> set[tuple[str, str]]:
    """Return run and step of each memo that is in the database."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return set(connection.execute("SELECT run_id, key FROM steps").fetchall())
    finally:
        connection.close()


async def test_two_processes_write_to_one_file(path: Path) -> None:
    first, second = await asyncio.gather(start(path, "x", 0.5), start(path, "y", 0.5))
    written = await asyncio.gather(resolved(first), resolved(second))

    assert (first.returncode, second.returncode) == (0, 0)
    assert min(len(part) for part in written) > 8
    assert stored(path) == written[0] | written[1]


async def test_processes_that_make_the_same_file_at_once_agree(path: Path) -> None:
    processes = await asyncio.gather(*(start(path, name, 0.05) for name in "abcdef"))
    for process in processes:
        await process.communicate()

    assert [process.returncode for process in processes] == [0] * 6


@pytest.mark.parametrize("delay", [0.05, 0.11, 0.23, 0.31])
async def test_kill_loses_nothing_that_resolved(path: Path, delay: float) -> None:
    killed = await start(path, "x", 30)
    assert killed.stdout is not None
    await killed.stdout.readline()
    await asyncio.sleep(delay)
    killed.kill()
    acknowledged = await resolved(killed)
    store = SqliteStore(path)
    store.open()
    orphans = store.orphans([f"x{number}" for number in range(8)])
    await store.close()

    assert acknowledged
    assert acknowledged <= stored(path)
    assert len(orphans) <= 16


async def test_kill_of_one_process_leaves_the_other_writing(path: Path) -> None:
    survivor, killed = await asyncio.gather(start(path, "x", 1.0), start(path, "y", 30))
    await asyncio.sleep(0.3)
    killed.kill()
    lost, kept = await resolved(killed), await resolved(survivor)

    assert survivor.returncode == 0
    assert lost | kept <= stored(path)
