"""
Runs as a process of its own: deletes the finished runs that are old enough, until it is killed or has done so.

``pruning_process.py <path> <seconds to keep> <how many of them to leave>``
"""

from __future__ import annotations

import asyncio
import sys

from inngest_durable.engines.clock import SystemClock
from inngest_durable.engines.embedded.retention import Retention
from inngest_durable.engines.embedded.store import SqliteStore

PATH, KEEP_SECONDS, LEAVE = sys.argv[1:]


class ReluctantStore(SqliteStore):
    """Does not give the last runs away: who kills the process late finds them still there."""

    def ended_runs(self, after: str, before: str, limit: int) -> list[tuple[str, float | None]]:
        """Return runs to look at, but for the last."""
        found = super().ended_runs(after, before, limit)
        return found[: max(0, len(found) - int(LEAVE))]


async def main() -> None:
    """Delete what is older than the given seconds."""
    store = ReluctantStore(PATH)
    store.open()
    await Retention(store, SystemClock(), float(KEEP_SECONDS)).prune()
    await store.close()


asyncio.run(main())
