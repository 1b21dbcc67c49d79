"""
How long a pass may write to its run, renewed while the pass lives: two passes of a run never overlap.

Nothing tells the server that a process has died. A first pass therefore leaves it a lease in advance: a sleep that
re-enters the run unless it has ended by then. A later pass needs none, since the server waits for the answer to its
own request and repeats that when the connection breaks.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ..base import Clock, FencedError, TimerHandle
from .api import RefusedError, UnreachableError
from .checkpoints import Checkpoints
from .plan import lease
from .records import held_op

logger = logging.getLogger("inngest_durable")

# How often a pass tries to say that it lives, within the time that it may go without saying so.
_MOMENTS = 20


class Hold:
    """
    Keeps a run to one pass.

    Args:
        checkpoints: Posts what is said.
        epoch: The pass.
        seconds: How long it may go without a sign of life.
        clock: The engine's time.
        spawn: Runs work in the background.
        half_time: Called whenever half of that time has passed.
        overdue: Called when all of it has, because nothing can be said to the server.

    Attributes:
        until: When another pass may begin, in seconds since the epoch.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        epoch: int,
        seconds: float,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        half_time: Callable[[], Awaitable[None]],
        overdue: Callable[[], None],
    ) -> None:
        self.until = clock.now() + seconds
        self._checkpoints = checkpoints
        self._epoch = epoch
        self._seconds = seconds
        self._clock = clock
        self._spawn = spawn
        self._half_time = half_time
        self._overdue = overdue
        self._leases = False
        self._renewals = 0
        self._timer: TimerHandle | None = None

    def start_over(self) -> None:
        """Count the time from now on: nothing was said to the server before."""
        self.until = self._clock.now() + self._seconds

    def begin(self) -> None:
        """Say it anew from time to time, until `end`."""
        # What could not be said is said again in a moment, not at once.
        when = max(self.until - self._seconds / 2, self._clock.now() + self._seconds / _MOMENTS)
        self._timer = self._clock.call_at(when, lambda: self._spawn(self._renew()))

    def end(self) -> None:
        """The pass is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def lease(self) -> None:
        """Leave a lease on the server, now and with each renewal. Raises `UnreachableError`."""
        self._leases = True
        await self._checkpoints.schedule(lease(self._epoch, self.until, {}, self._clock.now()))

    async def _renew(self) -> None:
        try:
            await self._half_time()
            if self._timer is None:
                return
            self._renewals += 1
            before, self.until = self.until, self._clock.now() + self._seconds
            try:
                if self._leases or self._checkpoints.revived:
                    await self.lease()
                await self._checkpoints.record(held_op(self._epoch, self._renewals, self.until))
            except (UnreachableError, RefusedError):
                self.until = before
                raise
        except FencedError:
            # It learns that from the next thing that it records.
            return
        except (UnreachableError, RefusedError) as error:
            logger.warning("a pass could not say that it lives: %s [run=%s]", error, self._checkpoints.run_id)
            if self._clock.now() >= self.until:
                self._overdue()
        if self._timer is not None:
            self.begin()
