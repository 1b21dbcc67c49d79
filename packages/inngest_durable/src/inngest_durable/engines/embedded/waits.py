"""
Writes about events, signals, and the steps that wait for them or for other runs: what `writes` is for the others.

Called in the open transaction. Whatever completes a step from outside also makes its run due, or leaves a mark for the
moment when the run is parked: so nothing that arrives is lost, whatever the run does meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from sqlite3 import Cursor

from msgspec.structs import replace

from ..._core.effects import Invoke, SendEvents, SendSignal, StopWaiting
from ..._core.event_flow import failed_memo, is_over, taken_signal
from ..._core.events import SentEvent
from ..._core.expressions import ExpressionFailedError
from ..._core.invoke_flow import late, result_of
from ..._core.matching import Fields, WaitFor, fits, fits_at, value_at
from ..._core.model import Failure, Finish, Memo, StepOp, StepState
from ...errors import EventError
from ..records import AddEvents, AddSignal, Found, Insert, PruneEvents, SaveMemo, SaveMemoWith
from .queries import QUERIES
from .rows import failure_text, memo_from

logger = logging.getLogger("inngest_durable")

_ROW = 512

# Run, key, spec, and until when the step waits.
WaitRow = tuple[str, str, str, float | None]
SaveFunction = Callable[[Cursor, SaveMemo], int]
InsertFunction = Callable[[Cursor, Insert], int]


class Steps:
    """
    The writes of steps that wait or send.

    Args:
        save: Writes a memo, guarded.
        insert: Writes a new run.
    """

    def __init__(self, save: SaveFunction, insert: InsertFunction) -> None:
        self._save = save
        self._insert = insert

    def save_with(self, cursor: Cursor, write: SaveMemoWith) -> int:
        """Write a memo and what goes along with it; return 0 if another pass owns the run."""
        write.found.clear()
        match write.along:
            case WaitFor() as wait:
                return self._begin_to_wait(cursor, write, wait)
            case Invoke(child):
                wait = WaitFor("run", child.id)
                written = self._begin_to_wait(cursor, write, wait)
                return written and written + self._insert(cursor, Insert(child))
            case StopWaiting():
                return self._stop_waiting(cursor, write)
            case SendEvents(events):
                written = self._record(cursor, write, write.memo)
                return written and written + _receive(cursor, write.app_id, events, write.at, write.found)
            case SendSignal(name, result):
                return self._send_signal(cursor, write, name, result)

    def _record(self, cursor: Cursor, write: SaveMemoWith, memo: Memo) -> int:
        write.found.memo = memo
        return self._save(cursor, SaveMemo(write.run_id, write.epoch, memo, write.progress, write.at))

    def _begin_to_wait(self, cursor: Cursor, write: SaveMemoWith, wait: WaitFor) -> int:
        memo = _already(cursor, write, wait)
        if memo is not None:
            return self._record(cursor, write, memo)
        written = self._record(cursor, write, write.memo)
        if written:
            row = (write.run_id, write.memo.key, write.app_id, wait.kind, wait.name, wait.path, wait.value, wait.spec)
            cursor.execute(QUERIES["add_wait"], row)
        return written and written + _ROW + len(wait.spec)

    def _stop_waiting(self, cursor: Cursor, write: SaveMemoWith) -> int:
        memo = write.memo
        if memo.op is StepOp.INVOKE:
            awaited = cursor.execute(QUERIES["awaited"], (write.run_id, memo.key)).fetchone()
            memo = replace(memo, failure=late(awaited[0] if awaited else ""))
        written = self._record(cursor, write, memo)
        if not written:
            # Something may have come at the last moment: that counts. Otherwise another pass owns the run.
            stored = _memo(cursor, write.run_id, memo.key)
            is_ours = cursor.execute(QUERIES["is_running"], (write.run_id, write.epoch)).fetchone()
            if stored is None or not stored.is_final or is_ours is None:
                return 0
            write.found.memo = stored
        cursor.execute(QUERIES["drop_wait"], (write.run_id, memo.key))
        return written or _ROW

    def _send_signal(self, cursor: Cursor, write: SaveMemoWith, name: str, result: bytes) -> int:
        waiting = _signal_waits(cursor, write.app_id, name, write.at)
        memo = replace(write.memo, result=b"true" if waiting else b"false")
        written = self._record(cursor, write, memo)
        if written:
            for run_id, key in waiting:
                written += _complete(cursor, run_id, key, result, write.at, write.found)
        return written


def add_events(cursor: Cursor, write: AddEvents) -> int:
    """Receive events."""
    write.found.clear()
    return _ROW + _receive(cursor, write.app_id, write.events, write.at, write.found)


def add_signal(cursor: Cursor, write: AddSignal) -> int:
    """Receive a signal; without a step that waits for it, nothing happens."""
    write.found.clear()
    waiting = _signal_waits(cursor, write.app_id, write.name, write.at)
    return _ROW + sum(_complete(cursor, run_id, key, write.result, write.at, write.found) for run_id, key in waiting)


def prune_events(cursor: Cursor, write: PruneEvents) -> int:
    """Delete old events."""
    cursor.execute(QUERIES["prune_events"], (write.before, write.limit))
    write.found.count = cursor.rowcount
    return _ROW * (1 + cursor.rowcount)


def end_waits(cursor: Cursor, run_id: str, finish: Finish, at: float, found: Found | None) -> int:
    """Forget what a run that has ended waited for, and complete the steps that wait for it."""
    found = found or Found()
    found.clear()
    drop_waits(cursor, run_id)
    rows = cursor.execute(QUERIES["waits_for_run"], (run_id, run_id)).fetchall()
    waiting = [(waiting_id, key) for waiting_id, key, until in rows if not is_over(until, at)]
    result = result_of(run_id, finish) if waiting else b""
    return sum(_complete(cursor, waiting_id, key, result, at, found) for waiting_id, key in waiting)


def drop_waits(cursor: Cursor, run_id: str) -> None:
    """Forget what a run that has ended waited for."""
    cursor.execute(QUERIES["drop_waits"], (run_id,))


def has_arrived(cursor: Cursor, run_id: str, seen: tuple[str, ...]) -> bool:
    """Return whether a step that the pass has not *seen* was completed from outside."""
    return any(key not in seen for (key,) in cursor.execute(QUERIES["resolved_waits"], (run_id,)).fetchall())


def drop_arrived(cursor: Cursor, run_id: str) -> None:
    """Forget which steps were completed from outside: a new pass reads their memos."""
    cursor.execute(QUERIES["drop_resolved_waits"], (run_id,))


def _already(cursor: Cursor, write: SaveMemoWith, wait: WaitFor) -> Memo | None:
    """Return the final memo of a step that need not or cannot wait; None if it has to."""
    if wait.kind == "signal":
        # One that is over has not left yet: it still has the name.
        for run_id, *_ in _waits_at(cursor, write.app_id, "signal", wait.name):
            return failed_memo(write.memo, taken_signal(wait.name, run_id))
    if wait.since is None:
        return None
    # All of them at once: the cursor is needed for other statements.
    sought = write.app_id, wait.name
    rows = cursor.execute(QUERIES["events_since"], (*sought, wait.since, write.run_id, *sought)).fetchall()
    for event_id, name, data, ts, *_ in rows:
        event = SentEvent(event_id, name, data.encode(), ts)
        if event_id in wait.taken or not fits_at(wait.path, wait.value, fields := event.fields()):
            continue
        if _fits(wait.spec, fields, write.run_id):
            return replace(write.memo, state=StepState.COMPLETED, attempt=1, result=event.json(), wake_at=None)
    return None


def _receive(cursor: Cursor, app_id: str, events: tuple[SentEvent, ...], at: float, found: Found) -> int:
    written = 0
    for event in events:
        row = (event.id, app_id, event.name, event.data.decode(), event.ts, at)
        cursor.execute(QUERIES["add_event"], row)
        if cursor.rowcount:
            written += _ROW + len(event.data) + _tell_waits(cursor, app_id, event, at, found)
    return written


def _tell_waits(cursor: Cursor, app_id: str, event: SentEvent, at: float, found: Found) -> int:
    fields, written, result = None, 0, b""
    for path in _paths(cursor, app_id, event.name):
        if fields is None:
            # Nothing waits for most events.
            fields, result = event.fields(), event.json()
        value = value_at(fields, path) if path else ""
        if value is None:
            continue
        for run_id, key, spec, until in _waits_at(cursor, app_id, "event", event.name, path, value):
            if not is_over(until, at) and _fits(spec, fields, run_id):
                written += _complete(cursor, run_id, key, result, at, found)
    return written


def _paths(cursor: Cursor, app_id: str, name: str) -> Iterator[str]:
    """Yield the paths that steps look at in events of this name, without looking at each step."""
    (path,) = cursor.execute(QUERIES["first_path"], (app_id, name)).fetchone()
    while path is not None:
        yield path
        (path,) = cursor.execute(QUERIES["next_path"], (app_id, name, path)).fetchone()


def _fits(spec: str, fields: Fields, run_id: str) -> bool:
    try:
        return fits(spec, fields)
    except ExpressionFailedError as error:
        # For an expression that can never work, a person has to do something.
        level = logging.WARNING if isinstance(error.__cause__, EventError) else logging.DEBUG
        logger.log(
            level, "an expression failed, so event %r does not match: %s [run=%s]", fields["name"], error, run_id
        )
        return False


def _signal_waits(cursor: Cursor, app_id: str, name: str, at: float) -> list[tuple[str, str]]:
    return [
        (run_id, key) for run_id, key, _, until in _waits_at(cursor, app_id, "signal", name) if not is_over(until, at)
    ]


def _waits_at(cursor: Cursor, app_id: str, kind: str, name: str, path: str = "", value: str = "") -> list[WaitRow]:
    return cursor.execute(QUERIES["waits_at"], (app_id, kind, name, path, value)).fetchall()


def _complete(cursor: Cursor, run_id: str, key: str, result: bytes | Failure, at: float, found: Found) -> int:
    """Complete a step that waits, and make its run due, now or when it is parked."""
    if isinstance(result, Failure):
        values = (StepState.FAILED.value, "", failure_text(result), run_id, key)
    else:
        values = (StepState.COMPLETED.value, result.decode(), "", run_id, key)
    cursor.execute(QUERIES["complete_step"], values)
    if not cursor.rowcount:
        cursor.execute(QUERIES["drop_wait"], (run_id, key))
        return _ROW
    found.resumed.append((run_id, key))
    cursor.execute(QUERIES["make_due"], (at, run_id))
    if cursor.rowcount:
        found.due = True
        cursor.execute(QUERIES["drop_wait"], (run_id, key))
    else:
        cursor.execute(QUERIES["resolve_wait"], (run_id, key))
    return 3 * _ROW + len(values[1])


def _memo(cursor: Cursor, run_id: str, key: str) -> Memo | None:
    row = cursor.execute(QUERIES["memo"], (run_id, key)).fetchone()
    return None if row is None else memo_from(row)
