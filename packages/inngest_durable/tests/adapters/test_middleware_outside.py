"""Middleware that was put round the edge: re-entries do not pass through it, so the start says which that is."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from hypercorn.middleware import ProxyFixMiddleware
from inngest_durable import step
from quart import Quart

from packages.inngest_durable.tests.adapters.quart_app import small_app


class Timing:
    """Middleware that keeps the application where Starlette's does."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class Tracing:
    """Middleware that keeps the application in a private attribute, and refers to another object as `app`."""

    def __init__(self, wrapped: Any, app: Any) -> None:
        self.app = app
        self._app = wrapped

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


def gzip(inner: Any) -> Any:
    """Return middleware that keeps the application where nobody can look."""

    async def compressed(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)

    return compressed


def wrap(app: Quart, wrapped: Any) -> None:
    """Put middleware round the application as its documentation says."""
    app.asgi_app = wrapped  # type: ignore[method-assign]


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings that the package has logged."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "inngest_durable" and record.levelno >= logging.WARNING
    ]


def expected(names: str) -> str:
    return (
        f"re-entries of runs do not pass through {names}: it was put round the application after "
        "inngest.init_app(app); call init_app after it"
    )


async def test_middleware_added_after_init_app_is_named_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app, inngest, _ = small_app(tmp_path)
    inngest.init_app(app)
    wrap(app, ProxyFixMiddleware(app.asgi_app, mode="legacy"))
    async with app.test_app():
        pass

    assert warnings_in(caplog) == [expected("ProxyFixMiddleware")]


async def test_first_request_names_it_without_a_lifespan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app, inngest, outside = small_app(tmp_path)

    @app.get("/")
    @inngest.endpoint
    async def handler() -> str:
        return await step.run("charge", outside.act, "charge")

    inngest.init_app(app)
    wrap(app, Timing(app.asgi_app))
    client = app.test_client()
    try:
        answers = [await (await client.get("/")).get_data() for _ in range(2)]
    finally:
        await inngest.stop()

    assert answers == [b"charge#1", b"charge#2"]
    assert warnings_in(caplog) == [expected("Timing")]


async def test_each_of_several_is_named_from_the_outside_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where each tells what it wraps; other objects that it refers to are not middleware."""
    app, inngest, _ = small_app(tmp_path)
    inngest.init_app(app)
    wrap(app, Timing(Tracing(ProxyFixMiddleware(app.asgi_app), app)))
    async with inngest.running():
        pass

    assert warnings_in(caplog) == [expected("Timing > Tracing > ProxyFixMiddleware")]


async def test_outermost_is_named_when_it_does_not_tell_what_it_wraps(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app, inngest, _ = small_app(tmp_path)
    inngest.init_app(app)
    wrap(app, Timing(gzip(Timing(app.asgi_app))))
    async with inngest.running():
        pass

    assert warnings_in(caplog) == [expected("Timing")]


async def test_function_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app, inngest, _ = small_app(tmp_path)
    inngest.init_app(app)
    wrap(app, gzip(app.asgi_app))
    async with inngest.running():
        pass

    assert warnings_in(caplog) == [expected("gzip.<locals>.compressed")]


async def test_middleware_that_refers_to_itself_ends_the_search(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app, inngest, _ = small_app(tmp_path)
    inngest.init_app(app)
    endless = Timing(None)
    endless.app = Timing(endless)
    wrap(app, endless)
    async with inngest.running():
        pass

    assert warnings_in(caplog) == [expected("Timing")]


async def test_middleware_added_before_init_app_is_fine(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is inside the edge."""
    app, inngest, _ = small_app(tmp_path)
    wrap(app, Timing(app.asgi_app))
    inngest.init_app(app)
    async with app.test_app():
        pass

    assert warnings_in(caplog) == []
