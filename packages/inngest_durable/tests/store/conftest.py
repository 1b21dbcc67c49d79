"""The stores under test, and another process that is in their way."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from inngest_durable.engines.embedded import pace
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.engines.store import Store
from inngest_durable.testing import MemoryStore

from packages.inngest_durable.tests.store.samples import Samples


@pytest.fixture
def samples() -> Samples:
    return Samples()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database that does not exist yet."""
    return tmp_path / "data" / "durable.db"


def commit_in_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every disk is slow: from the first commit on, batches go to the thread."""
    monkeypatch.setattr(pace, "_SLOW_SECONDS", -1.0)


def commit_on_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """No disk is slow, however busy this machine."""
    monkeypatch.setattr(pace, "_SLOW_SECONDS", math.inf)


STORES = ["memory", "sqlite-loop", "sqlite-thread"]


@pytest.fixture(params=STORES)
def new_store(
    request: pytest.FixtureRequest, path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], MemoryStore | SqliteStore]:
    """Makes the store under test, not yet open."""
    if request.param == "memory":
        return MemoryStore
    if request.param == "sqlite-thread":
        commit_in_thread(monkeypatch)
    else:
        commit_on_loop(monkeypatch)
    return lambda: SqliteStore(path)


@pytest.fixture
async def store(new_store: Callable[[], MemoryStore | SqliteStore]) -> AsyncIterator[Store]:
    """An open store of each kind."""
    store = new_store()
    store.open()
    # The first batch is always committed on the loop: from here on it is as the parameter says.
    await store.write()
    yield store
    await store.close()


@pytest.fixture
async def sqlite_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteStore]:
    """An open SQLite store that commits on the loop."""
    commit_on_loop(monkeypatch)
    store = SqliteStore(path)
    store.open()
    yield store
    await store.close()


class Holder:
    """Another process that holds the write lock of a database."""

    PROGRAM = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
connection.close()
"""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, path: Path) -> Holder:
        """Start the process; it holds the lock when this returns."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            cls.PROGRAM,
            str(path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"held\n"
        return cls(process)

    async def let_go(self) -> None:
        """Release the lock and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


@pytest.fixture
def hold() -> Callable[[Path], Any]:
    """Starts a `Holder`."""
    return Holder.start
