"""Where a run stands, read from everything that the Inngest server has stored of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Raw, Struct

from ..._core.model import Memo, Park, RecordedRequest, Run, RunStatus, StepState
from .op_ids import wait_id
from .ops import step_hash
from .protocol import Data, unwrap
from .records import (
    DueRecord,
    HeldRecord,
    MemoRecord,
    OverRecord,
    PassRecord,
    Record,
    RequestRecord,
    StoredWait,
    op_id_of,
)

_ORDER = {StepState.WAITING: 0, StepState.RETRYING: 1, StepState.COMPLETED: 2, StepState.FAILED: 2}


class StoredPass(Struct, frozen=True):
    """
    One pass of a run.

    Attributes:
        n: Its number, from 1.
        nonce: Tells whose claim was stored.
        until: Until when it holds the run, in seconds since the epoch, unless it is over.
        request_id: The dispatch that asked for it; empty for the first pass.
        worker: Who runs it.
        over: How it has ended, if it has.
        due: That it was called back after its end, if it was.
    """

    n: int
    nonce: str
    until: float
    request_id: str = ""
    worker: str = ""
    over: OverRecord | None = None
    due: DueRecord | None = None


class RunState(Struct, frozen=True):
    """
    Where a run stands.

    Attributes:
        request: How it began; None if nothing of this package's is stored.
        memos: The newest memo of each step, in the order in which the steps were first recorded.
        waits: How the server waits for what the waiting steps wait for, by key.
        passes: In their order.
        arrived: What has ended the server's waiting for a step, by key: an event or a signal as the server stores it,
            or JSON's null if the time was up.
        progress: Number of the last pass that memoized a step, or 0.
        records: What `memos` were read from, in the same order.
        own: This package's records as they are stored, by `step_hash`.
    """

    request: RequestRecord | None
    memos: list[Memo]
    waits: dict[str, StoredWait]
    passes: list[StoredPass]
    arrived: dict[str, Raw]
    progress: int
    records: Sequence[MemoRecord] = ()
    own: Mapping[str, Raw] = {}

    @property
    def newest_pass(self) -> StoredPass | None:
        """The last pass; None before the first."""
        return self.passes[-1] if self.passes else None

    @property
    def over(self) -> OverRecord | None:
        """How the newest pass has ended; None if it has not, or has died."""
        return self.passes[-1].over if self.passes else None

    @property
    def park(self) -> Park | None:
        """When the waiting run goes on, with a call back of its newest pass; None while a pass has not ended."""
        if (over := self.over) is None:
            return None
        due = self.passes[-1].due
        if due is None or due.wake_at > over.wake_at:
            return Park(over.wake_at, over.attempt, over.quiet_seconds)
        return Park(due.wake_at, over.attempt, due.quiet_seconds)

    @property
    def attempt(self) -> int:
        """The attempt of the handler that the next pass makes, from 1."""
        return next((one.over.attempt for one in reversed(self.passes) if one.over is not None), 1)

    @property
    def deaths(self) -> int:
        """Passes that have not ended by themselves, since a step was last memoized; the newest may live still."""
        return sum(one.over is None for one in self.passes if one.n >= self.progress)

    def held_until(self, now: float) -> float | None:
        """Return until when the newest pass holds the run; None if it is over, or has not said so for too long."""
        newest = self.newest_pass
        return newest.until if newest is not None and newest.over is None and newest.until > now else None

    def run(self, run_id: str, app_id: str, body: bytes) -> Run | None:
        """Return the run, unfinished, with its request's *body*; None if nothing of this package's is stored."""
        if (record := self.request) is None:
            return None
        park = self.park
        request: RecordedRequest = record.request.recorded(body)
        return Run(
            id=run_id,
            app_id=app_id,
            endpoint=record.endpoint,
            request=request,
            created_at=record.created_at,
            status=RunStatus.RUNNING if park is None else RunStatus.WAITING,
            attempt=self.attempt,
            epoch=self.passes[-1].n,
            owner=self.passes[-1].worker,
            wake_at=None if park is None else park.wake_at,
            quiet_seconds=0.0 if park is None else park.quiet_seconds,
            recoveries=self.deaths,
            deadline=record.deadline,
            idempotency=record.idempotency,
        )


def state_of(actions: Mapping[str, Raw]) -> RunState:
    """
    Return where a run stands.

    Args:
        actions: What the server has stored of the run, by `step_hash`. What is not a record of this package, or lies
            under an ID other than its own, does not count.
    """
    records: list[Record] = []
    own: dict[str, Raw] = {}
    for found, value in actions.items():
        if (record := _record(found, value)) is not None:
            records.append(record)
            own[found] = value
    request = next((record for record in records if isinstance(record, RequestRecord)), None)
    stored = [record for record in records if isinstance(record, MemoRecord)]
    newest = _newest(stored)
    return RunState(
        request,
        [record.memo for record in newest],
        {record.key: record.wait for record in newest if record.wait is not None},
        _passes(request, records),
        _arrived(newest, actions),
        max((record.pass_number for record in newest if record.memo.is_final), default=0),
        newest,
        own,
    )


def _record(found: str, value: Raw) -> Record | None:
    wrapped = unwrap(value)
    if not isinstance(wrapped, Data):
        return None
    try:
        record = _decoder.decode(wrapped.value)
    except msgspec.DecodeError:
        return None
    return record if step_hash(op_id_of(record)) == found else None


def _newest(stored: Iterable[MemoRecord]) -> list[MemoRecord]:
    """Return the newest record of each step, in the order of the first ones."""
    newest: dict[str, MemoRecord] = {}
    # The passes come one after another, so that only the records of one pass are told apart by its own clock.
    for record in sorted(stored, key=lambda one: (one.pass_number, one.at, one.key)):
        known = newest.get(record.key)
        if known is None or _stage(record) >= _stage(known):
            newest[record.key] = record
    return list(newest.values())


def _stage(record: MemoRecord) -> tuple[bool, int, int]:
    return record.memo.is_final, record.attempt, _ORDER[record.state]


def _arrived(newest: Iterable[MemoRecord], actions: Mapping[str, Raw]) -> dict[str, Raw]:
    waiting = (record for record in newest if record.op.waits_for_others)
    found = {record.key: actions.get(step_hash(wait_id(record.key, record.op))) for record in waiting}
    return {key: value for key, value in found.items() if value is not None}


def _passes(request: RequestRecord | None, records: Iterable[Record]) -> list[StoredPass]:
    if request is None:
        return []
    passes = {1: StoredPass(1, request.nonce, request.until, "", request.worker)}
    held: dict[int, float] = {}
    over: dict[int, OverRecord] = {}
    due: dict[int, DueRecord] = {}
    for record in records:
        match record:
            case PassRecord():
                passes[record.n] = StoredPass(record.n, record.nonce, record.until, record.request_id, record.worker)
            case HeldRecord():
                held[record.n] = max(record.until, held.get(record.n, 0.0))
            case OverRecord():
                over[record.n] = record
            case DueRecord():
                due[record.n] = record
    return [
        msgspec.structs.replace(
            passes[n], until=max(passes[n].until, held.get(n, 0.0)), over=over.get(n), due=due.get(n)
        )
        for n in sorted(passes)
    ]


_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
