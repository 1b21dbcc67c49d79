"""Handlers, steps and frameworks of two colours, mixed up: each mistake gets an error that names the fix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from inngest_durable import ConfigurationError, Inngest, StepOptions, StepUsageError, flask, quart, step, sync
from quart import Quart

from packages.inngest_durable.tests.adapters.conftest import Serve
from packages.inngest_durable.tests.adapters.shop import bare_shop
from packages.inngest_durable.tests.adapters.threads import Handler, Threads
from testkit import colourless
from testkit.outside import Outside

StartThreads = Callable[..., Threads]


async def coroutine_handler() -> str:
    """Be of the one colour."""
    return "never"


def thread_handler() -> str:
    """Be of the other."""
    return "never"


def test_coroutine_handler_on_flask_is_refused_when_it_is_decorated() -> None:
    """The error says to make it ``def``, with which import, or to use Quart."""
    inngest = Inngest("shop", flask.endpoint_adapter)

    with pytest.raises(
        ConfigurationError, match=r"`def`.*from inngest_durable\.sync import step.*inngest_durable\.quart"
    ):
        inngest.endpoint(coroutine_handler)


def test_thread_handler_on_quart_is_refused_when_it_is_decorated() -> None:
    """The error says to make it ``async def``, or to use Flask."""
    inngest = Inngest("shop", quart.endpoint_adapter)

    with pytest.raises(ConfigurationError, match=r"`async def`.*inngest_durable\.flask and inngest_durable\.sync"):
        inngest.endpoint(thread_handler)


@pytest.mark.parametrize(
    ("adapter", "app", "name"),
    [
        (flask.endpoint_adapter, Quart("shop"), "Quart has no wsgi_app"),
        (quart.endpoint_adapter, Flask("shop"), "Flask has no asgi_app"),
    ],
)
def test_application_of_the_other_framework_is_refused(adapter: Any, app: Any, name: str) -> None:
    """The error says which adapter is whose."""
    with pytest.raises(ConfigurationError, match=rf"{name}.*inngest_durable\.quart for Quart"):
        Inngest("shop", adapter).init_app(app)


@pytest.mark.usefixtures("web")
def test_endpoint_above_its_route_is_told_where_to_go(
    tmp_path: Path, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """The framework knows the handler itself then, and nothing makes it durable."""
    shop = bare_shop(tmp_path)

    @shop.inngest.endpoint
    @shop.app.get("/")
    async def handler() -> str:
        return await colourless.step.run("charge", shop.outside.act, "charge")

    shop.inngest.init_app(shop.app)
    site = serve(shop.app, shop.inngest)

    assert site.get("/").status_code == 500
    assert "under @inngest.endpoint, which goes below the route's decorator" in caplog.text
    assert site.outside.counts() == {}


USES_OF_ASYNC: list[Callable[[], Any]] = [
    lambda: step.run("charge", thread_handler),
    lambda: step.sleep("pause", "1s"),
]


@pytest.mark.parametrize("use", USES_OF_ASYNC, ids=["run", "sleep"])
def test_step_of_coroutines_in_a_thread_is_refused(threads: StartThreads, use: Callable[[], Any]) -> None:
    """The first call says which import is meant, and nothing of it runs."""

    def make(outside: Outside) -> Handler:
        def handler() -> str:
            with pytest.raises(StepUsageError, match=r"`from inngest_durable\.sync import step`"):
                use()
            return "refused"

        return handler

    assert threads(make).answer().text == "refused"


USES_OF_SYNC: list[Callable[[], Any]] = [
    lambda: sync.step.run("charge", thread_handler),
    lambda: sync.step.sleep("pause", "1s"),
    lambda: sync.group.parallel((thread_handler,)),
]


@pytest.mark.parametrize("use", USES_OF_SYNC, ids=["run", "sleep", "parallel"])
def test_step_of_threads_in_a_coroutine_is_refused(tmp_path: Path, serve: Serve, use: Callable[[], Any]) -> None:
    """The first call says which import is meant, and nothing of it runs."""
    shop = bare_shop(tmp_path)

    @shop.app.get("/")
    @shop.inngest.endpoint(id="order")
    async def order() -> str:
        with pytest.raises(StepUsageError, match=r"`from inngest_durable import step`"):
            use()
        return "refused"

    shop.inngest.init_app(shop.app)

    assert serve(shop.app, shop.inngest).get("/").text == "refused"


async def charge() -> str:
    """Be a step function of the wrong colour."""
    return "never"


class Charge:
    """A step function of the wrong colour that does not look like one."""

    def __call__(self) -> Any:
        return charge()


FUNCTIONS: list[tuple[Callable[[], Any], str]] = [(charge, "charge"), (Charge(), "Charge")]


@pytest.mark.parametrize(("function", "name"), FUNCTIONS, ids=["async def", "returns a coroutine"])
@pytest.mark.parametrize("timeout", [None, "5s"], ids=["no timeout", "timeout"])
def test_coroutine_step_function_in_a_thread_is_refused(
    threads: StartThreads, function: Callable[[], Any], name: str, timeout: str | None
) -> None:
    """It is named, the fix too, and it is not tried again."""

    def make(outside: Outside) -> Handler:
        def handler() -> str:
            outside.record("handler")
            sync.step.run(StepOptions("charge", timeout=timeout), function)
            return "charged"

        return handler

    application = threads(make)
    application.app.testing = True
    with pytest.raises(Exception, match=rf"{name} is `async def`.*make it a `def` function"):
        application.answer()

    assert application.outside.counts() == {"handler": 1}


def test_called_function_is_refused_in_a_coroutine(tmp_path: Path, serve: Serve) -> None:
    """``step.run("charge", charge())``: at once, without a retry, and without Python's advice to await it."""
    shop = bare_shop(tmp_path)

    @shop.app.get("/")
    @shop.inngest.endpoint(id="order")
    async def order() -> str:
        with pytest.raises(StepUsageError, match=r"given a coroutine .*: write step\.run\('charge', charge, …\)"):
            step.run("charge", charge())  # type: ignore[call-overload]
        return "refused"

    shop.inngest.init_app(shop.app)

    assert serve(shop.app, shop.inngest).get("/").text == "refused"


def test_called_function_is_refused_in_a_thread(threads: StartThreads) -> None:
    """It has done its work outside the step. What it returned is not shown: that may be anything."""

    def make(outside: Outside) -> Handler:
        def handler() -> str:
            with pytest.raises(StepUsageError, match=r"given a str .*: write step\.run\('charge', fn, …\)"):
                sync.step.run("charge", thread_handler())  # type: ignore[arg-type]
            return "refused"

        return handler

    assert threads(make).answer().text == "refused"
