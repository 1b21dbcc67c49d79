"""
Which run event each write makes true. Pure: one function per kind of write, and none for a kind without an event.

`batch` stores what they return in the same transaction. The event of nearly every write needs no row of its own: the
start and the end of a run are in its row, a step that completed at its first attempt is in its memo, and the store
reads them back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from .._core.model import Memo, StepOp, StepState
from .._core.run_events import (
    RUN_INTERRUPTED,
    RUN_RECOVERED,
    RUN_REENTERED,
    RUN_RETRYING,
    START_NUMBER,
    STEP_COMPLETED,
    STEP_FAILED,
    STEP_RETRYING,
    STEP_WAITING,
    AttemptEnded,
    RunEvent,
    encoded,
    error_data,
    start_of,
)
from .records import (
    AddEvents,
    AddRunEvent,
    AddSignal,
    CancelRun,
    ClaimRun,
    FinishRun,
    Found,
    Insert,
    ParkRun,
    RecoverRun,
    SaveCompleted,
    SaveMemo,
    SaveMemoWith,
    Write,
)

# After these, another process may write to the run.
TAKES_OVER = frozenset((RUN_REENTERED, RUN_RECOVERED, STEP_COMPLETED))

# On Python 3.11, accessing an enum member through its class is slow.
_RUN, _COMPLETED = StepOp.RUN, StepState.COMPLETED

_STEP_KINDS = {
    StepState.COMPLETED: STEP_COMPLETED,
    StepState.FAILED: STEP_FAILED,
    StepState.RETRYING: STEP_RETRYING,
    StepState.WAITING: STEP_WAITING,
}


class Numbers:
    """
    The numbers of memos and run events: within a run they grow with each write, whichever process writes.

    A pass lives in one process, so counting there is enough; numbers that another process has used are skipped when a
    run is taken over.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = START_NUMBER

    def take(self) -> int:
        """Return the next number."""
        self._last += 1
        return self._last

    def pass_by(self, number: int) -> None:
        """Go on after *number*, if that is not behind."""
        self._last = max(self._last, number)


def saving(run_id: str, epoch: int, memo: Memo, progress: bool, at: float, started_at: float | None) -> SaveMemo:
    """Return the write of *memo*: `SaveCompleted` if that says everything."""
    if started_at is not None and memo.attempt == 1 and memo.state is _COMPLETED and memo.op is _RUN:
        return SaveCompleted(run_id, epoch, memo, progress, at, started_at)
    return SaveMemo(run_id, epoch, memo, progress, at, started_at)


def run_event_from(run_id: str, row: tuple[int, float, str, str, float]) -> RunEvent:
    """Return the event in a row of the query `run_events`; one without a kind is in a memo."""
    number, at, kind, text, started_at = row
    return RunEvent(run_id, at, kind, text, number) if kind else completed_at_once(run_id, number, text, started_at, at)


def completed_at_once(run_id: str, number: int, key: str, started_at: float, ended_at: float) -> RunEvent:
    """Return the event that is in a memo."""
    ended = AttemptEnded(key, StepOp.RUN.value, 1, started_at, round(ended_at - started_at, 6))
    return RunEvent(run_id, ended_at, STEP_COMPLETED, encoded(ended), number)


def all_events_of(write: Write) -> Iterable[RunEvent]:
    """Return the events that *write* has made true, including those that are in the run's row and in a memo."""
    if isinstance(write, Insert):
        return (start_of(write.run, write.run.owner, os.getpid()),)
    if isinstance(write, SaveCompleted) and write.started_at is not None:
        return (completed_at_once(write.run_id, 0, write.memo.key, write.started_at, write.at),)
    tell = TELL.get(type(write))
    return () if tell is None else tell(write)


def _saved(write: SaveMemo) -> Iterable[RunEvent]:
    return (_memo_event(write.run_id, write.memo, write.at, write.started_at),)


def _saved_with(write: SaveMemoWith) -> Iterable[RunEvent]:
    yield _memo_event(write.run_id, write.found.memo or write.memo, write.at)
    yield from _resumed(write.found, write.at)


def _arrived(write: AddEvents | AddSignal) -> Iterable[RunEvent]:
    return _resumed(write.found, write.at)


def _ended(write: FinishRun | CancelRun) -> Iterable[RunEvent]:
    # Of the runs that waited for this one; its own end is in its row.
    return () if write.found is None else _resumed(write.found, write.ended_at)


def _resumed(found: Found, at: float) -> Iterable[RunEvent]:
    """Report steps that were completed from outside, while their runs may execute in any process."""
    for run_id, key in found.resumed:
        yield RunEvent(run_id, at, STEP_COMPLETED, encoded(AttemptEnded(key)))


def _memo_event(run_id: str, memo: Memo, at: float, started_at: float | None = None) -> RunEvent:
    ended = AttemptEnded(
        step=memo.key,
        op=memo.op.value,
        attempt=memo.attempt if memo.op is StepOp.RUN else None,
        started_at=started_at,
        duration=None if started_at is None else round(at - started_at, 6),
        error=error_data(memo.failure),
        until=memo.wake_at,
    )
    return RunEvent(run_id, at, _STEP_KINDS[memo.state], encoded(ended))


def _told(write: AddRunEvent) -> Iterable[RunEvent]:
    return (RunEvent(write.run_id, write.at, write.kind, write.data),)


def _claimed(write: ClaimRun) -> Iterable[RunEvent]:
    data = {"worker": write.owner, "pid": os.getpid(), "epoch": write.epoch + 1, "memoized": write.memoized}
    return (RunEvent(write.run_id, write.at, RUN_REENTERED, encoded(data)),)


def _parked(write: ParkRun) -> Iterable[RunEvent]:
    if write.failure is None:
        data: dict[str, Any] = {"why": write.why, "until": write.park.wake_at}
        return (RunEvent(write.run_id, write.at, RUN_INTERRUPTED, encoded(data)),)
    data = {"attempt": write.park.attempt - 1, "error": error_data(write.failure), "until": write.park.wake_at}
    return (RunEvent(write.run_id, write.at, RUN_RETRYING, encoded(data)),)


def _recovered(write: RecoverRun) -> Iterable[RunEvent]:
    data = {"worker": write.owner, "epoch": write.epoch}
    return (RunEvent(write.run_id, write.wake_at, RUN_RECOVERED, encoded(data)),)


# By kind of write: what each has made true, not numbered yet. Nothing for events that a memo or the run's row holds.
TELL: dict[type[Write], Callable[[Any], Iterable[RunEvent]]] = {
    SaveMemo: _saved,
    SaveMemoWith: _saved_with,
    AddEvents: _arrived,
    AddSignal: _arrived,
    AddRunEvent: _told,
    ClaimRun: _claimed,
    ParkRun: _parked,
    RecoverRun: _recovered,
    FinishRun: _ended,
    CancelRun: _ended,
}
