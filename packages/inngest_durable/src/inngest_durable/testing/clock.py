"""A clock that moves on command only."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

from .._core.duration import Duration, seconds
from ..engines.base import TimerHandle

# 2026-01-01T00:00:00Z
_START = 1767225600.0
# Loop turns after which whatever runs on the loop alone has come to rest.
_SETTLE_TURNS = 100


class VirtualClock:
    """
    A clock that stands still until it is moved.

    Args:
        start: The time at first, in seconds since the epoch.
    """

    def __init__(self, start: float = _START) -> None:
        self._now = start
        self._timers: list[_Timer] = []
        self._order = itertools.count()

    def now(self) -> float:
        """Return the current time in seconds since the epoch."""
        return self._now

    def call_at(self, when: float, callback: Callable[[], object]) -> TimerHandle:
        """Call *callback* when the clock is moved to *when*; at once, by the running event loop, if that is past."""
        if when <= self._now:
            return asyncio.get_running_loop().call_soon(callback)
        timer = _Timer(when, next(self._order), callback)
        heapq.heappush(self._timers, timer)
        return timer

    async def advance(self, duration: Duration | float) -> None:
        """
        Move the clock, firing each timer at its own time; what it started comes to rest before the next one fires.

        Code that waits for something other than this event loop (a thread, a socket, `asyncio.sleep`) is not
        waited for.

        Args:
            duration: A timedelta, a text such as ``"1h30m"``, or seconds.

        Raises:
            ValueError: *duration* is negative, or no duration.
        """
        distance = float(duration) if isinstance(duration, int | float) else seconds(duration)
        if distance < 0:
            raise ValueError(f"time does not go backwards: {duration!r}")
        end = self._now + distance
        await self.settle()
        while self._timers and self._timers[0].when <= end:
            timer = heapq.heappop(self._timers)
            if timer.cancelled:
                continue
            self._now = timer.when
            timer.callback()
            await self.settle()
        self._now = end
        await self.settle()

    async def settle(self) -> None:
        """Let the event loop run until whatever can go on without time passing has done so."""
        for _ in range(_SETTLE_TURNS):
            await asyncio.sleep(0)


class _Timer:
    __slots__ = ("callback", "cancelled", "order", "when")

    def __init__(self, when: float, order: int, callback: Callable[[], object]) -> None:
        self.when = when
        self.order = order
        self.callback = callback
        self.cancelled = False

    def __lt__(self, other: _Timer) -> bool:
        return (self.when, self.order) < (other.when, other.order)

    def cancel(self) -> None:
        self.cancelled = True
