"""What a pass on an Inngest server records: each record is posted alone, and is there before the pass goes on."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from msgspec import Raw
from msgspec.structs import replace

from ..._core.effects import Along
from ..._core.invoke_flow import family
from ..._core.model import Failure, Finish, Memo, Park, RecordedRequest, Run, RunStatus
from ..attempts import Attempt, tell_progress
from ..base import FencedError, TimerHandle
from ..records import AddRunEvent, Found, Insert, SaveMemo, SaveMemoWith
from ..told import saving
from .checkpoints import Checkpoints
from .delivery import UNDELIVERED, is_outage
from .errands import Errands
from .hold import Hold
from .ops import Op, go_duration
from .outcome import Outcome
from .owner import ClaimOwner
from .parting import Parting
from .protocol import Created
from .records import memo_op, request_op
from .waits import Waits, child_id

logger = logging.getLogger("inngest_durable")

HOLD_ENDED = "the server could not be told in time that the pass lives"
LEASE_ENDS = "the pass in the client's request has taken as long as it may"

T = TypeVar("T")


class InngestClaim:
    """
    The right of one pass to write to its run; see `engines.base.Claim`.

    Args:
        engine: The engine.
        run: The run as it was when the pass began.
        waits: What its steps wait for on the server.
        records: This package's records of it on the server; None for a new run.
        nonce: Distinguishes this pass from another one that wants to be the same.

    Attributes:
        outcome: Resolves when the pass has ended.
    """

    def __init__(
        self,
        engine: ClaimOwner,
        run: Run,
        waits: Waits | None = None,
        records: Mapping[str, Raw] | None = None,
        nonce: str = "",
    ) -> None:
        self.run = run
        self.memos: Sequence[Memo] = ()
        self.accepted = records is not None
        self.attempts: dict[str, Attempt] = {}
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.waits = waits or Waits()
        self._engine = engine
        self._nonce = nonce
        self._is_first = records is None
        ids = None if self._is_first else engine.creations.of_endpoint(run)
        self.checkpoints = Checkpoints(engine, run.id, run.epoch, self._create, records, ids)
        self.errands = Errands(engine, run, self.checkpoints)
        clock, spawn = engine.clock, engine.spawn
        self._hold = Hold(
            self.checkpoints, run.epoch, engine.lease_seconds, clock, spawn, self._half_time, self._is_overdue
        )
        self._parting = Parting(self, engine.followed, self._is_first)
        self._accepting: asyncio.Task[None] | None = None
        self._listeners: dict[str, Callable[[Memo], object]] = {}

    def now(self) -> float:
        """Return the current time in seconds since the epoch."""
        return self._engine.clock.now()

    # The pass begins.

    @property
    def on_disk(self) -> bool:
        """Whether the server has the run."""
        accepting = self._accepting
        if accepting is None:
            return self.accepted
        return accepting.done() and not accepting.cancelled() and accepting.exception() is None

    def accept_soon(self) -> None:
        """Create the run on the server, while the first step runs."""
        if not self.accepted:
            self.accepted = True
            self._hold.start_over()
            self._accepting = self._engine.spawn(self._accept())

    async def accept(self) -> None:
        """Create the run on the server. Raises `FencedError` when it was there, with the same idempotency key."""
        self.accept_soon()
        await self.ready()
        op = self._first_record()
        if await self.errands.deliver(lambda: self.checkpoints.claim(op, self._nonce)) is None:
            self.settled(None)
            raise FencedError

    async def begin(self, claimed: Op) -> Mapping[str, Raw] | None:
        """Claim the run for a later pass; return what is stored of it, or None if another one was first."""
        found = await self.checkpoints.claim(claimed, self._nonce)
        if found is not None:
            self._hold.begin()
        return found

    async def _accept(self) -> None:
        # Followers of the run know it before anything happens in it.
        self._engine.followed.note(Insert(self.run))
        await self.checkpoints.created()
        await self._hold.lease()
        self._hold.begin()

    async def _create(self) -> Created:
        first = self.checkpoints.first = self._first_record()
        return await self._engine.creations.create(self.run, first)

    def _first_record(self) -> Op:
        kept = replace(self.run, request=self._engine.creations.kept(self.run.request))
        return request_op(kept, self._nonce, self._hold.until, worker=self._engine.worker_id, pid=os.getpid())

    async def ready(self) -> None:
        """Wait until the run is accepted. Raises `FencedError` if it could not be: then there is none."""
        self.accept_soon()
        if self._accepting is None:
            return
        try:
            await asyncio.shield(self._accepting)
        except UNDELIVERED as error:
            self.settled(None)
            self._engine.health.undelivered(self.run.id, str(error), is_outage=is_outage(error))
            if self.run.idempotency is None and self.run.id not in self._engine.withdrawn:
                self._engine.withdrawn.add(self.run.id)
                self._engine.spawn(self._withdraw())
            raise FencedError from error

    async def _withdraw(self) -> None:
        """
        Take back a run that could not be accepted whole: its client is told to send the request again.

        One with an idempotency key stays: the same request finds it, if it is there.
        """
        await self.errands.deliver(lambda: self._engine.api.cancel(self.run.id))
        self._engine.withdrawn.discard(self.run.id)

    def _is_overdue(self) -> None:
        self._engine.interrupt(self.run.id, HOLD_ENDED)

    async def _half_time(self) -> None:
        if self._is_first:
            self._engine.interrupt(self.run.id, LEASE_ENDS)
        elif self._listeners and (found := await self.checkpoints.look()) is not None:
            await self.hear(found)

    # Checkpoints.

    def begin_attempt(self, key: str, attempt: int) -> None:
        """Note that an attempt of a step begins, for the run events."""
        self.attempts[key] = Attempt(attempt, self.now())
        if not self._engine.starts.ticks:
            self._engine.starts.tick()

    def look(self) -> None:
        """Do nothing: the server tells of a cancellation at the next checkpoint."""

    def progress(self, key: str, text: str, data: str, at: float) -> None:
        """Report how far the executing attempt of a step is; *data* is a JSON object or empty."""
        tell_progress(self, key, text, data, at)

    def tell(self, kind: str, data: str, at: float) -> None:
        """Report to those who follow the run in this process: the server keeps no such events."""
        self.accept_soon()
        self._engine.followed.note(AddRunEvent(self.run.id, self.run.epoch, at, kind, data))

    async def save(self, memo: Memo) -> None:
        """Checkpoint *memo*; resolves when the server has it. Raises `FencedError`."""
        attempt = self.attempts.pop(memo.key, None)
        started_at = None if attempt is None else attempt.at
        await self.keep(memo, started_at)
        self._engine.followed.note(saving(self.run.id, self.run.epoch, memo, False, self.now(), started_at))

    async def save_with(self, memo: Memo, along: Along) -> Memo:
        """
        Checkpoint *memo* with what goes along with it; resolves when the server has both. Raises `FencedError`.

        Returns the memo as it is recorded: another one if what the step waits for has come.
        """
        await self.ready()
        recorded = await self.waits.record(self, memo, along)
        run, found = self.run, Found(memo=recorded)
        self._engine.followed.note(SaveMemoWith(run.id, run.epoch, run.app_id, memo, along, self.now(), found))
        return recorded

    async def keep(self, memo: Memo, started_at: float | None = None, wait: Op | None = None) -> None:
        """
        Record *memo*, and how the server waits for it. Raises `FencedError`.

        Raises `LimitExceededError` before anything is recorded if the step waits for longer than the server does.
        """
        if memo.wake_at is not None:
            go_duration(memo.wake_at - self.now())
        op = memo_op(memo, self.run.epoch, started_at, self.now(), wait)
        await self.ready()
        await self.errands.deliver(lambda: self.checkpoints.record(op))
        if memo.is_final:
            self.waits.ended(memo.key)

    def new_child(self, key: str, endpoint: str, request: RecordedRequest, timeout_seconds: float | None) -> Run:
        """Return a run for the step *key* to invoke; it begins when `save_with` is called with it."""
        return Run(
            child_id(self.run, key),
            self.run.app_id,
            endpoint,
            request,
            now := self.now(),
            status=RunStatus.WAITING,
            wake_at=now,
            deadline=None if timeout_seconds is None else now + timeout_seconds,
            idempotency=family(self.run.id, key),
        )

    # What steps wait for.

    def listen(self, key: str, tell: Callable[[Memo], object]) -> TimerHandle:
        """Call *tell* with the final memo of a step that waits, once what it waits for has come; until cancelled."""
        self._listeners[key] = tell
        return _Listening(self._listeners, key)

    def seen(self, key: str) -> None:
        """Note that the pass goes on with a step that *tell* was called for."""
        self.waits.seen(key)

    async def hear(self, found: Mapping[str, Raw]) -> None:
        """Tell the steps whose event, signal or child run is among what is stored of the run."""
        for memo in await self.waits.arrived(self, found, list(self._listeners)):
            if (tell := self._listeners.get(memo.key)) is not None:
                self._engine.followed.note(SaveMemo(self.run.id, self.run.epoch, memo, at=self.now()))
                tell(memo)

    # The pass ends.

    async def park(self, park: Park, why: str = "", failure: Failure | None = None) -> None:
        """Let the run wait; resolves when the server knows that. Raises `FencedError`."""
        await self._parting.park(park, why, failure)

    async def wake(self, quiet_seconds: float) -> None:
        """Make the run that this pass parked due at once, unless a later pass has begun."""
        await self._parting.wake(quiet_seconds)

    def finish(self, finish: Finish) -> Awaitable[None]:
        """End the run; resolves when the server knows that, or is about to be told. Raises `FencedError`."""
        return self._engine.spawn(self._parting.finish(finish))

    def settled(self, outcome: Outcome) -> None:
        """Note how the pass has ended."""
        self._hold.end()
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class _Listening:
    """One who listens for the end of a wait."""

    __slots__ = ("_key", "_listeners")

    def __init__(self, listeners: dict[str, Callable[[Memo], object]], key: str) -> None:
        self._listeners = listeners
        self._key = key

    def cancel(self) -> None:
        """Listen no longer."""
        self._listeners.pop(self._key, None)
