"""
What this process knows of runs, for those who follow them: the server keeps no run events.

A run that executes here is reported as it goes on; of passes in other processes there is what the server has stored.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from ..._core.model import Memo, RecordedResponse, Run, RunStatus, StepOp, StepState
from ..._core.run_events import START_NUMBER, STEP_PROGRESS, RunEvent, start_of
from ..base import Clock
from ..records import (
    CancelRun,
    ClaimRun,
    FinishRun,
    Insert,
    ParkRun,
    RecoverRun,
    SaveMemo,
    SaveMemoWith,
    Write,
)
from ..told import all_events_of, saving
from ..watch import Watch
from .state import RunState

# Of one run. What its steps tell of their progress is dropped first; there are fewer of all others.
MOST_EVENTS = 10_000

_Told = tuple[str, StepState, int]


class Followed:
    """
    What happens in runs, as far as this process knows it.

    Args:
        clock: The engine's time.
        tells: Whether to keep what happens, for those who follow runs.
        most_runs: How many runs are kept: the oldest that has ended is forgotten first, and none that is watched.

    Attributes:
        closed: Whether no more news will come, because the engine stops.
    """

    def __init__(self, clock: Clock, tells: bool, most_runs: int = 1000) -> None:
        self.closed = False
        self._clock = clock
        self._tells = tells
        self._most_runs = most_runs
        self._stories: dict[str, _Story] = {}
        self._watches: dict[str, set[Watch]] = {}

    def note(self, write: Write) -> None:
        """Take notice of what was recorded. Nothing is reported twice, and nothing after the end of a run."""
        run_id = write.run.id if isinstance(write, Insert) else getattr(write, "run_id", "")
        if isinstance(write, Insert) and run_id not in self._stories:
            self._add(write.run)
        elif isinstance(write, Insert) or self._is_known(run_id, _told_of(write)):
            return
        for event in all_events_of(write):
            self._tell(event)
        story = self._stories.get(run_id)
        if story is not None:
            story.run = _changed(story.run, write)
            self._wake(run_id)

    def adopt(self, run: Run, state: RunState) -> None:
        """Take notice of a run as the server has it; what this process does not know was done by another one."""
        story = self._stories.get(run.id)
        if story is None:
            self._add(run)
            first = state.passes[0].worker if state.passes else ""
            self._tell(start_of(run, first, state.request.pid if state.request else None))
        elif not story.run.status.is_final and run.epoch > story.run.epoch:
            story.run = _without_bodies(run)
        for record in state.records:
            memo = record.memo
            # Without a time of its own, a quick attempt would be reported by nothing but its memo.
            started_at = record.at if record.started_at is None and memo.op is StepOp.RUN else record.started_at
            saved = saving(run.id, record.pass_number, memo, False, record.at, started_at)
            if not self._is_known(run.id, _told_of(saved)):
                for event in all_events_of(saved):
                    self._tell(event)
                self._wake(run.id)

    def end(self, run: Run) -> None:
        """Take notice of a run that has ended, wherever that was."""
        if run.id not in self._stories:
            self._add(run)
        elif not self._stories[run.id].run.status.is_final:
            self._stories[run.id].run = _without_bodies(run)
        self._wake(run.id)

    def status(self, run_id: str) -> RunStatus | None:
        """Return a run's status; None if this process does not know the run."""
        story = self._stories.get(run_id)
        return None if story is None else story.run.status

    def run(self, run_id: str) -> Run | None:
        """
        Return a run, or None if this process does not know it.

        The bodies of its request and its response are left out: they are the server's to keep.
        """
        story = self._stories.get(run_id)
        return None if story is None else story.run

    def run_events(self, run_id: str, after: int, limit: int) -> list[RunEvent]:
        """Return what happened in a run, except its end: the first events numbered above *after*."""
        story = self._stories.get(run_id)
        if story is None:
            return []
        first = bisect_right(story.events, after, key=lambda event: event.id)
        return story.events[first : first + limit]

    @contextmanager
    def watch(self, run_id: str) -> Iterator[Watch]:
        """Follow a run for the duration of a block."""
        watch = Watch(self)
        self._watches.setdefault(run_id, set()).add(watch)
        try:
            yield watch
        finally:
            self._watches[run_id].discard(watch)
            if not self._watches[run_id]:
                del self._watches[run_id]

    @property
    def followers(self) -> int:
        """How many clients follow runs at the moment."""
        return sum(map(len, self._watches.values()))

    def close(self) -> None:
        """Release everybody who waits, and let nobody wait any more."""
        self.closed = True
        for run_id in self._watches:
            self._wake(run_id)

    def _is_known(self, run_id: str, told: _Told | None) -> bool:
        """Whether this need not be reported: it was, or the run has ended. If not, it counts as reported from now."""
        story = self._stories.get(run_id)
        if story is None:
            return False
        if story.run.status.is_final or told in story.told:
            return True
        if told is not None:
            story.told.add(told)
        return False

    def _tell(self, event: RunEvent) -> None:
        story = self._stories.get(event.run_id)
        if story is not None and self._tells:
            story.tell(event)

    def _wake(self, run_id: str) -> None:
        for watch in self._watches.get(run_id, ()):
            watch.tell()

    def _add(self, run: Run) -> None:
        if len(self._stories) >= self._most_runs:
            self._forget_one()
        self._stories[run.id] = _Story(_without_bodies(run))

    def _forget_one(self) -> None:
        unwatched = [run_id for run_id in self._stories if run_id not in self._watches]
        ended = (run_id for run_id in unwatched if self._stories[run_id].run.status.is_final)
        # One that has not ended comes back with its next pass here, or when somebody asks for it.
        forgotten = next(ended, unwatched[0] if unwatched else None)
        if forgotten is not None:
            del self._stories[forgotten]


class _Story:
    """One run: how it stands, what has happened, and which memos were reported."""

    __slots__ = ("events", "run", "told")

    def __init__(self, run: Run) -> None:
        self.run = run
        self.events: list[RunEvent] = []
        self.told: set[_Told] = set()

    def tell(self, event: RunEvent) -> None:
        """
        Keep *event* with a number.

        Numbers are microseconds since the run began: a client that goes on at another process, or after a restart,
        asks there for what came after the number that it has seen last.
        """
        if len(self.events) >= MOST_EVENTS and event.kind == STEP_PROGRESS:
            return
        at = START_NUMBER + int((event.at - self.run.created_at) * 1e6)
        number = max(at, self.events[-1].id + 1) if self.events else max(at, START_NUMBER)
        self.events.append(replace(event, id=number))


def _told_of(write: Write) -> _Told | None:
    memo: Memo | None = None
    if isinstance(write, SaveMemo):
        memo = write.memo
    elif isinstance(write, SaveMemoWith):
        memo = write.found.memo or write.memo
    return None if memo is None else (memo.key, memo.state, memo.attempt)


def _changed(run: Run, write: Write) -> Run:
    match write:
        case ClaimRun(_, epoch, owner):
            return replace(run, status=RunStatus.RUNNING, owner=owner, epoch=epoch + 1, wake_at=None)
        case ParkRun(_, _, park):
            waiting = replace(run, status=RunStatus.WAITING, owner="", wake_at=park.wake_at)
            return replace(waiting, attempt=park.attempt, quiet_seconds=park.quiet_seconds)
        case RecoverRun(_, _, wake_at):
            return replace(run, status=RunStatus.WAITING, owner="", wake_at=wake_at)
        case FinishRun(_, _, finish, ended_at):
            ended = replace(
                run, status=finish.status, owner="", wake_at=None, ended_at=ended_at, failure=finish.failure
            )
            return _without_bodies(replace(ended, response=finish.response))
        case CancelRun(_, ended_at):
            return replace(run, status=RunStatus.CANCELLED, owner="", wake_at=None, ended_at=ended_at)
    return run


def _without_bodies(run: Run) -> Run:
    response = run.response
    if response is not None:
        response = RecordedResponse(response.status, response.headers, b"")
    return replace(run, request=replace(run.request, body=b""), response=response)
