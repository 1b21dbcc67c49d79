"""What a store must do, where the embedded engine keeps runs and journals; one contract suite runs over every store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from msgspec import Struct

from .._core.model import Memo, Run, RunStatus
from .._core.run_events import RunEvent
from .records import Write

CommitListener = Callable[[Sequence[Write]], None]


class DueRun(Struct, frozen=True, gc=False):
    """An unfinished run that a worker may claim."""

    run_id: str
    epoch: int
    wake_at: float
    recoveries: int = 0


class Store(Protocol):
    """
    Where runs and journals live. Used from one event loop; reads are short and synchronous.

    A write whose guard does not hold changes nothing and fails alone with `FencedError`; other writes of the same
    commit are not touched. A write that is `busy` or hits a full disk is tried again by the store; it never fails
    for that reason.
    """

    secret: bytes
    on_commit: CommitListener | None

    @property
    def failing(self) -> str | None:
        """Why nothing can be written at the moment (disk full, I/O error), or None. Being busy is not failing."""

    def open(self) -> None:
        """Create or migrate the database. Raises `StoreError`."""

    async def close(self) -> None:
        """Commit what is queued, then close."""

    def write(self, *writes: Write, lazy: bool = False) -> asyncio.Future[None]:
        """
        Queue *writes* for the next group commit, in this order and in one commit; resolves when durable.

        A *lazy* write does not start a commit: it goes with the next one, or alone after some milliseconds.
        """

    def run(self, run_id: str) -> Run | None:
        """Return a run, or None."""

    def memos(self, run_id: str) -> list[Memo]:
        """Return the journal of a run in the order its steps were first recorded."""

    def memo(self, run_id: str, key: str) -> Memo | None:
        """Return the memo of one step, or None."""

    def arrived(self) -> list[tuple[str, str]]:
        """Return the steps of running runs, as run ID and key, that were completed by what they waited for."""

    def status(self, run_id: str) -> RunStatus | None:
        """Return a run's status; None if it is unknown."""

    def cancelled(self, run_ids: Collection[str]) -> set[str]:
        """Return those of these runs that were cancelled."""

    def memoized(self, run_id: str) -> tuple[str, ...]:
        """Return the keys of a run's memoized steps, in the order they were first recorded."""

    def run_events(self, run_id: str, after: int, limit: int) -> list[RunEvent]:
        """
        Return what happened in a run, except its end: the first events numbered above *after*.

        Numbers grow with the commits of the run, and a reader never sees one before a smaller one of that run.
        """

    def oldest_event(self) -> float | None:
        """Return when the oldest event was received, in seconds since the epoch; None if there is none."""

    def find(self, scope: str, key: str) -> Run | None:
        """Return the run that was inserted with this idempotency scope and key, or None."""

    def due(self, app_id: str, before: float, limit: int) -> list[DueRun]:
        """Return waiting runs of an application with ``wake_at <= before``, the earliest first."""

    def orphans(self, owners: Sequence[str]) -> list[DueRun]:
        """Return running runs that belong to one of *owners*."""

    def workers(self) -> list[str]:
        """Return the IDs of all recorded workers, and of those that own a running run."""

    def ended_runs(self, after: str, before: str, limit: int) -> list[tuple[str, float | None]]:
        """Return runs with ``after < id < before`` in the order of their IDs, each with when it ended or None."""

    def foreign_commits(self) -> int:
        """Return a number that changes when another process has committed something."""
