"""Steps that wait for events, signals and other runs, as `MemoryStore` keeps them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from .._core.effects import Invoke, SendEvents, SendSignal, StopWaiting
from .._core.event_flow import failed_memo, is_over, taken_signal
from .._core.events import SentEvent
from .._core.expressions import ExpressionFailedError
from .._core.invoke_flow import late, result_of
from .._core.matching import WaitFor, fits, fits_at
from .._core.model import Failure, Finish, Memo, Run, RunStatus, StepOp, StepState
from ..engines.base import FencedError
from ..engines.records import AddEvents, AddSignal, Found, ParkRun, PruneEvents, SaveMemo, SaveMemoWith

_DAY = 86400.0


@dataclass(slots=True)
class _Waiting:
    app_id: str
    wait: WaitFor
    resolved: bool = False


@dataclass(slots=True)
class _Received:
    app_id: str
    event: SentEvent
    at: float
    seq: int


@dataclass(slots=True)
class MemoryWaits:
    """
    The steps that wait, and the events that came.

    Args:
        runs: All runs.
        memos: The memos of each run.
        save: Writes a memo; raises `FencedError` if its guard does not hold.
    """

    runs: dict[str, Run]
    memos: dict[str, dict[str, Memo]]
    save: Callable[[SaveMemo], None]
    _waits: dict[tuple[str, str], _Waiting] = field(default_factory=dict)
    _events: dict[tuple[str, str], _Received] = field(default_factory=dict)
    _last_event: int = 0
    _events_before: dict[str, int] = field(default_factory=dict)

    def begin(self, run: Run) -> None:
        """Add a run; the events recorded so far came before it."""
        self.runs[run.id] = run
        self._events_before[run.id] = self._last_event

    def apply(self, write: SaveMemoWith | AddEvents | AddSignal | PruneEvents) -> None:
        """Do what *write* says."""
        write.found.clear()
        match write:
            case SaveMemoWith():
                self._save_with(write)
            case AddEvents(app_id, events, at, found):
                self._receive(app_id, events, at, found)
            case AddSignal(app_id, name, result, at, found):
                for run_id, key in self._in_time(self._signal_waits(app_id, name), at):
                    self._complete(run_id, key, result, at, found)
            case PruneEvents():
                self._prune(write)

    def is_due_at_once(self, write: ParkRun) -> bool:
        """Return whether something that its pass has not seen has come for a run that is being parked."""
        is_due = any(run_id == write.run_id and key not in write.seen for run_id, key in self.arrived())
        if write.found is not None:
            write.found.due = is_due
        return is_due

    def _save_with(self, write: SaveMemoWith) -> None:
        match write.along:
            case WaitFor() as wait:
                self._begin_to_wait(write, wait)
            case Invoke(child):
                self._begin_to_wait(write, WaitFor("run", child.id))
                self.begin(child)
            case StopWaiting():
                self._stop_waiting(write)
            case SendEvents(events):
                self._record(write, write.memo)
                self._receive(write.app_id, events, write.at, write.found)
            case SendSignal(name, result):
                waiting = self._in_time(self._signal_waits(write.app_id, name), write.at)
                self._record(write, replace(write.memo, result=b"true" if waiting else b"false"))
                for run_id, key in waiting:
                    self._complete(run_id, key, result, write.at, write.found)

    def oldest_event(self) -> float | None:
        """Return when the oldest event was received; None if there is none."""
        return min((received.at for received in self._events.values()), default=None)

    def end(self, run_id: str, finish: Finish, at: float, found: Found | None) -> None:
        """Forget what a run waited for, and complete the steps that wait for it."""
        found = found or Found()
        found.clear()
        self.forget(run_id)
        waiting = [
            step
            for step, waiting in self._waits.items()
            if not waiting.resolved and (waiting.wait.kind, waiting.wait.name) == ("run", run_id)
        ]
        for waiting_id, key in self._in_time(waiting, at):
            self._complete(waiting_id, key, result_of(run_id, finish), at, found)

    def forget(self, run_id: str) -> None:
        """Forget what a run waited for: it will not wait again."""
        self._events_before.pop(run_id, None)
        for step in [step for step in self._waits if step[0] == run_id]:
            del self._waits[step]

    def arrived(self) -> list[tuple[str, str]]:
        """Return the steps of running runs that were completed by what they waited for."""
        return sorted(step for step, waiting in self._waits.items() if waiting.resolved)

    def drop_arrived(self, run_id: str) -> None:
        """Forget which steps of a run were completed by what they waited for."""
        for step in self.arrived():
            if step[0] == run_id:
                del self._waits[step]

    def _prune(self, write: PruneEvents) -> None:
        old = sorted((received.at, key) for key, received in self._events.items() if received.at < write.before)
        for _, key in old[: write.limit]:
            del self._events[key]
        write.found.count = len(old[: write.limit])

    def _record(self, write: SaveMemoWith, memo: Memo) -> None:
        write.found.memo = memo
        self.save(SaveMemo(write.run_id, write.epoch, memo, write.progress, write.at))

    def _begin_to_wait(self, write: SaveMemoWith, wait: WaitFor) -> None:
        memo = self._already(write, wait)
        self._record(write, memo or write.memo)
        if memo is None:
            self._waits[write.run_id, write.memo.key] = _Waiting(write.app_id, wait)

    def _already(self, write: SaveMemoWith, wait: WaitFor) -> Memo | None:
        if wait.kind == "signal":
            # One that is over has not left yet: it still has the name.
            for run_id, _ in self._signal_waits(write.app_id, wait.name):
                return failed_memo(write.memo, taken_signal(wait.name, run_id))
        if wait.since is None:
            return None
        for received in sorted(self._events.values(), key=lambda received: received.at):
            event = received.event
            # By the clock, which may have been set back, or by the order in which the events came.
            is_new = received.at >= wait.since or received.seq > self._events_before[write.run_id]
            if (
                is_new
                and event.id not in wait.taken
                and (received.app_id, event.name) == (write.app_id, wait.name)
                and _fits(wait, event)
            ):
                return replace(write.memo, state=StepState.COMPLETED, attempt=1, result=event.json(), wake_at=None)
        return None

    def _stop_waiting(self, write: SaveMemoWith) -> None:
        memo, key = write.memo, write.memo.key
        if memo.op is StepOp.INVOKE and (waiting := self._waits.get((write.run_id, key))) is not None:
            memo = replace(memo, failure=late(waiting.wait.name))
        try:
            self._record(write, memo)
        except FencedError:
            run, stored = self.runs.get(write.run_id), self.memos.get(write.run_id, {}).get(key)
            is_ours = run is not None and run.epoch == write.epoch and run.status is RunStatus.RUNNING
            if stored is None or not stored.is_final or not is_ours:
                raise
            write.found.memo = stored
        self._waits.pop((write.run_id, key), None)

    def _receive(self, app_id: str, events: tuple[SentEvent, ...], at: float, found: Found) -> None:
        for event in events:
            before = self._events.get((app_id, event.id))
            if before is not None and before.at > at - _DAY:
                continue
            self._last_event += 1
            self._events[app_id, event.id] = _Received(app_id, event, at, self._last_event)
            waiting = [
                step
                for step, waiting in self._waits.items()
                if not waiting.resolved
                and (waiting.app_id, waiting.wait.kind, waiting.wait.name) == (app_id, "event", event.name)
                and _fits(waiting.wait, event)
            ]
            for run_id, key in self._in_time(waiting, at):
                self._complete(run_id, key, event.json(), at, found)

    def _signal_waits(self, app_id: str, name: str) -> list[tuple[str, str]]:
        return [
            step
            for step, waiting in self._waits.items()
            if not waiting.resolved
            and (waiting.app_id, waiting.wait.kind, waiting.wait.name) == (app_id, "signal", name)
        ]

    def _in_time(self, steps: list[tuple[str, str]], at: float) -> list[tuple[str, str]]:
        return [(run_id, key) for run_id, key in steps if not is_over(self.memos[run_id][key].wake_at, at)]

    def _complete(self, run_id: str, key: str, result: bytes | Failure, at: float, found: Found) -> None:
        memo = self.memos.get(run_id, {}).get(key)
        if memo is None or memo.state is not StepState.WAITING:
            del self._waits[run_id, key]
            return
        if isinstance(result, Failure):
            self.memos[run_id][key] = failed_memo(memo, result)
        else:
            done = replace(memo, state=StepState.COMPLETED, attempt=1, result=result, failure=None, wake_at=None)
            self.memos[run_id][key] = done
        found.resumed.append((run_id, key))
        run = self.runs[run_id]
        if run.status is RunStatus.WAITING and run.wake_at is not None:
            self.runs[run_id] = replace(run, wake_at=min(run.wake_at, at))
            found.due = True
            del self._waits[run_id, key]
        else:
            self._waits[run_id, key].resolved = True


def _fits(wait: WaitFor, event: SentEvent) -> bool:
    fields = event.fields()
    try:
        return fits_at(wait.path, wait.value, fields) and fits(wait.spec, fields)
    except ExpressionFailedError:
        return False
