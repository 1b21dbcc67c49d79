"""
How each kind of write becomes SQL. One function per kind: it executes its statement in the open transaction.

Called by `batch` for every row that is written, on the loop or in the writer's thread: it must not do more per row
than build a tuple and execute one statement.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from sqlite3 import Cursor
from typing import Any

from ..._core.model import Idempotency
from ..records import (
    AddWorker,
    ClaimRun,
    DropWorker,
    FinishRun,
    Insert,
    ParkRun,
    PruneRuns,
    RecoverRun,
    SaveMemo,
    WakeRun,
    Write,
)
from .queries import QUERIES
from .rows import failure_text, packed

# What a row is taken to add to the write-ahead log beside its payload: its share of the pages it changes.
_ROW = 512

_INSERT_RUN = QUERIES["insert_run"]
_SAVE_MEMO = QUERIES["save_memo"]
_RESET_RECOVERIES = QUERIES["reset_recoveries"]
_PARK_RUN = QUERIES["park_run"]
_WAKE_RUN = QUERIES["wake_run"]
_RECOVER_RUN = QUERIES["recover_run"]
_CLAIM_RUN = QUERIES["claim_run"]
_FINISH_RUN = QUERIES["finish_run"]
_ADD_WORKER = QUERIES["add_worker"]
_DROP_WORKER = QUERIES["drop_worker"]
_PRUNE_RUN = QUERIES["prune_run"]

# Orders the steps of one pass. A pass lives in one process, so a number that grows there needs no clock and no
# look at what is stored.
_sequence = itertools.count(1)

_NO_IDEMPOTENCY = Idempotency("", "", "")


def _insert(cursor: Cursor, write: Insert) -> int:
    run = write.run
    request = packed(run.request)
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
        ),
    )
    return cursor.rowcount * (_ROW + len(request))


def _save_memo(cursor: Cursor, write: SaveMemo) -> int:
    memo = write.memo
    result = "" if memo.result is None else memo.result.decode()
    cursor.execute(
        _SAVE_MEMO,
        (
            memo.key,
            memo.id,
            memo.op._value_,
            memo.state._value_,
            next(_sequence),
            memo.attempt,
            -1 if memo.wake_at is None else memo.wake_at,
            memo.fingerprint,
            "" if memo.failure is None else failure_text(memo.failure),
            result,
            write.run_id,
            write.epoch,
        ),
    )
    if not cursor.rowcount:
        return 0
    if write.progress:
        cursor.execute(_RESET_RECOVERIES, (write.run_id,))
    return _ROW + len(result)


def _park(cursor: Cursor, write: ParkRun) -> int:
    park = write.park
    cursor.execute(_PARK_RUN, (park.wake_at, park.attempt, park.quiet_seconds, write.run_id, write.epoch))
    return _ROW * cursor.rowcount


def _wake(cursor: Cursor, write: WakeRun) -> int:
    cursor.execute(_WAKE_RUN, (write.wake_at, write.quiet_seconds, write.run_id, write.epoch))
    return _ROW * cursor.rowcount


def _recover(cursor: Cursor, write: RecoverRun) -> int:
    cursor.execute(_RECOVER_RUN, (write.wake_at, write.run_id, write.epoch))
    return _ROW * cursor.rowcount


def _claim(cursor: Cursor, write: ClaimRun) -> int:
    cursor.execute(_CLAIM_RUN, (write.owner, write.run_id, write.epoch))
    return _ROW * cursor.rowcount


def _finish(cursor: Cursor, write: FinishRun) -> int:
    finish = write.finish
    response = None if finish.response is None else packed(finish.response)
    cursor.execute(
        _FINISH_RUN,
        (finish.status._value_, write.ended_at, failure_text(finish.failure), response, write.run_id, write.epoch),
    )
    return cursor.rowcount * (_ROW + len(response or b""))


def _add_worker(cursor: Cursor, write: AddWorker) -> int:
    cursor.execute(_ADD_WORKER, (write.worker_id, write.pid, write.host, write.started_at))
    return _ROW


def _drop_worker(cursor: Cursor, write: DropWorker) -> int:
    cursor.execute(_DROP_WORKER, (write.worker_id,))
    return _ROW


def _prune(cursor: Cursor, write: PruneRuns) -> int:
    # The steps go with their run, by the foreign key.
    cursor.executemany(_PRUNE_RUN, ((run_id,) for run_id in write.run_ids))
    return _ROW * len(write.run_ids)


# Each returns about how many bytes it added to the write-ahead log, and 0 if the write's guard did not hold.
EXECUTE: dict[type[Write], Callable[[Cursor, Any], int]] = {
    Insert: _insert,
    SaveMemo: _save_memo,
    ParkRun: _park,
    WakeRun: _wake,
    RecoverRun: _recover,
    ClaimRun: _claim,
    FinishRun: _finish,
    AddWorker: _add_worker,
    DropWorker: _drop_worker,
    PruneRuns: _prune,
}
