"""
What a run keeps at the Inngest server, as operations of finished steps whose data say what they are. Pure.

The server keeps the first value that is stored under an ID, so that storing a record is a compare-and-set. Records of
another version may have fields that this one does not know, and values of others lie between them.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from ..._core.model import Failure, Idempotency, Memo, Park, Run, StepOp, StepState
from .op_ids import REQUEST_RECORD_ID, memo_id, pass_id
from .ops import Op, go_duration, step_hash, step_run
from .stored_request import StoredRequest, printable


class StoredWait(Struct, frozen=True, gc=False):
    """
    The operation by which the server waits for what a step waits for.

    Attributes:
        op: Its kind, e.g. ``"WaitForEvent"``.
        op_id: Its ID.
        name: Name of the event or signal.
        opts: As they were sent.
    """

    op: str
    op_id: str
    name: str
    opts: dict[str, str] = {}

    @classmethod
    def of(cls, op: Op) -> StoredWait:
        """Return what is stored of *op*."""
        return cls(op.op, op.op_id, op.name, op.opts if isinstance(op.opts, dict) else {})

    def again(self, display: str, timeout_seconds: float) -> Op:
        """Return the operation once more, for the time that is left. The server ignores it if it has it."""
        opts = self.opts | {"timeout": go_duration(timeout_seconds)}
        return Op(self.op, step_hash(self.op_id), self.name, display, {"id": self.op_id}, opts)


class RequestRecord(Struct, frozen=True, kw_only=True, tag="request", tag_field="durable"):
    """
    The beginning of a run, and its first pass. Times are in seconds since the epoch.

    Attributes:
        endpoint: ID of the endpoint.
        nonce: Of the first pass: tells whose record was stored.
        request: The client's request.
        created_at: When it came.
        until: Until when the first pass holds the run.
        deadline: When the run fails if it has not ended.
        idempotency: Which other requests it answers.
        parent: The run that invoked this one, or empty.
        worker: Who runs the first pass.
        pid: Its process.
    """

    endpoint: str
    nonce: str
    request: StoredRequest
    created_at: float
    until: float
    deadline: float | None = None
    idempotency: Idempotency | None = None
    parent: str = ""
    worker: str = ""
    pid: int | None = None


class MemoRecord(Struct, frozen=True, kw_only=True, tag="memo", tag_field="durable"):
    """
    A memo. *pass_number* is the pass that recorded it, at *at*; the attempt began at *started_at*.

    The result is JSON inside a text: the server would sort the keys of an object and round large numbers.
    """

    key: str
    id: str
    op: StepOp
    state: StepState
    attempt: int = 0
    result: str | None = None
    failure: Failure | None = None
    wake_at: float | None = None
    fingerprint: str = ""
    pass_number: int = msgspec.field(name="pass")
    started_at: float | None = None
    at: float = 0.0
    wait: StoredWait | None = None

    @property
    def memo(self) -> Memo:
        """The memo itself."""
        result = None if self.result is None else self.result.encode()
        failure, wake_at = self.failure, self.wake_at
        return Memo(self.key, self.id, self.op, self.state, self.attempt, result, failure, wake_at, self.fingerprint)


class PassRecord(Struct, frozen=True, kw_only=True, tag="pass", tag_field="durable"):
    """
    A later pass has claimed the run.

    Attributes:
        n: Its number, from 2.
        nonce: Tells whose record was stored.
        until: Until when it holds the run.
        at: When it began.
        request_id: The dispatch that asked for it.
        worker: Who runs it.
    """

    n: int
    nonce: str
    until: float
    at: float
    request_id: str = ""
    worker: str = ""


class HeldRecord(Struct, frozen=True, kw_only=True, tag="held", tag_field="durable"):
    """Pass *n* lives and holds the run until *until*; *k* counts these from 1."""

    n: int
    k: int
    until: float


class OverRecord(Struct, frozen=True, kw_only=True, tag="over", tag_field="durable"):
    """
    Pass *n* is over and the run waits, as `Park` has it.

    *why* and *failure* are for people to read. *seen* are the steps whose awaited events or signals the pass knew of,
    so that the run need not be entered for them again.
    """

    n: int
    wake_at: float
    attempt: int
    quiet_seconds: float = 0.0
    why: str = ""
    failure: Failure | None = None
    seen: tuple[str, ...] = ()


class DueRecord(Struct, frozen=True, kw_only=True, tag="due", tag_field="durable"):
    """The run that pass *n* has parked is due at *wake_at*, if that is earlier."""

    n: int
    wake_at: float
    quiet_seconds: float


Record = RequestRecord | MemoRecord | PassRecord | HeldRecord | OverRecord | DueRecord


def op_id_of(record: Record) -> str:
    """Return the ID of the operation that stores *record*."""
    match record:
        case RequestRecord():
            return REQUEST_RECORD_ID
        case MemoRecord():
            return memo_id(record.key) + ("" if record.memo.is_final else f"#{record.state}:{record.attempt}")
        case PassRecord():
            return pass_id(record.n)
        case HeldRecord():
            return f"{pass_id(record.n)}:held:{record.k}"
        case OverRecord():
            return f"{pass_id(record.n)}:over"
        case DueRecord():
            return f"{pass_id(record.n)}:due"


def memo_op(memo: Memo, epoch: int, started_at: float | None, at: float, wait: Op | None = None) -> Op:
    """
    Return the operation that stores *memo*.

    Args:
        memo: What to store.
        epoch: Number of the pass.
        started_at: When the attempt began that has ended; None if none has.
        at: Now.
        wait: The operation by which the server waits for what the step waits for.
    """
    record = MemoRecord(
        key=memo.key,
        id=memo.id,
        op=memo.op,
        state=memo.state,
        attempt=memo.attempt,
        result=None if memo.result is None else memo.result.decode(),
        failure=None if memo.failure is None else storable(memo.failure),
        wake_at=memo.wake_at,
        fingerprint=memo.fingerprint,
        pass_number=epoch,
        started_at=started_at,
        at=at,
        wait=None if wait is None else StoredWait.of(wait),
    )
    display = memo.key + _LABELS[memo.state].format(memo.attempt)
    return step_run(op_id_of(record), display, _json.encode(record), at if started_at is None else started_at, at)


def request_op(run: Run, nonce: str, until: float, parent: str = "", worker: str = "", pid: int | None = None) -> Op:
    """
    Return the operation that stores the beginning of a run, and its first pass.

    Args:
        run: The run as it begins.
        nonce: Tells whose record was stored.
        until: Until when the first pass holds the run.
        parent: The run that invokes this one.
        worker: Who runs the first pass.
        pid: Its process.
    """
    record = RequestRecord(
        endpoint=run.endpoint,
        nonce=nonce,
        request=StoredRequest.of(run.request),
        created_at=run.created_at,
        until=until,
        deadline=run.deadline,
        idempotency=run.idempotency,
        parent=parent,
        worker=worker,
        pid=pid,
    )
    return step_run(REQUEST_RECORD_ID, "request", _json.encode(record), run.created_at, run.created_at)


def pass_op(n: int, nonce: str, until: float, at: float, request_id: str = "", worker: str = "") -> Op:
    """Return the operation that claims the run for pass *n* at *at*; see `PassRecord`."""
    record = PassRecord(n=n, nonce=nonce, until=until, at=at, request_id=request_id, worker=worker)
    return step_run(pass_id(n), f"pass {n}", _json.encode(record), at, at)


def held_op(n: int, k: int, until: float) -> Op:
    """Return the operation that says that pass *n* lives."""
    return _op(HeldRecord(n=n, k=k, until=until), f"pass {n} goes on")


def over_op(n: int, park: Park, why: str = "", failure: Failure | None = None, seen: Iterable[str] = ()) -> Op:
    """Return the operation that ends pass *n*."""
    failure = None if failure is None else storable(failure)
    wake_at, attempt, quiet = park.wake_at, park.attempt, park.quiet_seconds
    record = OverRecord(
        n=n, wake_at=wake_at, attempt=attempt, quiet_seconds=quiet, why=why, failure=failure, seen=tuple(seen)
    )
    return _op(record, f"pass {n} is over")


def due_op(n: int, wake_at: float, quiet_seconds: float) -> Op:
    """Return the operation that makes the run that pass *n* has parked due."""
    return _op(DueRecord(n=n, wake_at=wake_at, quiet_seconds=quiet_seconds), f"pass {n} is called back")


def storable(failure: Failure) -> Failure:
    """Return *failure* with texts that have a UTF-8 form: that of an exception may hold a lone surrogate."""
    return Failure(*(printable(text) for text in (failure.name, failure.message, failure.traceback, failure.run_id)))


_LABELS = {
    StepState.COMPLETED: "",
    StepState.FAILED: " (failed)",
    StepState.RETRYING: " (attempt {} failed)",
    StepState.WAITING: " (waits)",
}
_json = msgspec.json.Encoder()


def _op(record: Record, display: str) -> Op:
    return step_run(op_id_of(record), display, _json.encode(record))
