"""What a pass on the embedded engine writes. Each write carries the epoch, so a pass that lost its run cannot write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from ..._core.effects import Along, Invoke
from ..._core.invoke_flow import family, is_child
from ..._core.model import Failure, Finish, Memo, Park, RecordedRequest, Run, RunStatus
from ..attempts import Attempt, Starts, tell_progress
from ..base import Clock, FencedError, TimerHandle
from ..records import AddRunEvent, FinishRun, Found, Insert, ParkRun, SaveMemoWith, WakeRun, Write
from ..store import Store
from ..told import saving
from ..ulids import new_ulid
from .cancellation import Looks

# How long a new run's row waits to be written together with the first checkpoint.
ACCEPT_SECONDS = 0.005


class ClaimOwner(Protocol):
    """
    What a claim needs of the engine.

    Attributes:
        tells: Whether run events are written.
        starts: Records the starts of attempts.
        looks: Looks which runs other processes have cancelled.
        unwritten: Writes the rows of new runs after a short while.
    """

    clock: Clock
    tells: bool
    starts: Starts
    looks: Looks
    unwritten: UnwrittenRows

    def note_parked(self, wake_at: float) -> None:
        """Take notice that a run is due at *wake_at*, in seconds since the epoch."""

    def listen(self, run_id: str, key: str, tell: Callable[[Memo], object]) -> TimerHandle:
        """Call *tell* with the final memo of a step once it is completed by what it waits for."""

    def tell_found(self, found: Found) -> None:
        """Take notice of the steps that a write has completed in other runs, or that a run is due."""


class Writable(Protocol):
    """What a claim needs of the store; see `engines.base.Store`."""

    def write(self, *writes: Write, lazy: bool = False) -> asyncio.Future[None]:
        """Queue *writes*; resolves when durable."""


class EmbeddedClaim:
    """The right of one pass to write to its run; see `engines.base.Claim`."""

    def __init__(self, engine: ClaimOwner, store: Store, run: Run, memos: Sequence[Memo], accepted: bool) -> None:
        self.run = run
        self.memos = memos
        self.accepted = accepted
        # Resolves when the run's row is on disk; the row itself, while it waits to go with the first checkpoint.
        self._inserted: asyncio.Future[None] | None = None
        self._row: Insert | None = None
        self._engine = engine
        self._now = engine.clock.now
        self._store: Writable = store
        self._first = not accepted
        self._recovered = run.recoveries > 0
        # Whether a step of this run waits, or has waited, for something other than time.
        self._waits = bool(memos) and any(memo.op.waits_for_others for memo in memos)
        self._seen: tuple[str, ...] = ()
        self.attempts: dict[str, Attempt] = {}

    @property
    def on_disk(self) -> bool:
        """Whether the run's row is on disk."""
        inserted = self._inserted
        if inserted is None:
            return self.accepted and self._row is None
        return inserted.done() and not inserted.cancelled() and inserted.exception() is None

    def accept(self) -> Awaitable[None]:
        """Write the run's row; resolves when it is durable. Raises `FencedError` if its idempotency key is taken."""
        self.accepted = True
        self._inserted = self._store.write(Insert(self.run))
        return self._inserted

    def accept_soon(self) -> None:
        """Write the run's row in the next few milliseconds, in the commit of its first checkpoint or before it."""
        if not self.accepted:
            self.accepted = True
            self._row = Insert(self.run)
            self._engine.unwritten.add(self)

    def write_row(self, lazy: bool = False) -> None:
        """Write the run's row, if no checkpoint has taken it along."""
        if self._row is not None:
            row, self._row = self._row, None
            self._inserted = self._store.write(row, lazy=lazy)

    def begin_attempt(self, key: str, attempt: int) -> None:
        """Note that an attempt of a step begins, for the run events."""
        engine = self._engine
        self.attempts[key] = Attempt(attempt, self._now())
        if not engine.starts.ticks:
            engine.starts.tick()

    def look(self) -> None:
        """Interrupt the passes here whose runs another process has cancelled, unless the last look is a moment ago."""
        self._engine.looks.look_if_late(self._now())

    def progress(self, key: str, text: str, data: str, at: float) -> None:
        """Report how far the executing attempt of a step is; *data* is a JSON object or empty."""
        tell_progress(self, key, text, data, at)

    def tell(self, kind: str, data: str, at: float) -> None:
        """Let a run event be written soon, unless the run has moved on by then."""
        if not self._engine.tells:
            return
        self.accept_soon()
        self._write(AddRunEvent(self.run.id, self.run.epoch, at, kind, data), lazy=True)

    def save(self, memo: Memo) -> Awaitable[None]:
        """Checkpoint *memo*; resolves when it is durable. Raises `FencedError`."""
        if not self.accepted:
            self.accept_soon()
        run, attempt = self.run, self.attempts.pop(memo.key, None)
        progress = self._recovered and memo.is_final
        started_at = None if attempt is None else attempt.at
        write = saving(run.id, run.epoch, memo, progress, self._now(), started_at)
        return self._store.write(write) if self._row is None else self._write(write)

    async def save_with(self, memo: Memo, along: Along) -> Memo:
        """
        Checkpoint *memo*, and in the same commit what goes along with it; resolves when that is durable.

        Returns the memo as it is recorded: another one if what the step waits for has come. Raises `FencedError`.
        """
        self.accept_soon()
        self._waits = self._waits or memo.op.waits_for_others
        run, now, found = self.run, self._now(), Found()
        progress = self._recovered and memo.is_final
        await self._write(SaveMemoWith(run.id, run.epoch, run.app_id, memo, along, now, found, progress))
        if isinstance(along, Invoke):
            self._engine.note_parked(now)
        self._engine.tell_found(found)
        return found.memo or memo

    def listen(self, key: str, tell: Callable[[Memo], object]) -> TimerHandle:
        """Call *tell* with the final memo of a step that waits, once what it waits for has come; until cancelled."""
        return self._engine.listen(self.run.id, key, tell)

    def seen(self, key: str) -> None:
        """Note that the pass goes on with a step that *tell* was called for: the run need not be entered for it."""
        self._seen += (key,)

    def new_child(self, key: str, endpoint: str, request: RecordedRequest, timeout_seconds: float | None) -> Run:
        """Return a run for the step *key* to invoke; it begins when `save_with` is called with it."""
        now = self._now()
        return Run(
            new_ulid(),
            self.run.app_id,
            endpoint,
            request,
            now,
            status=RunStatus.WAITING,
            wake_at=now,
            deadline=None if timeout_seconds is None else now + timeout_seconds,
            idempotency=family(self.run.id, key),
        )

    async def park(self, park: Park, why: str = "", failure: Failure | None = None) -> None:
        """Let the run wait; resolves when that is durable. Raises `FencedError`."""
        self.accept_soon()
        run, now, found, seen = self.run, self._now(), Found(), self._seen
        await self._write(ParkRun(run.id, run.epoch, park, now, why, failure, seen, found))
        self._engine.note_parked(now if found.due else park.wake_at)

    def release(self) -> None:
        """Leave the run to whichever worker is next, and let this pass write nothing more: the engine stops."""
        if self.accepted:
            run, now = self.run, self._now()
            self._write(ParkRun(run.id, run.epoch, Park(now, run.attempt, run.quiet_seconds), now, "the process stops"))
        self._store = _Released()

    async def wake(self, quiet_seconds: float) -> None:
        """Make the run that this pass parked due at once, unless a later pass has begun."""
        now = self._now()
        try:
            await self._store.write(WakeRun(self.run.id, self.run.epoch, now, quiet_seconds))
        except FencedError:
            return
        self._engine.note_parked(now)

    def finish(self, finish: Finish) -> Awaitable[None]:
        """
        End the run; resolves when that is durable. Raises `FencedError`.

        On the first pass nobody waits for it, so it does not start a commit of its own.
        """
        self.accept_soon()
        alone = not self._waits and not is_child(self.run)
        found = None if alone else Found()
        end = FinishRun(self.run.id, self.run.epoch, finish, self._now(), alone, found)
        done = self._write(end, lazy=self._first)
        if found is not None:
            done.add_done_callback(lambda _: self._engine.tell_found(found))
        return done

    def _write(self, write: Write, lazy: bool = False) -> asyncio.Future[None]:
        # In the same commit, but not in one group: if the database refuses *write*, the run is recorded all the same.
        self.write_row(lazy)
        return self._store.write(write, lazy=lazy)


class _Released:
    """What a pass that has outlived its engine writes to: nothing."""

    def write(self, *_: Write, lazy: bool = False) -> asyncio.Future[None]:  # noqa: ARG002  # the store's
        """Refuse: the run belongs to another pass now."""
        refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        refused.set_exception(FencedError("the engine of this pass has stopped"))
        # Not every write is awaited.
        refused.exception()
        return refused


class UnwrittenRows:
    """The claims of new runs whose rows are to be written in a few milliseconds: a quick first step takes one along."""

    def __init__(self) -> None:
        self._claims: list[EmbeddedClaim] = []

    def add(self, claim: EmbeddedClaim) -> None:
        """Call `EmbeddedClaim.write_row` in a few milliseconds."""
        if not self._claims:
            asyncio.get_running_loop().call_later(ACCEPT_SECONDS, self.write)
        self._claims.append(claim)

    def write(self) -> None:
        """Write them now."""
        claims, self._claims = self._claims, []
        for claim in claims:
            claim.write_row()
