"""Tells parked steps of the passes in this process that what they wait for has come, whichever worker received it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from ..._core.model import Memo
from ..store import Store

# How often the database is asked for commits of other processes, while a step waits.
LOOK_SECONDS = 0.05

Tell = Callable[[Memo], object]


class Arrivals:
    """
    The parked steps that something other than time may resume.

    Args:
        store: Where their memos are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listening: dict[tuple[str, str], Tell] = {}
        self._watch: asyncio.Task[None] | None = None

    def listen(self, run_id: str, key: str, tell: Tell) -> Listening:
        """Call *tell* once, with the final memo of a step, when it is recorded; maybe before this returns."""
        listening = Listening(self._listening, (run_id, key), tell)
        # Register first, then read: what comes in between is not lost.
        self._listening[run_id, key] = tell
        self._look_at(run_id, key)
        # A step that is told at once leaves nothing to look for: where tasks begin at once, that look ends at once too.
        if self._listening and self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._look())
        return listening

    def tell(self, resumed: Iterable[tuple[str, str]]) -> None:
        """Take notice that these steps, as run ID and key, were completed in this process."""
        for run_id, key in resumed:
            self._look_at(run_id, key)

    def look(self) -> None:
        """Look for steps that were completed without a word to this process."""
        if self._listening:
            self.tell(self._store.arrived())

    def stop(self) -> None:
        """Look no more."""
        if self._watch is not None:
            self._watch.cancel()

    def _look_at(self, run_id: str, key: str) -> None:
        tell = self._listening.get((run_id, key))
        if tell is None:
            return
        memo = self._store.memo(run_id, key)
        if memo is not None and memo.is_final:
            del self._listening[run_id, key]
            tell(memo)

    async def _look(self) -> None:
        seen = self._store.foreign_commits()
        try:
            while self._listening:
                await asyncio.sleep(LOOK_SECONDS)
                commits = self._store.foreign_commits()
                if commits != seen:
                    seen = commits
                    self.tell(self._store.arrived())
        finally:
            self._watch = None


class Listening:
    """A step that listens; cancel it when it waits no longer."""

    def __init__(self, listening: dict[tuple[str, str], Tell], step: tuple[str, str], tell: Tell) -> None:
        self._listening = listening
        self._step = step
        self._tell = tell

    def cancel(self) -> None:
        """Stop listening; harmless if the step was told."""
        # A later pass of the run may listen by now.
        if self._listening.get(self._step) is self._tell:
            del self._listening[self._step]
