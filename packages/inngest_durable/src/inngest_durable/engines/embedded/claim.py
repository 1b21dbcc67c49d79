"""What a pass on the embedded engine writes: each write carries the pass's epoch, so one that lost its run cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Protocol

from ..._core.model import Finish, Memo, Park, Run
from ..base import Clock, FencedError, Store
from ..records import FinishRun, Insert, ParkRun, SaveMemo, WakeRun, Write


class ClaimOwner(Protocol):
    """What a claim tells the engine."""

    clock: Clock

    def accept_later(self, claim: EmbeddedClaim) -> None:
        """Call `EmbeddedClaim.write_row` in a few milliseconds."""

    def note_parked(self, wake_at: float) -> None:
        """Take notice that a run is due at *wake_at*, in seconds since the epoch."""

    def tell_ended(self, run_id: str) -> None:
        """Take notice that a run has ended."""


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
        self._store = store
        self._first = not accepted
        self._recovered = run.recoveries > 0

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
            self._engine.accept_later(self)

    def write_row(self) -> None:
        """Write the run's row, if no checkpoint has taken it along."""
        if self._row is not None:
            self._write()

    def save(self, memo: Memo) -> Awaitable[None]:
        """Checkpoint *memo*; resolves when it is durable. Raises `FencedError`."""
        self.accept_soon()
        progress = self._recovered and memo.is_final
        return self._write(SaveMemo(self.run.id, self.run.epoch, memo, progress))

    async def park(self, park: Park) -> None:
        """Let the run wait; resolves when that is durable. Raises `FencedError`."""
        self.accept_soon()
        await self._write(ParkRun(self.run.id, self.run.epoch, park))
        self._engine.note_parked(park.wake_at)

    async def wake(self, quiet_seconds: float) -> None:
        """Make the run that this pass parked due at once, unless a later pass has begun."""
        now = self._engine.clock.now()
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
        end = FinishRun(self.run.id, self.run.epoch, finish, self._engine.clock.now())
        done = self._write(end, lazy=self._first)
        done.add_done_callback(lambda _: self._engine.tell_ended(self.run.id))
        return done

    def _write(self, *writes: Write, lazy: bool = False) -> asyncio.Future[None]:
        if self._row is None:
            return self._store.write(*writes, lazy=lazy)
        row, self._row = self._row, None
        self._inserted = self._store.write(row, *writes, lazy=lazy)
        return self._inserted
