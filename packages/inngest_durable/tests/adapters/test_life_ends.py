"""Ends of the engine's life that nobody planned: its event loop ends without a stop, or the stop fails."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from inngest_durable import EmbeddedEngine, Inngest, StoreError, step
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.quart import endpoint_adapter
from quart import Quart

from packages.inngest_durable.tests.adapters.application import QUICK
from packages.inngest_durable.tests.adapters.shop import bare_shop, open_shop
from testkit.outside import Outside
from testkit.records import Records, database_of
from testkit.waiting import wait_until


def open_files(folder: Path) -> list[str]:
    """Return the files of *folder* that this process has open."""
    return [file.path for file in psutil.Process().open_files() if file.path.startswith(str(folder.resolve()))]


def test_end_of_its_loop_stops_the_engine(tmp_path: Path) -> None:
    """A test client without a lifespan, in a loop of its own, leaves nothing open behind, and no thread."""
    shop = open_shop(tmp_path)
    threads = set(threading.enumerate())

    async def ask() -> int:
        response = await shop.app.test_client().get("/flaky")
        assert open_files(tmp_path)
        return response.status_code

    assert asyncio.run(ask()) == 200
    assert open_files(tmp_path) == []
    assert Records(database_of(tmp_path)).workers() == []
    # The one that has closed the database may be about to end.
    wait_until(lambda: set(threading.enumerate()) <= threads, "the engine's threads to end")


def test_end_of_its_loop_leaves_runs_to_the_next(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A step in flight is cut off at once, and its run goes on after the next start: no worker has died."""
    shop = bare_shop(tmp_path)
    records = Records(database_of(tmp_path))

    async def in_flight() -> str:
        if shop.outside.record("in-flight") == 1:
            await asyncio.get_running_loop().create_future()
        return "done"

    @shop.app.get("/")
    @shop.inngest.endpoint(retries=QUICK)
    async def handler() -> str:
        await step.run("before", shop.outside.act, "before")
        return await step.run("in-flight", in_flight)

    shop.inngest.init_app(shop.app)

    async def cut_off() -> None:
        request = asyncio.create_task(shop.app.test_client().get("/"))
        await asyncio.to_thread(shop.outside.wait_for, "in-flight")
        assert not request.done()

    async def to_the_end() -> None:
        async with shop.inngest.running():
            await asyncio.to_thread(records.wait_for_only_run, "completed")

    begun = time.monotonic()
    asyncio.run(cut_off())
    took = time.monotonic() - begun
    (left,) = records.runs()
    asyncio.run(to_the_end())

    assert left.status == "waiting"
    # The grace of this application's engine is 5 s.
    assert took < 4
    assert shop.outside.counts() == {"before": 1, "in-flight": 2}
    assert "died" not in caplog.text


def test_end_of_its_loop_ends_a_stop_under_way(tmp_path: Path) -> None:
    """It was not awaited, as in a fixture that was cancelled: all is closed nonetheless."""
    shop = open_shop(tmp_path)

    async def live() -> None:
        await shop.inngest.start()
        stopping = asyncio.ensure_future(shop.inngest.stop())
        await asyncio.sleep(0)
        assert not stopping.done()

    asyncio.run(live())

    assert open_files(tmp_path) == []
    assert Records(database_of(tmp_path)).workers() == []


class BrokenStore(SqliteStore):
    """A store whose disk fails the first time that it is closed."""

    broken = True

    async def close(self) -> None:
        await super().close()
        if self.broken:
            self.broken = False
            # Long enough for others to wait for it.
            await asyncio.sleep(0.1)
            raise StoreError("the disk is gone")


def broken_app(folder: Path) -> tuple[Quart, Inngest]:
    """Return an application whose first stop fails."""
    app, outside = Quart(__name__), Outside(folder)
    inngest = Inngest("broken", endpoint_adapter, EmbeddedEngine(store=BrokenStore(database_of(folder))))

    @app.get("/")
    @inngest.endpoint
    async def handler() -> str:
        return await step.run("one", outside.act, "one")

    inngest.init_app(app)
    return app, inngest


async def test_stop_that_failed_is_told_and_the_next_start_works(tmp_path: Path) -> None:
    """All who stop it are told the error; who comes meanwhile or afterwards is served as after any other stop."""
    app, inngest = broken_app(tmp_path)
    await inngest.start()
    stops: list[Any] = [asyncio.ensure_future(inngest.stop()) for _ in range(2)]
    while inngest.is_started():
        await asyncio.sleep(0)
    meanwhile = await asyncio.wait_for(app.test_client().get("/"), 10)
    told = await asyncio.wait_for(asyncio.gather(*stops, return_exceptions=True), 10)
    await inngest.stop()
    afterwards = await app.test_client().get("/")
    await inngest.stop()

    assert [str(error) for error in told] == ["the disk is gone"] * 2
    assert [await answer.get_data(as_text=True) for answer in (meanwhile, afterwards)] == ["one#1", "one#2"]
    assert open_files(tmp_path) == []
    assert Records(database_of(tmp_path)).workers() == []


def test_stop_that_failed_at_the_end_of_its_loop_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody awaits it: asyncio logs it."""
    app, _ = broken_app(tmp_path)

    async def ask() -> int:
        return (await app.test_client().get("/")).status_code

    assert asyncio.run(ask()) == 200
    assert "the disk is gone" in caplog.text
    assert asyncio.run(ask()) == 200
    assert open_files(tmp_path) == []


def test_end_of_its_loop_waits_for_no_step_that_has_not_begun(tmp_path: Path) -> None:
    """Cancelled before its first turn, it ends nothing: who waited for it would wait for the whole grace."""
    shop = bare_shop(tmp_path)
    ends: list[asyncio.Future[None]] = []

    @shop.app.get("/")
    @shop.inngest.endpoint
    async def handler() -> str:
        await step.run("before", shop.outside.act, "before")
        ends[0].set_result(None)
        # In these turns the test's coroutine returns, and the loop is told to end.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await step.run("late", shop.outside.act, "late")

    shop.inngest.init_app(shop.app)

    async def cut_off() -> None:
        ends.append(asyncio.get_running_loop().create_future())
        requested.append(asyncio.ensure_future(shop.app.test_client().get("/")))
        await ends[0]

    requested: list[Any] = []
    begun = time.monotonic()
    asyncio.run(cut_off())

    assert shop.outside.counts() == {"before": 1}
    # The grace of this application's engine is 5 s.
    assert time.monotonic() - begun < 4
    assert open_files(tmp_path) == []
