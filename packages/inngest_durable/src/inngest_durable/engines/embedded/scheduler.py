"""Re-enters runs when they are due. Due times are in the database; memory holds one timer, for the earliest."""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Awaitable, Callable

from ..base import Clock, TimerHandle
from ..store import DueRun, Store


class Scheduler:
    """
    Starts a re-entry for each due run, at most *limit* at a time.

    Args:
        store: Where the runs are.
        app_id: Whose runs to enter: another application on the same file has other endpoints.
        clock: The engine's time.
        reenter: Claims one due run and runs a pass of it; does nothing if another worker was first.
        limit: Re-entries at a time.
    """

    def __init__(
        self, store: Store, app_id: str, clock: Clock, reenter: Callable[[DueRun], Awaitable[None]], limit: int
    ) -> None:
        self._store = store
        self._app_id = app_id
        self._clock = clock
        self._reenter = reenter
        self._limit = limit
        self._reentries: dict[str, asyncio.Task[None]] = {}
        self._timer: TimerHandle | None = None
        self._timer_at = math.inf
        self._look_soon: asyncio.Handle | None = None
        self._stopped = False
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()

    def note(self, wake_at: float) -> None:
        """Take notice of a run that is due at *wake_at*, in seconds since the epoch."""
        if wake_at <= self._clock.now():
            self.look()
        elif wake_at < self._timer_at:
            self._arm(wake_at)

    def look(self) -> None:
        """Look for due runs in the next turn of the loop."""
        if self._look_soon is None and not self._stopped and not self._loop.is_closed():
            self._look_soon = self._loop.call_soon(self._look)

    def stop(self) -> None:
        """Start no further re-entry; those under way go on."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    async def ended(self) -> None:
        """Wait for the re-entries under way."""
        while self._reentries:
            await asyncio.wait(self._reentries.values())

    def _look(self) -> None:
        self._look_soon = None
        if self._stopped:
            return
        free = self._limit - len(self._reentries)
        now = self._clock.now()
        # Runs claimed a moment ago may still be listed as due, so ask for as many more.
        rows = self._store.due(self._app_id, math.inf, free + len(self._reentries) + 1)
        others = [due for due in rows if due.run_id not in self._reentries]
        for due in others[:free]:
            if due.wake_at <= now:
                self._start(due)
        later = [due.wake_at for due in others if due.run_id not in self._reentries]
        # With no free place, the end of a re-entry looks again.
        if later and len(self._reentries) < self._limit:
            self._arm(later[0])

    def _start(self, due: DueRun) -> None:
        # Not in the context of the request whose end announced it: a re-entry would find that one's request and g.
        task = self._loop.create_task(self._run(due), context=self._context.copy())
        self._reentries[due.run_id] = task

    async def _run(self, due: DueRun) -> None:
        try:
            await self._reenter(due)
        finally:
            self._reentries.pop(due.run_id, None)
            self.look()

    def _arm(self, wake_at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = wake_at
        self._timer = self._clock.call_at(wake_at, self._fire)

    def _fire(self) -> None:
        self._timer_at = math.inf
        self.look()
