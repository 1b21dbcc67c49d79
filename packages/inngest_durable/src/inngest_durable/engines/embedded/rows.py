"""
How runs and memos look as rows: requests and responses are msgpack, failures are JSON text.

Pure. The reading side fits the column order of `queries.sql`; the writing side is in `writes`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..._core.model import (
    Failure,
    Idempotency,
    Memo,
    RecordedRequest,
    RecordedResponse,
    Run,
    RunStatus,
    StepOp,
    StepState,
)

_request = msgspec.msgpack.Decoder(RecordedRequest)
_response = msgspec.msgpack.Decoder(RecordedResponse)
_failure = msgspec.json.Decoder(Failure)
_json = msgspec.json.Encoder()

_msgpack = msgspec.msgpack.Encoder()


def packed(value: RecordedRequest | RecordedResponse) -> bytearray:
    """Return *value* as msgpack."""
    buffer = bytearray()
    _msgpack.encode_into(value, buffer)
    return buffer


def failure_text(failure: Failure | None) -> str:
    """Return *failure* as JSON text; empty for None."""
    if failure is None:
        return ""
    try:
        return _json.encode(failure).decode()
    except UnicodeEncodeError:
        # The text of an exception may hold a lone surrogate (a file name that is not UTF-8). An error that cannot be
        # recorded would hide the one that happened.
        name, message, traceback = (
            text.encode(errors="backslashreplace").decode()
            for text in (failure.name, failure.message, failure.traceback)
        )
        return _json.encode(Failure(name, message, traceback)).decode()


def run_from(row: tuple[Any, ...]) -> Run:
    """Return the run in a row of the query `run`."""
    (
        run_id,
        app_id,
        endpoint,
        request,
        created_at,
        status,
        *middle,
        response,
        failure,
        ended_at,
        deadline,
        scope,
        key,
        digest,
    ) = row
    attempt, epoch, owner, wake_at, quiet_seconds, recoveries = middle
    return Run(
        id=run_id,
        app_id=app_id,
        endpoint=endpoint,
        request=_request.decode(request),
        created_at=created_at,
        status=RunStatus(status),
        attempt=attempt,
        epoch=epoch,
        owner=owner,
        wake_at=wake_at,
        quiet_seconds=quiet_seconds,
        recoveries=recoveries,
        response=None if response is None else _response.decode(response),
        failure=None if failure is None else _failure.decode(failure),
        ended_at=ended_at,
        deadline=deadline,
        idempotency=None if key is None else Idempotency(scope, key, digest),
    )


def memo_from(row: tuple[Any, ...]) -> Memo:
    """Return the memo in a row of the query `memos`."""
    key, step_id, op, state, attempt, result, failure, wake_at, fingerprint = row
    return Memo(
        key=key,
        id=step_id,
        op=StepOp(op),
        state=StepState(state),
        attempt=attempt,
        result=None if result is None else result.encode(),
        failure=None if failure is None else _failure.decode(failure),
        wake_at=wake_at,
        fingerprint=fingerprint,
    )
