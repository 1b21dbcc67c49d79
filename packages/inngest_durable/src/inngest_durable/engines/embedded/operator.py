"""
What an operator does to a database from outside the application: look at runs, cancel, repeat and delete them.

Enters no run itself: the application's workers notice what is written here, as they notice each other's commits.
Called by the command line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from ..._core.model import Memo, Run, RunStatus
from ..._core.run_events import RunEvent, end_of
from ...errors import RunNotFoundError
from ..base import Clock
from ..clock import SystemClock
from ..records import Found, Insert, Write
from ..ulids import new_ulid
from .cancellation import cancel
from .retention import Retention
from .store import ListedRun, SqliteStore, Wait

T = TypeVar("T")

# How long to try while nothing can be written.
PATIENCE_SECONDS = 30.0
_ALL = 2**31


class NotPossibleError(Exception):
    """The run's state does not allow what was asked. Never shown to user code."""


class RunRecord(Struct, frozen=True):
    """
    Everything that is recorded of a run.

    Attributes:
        run: The run.
        memos: Its journal.
        waits: What its steps wait for, other than time.
        events: What happened in it, its end included.
        process: Process ID and host of the worker that executes it, or None.
    """

    run: Run
    memos: list[Memo]
    waits: list[Wait]
    events: list[RunEvent]
    process: tuple[int, str] | None


class Operator:
    """
    Works on a database.

    Args:
        store: Is open.
    """

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.clock: Clock = SystemClock()

    def listed(self, status: str, endpoint: str, limit: int) -> list[ListedRun]:
        """Return the newest runs; an empty *status* or *endpoint* means any."""
        return self.store.listed(status, endpoint, min(limit, _ALL))

    def record(self, run_id: str) -> RunRecord:
        """Return all that is recorded of a run. Raises `RunNotFoundError`."""
        run = self._run(run_id)
        events = self.store.run_events(run_id, 0, _ALL)
        if run.status.is_final:
            events.append(end_of(run))
        waits, process = self.store.waits_of(run_id), self.store.process_of(run.owner)
        return RunRecord(run, self.store.memos(run_id), waits, events, process)

    async def cancel(self, run_id: str) -> None:
        """
        Cancel a run, and those that it has invoked.

        Raises:
            RunNotFoundError: There is no such run.
            NotPossibleError: It has ended.
        """
        if not await cancel(self, run_id):
            raise NotPossibleError(f"run {run_id} is {self._run(run_id).status} already: nothing was changed")

    async def retry(self, run_id: str) -> str:
        """
        Make a new run of the recorded request of a run that failed or was cancelled; return its ID.

        A worker of the application enters it, and all its steps run. It has the timeout of the first, counted from
        now, and no idempotency key: requests with that key are answered by the first run as before.

        Raises:
            RunNotFoundError: There is no such run.
            NotPossibleError: It is under way, or has completed.
        """
        run = self._run(run_id)
        if run.status not in (RunStatus.FAILED, RunStatus.CANCELLED):
            raise NotPossibleError(f"run {run_id} is {run.status}: only one that failed or was cancelled is repeated")
        now = self.clock.now()
        again = Run(
            new_ulid(),
            run.app_id,
            run.endpoint,
            run.request,
            now,
            status=RunStatus.WAITING,
            wake_at=now,
            deadline=None if run.deadline is None else now + run.deadline - run.created_at,
        )
        await self.store.write(Insert(again))
        return again.id

    async def prune(self, keep_seconds: float) -> tuple[int, int]:
        """Delete the runs that ended longer ago, and events as old, in batches; return how many of each."""
        retention = Retention(self.store, self.clock, keep_seconds)
        return await retention.prune(), await retention.prune_events()

    def _run(self, run_id: str) -> Run:
        run = self.store.run(run_id)
        if run is None:
            raise RunNotFoundError(f"there is no run {run_id}, or it was deleted after its end")
        return run

    # What a cancellation needs.

    def tell_after(self, write: Write, found: Found) -> asyncio.Future[None]:  # noqa: ARG002  # the engine's
        """Write; the workers look for what was found by themselves."""
        return self.store.write(write)


async def operate(path: Path, work: Callable[[Operator], Awaitable[T]]) -> T:
    """
    Open the database, do *work*, and close it. The file is neither created nor migrated.

    Raises:
        StoreError: The file is not there, cannot be used by this version, or could not be written for 30 s.
    """
    store = SqliteStore(path)
    store.open(must_be_current=True)
    commits = 0

    def committed(_: object) -> None:
        nonlocal commits
        commits += 1

    store.on_commit = committed
    try:
        doing = asyncio.ensure_future(work(Operator(store)))
        while not doing.done():
            before = commits
            await asyncio.wait([doing], timeout=PATIENCE_SECONDS)
            if commits == before:
                break
    finally:
        # What could not be written until then fails, and with it the work that waits for it.
        await store.close()
    return await doing
