"""A pass whose run another worker has claimed: it cannot write, it ends, and nobody else is concerned."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import EmbeddedEngine, Inngest, step
from inngest_durable._core.model import Finish, RecordedResponse, RunStatus
from inngest_durable.engines.embedded import recovery, writer
from inngest_durable.engines.embedded.batch import Group, Rows, write_rows
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.engines.records import ClaimRun, FinishRun, RecoverRun
from inngest_durable.engines.store import DueRun
from inngest_durable.quart import endpoint_adapter
from inngest_durable.testing import MemoryStore
from quart import Quart

OTHER_WORKER = "01JB0000000000000000000WR2"
NAMES = ["a", "b", "c"]


class Application:
    """Runs whose second steps all end in the same turn of the loop."""

    def __init__(self, store: MemoryStore | SqliteStore) -> None:
        self.app = Quart(__name__)
        self.engine = EmbeddedEngine(store=store)
        self.inngest = Inngest("fencing", endpoint_adapter, self.engine)
        self.gate = asyncio.Event()
        self.calls: list[str] = []
        self._called = asyncio.Condition()
        self._add_endpoint()
        self.inngest.init_app(self.app)

    async def get(self, path: str) -> Any:
        """GET *path*."""
        return await self.app.test_client().get(path)

    def runs(self) -> dict[str, DueRun]:
        """Return the runs of this worker by name."""
        store = self.engine.store
        found = {}
        for due in store.orphans(store.workers()):
            run = store.run(due.run_id)
            assert run is not None
            found[run.request.path.strip("/")] = due
        return found

    def keys(self, run_id: str) -> list[str]:
        """Return the keys of the memos of a run."""
        return [memo.key for memo in self.engine.store.memos(run_id)]

    async def called(self, *calls: str) -> None:
        """Return once all of this has happened."""
        async with asyncio.timeout(10), self._called:
            await self._called.wait_for(lambda: {*calls} <= {*self.calls})

    async def _act(self, call: str) -> str:
        self.calls.append(call)
        async with self._called:
            self._called.notify_all()
        return call

    async def _wait(self, call: str) -> str:
        await self._act(call)
        await self.gate.wait()
        return call

    def _add_endpoint(self) -> None:
        @self.app.get("/<name>")
        @self.inngest.endpoint
        async def handler(name: str) -> str:
            try:
                await step.run("one", self._act, f"{name}/one")
                await step.run("two", self._wait, f"{name}/two")
                return await step.run("three", self._act, f"{name}/three")
            finally:
                self.calls.append(f"{name} left")


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MemoryStore | SqliteStore:
    """A store of each kind, not yet open."""
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "durable.db")


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The runs that wrote in each commit of the SQLite store."""
    seen: list[list[str]] = []

    def recording(connection: sqlite3.Connection, batch: list[Group], tells: bool) -> Rows:
        rows = write_rows(connection, batch, tells)
        seen.append([getattr(write, "run_id", "") for _, writes in batch for write in writes])
        return rows

    monkeypatch.setattr(writer, "write_rows", recording)
    return seen


@asynccontextmanager
async def three_runs(store: MemoryStore | SqliteStore) -> AsyncIterator[tuple[Application, list[asyncio.Task[Any]]]]:
    """Run an application with three runs in their second step."""
    application = Application(store)
    async with application.inngest.running():
        requests = [asyncio.create_task(application.get(f"/{name}")) for name in NAMES]
        await application.called(*(f"{name}/two" for name in NAMES))
        yield application, requests
        application.gate.set()


@pytest.fixture(autouse=True)
def _nobody_looks_for_the_other_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not live: its run would be taken back from it."""
    monkeypatch.setattr(recovery, "LOOK_SECONDS", 600.0)


async def take_over(application: Application, due: DueRun) -> None:
    """Do what another worker does that believes the owner of this run to be dead."""
    await application.engine.store.write(RecoverRun(due.run_id, due.epoch, 4e9))
    await application.engine.store.write(ClaimRun(due.run_id, due.epoch, OTHER_WORKER))


async def test_fenced_pass_writes_nothing_and_ends(store: MemoryStore | SqliteStore, batches: list[list[str]]) -> None:
    """Its handler is interrupted and its client redirected; the neighbours of its commit complete."""
    async with three_runs(store) as (application, requests):
        runs = application.runs()
        await take_over(application, runs["b"])
        batches.clear()
        application.gate.set()
        a, b, c = await asyncio.gather(*requests)
        found = store.run(runs["b"].run_id)

        assert [a.status_code, b.status_code, c.status_code] == [200, 303, 200]
        assert await a.get_data() == b"a/three"
        assert "b left" in application.calls
        assert "b/three" not in application.calls
        assert application.keys(runs["b"].run_id) == ["one"]
        assert application.keys(runs["a"].run_id) == ["one", "two", "three"]
        assert found is not None
        assert (found.status, found.owner, found.epoch) == (RunStatus.RUNNING, OTHER_WORKER, 2)
        assert len(application.engine.passes) == 0
        if isinstance(store, SqliteStore):
            assert set(batches[0]) == {due.run_id for due in runs.values()}


async def test_redirected_client_gets_what_the_other_worker_made_of_the_run(store: MemoryStore | SqliteStore) -> None:
    """The fenced pass's client follows its redirect to the response that the owner recorded."""
    async with three_runs(store) as (application, requests):
        run = application.runs()["b"]
        await take_over(application, run)
        application.gate.set()
        _, redirect, _ = await asyncio.gather(*requests)
        finish = Finish(RunStatus.COMPLETED, RecordedResponse(200, (), b"from the other"))
        await store.write(FinishRun(run.run_id, run.epoch + 1, finish, 0.0))
        answer = await application.get(redirect.headers["location"])

        assert answer.status_code == 200
        assert await answer.get_data() == b"from the other"
