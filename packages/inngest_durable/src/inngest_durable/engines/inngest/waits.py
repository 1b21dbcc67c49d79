"""
What the steps of a run wait for on the server, and what goes along with their memos.

A step that waits has a memo that says how, and an operation by which the server waits for it. What has come is kept by
the server under the operation's own ID: the step's memo is made from that at each pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Protocol

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from ..._core.effects import Along, Invoke, SendEvents, SendSignal, StopWaiting
from ..._core.event_flow import failed_memo
from ..._core.events import Event
from ..._core.invoke_flow import late, result_of
from ..._core.matching import WaitFor
from ..._core.model import Failure, Memo, Run, StepOp, StepState
from ...errors import EventError
from ..ulids import ulid_of
from .conditions import cel_of
from .errands import Errands
from .op_ids import wait_id
from .ops import Op, step_hash, wait_for_event, wait_for_signal
from .protocol import Data, Error, unwrap
from .records import StoredWait

# The server's own event at the end of a run.
RUN_ENDED = "inngest/function.finished"
_NOTHING = b"null"
_NEVER = float("inf")


class Recording(Protocol):
    """
    What waits need of the claim that they belong to.

    Attributes:
        run: The run.
        errands: What the pass does on the server besides recording memos.
    """

    run: Run
    errands: Errands

    async def keep(self, memo: Memo, started_at: float | None = None, wait: Op | None = None) -> None:
        """Record a memo. Raises `FencedError`."""


class Waits:
    """
    The waiting steps of one run.

    Args:
        waiting: The memo of each, and how the server waits for it.
        seen: Keys of those whose end a pass has gone on with.
    """

    def __init__(self, waiting: Iterable[tuple[Memo, StoredWait]] = (), seen: Iterable[str] = ()) -> None:
        self._of = {memo.key: (memo, wait) for memo, wait in waiting}
        self._seen = set(seen)

    async def record(self, claim: Recording, memo: Memo, along: Along) -> Memo:
        """Record *memo* and what goes along with it; return the memo that is recorded. Raises `FencedError`."""
        match along:
            case WaitFor() | Invoke():
                op = self._op(claim, memo, along)
                if isinstance(along, Invoke):
                    # Before the child can end. It is the same child however often this is repeated.
                    await claim.errands.post(op)
                    await claim.errands.begin_child(along.child)
                await claim.keep(memo, wait=op)
                self._of[memo.key] = memo, StoredWait.of(op)
                if isinstance(along, WaitFor):
                    await claim.errands.post(op)
                if isinstance(along, WaitFor) and along.kind == "signal" and await claim.errands.is_refused(op):
                    # The server says nothing when another run waits for the signal, and would never wake this one.
                    taken = Failure("SignalTakenError", f"signal {along.name!r} is waited for by another run")
                    memo = failed_memo(memo, taken)
                    await claim.keep(memo)
                return memo
            case StopWaiting():
                if memo.op is StepOp.INVOKE:
                    memo = replace(memo, failure=late(child_id(claim.run, memo.key)))
                final = await self._come(claim, memo.key, await claim.errands.look()) or memo
                await claim.keep(final)
                self._seen.add(memo.key)
                return final
            case SendEvents():
                # Their IDs are the step's, so that sending them again counts once.
                await claim.errands.send_events(along)
            case SendSignal():
                data = msgspec.json.decode(along.result, type=_Signal).data
                woke = await claim.errands.send_signal(along.name, data)
                memo = replace(memo, result=b"true" if woke else b"false")
        await claim.keep(memo)
        return memo

    def _op(self, claim: Recording, memo: Memo, along: WaitFor | Invoke) -> Op:
        """Return the operation by which the server waits. Raises `EventError` if it cannot."""
        left = (memo.wake_at or 0.0) - claim.errands.now()
        op_id = wait_id(memo.key, memo.op)
        if isinstance(along, Invoke):
            condition = f"async.data.run_id == '{along.child.id}'"
            return wait_for_event(op_id, RUN_ENDED, condition, left, memo.key)
        if along.since is not None:
            raise EventError(
                'since="run" takes events that came before the wait, which an Inngest server does not keep for the '
                "run: send the event later, or use the embedded engine",
                claim.run.id,
                memo.key,
            )
        if along.kind == "signal":
            return wait_for_signal(op_id, along.name, left, memo.key)
        return wait_for_event(op_id, along.name, cel_of(along), left, memo.key)

    async def arrived(self, claim: Recording, found: Mapping[str, Raw], keys: Iterable[str]) -> list[Memo]:
        """Return the final memos of those of the steps *keys* whose end is among the run's records."""
        memos = [await self._come(claim, key, found) for key in keys]
        return [memo for memo in memos if memo is not None]

    async def _come(self, claim: Recording, key: str, found: Mapping[str, Raw]) -> Memo | None:
        if key not in self._of:
            return None
        memo, wait = self._of[key]
        stored = found.get(step_hash(wait.op_id))
        return None if stored is None else await _memo_of(claim, memo, stored)

    async def journal(self, claim: Recording, memos: Iterable[Memo], found: Mapping[str, Raw]) -> list[Memo]:
        """Return *memos*, those of waiting steps final if what they wait for has come. A pass goes on with that."""
        self._seen.update(self.all_come(found))
        return [await self._come(claim, memo.key, found) or memo for memo in memos]

    def seen(self, key: str) -> None:
        """Note that a pass goes on with the end of a wait."""
        self._seen.add(key)

    def ended(self, key: str) -> None:
        """Note that a step has a final memo, and waits no longer."""
        self._of.pop(key, None)

    def all_come(self, found: Mapping[str, Raw]) -> list[str]:
        """Return the keys of all steps whose end is among the run's records."""
        return [key for key, (_, wait) in self._of.items() if step_hash(wait.op_id) in found]

    def has_come_since(self, before: Mapping[str, Raw], found: Mapping[str, Raw]) -> bool:
        """Whether something has come between two looks at what is stored of the run."""
        return len(self.all_come(found)) > len(self.all_come(before))

    def has_unseen(self, found: Mapping[str, Raw]) -> bool:
        """Whether something has come that no pass has gone on with."""
        return any(key not in self._seen for key in self.all_come(found))

    def ops(self, now: float, found: Mapping[str, Raw]) -> list[Op]:
        """Return the operations by which the server waits for what has not come: it ignores those that it has."""
        come = set(self.all_come(found))
        return [
            wait.again(key, max(0.0, (memo.wake_at or now) - now))
            for key, (memo, wait) in self._of.items()
            if key not in come
        ]

    def first_timeout(self, found: Mapping[str, Raw]) -> float:
        """Return when the server gives up the first wait for what has not come, in seconds since the epoch."""
        come = set(self.all_come(found))
        return min((memo.wake_at or 0.0 for key, (memo, _) in self._of.items() if key not in come), default=_NEVER)


class _Signal(msgspec.Struct):
    data: Raw = Raw(b"null")


async def _memo_of(claim: Recording, memo: Memo, stored: Raw) -> Memo:
    """Return the final memo of a step that waited, made of what the server keeps. Raises `UnreachableError`."""
    value: Any = unwrap(stored)
    if isinstance(value, Error):
        failure = msgspec.json.decode(value.value, type=_Failure)
        return _failed(memo, Failure(failure.name, failure.message))
    # Null is what the server keeps of a wait that it has given up.
    has_come = bytes(stored) != _NOTHING
    if memo.op is StepOp.INVOKE:
        child = child_id(claim.run, memo.key)
        result = result_of(child, await claim.errands.end_of(child)) if has_come else late(child)
        return _failed(memo, result) if isinstance(result, Failure) else _completed(memo, result)
    if not has_come:
        return _completed(memo, _NOTHING)
    if memo.op is StepOp.WAIT_FOR_SIGNAL:
        return _completed(memo, bytes(value.value if isinstance(value, Data) else stored))
    event = msgspec.json.decode(stored, type=Event)
    return _completed(memo, msgspec.json.encode(event))


def child_id(run: Run, key: str) -> str:
    """Return the ID of the run that the step *key* invokes: always the same, so that it begins once."""
    return child_id_of(run.id, run.created_at, key)


def child_id_of(run_id: str, created_at: float, key: str) -> str:
    """Return the ID of the run that the step *key* of a run invokes."""
    return ulid_of(created_at, sha256(f"{run_id}/{key}".encode()).digest())


class _Failure(msgspec.Struct):
    name: str = "UnknownError"
    message: str = ""


def _completed(memo: Memo, result: bytes) -> Memo:
    return replace(memo, state=StepState.COMPLETED, attempt=1, result=result, wake_at=None)


def _failed(memo: Memo, failure: Failure) -> Memo:
    return replace(memo, state=StepState.FAILED, attempt=1, failure=failure, wake_at=None)
