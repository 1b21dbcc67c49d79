"""
The SQLite store: one file in WAL mode, one connection that writes, one that reads, one that checkpoints the log.

Reads happen on the loop: they are short, and in WAL mode no writer makes them wait. Writes go through `writer`.
Used by the embedded engine; it knows nothing of passes, timers or workers.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from ..._core.model import Memo, Run, RunStatus
from ..._core.run_events import START_NUMBER, RunEvent, start_of
from ..._threads import call_apart
from ...errors import StoreError
from ..records import Write
from ..store import CommitListener, DueRun
from ..told import run_event_from
from .checkpointer import Checkpointer
from .database import UNREADABLE, Database, Synchronous
from .forks import forks
from .queries import QUERIES
from .rows import memo_from, run_from
from .writer import Writer

# A reader is locked out only while another process replays the log of one that died.
_READ_BUSY_SECONDS = 2.0
# A checkpoint that waits for a reader holds up the writers.
_CHECKPOINT_BUSY_SECONDS = 0.05
_CLOSE_SECONDS = 5.0


class ListedRun(Struct, frozen=True):
    """A run as lists show it; *error* is the class name of what failed it."""

    id: str
    app_id: str
    endpoint: str
    status: str
    attempt: int
    created_at: float
    ended_at: float | None
    wake_at: float | None
    error: str | None


class Wait(Struct, frozen=True):
    """What a step waits for: *kind* is ``event``, ``signal`` or ``run``, and *name* says which."""

    key: str
    kind: str
    name: str


class SqliteStore:
    """
    Runs and journals in one SQLite file.

    Args:
        path: The database file. It is created with permissions 0600, and its folder, if missing, with 0700.
        synchronous: ``"FULL"`` (a power loss loses nothing that was resolved) or ``"NORMAL"`` (the death of the
            process loses nothing; about twice as fast for one client).
        run_events: Whether to write what happens in runs, for those who follow them.

    Attributes:
        path: The database file.
        secret: 32 random bytes made with the file; known after `open`.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, synchronous: Synchronous = "FULL", run_events: bool = True
    ) -> None:
        self.path = Path(path)
        self._tells = run_events
        self.secret = b""
        self._database = Database(self.path, synchronous)
        self._writer: Writer | None = None
        self._reader: sqlite3.Connection | None = None
        self._checkpointer: Checkpointer | None = None

    @property
    def on_commit(self) -> CommitListener | None:
        """Called on the loop with the writes of each group that this process has committed."""
        return self._writer.on_commit if self._writer else None

    @on_commit.setter
    def on_commit(self, listener: CommitListener | None) -> None:
        if self._writer is not None:
            self._writer.on_commit = listener

    @property
    def failing(self) -> str | None:
        """Why nothing can be written at the moment (disk full, I/O error), or None."""
        return self._writer.failing if self._writer else None

    def open(self, *, must_be_current: bool = False) -> None:
        """
        Create the database, or connect to it; only connect to it if it *must_be_current*.

        Raises:
            StoreError: The file cannot be opened, is not a database of this package, or is from a newer version.
        """
        if must_be_current:
            self._database.check_current()
        connection, self.secret = self._database.open()
        with forks:
            self._reader = self._database.connect(_READ_BUSY_SECONDS)
            checkpoints = self._database.connect(_CHECKPOINT_BUSY_SECONDS)
        self._checkpointer = Checkpointer(checkpoints, self._database.log_bytes())
        self._writer = Writer(connection, self._checkpointer, self._tells)

    async def close(self) -> None:
        """
        Commit what is queued, then close. The store may be opened again, on another event loop too.

        A database that cannot be written for 5 s is given up: what was queued fails with `StoreError`.
        """
        writer, reader, checkpointer = self._writer, self._reader, self._checkpointer
        if writer is None or reader is None or checkpointer is None:
            return
        await writer.close(_CLOSE_SECONDS)
        self._writer = self._reader = self._checkpointer = None
        with forks:
            reader.close()
        # The last connection to a file moves its log into it, which may take a while.
        await call_apart("inngest close", checkpointer.close)

    def write(self, *writes: Write, lazy: bool = False) -> asyncio.Future[None]:
        """
        Queue *writes* for the next group commit, in this order and in one commit; resolves when durable.

        A *lazy* write does not start a commit: it goes with the next one, or alone after 10 ms.

        The first write whose guard does not hold fails the group with `FencedError`; those after it are not written.
        A memo that is final is never overwritten: saving it again is fenced too. Nothing is logged when the future
        is not awaited.
        """
        if self._writer is None:
            raise StoreError("the store is not open")
        return self._writer.write(*writes, lazy=lazy)

    def run(self, run_id: str) -> Run | None:
        """Return a run, or None."""
        rows = self._read("run", run_id)
        return run_from(rows[0]) if rows else None

    def find(self, scope: str, key: str) -> Run | None:
        """Return the run that was inserted with this idempotency scope and key, or None."""
        rows = self._read("find", scope, key)
        return self.run(rows[0][0]) if rows else None

    def status(self, run_id: str) -> RunStatus | None:
        """Return a run's status; None if it is unknown."""
        rows = self._read("status", run_id)
        return RunStatus(rows[0][0]) if rows else None

    def cancelled(self, run_ids: Collection[str]) -> set[str]:
        """Return those of these runs that were cancelled."""
        return {run_id for (run_id,) in self._read("cancelled", json.dumps([*run_ids]))}

    def memoized(self, run_id: str) -> tuple[str, ...]:
        """Return the keys of a run's memoized steps, in the order they were first recorded."""
        return tuple(key for (key,) in self._read("memoized", run_id))

    def run_events(self, run_id: str, after: int, limit: int) -> list[RunEvent]:
        """Return what happened in a run, except its end: the first events numbered above *after*."""
        found = [run_event_from(run_id, row) for row in self._read("run_events", run_id, after, run_id, after, limit)]
        if after < START_NUMBER and self._tells and (run := self.run(run_id)) is not None:
            worker, pid = self._read("starter", run_id)[0]
            found.insert(0, start_of(run, worker or "", pid))
        return found[:limit]

    def memos(self, run_id: str) -> list[Memo]:
        """Return the journal of a run in the order its steps were first recorded."""
        return [memo_from(row) for row in self._read("memos", run_id)]

    def memo(self, run_id: str, key: str) -> Memo | None:
        """Return the memo of one step, or None."""
        rows = self._read("memo", run_id, key)
        return memo_from(rows[0]) if rows else None

    def arrived(self) -> list[tuple[str, str]]:
        """Return the steps of running runs, as run ID and key, that were completed by what they waited for."""
        return self._read("arrived")

    def oldest_event(self) -> float | None:
        """Return when the oldest event was received, in seconds since the epoch; None if there is none."""
        ((oldest,),) = self._read("oldest_event")
        return oldest  # type: ignore[no-any-return]  # a REAL or NULL

    def due(self, app_id: str, before: float, limit: int) -> list[DueRun]:
        """Return waiting runs of an application with ``wake_at <= before``, the earliest first."""
        return [DueRun(*row) for row in self._read("due", app_id, before, limit)]

    def orphans(self, owners: Sequence[str]) -> list[DueRun]:
        """Return running runs that belong to one of *owners*. Their ``wake_at`` is 0: they are due at once."""
        return [DueRun(*row) for owner in owners for row in self._read("orphans", owner)]

    def workers(self) -> list[str]:
        """Return the IDs of all recorded workers, and of those that own a running run."""
        return [worker_id for (worker_id,) in self._read("workers")]

    def ended_runs(self, after: str, before: str, limit: int) -> list[tuple[str, float | None]]:
        """Return runs with ``after < id < before`` in the order of their IDs, each with when it ended or None."""
        return self._read("ended_runs", after, before, limit)

    def listed(self, status: str, endpoint: str, limit: int) -> list[ListedRun]:
        """Return the newest runs, the latest first; an empty *status* or *endpoint* means any."""
        return [ListedRun(*row) for row in self._read("listed_runs", status, endpoint, limit)]

    def waits_of(self, run_id: str) -> list[Wait]:
        """Return what the steps of a run wait for, other than time."""
        return [Wait(*row) for row in self._read("waits_of", run_id)]

    def process_of(self, worker_id: str) -> tuple[int, str] | None:
        """Return the process ID and the host of a worker, or None."""
        return next(iter(self._read("process_of", worker_id)), None)

    def foreign_commits(self) -> int:
        """Return a number that changes when another process has committed something."""
        return 0 if self._writer is None else self._writer.foreign_commits()

    def _read(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        if self._reader is None:
            raise StoreError("the store is not open")
        try:
            with forks:
                # All rows at once: a statement that is not read to its end would keep the log from being checkpointed.
                return self._reader.execute(QUERIES[query], parameters).fetchall()
        except UNREADABLE as error:
            raise StoreError(f"cannot read the database {self.path}: {error}") from error
