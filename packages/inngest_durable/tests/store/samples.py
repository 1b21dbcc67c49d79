"""Runs and memos to put into a store, and what to ask about the outcome."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

from inngest_durable._core.model import Memo, RecordedRequest, Run, StepOp, StepState
from inngest_durable.engines.records import SaveMemo

APP = "trips"

WORKER = "01JB0000000000000000000WRK"
OTHER_WORKER = "01JB0000000000000000000WR2"
REQUEST = RecordedRequest(
    method="POST",
    scheme="https",
    root_path="/app",
    path="/book/zürich",
    raw_path=b"/book/z%C3%BCrich",
    query_string=b"date=2026-12-24",
    headers=((b"host", b"example.com"), (b"x-binary", b"\xff\x00")),
    client=("127.0.0.1", 50123),
    server=("example.com", None),
    http_version="1.1",
    body=b"\x00\x01{}",
)


class Samples:
    """Makes runs and memos; IDs count up, as ULIDs do."""

    def __init__(self) -> None:
        self._count = 0

    def run(self, **changes: Any) -> Run:
        """A new run of the endpoint `book`."""
        self._count += 1
        values: dict[str, Any] = {
            "id": f"01JA{self._count:022}",
            "app_id": APP,
            "endpoint": "book",
            "request": REQUEST,
            "created_at": 1000.5,
            "owner": WORKER,
        }
        return Run(**values | changes)

    def memo(self, key: str = "pay", result: bytes | None = b'{"charged":true}', **changes: Any) -> Memo:
        """A completed step."""
        values: dict[str, Any] = {
            "key": key,
            "id": key.split(":")[0],
            "op": StepOp.RUN,
            "state": StepState.COMPLETED,
            "attempt": 1,
            "result": result,
        }
        return Memo(**values | changes)

    def save(self, run: Run, key: str = "pay", **changes: Any) -> SaveMemo:
        """A write of a completed step of *run*."""
        return SaveMemo(run.id, run.epoch, self.memo(key, **changes))


async def outcomes(*futures: asyncio.Future[None]) -> list[type[BaseException] | None]:
    """Return the class of each future's error, or None."""
    results = await asyncio.gather(*futures, return_exceptions=True)
    return [type(result) if isinstance(result, BaseException) else None for result in results]


def stored_keys(path: Path) -> list[str]:
    """Return the keys of all memos that another connection sees."""
    connection = sqlite3.connect(path)
    try:
        return [key for (key,) in connection.execute("SELECT key FROM steps ORDER BY run_id, epoch, seq")]
    finally:
        connection.close()
