"""
An event loop whose time passes only when it has nothing to do: an hour takes no time, and its order is always the same.

Not for code that waits for threads or sockets: the loop would jump to its next timer before they answer.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from inngest_durable.engines.base import TimerHandle

P = ParamSpec("P")
T = TypeVar("T")


class VirtualTime:
    """Seconds since the epoch, for the loops and clocks of several lives of a process."""

    def __init__(self, start: float = 1_000.0) -> None:
        self.seconds = start

    def now(self) -> float:
        """Return the current time."""
        return self.seconds

    def call_at(self, when: float, callback: Callable[[], object]) -> TimerHandle:
        """Call *callback* on the running loop at *when*: the loop counts the same time."""
        return asyncio.get_running_loop().call_at(when, callback)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on `VirtualTime`."""

    def __init__(self, time: VirtualTime) -> None:
        self._virtual_time = time
        super().__init__(_JumpingSelector(time))

    def time(self) -> float:
        """Return the virtual time."""
        return self._virtual_time.seconds


class _JumpingSelector(selectors.SelectSelector):
    """Lets the time that it was to wait for pass at once."""

    def __init__(self, time: VirtualTime) -> None:
        super().__init__()
        self._virtual_time = time

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Look without waiting, then jump. Raises `RuntimeError` when nothing is ready and there is no timer."""
        events = super().select(0.0)
        if not events and timeout is None:
            raise RuntimeError("everything waits, and nothing will ever happen")
        if not events and timeout:
            self._virtual_time.seconds += timeout
        return events


def run(main: Coroutine[Any, Any, T], time: VirtualTime | None = None) -> T:
    """Run *main* to its end on a loop of its own; what is left on it then is cancelled."""
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(time or VirtualTime())) as runner:
        return runner.run(main)


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make an ``async def`` test run in virtual time."""

    @functools.wraps(test)
    def run_test(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return run_test
