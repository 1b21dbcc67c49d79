"""
A process that has a database open while it forks: ``forking_process.py <path> outlived|busy <children>``.

Each child opens the database for itself, and writes a row; it does that again when it is "outlived" by nothing of its
parent, which has closed the database and is the first to do so. A "busy" parent writes all the time, in the thread.
Children end without closing, as those that are killed do. Exits with the number of children that have failed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from inngest_durable.engines.embedded import pace
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.engines.records import AddWorker
from inngest_durable.engines.ulids import new_ulid

WAITS_SECONDS = 20


async def add(store: SqliteStore, host: str) -> None:
    """Write a row."""
    await store.write(AddWorker(new_ulid(), os.getpid(), host, 0.0))


def child(path: Path, said: int, told: int) -> None:
    """Write before and after the parent has told; say so in between."""
    # Whoever hangs is ended, which is a failure.
    signal.alarm(WAITS_SECONDS)
    store = SqliteStore(path)
    store.open()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(add(store, "before"))
    os.write(said, b".")
    os.read(told, 1)
    loop.run_until_complete(add(store, "after"))
    os._exit(0)


def fork(path: Path) -> tuple[int, int, int]:
    """Fork a child; return its process ID, what it says and what it is told."""
    said, told = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        # Python has one running loop for each thread, and here it is the parent's.
        asyncio._set_running_loop(None)
        child(path, said[1], told[0])
    os.close(said[1])
    return pid, said[0], told[1]


async def main(path: Path, what: str, count: int) -> list[int]:
    """Fork so many children; return their process IDs."""
    store = SqliteStore(path)
    store.open()
    await add(store, "parent")
    writing = asyncio.create_task(keep_writing(store)) if what == "busy" else None
    children = []
    for _ in range(count):
        await asyncio.sleep(0.003)
        children.append(fork(path))
    for _, said, _ in children:
        await asyncio.to_thread(os.read, said, 1)
    if writing is not None:
        writing.cancel()
        await asyncio.wait([writing])
    await store.close()
    for _, _, told in children:
        os.write(told, b".")
    return [pid for pid, _, _ in children]


async def keep_writing(store: SqliteStore) -> None:
    """Commit one batch after the other."""
    pace._SLOW_SECONDS = -1.0
    while True:
        await asyncio.gather(*(add(store, "parent") for _ in range(20)))


if __name__ == "__main__":
    pids = asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
    sys.exit(sum(os.waitpid(pid, 0)[1] != 0 for pid in pids))
