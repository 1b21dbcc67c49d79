"""The engine's life in one process: start, stop, event loops that come and go, applications, and signal handlers."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import ConfigurationError, StepOptions, StoreError, step
from inngest_durable.engines.embedded.checkpointer import Checkpointer
from inngest_durable.quart import current_pass
from inngest_durable.testing import VirtualClock
from quart import Quart

from packages.inngest_durable.tests.adapters.application import QUICK
from packages.inngest_durable.tests.adapters.conftest import Serve
from packages.inngest_durable.tests.adapters.shop import Shop, bare_shop, open_shop
from packages.inngest_durable.tests.adapters.site import RUN_ID
from testkit.outside import Outside
from testkit.records import Records, database_of
from testkit.waiting import PATIENCE_SECONDS

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def workers(folder: Path) -> int:
    """Return how many workers are recorded, each of which must hold a lock file."""
    database = database_of(folder)
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as db:
        recorded = {worker_id for (worker_id,) in db.execute("SELECT id FROM workers")}
    assert {path.stem for path in Path(f"{database}.workers").glob("*.lock")} == recorded
    return len(recorded)


def handlers() -> list[Any]:
    """Return what the signals of a shutdown do at the moment."""
    return [signal.getsignal(number) for number in SIGNALS]


# Start and stop


async def test_running_starts_and_stops(tmp_path: Path) -> None:
    """For the time of the block there is a worker; afterwards none is left, and it can be done again."""
    shop = open_shop(tmp_path)
    for number in (1, 2):
        async with shop.inngest.running() as inngest:
            response = await shop.app.test_client().get("/flaky")
            text = await response.get_data(as_text=True)

            assert inngest is shop.inngest
            assert inngest.is_started()
            assert workers(tmp_path) == 1
            assert text == f"flaky#{number}"
        assert not shop.inngest.is_started()
        assert workers(tmp_path) == 0


async def test_running_stops_after_an_error(tmp_path: Path) -> None:
    """An error inside the block stops the engine as well, and comes out as it was."""
    shop = open_shop(tmp_path)
    with pytest.raises(LookupError, match="mine"):
        async with shop.inngest.running():
            raise LookupError("mine")

    assert not shop.inngest.is_started()
    assert workers(tmp_path) == 0


async def test_running_takes_up_what_there_is(tmp_path: Path) -> None:
    """A run that waited when the engine was stopped completes in the next block, with nobody asking for it."""
    clock = VirtualClock()
    shop = bare_shop(tmp_path, engine={"clock": clock})

    @shop.app.get("/")
    @shop.inngest.endpoint
    async def handler() -> str:
        await step.sleep("pause", "1h")
        return await step.run("after", shop.outside.act, "after")

    shop.inngest.init_app(shop.app)
    records = Records(database_of(tmp_path))
    async with shop.inngest.running():
        response = await shop.app.test_client().get("/")
    before = records.wait_for_only_run("waiting")
    await clock.advance("1h")
    async with shop.inngest.running():
        run = await asyncio.to_thread(records.wait_for_end, before.id)

    assert response.status_code == 303
    assert run.status == "completed"
    assert shop.outside.counts() == {"after": 1}


async def test_start_and_stop_are_harmless_twice(tmp_path: Path) -> None:
    """Starts at the same time and one after the other make one worker; so do stops, also before any start."""
    shop = open_shop(tmp_path)
    await shop.inngest.stop()
    await asyncio.gather(*(shop.inngest.start() for _ in range(3)))
    await shop.inngest.start()
    started = workers(tmp_path)
    await asyncio.gather(*(shop.inngest.stop() for _ in range(3)))
    await shop.inngest.stop()

    assert started == 1
    assert workers(tmp_path) == 0


async def test_request_while_the_database_is_closed_is_served_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts the engine again as soon as it has stopped, however many have asked for that and one has given up."""
    closing, may_close = threading.Event(), threading.Event()
    close = Checkpointer.close

    def held(checkpointer: Checkpointer) -> None:
        closing.set()
        may_close.wait(20)
        close(checkpointer)

    monkeypatch.setattr(Checkpointer, "close", held)
    shop = open_shop(tmp_path)
    await shop.inngest.start()
    stops = [asyncio.ensure_future(shop.inngest.stop()) for _ in range(3)]
    await asyncio.to_thread(closing.wait, 20)
    stops[0].cancel()
    request = asyncio.create_task(shop.app.test_client().get("/flaky"))
    # The request has come as far as it can.
    await asyncio.sleep(0.1)
    ended = [task.done() for task in (*stops, request)]
    may_close.set()
    await asyncio.gather(*stops, return_exceptions=True)
    response = await request

    assert ended == [True, False, False, False]
    assert response.status_code == 200
    assert shop.inngest.is_started()
    assert workers(tmp_path) == 1
    await shop.inngest.stop()


async def test_start_that_was_cancelled_starts_for_others(tmp_path: Path) -> None:
    """The first request starts the engine; when its client leaves meanwhile, the others get it all the same."""
    shop = open_shop(tmp_path)
    first = asyncio.ensure_future(shop.inngest.start())
    await asyncio.sleep(0)
    second = asyncio.ensure_future(shop.inngest.start())
    first.cancel()
    await second

    assert shop.inngest.is_started()
    assert workers(tmp_path) == 1
    await shop.inngest.stop()


async def test_start_can_be_tried_again(tmp_path: Path) -> None:
    """A start that failed leaves nothing behind that is in the way of the next one."""
    shop = open_shop(tmp_path)
    database_of(tmp_path).mkdir()
    with pytest.raises(StoreError, match="cannot open the database"):
        await shop.inngest.start()
    not_started = not shop.inngest.is_started()
    database_of(tmp_path).rmdir()
    async with shop.inngest.running():
        response = await shop.app.test_client().get("/flaky")

    assert not_started
    assert response.status_code == 200


async def test_worker_that_could_not_start_is_none(tmp_path: Path) -> None:
    """Else each request that tries to start it would leave one more that lives, with an open file."""
    shop = open_shop(tmp_path)
    async with shop.inngest.running():
        pass
    with closing(sqlite3.connect(database_of(tmp_path))) as db:
        ((index,),) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'runs_owned'").fetchall()
        db.execute("DROP INDEX runs_owned")
        for _ in range(3):
            with pytest.raises(StoreError, match="runs_owned"):
                await shop.inngest.start()
        db.execute(index)
    async with shop.inngest.running():
        left = workers(tmp_path)

    assert left == 1


async def test_engine_that_was_never_started_says_so(tmp_path: Path) -> None:
    """Who reaches for the engine too early is told what is missing."""
    shop = bare_shop(tmp_path)

    with pytest.raises(ConfigurationError, match="has not been started"):
        await shop.inngest.engine.ended("01ARZ3NDEKTSV4RRFFQ69G5FAV", 0)
    with pytest.raises(ConfigurationError, match="has not been started"):
        shop.inngest.engine.token("01ARZ3NDEKTSV4RRFFQ69G5FAV")


# Event loops


def on_several_loops(folder: Path) -> Shop:
    """Return an application with a step that fails once, and one whose first call never returns."""
    shop = bare_shop(folder)

    async def in_flight() -> str:
        if shop.outside.record("in-flight") == 1:
            await asyncio.get_running_loop().create_future()
        return "done"

    @shop.app.get("/flaky")
    @shop.inngest.endpoint(retries=QUICK)
    async def flaky() -> str:
        return await step.run("flaky", shop.outside.act, "flaky", 1)

    @shop.app.get("/in-flight")
    @shop.inngest.endpoint(retries=QUICK)
    async def in_flight_view() -> str:
        await step.run("before", shop.outside.act, "before")
        return await step.run("in-flight", in_flight)

    @shop.app.get("/plain")
    async def plain() -> str:
        return "plain"

    shop.inngest.init_app(shop.app)
    return shop


def test_one_application_on_several_event_loops(tmp_path: Path) -> None:
    """
    Test clients without a lifespan, each in an `asyncio.run` of its own, as test suites do it.

    A run that waited when its loop was closed goes on in the next one; a step that was in flight there runs again.
    """
    shop = on_several_loops(tmp_path)
    records = Records(database_of(tmp_path))

    async def redirected() -> None:
        assert (await shop.app.test_client().get("/flaky")).status_code == 303

    async def cut_off() -> None:
        request = asyncio.create_task(shop.app.test_client().get("/in-flight"))
        await asyncio.to_thread(shop.outside.wait_for, "in-flight")
        assert not request.done()

    async def to_the_end() -> None:
        assert (await shop.app.test_client().get("/plain")).status_code == 200
        # Without a lifespan it is the first request of an endpoint that starts the engine.
        assert (await shop.app.test_client().get("/flaky")).status_code == 200
        for run in records.runs():
            await asyncio.to_thread(records.wait_for_end, run.id)
        await shop.inngest.stop()

    asyncio.run(redirected())
    asyncio.run(cut_off())
    asyncio.run(to_the_end())

    assert [run.status for run in records.runs()] == ["completed"] * 3
    assert shop.outside.counts() == {"flaky": 3, "before": 1, "in-flight": 2}
    assert workers(tmp_path) == 0


def test_thread_of_a_closed_loop_does_not_hold_up_the_next_attempt(tmp_path: Path) -> None:
    """A `def` step timed out, and its loop was closed before its thread returned: the run completes all the same."""
    shop = bare_shop(tmp_path)
    records = Records(database_of(tmp_path))

    @shop.app.get("/")
    @shop.inngest.endpoint(retries=QUICK)
    async def handler() -> str:
        return await step.run(StepOptions("charge", timeout="500ms"), shop.outside.held, "charge")

    shop.inngest.init_app(shop.app)

    async def timed_out() -> None:
        assert (await shop.app.test_client().get("/")).status_code == 303

    async def to_the_end() -> None:
        await shop.inngest.start()
        try:
            await asyncio.to_thread(records.wait_for_only_run)
        finally:
            await shop.inngest.stop()

    asyncio.run(timed_out())
    shop.outside.open("charge")
    asyncio.run(to_the_end())

    assert records.wait_for_only_run().status == "completed"
    assert shop.outside.counts() == {"charge": 2}


def test_engine_serves_one_open_loop_at_a_time(tmp_path: Path, serve: Serve) -> None:
    """While its loop is open, a start on another one is refused, with what to do; the first one is not disturbed."""
    shop = open_shop(tmp_path)
    site = serve(shop.app, shop.inngest)

    async def start_here() -> None:
        assert not shop.inngest.is_started()
        with pytest.raises(ConfigurationError, match=r"another event loop.*inngest\.stop\(\)"):
            await shop.inngest.start()
        with pytest.raises(ConfigurationError, match=r"another event loop"):
            await shop.inngest.stop()

    asyncio.run(start_here())

    assert site.get("/flaky").text == "flaky#1"
    assert workers(tmp_path) == 1


def test_engine_starts_at_the_first_request_after_a_stop(tmp_path: Path, serve: Serve) -> None:
    """A request to a wait URL or an endpoint starts an engine that was stopped under a running server."""
    shop = open_shop(tmp_path)
    site = serve(shop.app, shop.inngest)
    location = site.get("/flaky?fail=1").headers["location"]
    site.server.call(shop.inngest.stop)
    answer = site.get(location)
    site.server.call(shop.inngest.stop)

    assert answer.text == "flaky#2"
    assert site.get("/flaky").text == "flaky#3"


def test_many_first_requests_start_one_engine(tmp_path: Path, serve: Serve) -> None:
    """Requests that come at the same time to an engine that is not started wait for one start."""
    shop = open_shop(tmp_path)
    site = serve(shop.app, shop.inngest)
    site.server.call(shop.inngest.stop)
    with ThreadPoolExecutor(8) as pool:
        statuses = {response.status_code for response in pool.map(lambda _: site.get("/flaky"), range(8))}

    assert statuses == {200}
    assert workers(tmp_path) == 1
    assert site.outside.counts() == {"flaky": 8}


# Applications


def test_init_app_while_it_runs_is_refused(tmp_path: Path, serve: Serve) -> None:
    """One client serves one application at a time: the error says so, and the one that runs is not disturbed."""
    shop = open_shop(tmp_path)
    site = serve(shop.app, shop.inngest)
    other = Quart("other")
    with pytest.raises(ConfigurationError, match="one client serves one at a time"):
        shop.inngest.init_app(other)

    assert not [rule for rule in other.url_map.iter_rules() if "_inngest" in rule.rule]
    assert site.follow(site.get("/flaky?fail=1")).text == "flaky#2"


async def test_init_app_again_for_a_new_application(tmp_path: Path) -> None:
    """An application factory may make another application while the engine does not run; that one is served then."""
    shop = bare_shop(tmp_path)

    @shop.inngest.endpoint(id="order", retries=QUICK)
    async def order() -> str:
        return await step.run("flaky", shop.outside.act, "flaky", 1)

    statuses = []
    for number in (1, 2):
        app = Quart(f"app-{number}")
        app.add_url_rule("/order", view_func=order)
        passes = Outside(tmp_path / f"passes-{number}")

        @app.before_request
        async def note(passes: Outside = passes) -> None:
            passes.record("pass")

        shop.inngest.init_app(app)
        async with app.test_app() as test_app:
            response = await test_app.test_client().get("/order", follow_redirects=True)
            statuses.append(response.status_code)
        # The first pass, the re-entry (of the first application only) and the wait URL.
        assert len(passes.calls()) == (3 if number == 1 else 1)

    assert statuses == [200, 200]


def test_init_app_twice_for_one_application_says_so(tmp_path: Path, serve: Serve) -> None:
    """A second call for the same application is a mistake, whose error names it; the first one holds."""
    shop = open_shop(tmp_path)
    with pytest.raises(ConfigurationError, match="init_app"):
        shop.inngest.init_app(shop.app)
    site = serve(shop.app, shop.inngest)

    answer = site.follow(site.get("/flaky?fail=1"))
    assert answer.text == "flaky#2"
    assert answer.headers.get_list(RUN_ID) == [site.records.wait_for_only_run().id]


# Signals


async def test_signal_handlers_are_chained_while_the_engine_runs(tmp_path: Path) -> None:
    """Between start and stop SIGTERM and SIGINT are ours; before and afterwards they are what they were."""
    shop = open_shop(tmp_path)
    before = handlers()
    async with shop.inngest.running():
        during = handlers()

    assert all(mine != theirs for mine, theirs in zip(during, before, strict=True))
    assert handlers() == before


async def test_signal_handlers_of_others_are_not_taken_away(tmp_path: Path) -> None:
    """A handler that was installed after ours stays when the engine stops."""
    shop = open_shop(tmp_path)
    before = handlers()

    def theirs(number: int, frame: object) -> None:
        """Do nothing."""

    try:
        async with shop.inngest.running():
            signal.signal(signal.SIGTERM, theirs)
        afterwards = handlers()
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)

    assert afterwards == [theirs, before[1]]


async def test_signals_are_left_alone_when_told_so(tmp_path: Path) -> None:
    """With ``handle_signals=False`` nothing is installed."""
    shop = open_shop(tmp_path, handle_signals=False)
    before = handlers()
    async with shop.inngest.running():
        assert handlers() == before
    assert handlers() == before


def test_engine_in_another_thread_installs_no_handler(tmp_path: Path, serve: Serve) -> None:
    """Python allows handlers in the main thread only; elsewhere the engine runs without."""
    before = handlers()
    shop = open_shop(tmp_path)
    site = serve(shop.app, shop.inngest)

    assert site.get("/flaky").status_code == 200
    assert handlers() == before


# Stops that meet requests


def test_requests_during_the_drain_are_redirected(tmp_path: Path, serve: Serve) -> None:
    """A request that comes while the engine drains is redirected before its first step, and completes later."""
    shop = open_shop(tmp_path)
    site = serve(shop.app, shop.inngest)
    location = site.get("/slow").headers["location"]
    site.outside.wait_for("held")
    stopping = site.server.submit(shop.inngest.stop)
    # The drain has begun before anything that is asked of the loop after it.
    site.server.call(lambda: asyncio.sleep(0))
    late = site.get("/flaky")
    site.outside.open("held")
    stopping.result(PATIENCE_SECONDS)
    site.server.call(shop.inngest.start)

    assert late.status_code == 303
    assert site.follow(late).text == "flaky#1"
    assert site.get(location).text == "held#1"
    assert site.outside.counts()["held"] == 1


def test_stop_gives_up_on_a_step_after_the_grace(
    tmp_path: Path, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A step that does not end holds up the stop for the grace and no longer; its run goes on after the next start.

    No worker has died: else a run with a long step would be suspected, and at last failed, for being deployed often.
    """
    shop = open_shop(tmp_path, engine={"shutdown_grace": "200ms"})
    site = serve(shop.app, shop.inngest)
    run_id = site.get("/slow").headers[RUN_ID]
    site.outside.wait_for("held")
    site.server.submit(shop.inngest.stop).result(PATIENCE_SECONDS)
    stopped = site.records.run(run_id)
    left = workers(tmp_path)
    # Its thread is still there; the next worker does not know of it.
    site.outside.open("held")
    site.server.call(shop.inngest.start)

    assert stopped is not None
    assert stopped.status == "waiting"
    assert left == 0
    assert site.records.wait_for_end(run_id).status == "completed"
    assert site.records.steps(run_id)["held"].state == "completed"
    assert "died" not in caplog.text
    assert "please report this bug" not in caplog.text


async def test_run_whose_reentry_hung_in_a_hook_goes_on_after_the_next_start(tmp_path: Path) -> None:
    """It was claimed, and no pass had begun when the grace ended: its run is nobody's, but not forgotten."""
    shop = bare_shop(tmp_path, engine={"shutdown_grace": "100ms"})
    hung = asyncio.Event()

    @shop.app.before_request
    async def hang() -> None:
        if current_pass() == "reentry" and not hung.is_set():
            hung.set()
            await asyncio.Event().wait()

    @shop.app.get("/")
    @shop.inngest.endpoint
    async def handler() -> str:
        await step.sleep("pause", "500ms")
        return await step.run("after", shop.outside.act, "after")

    shop.inngest.init_app(shop.app)
    records = Records(database_of(tmp_path))
    async with shop.inngest.running():
        await shop.app.test_client().get("/")
        await asyncio.wait_for(hung.wait(), PATIENCE_SECONDS)
    (before,) = records.runs()
    async with shop.inngest.running():
        run = await asyncio.to_thread(records.wait_for_end, before.id)

    assert before.status == "running"
    assert run.status == "completed"
