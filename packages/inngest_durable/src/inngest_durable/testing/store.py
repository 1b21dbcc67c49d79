"""A store without a file, with the guards of the SQLite store."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from msgspec.structs import replace

from .._core.invoke_flow import is_child
from .._core.model import Finish, Memo, Run, RunStatus
from .._core.run_events import RunEvent
from .._core.run_flow import SUSPECT_DEATHS
from ..engines.base import FencedError
from ..engines.records import (
    AddEvents,
    AddRunEvent,
    AddSignal,
    AddWorker,
    CancelRun,
    ClaimRun,
    DropWorker,
    FinishRun,
    Found,
    Insert,
    ParkRun,
    PruneEvents,
    PruneRuns,
    RecoverRun,
    SaveMemo,
    SaveMemoWith,
    WakeRun,
    Write,
)
from ..engines.store import CommitListener, DueRun
from ..engines.told import Numbers, all_events_of
from ..errors import StoreError
from .waits import MemoryWaits

_RunWrite = ParkRun | WakeRun | RecoverRun | ClaimRun | FinishRun | AddRunEvent
_CANCELLED = Finish(RunStatus.CANCELLED, None)
_Guarded = ParkRun | WakeRun | RecoverRun | ClaimRun | FinishRun | AddRunEvent | SaveMemo


class MemoryStore:
    """
    A store without a file, with the guards of the SQLite store. It keeps its content when closed and opened again.

    A write becomes visible, and its future resolves, in the next turn of the event loop.

    Attributes:
        secret: 32 bytes, the same in every instance.
    """

    secret = bytes(range(32))
    failing: str | None = None

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._memos: dict[str, dict[str, Memo]] = {}
        self._waits = MemoryWaits(self._runs, self._memos, self._save)
        self._workers: set[str] = set()
        self._queue: list[tuple[asyncio.Future[None], tuple[Write, ...]]] = []
        self._is_open = False
        self._run_events: dict[str, list[RunEvent]] = {}
        self._numbers = Numbers()
        self.on_commit: CommitListener | None = None

    def open(self) -> None:
        """Begin to take writes."""
        self._is_open = True

    async def close(self) -> None:
        """Write what is queued."""
        self._flush()
        self._is_open = False

    def write(self, *writes: Write, lazy: bool = False) -> asyncio.Future[None]:
        """Queue *writes*; resolves when they are written, or with the error of the first that could not be."""
        if not self._is_open:
            raise StoreError("the store is not open")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._queue.append((future, writes))
        if not lazy:
            loop.call_soon(self._flush)
        elif len(self._queue) == 1:
            loop.call_later(0.01, self._flush)
        return future

    def run(self, run_id: str) -> Run | None:
        """Return a run, or None."""
        return self._runs.get(run_id)

    def status(self, run_id: str) -> RunStatus | None:
        """Return a run's status; None if it is unknown."""
        run = self._runs.get(run_id)
        return None if run is None else run.status

    def cancelled(self, run_ids: Collection[str]) -> set[str]:
        """Return those of these runs that were cancelled."""
        return {run_id for run_id in run_ids if self.status(run_id) is RunStatus.CANCELLED}

    def memoized(self, run_id: str) -> tuple[str, ...]:
        """Return the keys of a run's memoized steps, in the order they were first recorded."""
        return tuple(memo.key for memo in self.memos(run_id) if memo.is_final)

    def run_events(self, run_id: str, after: int, limit: int) -> list[RunEvent]:
        """Return what happened in a run, except its end: the first events numbered above *after*."""
        return [event for event in self._run_events.get(run_id, ()) if event.id > after][:limit]

    def find(self, scope: str, key: str) -> Run | None:
        """Return the run that was inserted with this idempotency scope and key, or None."""
        for run in self._runs.values():
            if run.idempotency is not None and (run.idempotency.scope, run.idempotency.key) == (scope, key):
                return run
        return None

    def memos(self, run_id: str) -> list[Memo]:
        """Return the journal of a run in the order its steps were first recorded."""
        return list(self._memos.get(run_id, {}).values())

    def memo(self, run_id: str, key: str) -> Memo | None:
        """Return the memo of one step, or None."""
        return self._memos.get(run_id, {}).get(key)

    def arrived(self) -> list[tuple[str, str]]:
        """Return the steps of running runs, as run ID and key, that were completed by what they waited for."""
        return self._waits.arrived()

    def oldest_event(self) -> float | None:
        """Return when the oldest event was received, in seconds since the epoch; None if there is none."""
        return self._waits.oldest_event()

    def due(self, app_id: str, before: float, limit: int) -> list[DueRun]:
        """Return waiting runs of an application with ``wake_at <= before``, the earliest first."""
        found = [
            DueRun(run.id, run.epoch, run.wake_at, run.recoveries)
            for run in self._runs.values()
            if run.status is RunStatus.WAITING
            and run.app_id == app_id
            and run.wake_at is not None
            and run.wake_at <= before
            and self._may_be_entered(run)
        ]
        return sorted(found, key=lambda due: (due.wake_at, due.run_id))[:limit]

    def orphans(self, owners: Sequence[str]) -> list[DueRun]:
        """Return running runs that belong to one of *owners*. Their ``wake_at`` is 0: they are due at once."""
        return [
            DueRun(run.id, run.epoch, 0.0, run.recoveries)
            for owner in owners
            for run in sorted(self._runs.values(), key=lambda run: run.id)
            if run.status is RunStatus.RUNNING and run.owner == owner
        ]

    def workers(self) -> list[str]:
        """Return the IDs of all recorded workers, and of those that own a running run."""
        owners = {run.owner for run in self._runs.values() if run.status is RunStatus.RUNNING}
        return sorted(self._workers | owners)

    def ended_runs(self, after: str, before: str, limit: int) -> list[tuple[str, float | None]]:
        """Return runs with ``after < id < before`` in the order of their IDs, each with when it ended or None."""
        found = sorted((run.id, run.ended_at) for run in self._runs.values() if after < run.id < before)
        return found[:limit]

    def foreign_commits(self) -> int:
        """Return 0: no other process can write here."""
        return 0

    def _flush(self) -> None:
        queue, self._queue = self._queue, []
        for future, writes in queue:
            try:
                self._apply_all(writes)
            except (FencedError, StoreError) as error:
                if not future.done():
                    future.set_exception(error)
                    # Not every write is awaited, and asyncio would log an error that nobody looked at.
                    future.exception()
            else:
                if not future.done():
                    future.set_result(None)
            if self.on_commit is not None:
                self.on_commit(writes)

    def _apply_all(self, writes: tuple[Write, ...]) -> None:
        # Checked before anything is changed: a group that is refused leaves nothing behind.
        for write in writes:
            match write:
                case Insert(run) if run.idempotency and self.find(run.idempotency.scope, run.idempotency.key):
                    raise FencedError(f"another run has the idempotency key {run.idempotency.key!r}")
                case Insert(run) if run.id in self._runs:
                    raise StoreError(f"a write was refused by the database: run {run.id} exists")
                case AddWorker(worker_id) if worker_id in self._workers:
                    raise StoreError(f"a write was refused by the database: worker {worker_id} exists")
        for write in writes:
            self._apply(write)
            for event in all_events_of(write):
                self._run_events.setdefault(event.run_id, []).append(replace(event, id=self._numbers.take()))

    def _apply(self, write: Write) -> None:
        match write:
            case Insert(run):
                self._waits.begin(run)
            case AddWorker(worker_id):
                self._workers.add(worker_id)
            case DropWorker(worker_id):
                self._workers.discard(worker_id)
            case PruneRuns(run_ids):
                for run_id in run_ids:
                    if run_id in self._runs and self._runs[run_id].ended_at is not None:
                        del self._runs[run_id]
                        self._memos.pop(run_id, None)
                        self._waits.forget(run_id)
                        self._run_events.pop(run_id, None)
            case SaveMemo():
                self._save(write)
            case CancelRun():
                self._cancel(write)
            case SaveMemoWith() | AddEvents() | AddSignal() | PruneEvents():
                self._waits.apply(write)
            case _:
                self._runs[write.run_id] = self._changed(write)
                self._after_change(write)

    def _after_change(self, write: _RunWrite) -> None:
        match write:
            case ClaimRun(run_id):
                self._waits.drop_arrived(run_id)
            case FinishRun(run_id, _, finish, ended_at, alone, found) if not alone:
                self._waits.end(run_id, finish, ended_at, found)

    def _save(self, write: SaveMemo) -> None:
        run, memo = self._guarded(write, RunStatus.RUNNING), write.memo
        memos = self._memos.setdefault(run.id, {})
        if memo.key in memos and memos[memo.key].is_final:
            raise FencedError(f"the memo {memo.key!r} of run {run.id} is final")
        memos[memo.key] = memo
        if write.progress:
            self._runs[run.id] = replace(run, recoveries=0)

    def _changed(self, write: _RunWrite) -> Run:
        match write:
            case AddRunEvent():
                return self._guarded(write, RunStatus.RUNNING)
            case ParkRun(_, _, park):
                run = self._guarded(write, RunStatus.RUNNING)
                wake_at = 0.0 if self._waits.is_due_at_once(write) else park.wake_at
                waiting = replace(run, status=RunStatus.WAITING, owner="", wake_at=wake_at)
                return replace(waiting, attempt=park.attempt, quiet_seconds=park.quiet_seconds)
            case WakeRun(_, _, wake_at, quiet_seconds):
                run = self._guarded(write, RunStatus.WAITING)
                earlier = wake_at if run.wake_at is None else min(run.wake_at, wake_at)
                return replace(run, wake_at=earlier, quiet_seconds=quiet_seconds)
            case RecoverRun(_, _, wake_at):
                run = self._guarded(write, RunStatus.RUNNING)
                waiting = replace(run, status=RunStatus.WAITING, owner="", wake_at=wake_at)
                return replace(waiting, recoveries=run.recoveries + 1)
            case ClaimRun(_, epoch, owner):
                run = self._guarded(write, RunStatus.WAITING)
                if not self._may_be_entered(run):
                    raise FencedError(f"run {run.id} is a suspect, and another suspect is running")
                return replace(run, status=RunStatus.RUNNING, owner=owner, epoch=epoch + 1, wake_at=None)
            case FinishRun(_, _, finish, ended_at):
                run = self._guarded(write, RunStatus.RUNNING)
                ended = replace(run, status=finish.status, owner="", wake_at=None, ended_at=ended_at)
                return replace(ended, response=finish.response, failure=finish.failure)

    def _cancel(self, write: CancelRun) -> None:
        found, run = write.found or Found(), self._runs.get(write.run_id)
        found.clear()
        if run is None or run.status.is_final:
            raise FencedError(f"run {write.run_id} has ended")
        self._waits.end(run.id, _CANCELLED, write.ended_at, found)
        for member in self._family(run):
            if not member.status.is_final:
                ended = replace(member, status=RunStatus.CANCELLED, owner="", wake_at=None, ended_at=write.ended_at)
                self._runs[member.id] = ended
                self._waits.forget(member.id)
                found.cancelled.append(member.id)

    def _family(self, run: Run) -> list[Run]:
        """Return a run with those that it has invoked, directly or not."""
        invoked_by: dict[str, list[Run]] = {}
        for child in self._runs.values():
            if child.idempotency is not None and is_child(child):
                invoked_by.setdefault(child.idempotency.key.partition("/")[0], []).append(child)
        members = [run]
        # It grows meanwhile.
        for member in members:
            members += invoked_by.get(member.id, ())
        return members

    def _may_be_entered(self, run: Run) -> bool:
        """Return whether *run* is not a suspect, or no other suspect of its application is running."""
        if run.recoveries < SUSPECT_DEATHS:
            return True
        running = (other for other in self._runs.values() if other.status is RunStatus.RUNNING)
        return all(other.recoveries < SUSPECT_DEATHS for other in running if other.app_id == run.app_id)

    def _guarded(self, write: _Guarded, status: RunStatus) -> Run:
        run = self._runs.get(write.run_id)
        if run is None or run.epoch != write.epoch or run.status is not status:
            raise FencedError(f"run {write.run_id} is not {status.value} at epoch {write.epoch}")
        return run
