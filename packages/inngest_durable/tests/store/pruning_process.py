"""Runs as a process of its own: deletes the finished runs that are old enough, until it is killed or has done so."""

from __future__ import annotations

import asyncio
import sys

from inngest_durable.engines.clock import SystemClock
from inngest_durable.engines.embedded.retention import Retention
from inngest_durable.engines.embedded.store import SqliteStore


async def main() -> None:
    """Delete what is older than the given seconds."""
    path, keep_seconds = sys.argv[1:]
    store = SqliteStore(path)
    store.open()
    await Retention(store, SystemClock(), float(keep_seconds)).prune()
    await store.close()


asyncio.run(main())
