"""What a pass on the embedded engine writes: each write carries the pass's epoch, so one that lost its run cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Protocol

from ..._core.model import Finish, Memo, Park, Run
from ..base import Clock, FencedError, FinishRun, Insert, ParkRun, SaveMemo, Store, WakeRun, Write


class ClaimOwner(Protocol):
    """What a claim tells the engine."""

    clock: Clock

    def note_parked(self, wake_at: float) -> None:
        """Take notice that a run is due at *wake_at*, in seconds since the epoch."""

    def tell_ended(self, run_id: str) -> None:
        """Take notice that a run has ended."""


class EmbeddedClaim:
    """The right of one pass to write to its run; see `engines.base.Claim`."""

    def __init__(self, engine: ClaimOwner, store: Store, run: Run, memos: Sequence[Memo], accepted: bool) -> None:
        self.run = run
        self.memos = memos
        self.accepted = self.on_disk = accepted
        self._engine = engine
        self._store = store
        self._first = not accepted
        self._recovered = run.recoveries > 0

    def accept(self) -> Awaitable[None]:
        """Write the run's row; resolves when it is durable. Raises `FencedError` if its idempotency key is taken."""
        self.accepted = True
        return self._first_write(self._store.write(Insert(self.run)))

    def accept_soon(self) -> None:
        """Write the run's row in the next few milliseconds, unless a checkpoint takes it along first."""
        if not self.accepted:
            self.accepted = True
            self._first_write(self._store.write(Insert(self.run), lazy=True))

    def save(self, memo: Memo) -> Awaitable[None]:
        """Checkpoint *memo*; resolves when it is durable. Raises `FencedError`."""
        progress = self._recovered and memo.is_final
        return self._store.write(*self._row(), SaveMemo(self.run.id, self.run.epoch, memo, progress))

    async def park(self, park: Park) -> None:
        """Let the run wait; resolves when that is durable. Raises `FencedError`."""
        await self._store.write(*self._row(), ParkRun(self.run.id, self.run.epoch, park))
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
        end = FinishRun(self.run.id, self.run.epoch, finish, self._engine.clock.now())
        done = self._store.write(*self._row(), end, lazy=self._first)
        done.add_done_callback(lambda _: self._engine.tell_ended(self.run.id))
        return done

    def _first_write(self, write: asyncio.Future[None]) -> asyncio.Future[None]:
        write.add_done_callback(self._written)
        return write

    def _written(self, write: asyncio.Future[None]) -> None:
        self.on_disk = not write.cancelled() and write.exception() is None

    def _row(self) -> tuple[Write, ...]:
        if self.accepted:
            return ()
        self.accepted = True
        return (Insert(self.run),)
