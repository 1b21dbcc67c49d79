"""
When a pass is quiet: no step executes, and none was asked for during the quiet time.

The quiet time is a few turns of the event loop while only the handler's own task has used steps. With branches it is
50 ms, so that a branch in a plain await gets to its next step, or longer if an earlier pass cut one off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sized
from typing import Any, Protocol

from ._core.run_flow import QUIET_SECONDS

QUIET_TURNS = 3


class _Cancellable(Protocol):
    def cancel(self) -> object: ...


class Quiet:
    """
    Notices when a pass is quiet.

    Args:
        loop: The pass's event loop.
        seconds: Quiet time that an earlier pass asked for; 0 for the usual one.
        in_flight: The steps of the pass that execute or are parked; looked at, and kept by the pass.
        parked: Those of them that are parked.

    Attributes:
        has_branches: Whether a task other than the handler's own has used a step.
    """

    __slots__ = ("_idle", "_in_flight", "_loop", "_parked", "_seconds", "_timer", "_when_quiet", "has_branches")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, in_flight: Sized, parked: Sized) -> None:
        self.has_branches = False
        self._loop = loop
        self._seconds = seconds
        self._in_flight = in_flight
        self._parked = parked
        # Kept only while the timer runs: the pass that it belongs to would refer to itself.
        self._when_quiet: Callable[[], None] | None = None
        self._idle: tuple[asyncio.Future[None], ...] = ()
        self._timer: _Cancellable | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits until no step executes."""
        return bool(self._idle)

    def _is_executing(self) -> bool:
        return len(self._in_flight) > len(self._parked)

    def begin(self) -> None:
        """Note that a step executes, or goes on: until it ends, the pass is not quiet."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._when_quiet = None

    def end(self, when_quiet: Callable[[], None] | None) -> None:
        """
        Note that a step has ended, or is parked.

        Args:
            when_quiet: Called when the pass is quiet; None if no step is parked, for then quiet means nothing.
        """
        if self._is_executing():
            return
        if self._idle:
            self.release()
        if when_quiet is not None:
            self._start_timer(when_quiet)

    def asked(self) -> None:
        """Start the quiet time again: a branch that replays memoized steps is on its way to its next one."""
        if self._timer is not None and self._when_quiet is not None:
            self._timer.cancel()
            self._start_timer(self._when_quiet)

    async def idle(self, once: bool = False) -> None:
        """Wait until no step executes, or, with *once*, until `release` at the latest."""
        while self._is_executing():
            future = self._loop.create_future()
            self._idle += (future,)
            await future
            if once:
                return

    def release(self) -> None:
        """Let those who do not wait for every step go on."""
        for future in self._idle:
            if not future.done():
                future.set_result(None)
        self._idle = ()

    def _start_timer(self, when_quiet: Callable[[], None]) -> None:
        self._when_quiet = when_quiet
        if self.has_branches or self._seconds:
            self._timer = self._loop.call_later(max(self._seconds, QUIET_SECONDS), self._fire)
        else:
            self._timer = Turns(self._loop, QUIET_TURNS, self._fire)

    def _fire(self) -> None:
        when_quiet, self._when_quiet, self._timer = self._when_quiet, None, None
        if when_quiet is not None:
            when_quiet()


class Turns:
    """Calls *callback* after some turns of the event loop."""

    __slots__ = ("_callback", "_handle", "_left", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, turns: int, callback: Callable[[], object]) -> None:
        self._loop = loop
        self._left = turns
        self._callback = callback
        self._handle = loop.call_soon(self._turn)

    def cancel(self) -> None:
        """Call it off."""
        self._handle.cancel()

    def _turn(self) -> None:
        self._left -= 1
        if self._left:
            self._handle = self._loop.call_soon(self._turn)
        else:
            self._callback()


def innermost(awaitable: Any) -> object:
    """Return what *awaitable*, a coroutine, ultimately waits for; None for None."""
    while (inner := getattr(awaitable, "cr_await", None) or getattr(awaitable, "gi_yieldfrom", None)) is not None:
        awaitable = inner
    return awaitable
