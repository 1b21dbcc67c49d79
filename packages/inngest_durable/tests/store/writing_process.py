"""
Runs as a process of its own: makes runs of three steps as fast as it can and names each write that resolved.

It says when its store is open, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import sys

from inngest_durable._core.model import Finish, Memo, RecordedRequest, Run, RunStatus, StepOp, StepState
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.engines.records import FinishRun, Insert, SaveMemo

REQUEST = RecordedRequest("GET", "http", "", "/", b"/", b"", (), None, None, "1.1", b"")


async def client(store: SqliteStore, name: str, told: asyncio.Event) -> None:
    """Make one run after the other, until *told* to end."""
    number = 0
    while not told.is_set():
        number += 1
        run = Run(f"{name}-{number:06}", "app", "book", REQUEST, 1.0, owner=name)
        await store.write(Insert(run))
        for key in ("a", "b", "c"):
            memo = Memo(key, key, StepOp.RUN, StepState.COMPLETED, 1, b"1")
            await store.write(SaveMemo(run.id, 1, memo))
            sys.stdout.write(f"{run.id} {key}\n")
        sys.stdout.flush()
        await store.write(FinishRun(run.id, 1, Finish(RunStatus.COMPLETED, None), 2.0), lazy=True)


async def main(path: str, name: str) -> None:
    """Write with eight clients."""
    store = SqliteStore(path)
    store.open()
    print("open", flush=True)  # noqa: T201
    told = asyncio.Event()
    clients = asyncio.gather(*(client(store, f"{name}{number}", told) for number in range(8)))
    await asyncio.to_thread(sys.stdin.read)
    told.set()
    await clients
    await store.close()


asyncio.run(main(sys.argv[1], sys.argv[2]))
