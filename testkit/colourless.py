"""
Test applications that are written once, as for Quart, and run over Flask too.

With the fixture `web`, the names below are those of the framework that the test runs over. In Flask a handler is
driven to its end in its thread: what it awaits is there at once.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import flask
import flask.views
import pytest
import quart
import quart.views
from inngest_durable import Inngest, sync
from inngest_durable import step as async_step
from inngest_durable._portal import Done
from inngest_durable.flask import FlaskAdapter
from inngest_durable.flask import current_pass as flask_pass
from inngest_durable.quart import QuartAdapter
from inngest_durable.quart import current_pass as quart_pass
from werkzeug.local import LocalProxy

from testkit.servers import (
    HypercornThread,
    ThreadServer,
    UvicornThread,
    WaitressThread,
    WerkzeugThread,
)

__all__ = [
    "abort",
    "adapter_of",
    "body_chunks",
    "choose",
    "current_pass",
    "EACH_SERVER",
    "endpoint_adapter",
    "g",
    "get_data",
    "get_json",
    "method_view",
    "nap",
    "on_flask",
    "over_both",
    "over_quart_only",
    "parallel",
    "put_middleware",
    "redirect",
    "request",
    "Response",
    "send_signal",
    "session",
    "step",
    "url_for",
    "Web",
    "web",
    "WEBS",
]

T = TypeVar("T")


def driven(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `def` function that drives the coroutine of *handler*, which waits for nothing, to its end."""

    def plain(*args: Any, **kwargs: Any) -> Any:
        made = handler(*args, **kwargs)
        if not isinstance(made, Coroutine):
            return made
        try:
            made.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError(f"{handler} waits for something: that is for Quart alone")

    plain.__name__, plain.__qualname__, plain.__module__ = handler.__name__, handler.__qualname__, handler.__module__
    return plain


class DrivenFlask(flask.Flask):
    """Takes `async def` views and hooks."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return *func* as a plain function."""
        return driven(func)


class DrivenAdapter(FlaskAdapter):
    """Takes `async def` handlers."""

    def with_options(self, **options: Any) -> DrivenAdapter:
        """Return a new adapter with these options, that holds as many waiting clients as a test may have."""
        return DrivenAdapter(options.get("async_redirect_url"), 32)

    def wrap(self, endpoint: Any, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Return the view that serves *handler* durably."""
        return super().wrap(endpoint, driven(handler))


@dataclass(frozen=True, slots=True)
class Web:
    """
    A framework, as far as test applications see it.

    Attributes:
        module: Where its names are.
        app: Makes an application.
        adapter: Its adapter.
        current_pass: What tells a hook of the pass.
        servers: What serves it; the first where nothing else is asked for.
    """

    module: Any
    app: Callable[[str], Any]
    adapter: QuartAdapter | FlaskAdapter
    current_pass: Callable[[], Any]
    servers: tuple[Callable[..., ThreadServer], Callable[..., ThreadServer]]

    @property
    def blocks(self) -> bool:
        """Whether handlers run in threads, and block where others await."""
        return self.module is flask


WEBS = {
    "quart": Web(quart, quart.Quart, QuartAdapter(), quart_pass, (UvicornThread, HypercornThread)),
    "flask": Web(flask, DrivenFlask, DrivenAdapter().with_options(), flask_pass, (WaitressThread, WerkzeugThread)),
}
# For parameters: which of the framework's servers.
EACH_SERVER = (0, 1)
over_quart_only = pytest.mark.parametrize("web", ["quart"], indirect=True)
over_both = pytest.mark.usefixtures("web")

_chosen = "quart"


def choose(name: str) -> Web:
    """Let the names of this module be those of another framework."""
    global _chosen
    _chosen = name
    return WEBS[name]


def on_flask(build: Callable[[], tuple[T, Inngest]]) -> T:
    """Return the application that *build* makes with its client, on Flask; its runs go on at once."""
    choose("flask")
    app, inngest = build()
    inngest.start()
    return app


def web() -> Web:
    """Return the framework of the request that is served here; elsewhere, the one that the test runs over."""
    return WEBS["flask" if flask.has_request_context() else "quart" if quart.has_request_context() else _chosen]


class _Step:
    """The steps of the framework's colour; what one returns is awaited."""

    def __getattr__(self, name: str) -> Any:
        if not web().blocks:
            return getattr(async_step, name)
        found = getattr(sync.step, name)
        if name == "idempotency_key":
            return found
        return lambda *args, **kwargs: Done(found(*map(_plain, args), **kwargs))


def _plain(value: Any) -> Any:
    """Return a step's `async def` function as a plain one; any other value as it is."""
    return driven(value) if inspect.iscoroutinefunction(value) else value


class _Adapter:
    """The framework's adapter."""

    def __getattr__(self, name: str) -> Any:
        return getattr(web().adapter, name)


def adapter_of(adapter: Any) -> Any:
    """Return the adapter that *adapter* stands for at the moment."""
    return web().adapter if adapter is endpoint_adapter else adapter


def get_data() -> Any:
    """Return the body of the request, to be awaited."""
    data = request.get_data()
    return Done(data) if isinstance(data, bytes) else data


def get_json() -> Any:
    """Return the JSON in the body of the request, to be awaited."""
    data: Any = request.get_json()
    return data if isinstance(data, Coroutine) else Done(data)


def parallel(*calls: Callable[[], Awaitable[T]]) -> Awaitable[list[T]]:
    """Call *calls* at the same time, as the framework's handlers do it; their results are to be awaited."""
    if not web().blocks:
        return asyncio.gather(*(call() for call in calls))
    return Done(sync.group.parallel([partial(_result_of, call) for call in calls]))


def _result_of(call: Callable[[], Any]) -> Any:
    return call().result


def send_signal(inngest: Inngest, name: str, data: Any = None) -> Awaitable[bool]:
    """Send a signal as the application's own code does, to be awaited."""
    if not web().blocks:
        return inngest.send_signal(name, data)
    return Done(inngest.sync.send_signal(name, data))


def nap(seconds: float) -> Awaitable[None]:
    """Pause a handler or a step's function in real time, to be awaited."""
    if not web().blocks:
        return asyncio.sleep(seconds)
    time.sleep(seconds)
    return Done(None)


async def body_chunks() -> AsyncIterator[bytes]:
    """Yield the body of the request as it comes."""
    if not web().blocks:
        async for chunk in request.body:
            yield chunk
    else:
        stream: Any = request.stream
        while chunk := stream.read(65536):
            yield chunk


def method_view() -> Any:
    """Return the base of class-based views."""
    return web().module.views.MethodView


def put_middleware(app: Any, meet: Callable[[], None]) -> None:
    """Put middleware round *app* that calls *meet* before each request."""
    if not web().blocks:
        asgi_app = app.asgi_app

        async def asgi_middleware(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                meet()
            await asgi_app(scope, receive, send)

        app.asgi_app = asgi_middleware
    else:
        wsgi_app = app.wsgi_app

        def wsgi_middleware(environ: Any, start_response: Any) -> Any:
            meet()
            return wsgi_app(environ, start_response)

        app.wsgi_app = wsgi_middleware


if TYPE_CHECKING:
    # Written as for Quart, and checked as such.
    from inngest_durable import step
    from inngest_durable.quart import current_pass, endpoint_adapter
    from quart import Response, abort, g, redirect, request, session, url_for
else:
    step = _Step()
    endpoint_adapter = _Adapter()
    request = LocalProxy(lambda: web().module.request)
    session = LocalProxy(lambda: web().module.session)
    g = LocalProxy(lambda: web().module.g)

    def current_pass() -> Any:
        """Tell which pass it is."""
        return web().current_pass()

    def abort(*args: Any) -> Any:
        """Answer by an error."""
        return web().module.abort(*args)

    def redirect(*args: Any) -> Any:
        """Answer by a redirect."""
        return web().module.redirect(*args)

    def url_for(*args: Any, **kwargs: Any) -> Any:
        """Return the URL of a view."""
        return web().module.url_for(*args, **kwargs)

    def Response(*args: Any, **kwargs: Any) -> Any:  # noqa: N802  # stands for a class
        """Make a response."""
        return web().module.Response(*args, **kwargs)
