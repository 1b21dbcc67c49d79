"""
Shutdown by signal: SIGTERM and SIGINT begin the drain, then what was installed before is honoured.

Servers differ in what a signal does to a handler in mid-step, so the engine does not leave it to them: running
handlers are interrupted and their clients redirected before the server begins to stop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class ShutdownSignals:
    """
    Chains the handlers of SIGTERM and SIGINT.

    Args:
        loop: The event loop to drain on.
        drain: Ends what is under way; the previous handler is called when it is done. A second signal does not wait.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, drain: Callable[[], Awaitable[None]]) -> None:
        self._loop = loop
        self._drain = drain
        self._previous: dict[int, Any] = {}
        self._received_first = False
        self._pid = os.getpid()
        self._draining: asyncio.Task[None] | None = None

    def install(self) -> None:
        """Chain the handlers, once; does nothing outside the main thread, where Python allows no handlers."""
        if self._previous or not _in_main_thread():
            return
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._received)

    def restore(self) -> None:
        """Put the previous handlers back, unless ours have been replaced since; again only in the main thread."""
        if not _in_main_thread():
            return
        for number, previous in self._previous.items():
            if signal.getsignal(number) == self._received and previous is not None:
                signal.signal(number, previous)

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self._received_first or self._loop.is_closed() or os.getpid() != self._pid:
            # The second signal does not wait, and a forked child has no loop to drain.
            self._honour(number, frame)
            return
        self._received_first = True
        self._loop.call_soon_threadsafe(self._begin, number)

    def _begin(self, number: int) -> None:
        self._draining = self._loop.create_task(self._drain_then_honour(number))

    async def _drain_then_honour(self, number: int) -> None:
        try:
            await self._drain()
        finally:
            if _in_main_thread():
                self.restore()
                # In a callback of its own: a handler that raises (KeyboardInterrupt) ends the loop, not this task.
                self._loop.call_soon(self._honour, number, None)
            else:
                # Handlers run in the main thread: it gets the signal once more, as one that does not wait.
                signal.pthread_kill(threading.main_thread().ident or 0, number)

    def _honour(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous.get(number)
        if callable(previous):
            previous(number, frame)
        elif previous == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
