"""A clock that moves only on command."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from .._core.duration import Duration, seconds
from .._portal import Done
from .._threads import threads_of
from ..engines.base import TimerHandle

# 2026-01-01T00:00:00Z
_START = 1767225600.0
# Loop turns after which whatever runs on the loop alone has come to rest.
_SETTLE_TURNS = 100
# How often to check whether an awaited event loop has ended, in real seconds.
_LOOK_SECONDS = 0.1


class VirtualClock:
    """
    A clock that stands still until it is moved.

    It may be used and moved from any thread. In a coroutine, as in a test of a Quart application, write
    ``await clock.advance("24h")``. Elsewhere, as in a test of a Flask application, ``clock.advance("24h")`` blocks, and
    its return value need not be awaited.

    Args:
        start: The initial time, in seconds since the epoch.
        patience_seconds: How long, in real seconds, a move waits for a thread of the engine (a re-entry on Flask, a
            ``def`` step function on Quart) before it goes on without it. Make it short if your test holds one.
    """

    def __init__(self, start: float = _START, patience_seconds: float = 5.0) -> None:
        self._now = start
        self._patience_seconds = patience_seconds
        # Guards all of these attributes; not held while callbacks are called.
        self._lock = threading.Lock()
        self._timers: list[_Timer] = []
        self._order = itertools.count()
        # The loops that asked for the time: what runs there has to come to rest.
        self._loops: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        self._given_up: set[Future[None]] = set()

    def now(self) -> float:
        """Return the current time in seconds since the epoch."""
        self._take_notice(asyncio._get_running_loop())
        return self._now

    def call_at(self, when: float, callback: Callable[[], object]) -> TimerHandle:
        """Call *callback* on the running event loop when the clock is moved to *when*; at once if that has passed."""
        loop = asyncio.get_running_loop()
        self._take_notice(loop)
        with self._lock:
            if when > self._now:
                timer = _Timer(when, next(self._order), loop, callback)
                heapq.heappush(self._timers, timer)
                return timer
        return loop.call_soon(callback)

    def advance(self, duration: Duration | float) -> Awaitable[None]:
        """
        Move the clock, firing each timer at its own time; what it started comes to rest before the next one fires.

        This covers what runs on the engine's event loop and in its threads. Code that waits for something else (a
        thread of its own, a socket, `asyncio.sleep`) is not waited for.

        Args:
            duration: A timedelta, a text such as ``"1h30m"``, or seconds.

        Raises:
            ValueError: *duration* is negative, or not a duration.
        """
        distance = float(duration) if isinstance(duration, int | float) else seconds(duration)
        if distance < 0:
            raise ValueError(f"time does not go backwards: {duration!r}")
        return _done(self._advance(distance))

    def settle(self) -> Awaitable[None]:
        """Let the engine run until everything that can go on without time passing has done so; see `advance`."""
        return _done(self._settle())

    def _take_notice(self, loop: asyncio.AbstractEventLoop | None) -> None:
        with self._lock:
            if loop is not None:
                self._loops.add(loop)

    async def _advance(self, distance: float) -> None:
        end = self._now + distance
        await self._settle()
        while (timer := self._next(end)) is not None:
            if timer.loop is asyncio.get_running_loop():
                timer.fire()
            else:
                with suppress(RuntimeError):
                    # The loop has closed: what its timers were to do is gone with it.
                    timer.loop.call_soon_threadsafe(timer.fire)
            await self._settle()

    def _next(self, end: float) -> _Timer | None:
        """Move to the next timer up to *end* and return it; if there is none, move to *end*."""
        with self._lock:
            while self._timers and self._timers[0].when <= end:
                timer = heapq.heappop(self._timers)
                if not timer.cancelled:
                    self._now = timer.when
                    return timer
            self._now = end
            return None

    async def _settle(self) -> None:
        here = asyncio.get_running_loop()
        with self._lock:
            elsewhere = [loop for loop in self._loops if loop is not here and loop.is_running()]
        for loop in [*elsewhere, here]:
            await self._rest(loop)

    async def _rest(self, loop: asyncio.AbstractEventLoop) -> None:
        """Return when nothing runs any more on an event loop, nor in its threads, or when it has ended."""
        while True:
            # No coroutine: a loop that ends would leave it behind.
            turned: Future[set[Future[None]]] = Future()
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._turn, loop, _SETTLE_TURNS, turned)
            while not turned.done() and loop.is_running():
                await asyncio.wait([asyncio.wrap_future(turned)], timeout=_LOOK_SECONDS)
            if not turned.done() or not (awaited := turned.result()):
                return
            await asyncio.wait(map(asyncio.wrap_future, awaited), timeout=self._patience_seconds)
            self._given_up = {thread for thread in self._given_up | awaited if not thread.done()}

    def _turn(self, loop: asyncio.AbstractEventLoop, turns: int, turned: Future[set[Future[None]]]) -> None:
        """Let the loop that calls this turn so often; then tell which of its threads go on."""
        if turns:
            loop.call_soon(self._turn, loop, turns - 1, turned)
        else:
            turned.set_result(threads_of(loop) - self._given_up)


def _done(work: Coroutine[Any, Any, None]) -> Awaitable[None]:
    """Return *work* to a coroutine, which awaits it; for other callers, do it at once."""
    if asyncio._get_running_loop() is not None:
        return work
    # With a factory, the thread's current event loop is left as it is.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return Done(runner.run(work))


class _Timer:
    __slots__ = ("_callback", "cancelled", "loop", "order", "when")

    def __init__(
        self, when: float, order: int, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]
    ) -> None:
        self.when = when
        self.order = order
        self.loop = loop
        self.cancelled = False
        self._callback = callback

    def __lt__(self, other: _Timer) -> bool:
        return (self.when, self.order) < (other.when, other.order)

    def fire(self) -> None:
        """Call the callback, unless it has been cancelled meanwhile. On its loop."""
        if not self.cancelled:
            self._callback()

    def cancel(self) -> None:
        self.cancelled = True
