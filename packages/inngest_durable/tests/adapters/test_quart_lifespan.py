"""The engine's life inside the application's: its start, its end, and servers that tell it of neither."""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from inngest_durable import Inngest, step
from quart import Quart
from quart.testing.app import LifespanError

from packages.inngest_durable.tests.adapters.conftest import Serve
from packages.inngest_durable.tests.adapters.frameworks import QUART
from packages.inngest_durable.tests.adapters.quart_app import small_app
from packages.inngest_durable.tests.adapters.site import RUN_ID
from testkit.outside import Outside
from testkit.ports import free_port
from testkit.records import Records, database_of
from testkit.server_process import ServerProcess
from testkit.waiting import PATIENCE_SECONDS, wait_until

# Longer than it takes to end a server.
PAUSE = timedelta(milliseconds=500)


def test_engine_starts_after_the_applications_own_startup(tmp_path: Path, serve: Serve) -> None:
    """A run that is due at the start is re-entered only when the application's resources are open."""

    def build() -> tuple[Quart, Inngest, Outside]:
        app, inngest, outside = small_app(tmp_path)
        resources: list[str] = []

        @app.before_serving
        async def open_resources() -> None:
            # Long enough for a run that is due to be re-entered, if nothing held it back.
            await asyncio.to_thread(outside.record, "opening")
            resources.append("pool")

        @app.get("/")
        @inngest.endpoint
        async def handler() -> list[str]:
            outside.record("pass", resources=list(resources))
            await step.sleep("pause", PAUSE)
            return await step.run("use", lambda: list(resources))

        inngest.init_app(app)
        return app, inngest, outside

    first = serve(*build()[:2])
    run_id = first.get("/").headers[RUN_ID]
    due_at = time.time() + PAUSE.total_seconds()
    first.close()
    wait_until(lambda: time.time() > due_at, "the run to be due")
    serve(*build()[:2])

    assert Records(database_of(tmp_path)).wait_for_end(run_id).status == "completed"
    passes = Outside(tmp_path).calls("pass")
    assert len(passes) > 1
    # One more if the first server took longer to end than the pause.
    assert all(each["resources"] == ["pool"] for each in passes)


def test_engine_drains_before_the_applications_own_shutdown(tmp_path: Path, serve: Serve) -> None:
    """A step in flight at the shutdown still has the application's resources."""
    app, inngest, outside = small_app(tmp_path)
    resources = ["pool"]

    @app.after_serving
    async def close_resources() -> None:
        outside.record("closing")
        resources.clear()

    async def use() -> list[str]:
        await asyncio.to_thread(outside.held, "use")
        outside.record("used", resources=list(resources))
        return list(resources)

    @app.get("/")
    @inngest.endpoint
    async def handler() -> list[str]:
        return await step.run("use", use)

    inngest.init_app(app)
    site = serve(app, inngest)
    with socket.create_connection(("127.0.0.1", site.server.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        outside.wait_for("use")
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(site.server.stop)
        assert outside.calls("closing") == []
        outside.open("use")
        stopped.result(PATIENCE_SECONDS)

    assert [call["resources"] for call in outside.calls("used")] == [["pool"]]
    assert [call["action"] for call in outside.calls()] == ["use", "used", "closing"]


@pytest.mark.parametrize("server", QUART.commands)
def test_server_does_not_start_without_its_database(tmp_path: Path, server: str) -> None:
    """A database that cannot be opened stops the server at its start, and the output says which and why."""
    database_of(tmp_path).mkdir()
    process = ServerProcess(QUART.commands[server](free_port()), tmp_path, {"FOLDER": str(tmp_path)})
    try:
        process.wait()
    finally:
        process.kill()

    assert f"cannot open the database {database_of(tmp_path)}" in process.output


async def test_application_startup_failure_does_not_start_the_engine(tmp_path: Path) -> None:
    """When the application's own startup fails, its error is what the server is told."""
    app, inngest, _ = small_app(tmp_path)

    @app.before_serving
    async def fail() -> None:
        raise RuntimeError("no pool for you")

    inngest.init_app(app)
    with pytest.raises(LifespanError, match="no pool for you"):
        await app.test_app().startup()

    assert not database_of(tmp_path).exists()


def test_engine_starts_at_the_first_request_without_a_lifespan(tmp_path: Path) -> None:
    """Under a server that sends no lifespan the first request starts the engine, and what waits is resumed."""
    port = free_port()
    command = QUART.commands["uvicorn"](port, "--lifespan", "off")
    outside, records = Outside(tmp_path), Records(database_of(tmp_path))
    url = f"http://127.0.0.1:{port}"

    def serve_one(path: str) -> httpx.Response:
        process = ServerProcess(command, tmp_path, {"FOLDER": str(tmp_path)})
        try:
            process.wait_ready(port)
            return httpx.get(f"{url}{path}", follow_redirects=True, timeout=20)
        finally:
            process.kill()

    first = serve_one("/book?fail=1")
    sleeping = ServerProcess(command, tmp_path, {"FOLDER": str(tmp_path)})
    try:
        sleeping.wait_ready(port)
        redirect = httpx.get(f"{url}/sleep?ms=100", timeout=20)
    finally:
        sleeping.kill()
    waited = serve_one(redirect.headers["location"])

    assert first.json() == {"reserved": "reserve#1", "charged": "charge#2", "confirmed": "confirm#1"}
    assert waited.status_code == 200
    assert outside.counts() == {"reserve": 1, "charge": 2, "confirm": 1, "before": 1, "after": 1}
    assert records.wait_for_end(waited.headers[RUN_ID]).status == "completed"


async def test_test_client_follows_a_run_to_its_end(tmp_path: Path) -> None:
    """Quart's own test client under ``app.test_app()``: runs, retries and the wait URL work, and all is closed."""
    application = QUART.build(tmp_path)
    async with application.app.test_app() as test_app:
        client = test_app.test_client()
        plain = await client.get("/book")
        redirected = await client.get("/book?fail=3", follow_redirects=True)

    assert plain.status_code == redirected.status_code == 200
    assert (await redirected.get_json())["charged"] == "charge#4"
    assert Outside(tmp_path).counts() == {"reserve": 2, "charge": 4, "confirm": 2}


async def test_test_client_without_a_lifespan(tmp_path: Path) -> None:
    """A bare ``app.test_client()`` starts the engine at the first request; ``inngest.stop()`` ends it."""
    application = QUART.build(tmp_path)
    try:
        response = await application.app.test_client().get("/book?fail=2", follow_redirects=True)
    finally:
        await application.inngest.stop()

    assert response.status_code == 200
    assert (await response.get_json())["charged"] == "charge#3"
