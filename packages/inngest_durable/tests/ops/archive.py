"""A database file with runs of every kind, made without an application."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from inngest_durable import EmbeddedEngine
from inngest_durable._core.invoke_flow import family
from inngest_durable._core.model import (
    Failure,
    Finish,
    Idempotency,
    RecordedRequest,
    RecordedResponse,
    Run,
    RunStatus,
    StepState,
)
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.engines.records import FinishRun, Insert, SaveMemo, Write

from packages.inngest_durable.tests.store.samples import Samples

SECRETS = ("bearer-secret", "cookie-secret", "query-secret", "key-secret", "result-secret", "answer-secret")


def secret_request() -> RecordedRequest:
    """Return a request that holds a secret wherever one may be."""
    return RecordedRequest(
        method="POST",
        scheme="https",
        root_path="",
        path="/book",
        raw_path=b"/book",
        query_string=b"date=2026-12-24&token=query-secret",
        headers=((b"authorization", b"Bearer bearer-secret"), (b"cookie", b"s=cookie-secret")),
        client=None,
        server=None,
        http_version="1.1",
        body=b"{}",
    )


class Archive:
    """
    A database file.

    Args:
        path: The file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._samples = Samples()

    def write(self, *writes: Write) -> None:
        """Commit *writes*."""

        async def written() -> None:
            store = SqliteStore(self.path)
            store.open()
            await store.write(*writes)
            await store.close()

        asyncio.run(written())

    def insert(self, **changes: Any) -> Run:
        """Insert a run that nobody executes."""
        run = self._samples.run(**{"owner": ""} | changes)
        self.write(Insert(run))
        return run

    def ended(self, status: RunStatus, ended_at: float = 2000.0, failure: Failure | None = None, **changes: Any) -> Run:
        """Insert a run that has ended."""
        run = self.insert(**changes)
        answer = RecordedResponse(500 if failure else 200, (), b"answer-secret")
        self.write(FinishRun(run.id, run.epoch, Finish(status, answer, failure), ended_at))
        return run

    def child(self, of: Run, key: str) -> Run:
        """Insert a run that a step of another one has invoked, and that waits for an hour to come."""
        return self.insert(status=RunStatus.WAITING, wake_at=4e9, idempotency=family(of.id, key))

    def secretive(self) -> Run:
        """Insert a run that failed, with a secret wherever one may be recorded."""
        same = Idempotency("a scope", "key-secret", "a digest")
        run = self.insert(request=secret_request(), idempotency=same)
        failure = Failure("OutageError", "the bank is down \x1b[31m", "Traceback: \x1b[31m line 1\n  line 2")
        self.write(
            SaveMemo(run.id, 1, self._samples.memo("reserve", b'"result-secret"'), at=1002.0, started_at=1001.0),
            SaveMemo(
                run.id,
                1,
                self._samples.memo("pay", None, state=StepState.FAILED, attempt=4, failure=failure),
                at=1003.0,
                started_at=1002.5,
            ),
            FinishRun(
                run.id, 1, Finish(RunStatus.FAILED, RecordedResponse(500, (), b"answer-secret"), failure), 1004.0
            ),
        )
        return run

    def token(self, run: Run) -> str:
        """Return the token of a run's wait URL."""
        engine = EmbeddedEngine(self.path)
        store = SqliteStore(self.path)
        store.open()
        engine._store = store
        token = engine.token(run.id)
        asyncio.run(store.close())
        return token
