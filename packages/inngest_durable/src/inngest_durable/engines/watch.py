"""A follower of a run, on whichever engine."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Watched(Protocol):
    """
    What announces news to the followers of runs.

    Attributes:
        closed: Whether no more news will come, because the engine stops.
    """

    closed: bool


class Watch:
    """
    A follower of a run; see `engines.base.Watch`.

    Args:
        watched: Announces news.
    """

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._news = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether no more news will come, because the engine stops."""
        return self._watched.closed

    def look(self) -> None:
        """Note that the run is looked at now: what comes later is news."""
        self._news.clear()

    def tell(self) -> None:
        """Announce news."""
        self._news.set()

    async def news(self, timeout_seconds: float | None) -> bool:
        """Wait until there may be something new since the last look, or the engine stops; False after the timeout."""
        if self.closed:
            return True
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True
