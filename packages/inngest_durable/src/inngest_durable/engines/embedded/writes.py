"""
How each kind of write becomes SQL. One function per kind: it executes its statement in the open transaction.

Called by `batch` for every row that is written, on the loop or in the writer's thread: it must not do more per row
than build a tuple and execute one statement.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from sqlite3 import Cursor
from typing import Any

from ..._core.invoke_flow import INVOKED
from ..._core.model import Finish, Idempotency, Run, RunStatus
from ..records import (
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
    SaveCompleted,
    SaveMemo,
    SaveMemoWith,
    WakeRun,
    Write,
)
from ..told import Numbers
from . import waits
from .queries import QUERIES
from .rows import failure_text, packed

# What a row is taken to add to the write-ahead log beside its payload: its share of the pages it changes.
_ROW = 512

_INSERT_RUN = QUERIES["insert_run"]
_INSERT_PLAIN_RUN = QUERIES["insert_plain_run"]
_SAVE_MEMO = QUERIES["save_memo"]
_SAVE_COMPLETED = QUERIES["save_completed"]
_RESET_RECOVERIES = QUERIES["reset_recoveries"]
_PARK_RUN = QUERIES["park_run"]
_WAKE_RUN = QUERIES["wake_run"]
_RECOVER_RUN = QUERIES["recover_run"]
_CLAIM_RUN = QUERIES["claim_run"]
_FINISH_RUN = QUERIES["finish_run"]
_CANCEL_RUN = QUERIES["cancel_run"]
_INVOKED = QUERIES["invoked"]
_IS_RUNNING = QUERIES["is_running"]
_ADD_WORKER = QUERIES["add_worker"]
_DROP_WORKER = QUERIES["drop_worker"]
_PRUNE_RUN = QUERIES["prune_run"]
_PRUNE_RUN_EVENTS = QUERIES["prune_run_events"]

# Orders the steps of one pass, and its run's events.
NUMBERS = Numbers()

_NO_IDEMPOTENCY = Idempotency("", "", "")
_CANCELLED = Finish(RunStatus.CANCELLED, None)


def _insert(cursor: Cursor, write: Insert) -> int:
    run = write.run
    request = packed(run.request)
    if run.owner and run.idempotency is None and run.deadline is None and run.wake_at is None:
        cursor.execute(
            _INSERT_PLAIN_RUN,
            (
                run.id,
                run.status._value_,
                run.epoch,
                run.owner,
                run.attempt,
                run.quiet_seconds,
                run.recoveries,
                run.created_at,
                run.app_id,
                run.endpoint,
                request,
                run.owner,
                os.getpid(),
            ),
        )
    else:
        _insert_with_all(cursor, run, request)
    return cursor.rowcount * (_ROW + len(request))


def _insert_with_all(cursor: Cursor, run: Run, request: bytearray) -> None:
    same = run.idempotency or _NO_IDEMPOTENCY
    cursor.execute(
        _INSERT_RUN,
        (
            run.id,
            run.status._value_,
            run.epoch,
            run.owner,
            run.attempt,
            -1 if run.wake_at is None else run.wake_at,
            run.quiet_seconds,
            run.recoveries,
            run.created_at,
            -1 if run.deadline is None else run.deadline,
            same.scope,
            same.key,
            same.digest,
            run.app_id,
            run.endpoint,
            request,
            run.owner,
            os.getpid() if run.owner else -1,
        ),
    )


def _save_memo(cursor: Cursor, write: SaveMemo) -> int:
    memo, result = write.memo, write.memo.result
    text = "" if result is None else result.decode()
    cursor.execute(
        _SAVE_MEMO,
        (
            memo.key,
            memo.id,
            memo.op._value_,
            memo.state._value_,
            NUMBERS.take(),
            memo.attempt,
            -1 if memo.wake_at is None else memo.wake_at,
            memo.fingerprint,
            "" if memo.failure is None else failure_text(memo.failure),
            text,
            write.run_id,
            write.epoch,
        ),
    )
    return _saved(cursor, write, text)


def _save_completed(cursor: Cursor, write: SaveCompleted) -> int:
    memo, epoch = write.memo, write.epoch
    text = memo.result.decode() if memo.result else ""
    cursor.execute(
        _SAVE_COMPLETED,
        (
            write.run_id,
            epoch,
            epoch,
            memo.key,
            memo.id,
            NUMBERS.take(),
            memo.fingerprint,
            text,
            write.started_at,
            write.at,
        ),
    )
    return _saved(cursor, write, text)


def _saved(cursor: Cursor, write: SaveMemo, text: str) -> int:
    if not cursor.rowcount:
        return 0
    if write.progress:
        cursor.execute(_RESET_RECOVERIES, (write.run_id,))
    return _ROW + len(text)


def _park(cursor: Cursor, write: ParkRun) -> int:
    park, wake_at = write.park, write.park.wake_at
    if waits.has_arrived(cursor, write.run_id, write.seen):
        # Due at once, and before all others.
        wake_at = 0.0
        if write.found is not None:
            write.found.due = True
    cursor.execute(_PARK_RUN, (wake_at, park.attempt, park.quiet_seconds, write.run_id, write.epoch))
    return _ROW * cursor.rowcount


def _wake(cursor: Cursor, write: WakeRun) -> int:
    cursor.execute(_WAKE_RUN, (write.wake_at, write.quiet_seconds, write.run_id, write.epoch))
    return _ROW * cursor.rowcount


def _recover(cursor: Cursor, write: RecoverRun) -> int:
    cursor.execute(_RECOVER_RUN, (write.wake_at, write.run_id, write.epoch))
    return _ROW * cursor.rowcount


def _claim(cursor: Cursor, write: ClaimRun) -> int:
    cursor.execute(_CLAIM_RUN, (write.owner, write.run_id, write.epoch))
    if not cursor.rowcount:
        return 0
    waits.drop_arrived(cursor, write.run_id)
    return _ROW


def _finish(cursor: Cursor, write: FinishRun) -> int:
    finish = write.finish
    response = None if finish.response is None else packed(finish.response)
    cursor.execute(
        _FINISH_RUN,
        (finish.status._value_, write.ended_at, failure_text(finish.failure), response, write.run_id, write.epoch),
    )
    if not cursor.rowcount:
        return 0
    size = _ROW + len(response or b"")
    if write.alone:
        return size
    return size + waits.end_waits(cursor, write.run_id, finish, write.ended_at, write.found)


def _cancel(cursor: Cursor, write: CancelRun) -> int:
    found = write.found or Found()
    found.clear()
    cursor.execute(_CANCEL_RUN, (write.ended_at, write.run_id))
    if not cursor.rowcount:
        return 0
    written = _ROW + waits.end_waits(cursor, write.run_id, _CANCELLED, write.ended_at, found)
    # All in this transaction: a process that dies leaves nothing half done.
    ids = [run_id for (run_id,) in cursor.execute(_INVOKED, (write.run_id, INVOKED)).fetchall()]
    for run_id in ids:
        cursor.execute(_CANCEL_RUN, (write.ended_at, run_id))
        waits.drop_waits(cursor, run_id)
    found.cancelled = [write.run_id, *ids]
    return written + _ROW * len(ids)


def _check_running(cursor: Cursor, write: AddRunEvent) -> int:
    # The event itself is stored with those of the other writes.
    found = cursor.execute(_IS_RUNNING, (write.run_id, write.epoch)).fetchall()
    return _ROW if found else 0


def _add_worker(cursor: Cursor, write: AddWorker) -> int:
    cursor.execute(_ADD_WORKER, (write.worker_id, write.pid, write.host, write.started_at))
    return _ROW


def _drop_worker(cursor: Cursor, write: DropWorker) -> int:
    cursor.execute(_DROP_WORKER, (write.worker_id,))
    return _ROW


def _prune(cursor: Cursor, write: PruneRuns) -> int:
    # The steps go with their run, by the foreign key.
    cursor.executemany(_PRUNE_RUN, ((run_id,) for run_id in write.run_ids))
    cursor.executemany(_PRUNE_RUN_EVENTS, ((run_id,) for run_id in write.run_ids))
    return _ROW * len(write.run_ids)


# Each returns about how many bytes it added to the write-ahead log, and 0 if the write's guard did not hold.
EXECUTE: dict[type[Write], Callable[[Cursor, Any], int]] = {
    Insert: _insert,
    SaveMemo: _save_memo,
    SaveCompleted: _save_completed,
    ParkRun: _park,
    WakeRun: _wake,
    RecoverRun: _recover,
    ClaimRun: _claim,
    FinishRun: _finish,
    CancelRun: _cancel,
    AddRunEvent: _check_running,
    AddWorker: _add_worker,
    DropWorker: _drop_worker,
    PruneRuns: _prune,
    SaveMemoWith: waits.Steps(_save_memo, _insert).save_with,
    AddEvents: waits.add_events,
    AddSignal: waits.add_signal,
    PruneEvents: waits.prune_events,
}
