"""Real time for the engines. Nothing else in the package asks what time it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from .base import TimerHandle

# The event loop counts monotonic time, which stands still while a laptop sleeps and does not follow when the clock is
# set. A timer looks at the wall clock at least this often.
_LONGEST_DELAY_SECONDS = 60.0


class SystemClock:
    """The clock of the machine, with timers on the running event loop."""

    def now(self) -> float:
        """Return the current time in seconds since the epoch."""
        return time.time()

    def call_at(self, when: float, callback: Callable[[], object]) -> TimerHandle:
        """
        Call *callback* on the running event loop at *when*, in seconds since the epoch; never before.

        When the clock is set forward, or the machine wakes from sleep, it may be up to a minute late.
        """
        return _Timer(when, callback)


class _Timer:
    __slots__ = ("_callback", "_handle", "_loop", "_when")

    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self._when = when
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._handle = self._arm()

    def cancel(self) -> None:
        self._handle.cancel()

    def _arm(self) -> asyncio.TimerHandle:
        delay = min(max(self._when - time.time(), 0.0), _LONGEST_DELAY_SECONDS)
        return self._loop.call_later(delay, self._fire)

    def _fire(self) -> None:
        if time.time() < self._when:
            self._handle = self._arm()
        else:
            self._callback()
