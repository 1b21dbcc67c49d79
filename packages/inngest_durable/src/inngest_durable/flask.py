"""
Durable endpoints for Flask: pass `endpoint_adapter` to the client, and call ``inngest.init_app(app)``.

`inngest_durable.quart` has the same names in the same order. Here handlers are ``def`` and run in the server's
threads, with steps from `inngest_durable.sync`; the engine has a thread of its own in each process that serves.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from ._calls import is_coroutine_function
from ._core import http
from ._core.model import RecordedResponse
from ._extras import needed_by
from ._pass import PassKind
from ._portal import Done, portal
from ._thread_pass import ThreadPass
from ._threads import as_exception
from ._wsgi import WsgiEdge, WsgiHolder
from ._wsgi_server import Environ, while_there
from .endpoint import Endpoint
from .errors import ConfigurationError
from .exchange import Holder, Lifecycle
from .health import ALIVE, health
from .output import OutputQuery, output_or_events

with needed_by(__name__, extra="flask"):
    from flask import Flask, Response, current_app, has_request_context, request

    from . import _werkzeug

__all__ = ["FlaskAdapter", "current_pass", "endpoint_adapter"]

T = TypeVar("T")

# How many clients are held where the server does not tell how many threads it has.
HELD_WAITS = 2
# How long the only thread of a process is held: all other requests wait meanwhile.
ONLY_THREAD_SECONDS = 2.0


class FlaskAdapter(_werkzeug.WerkzeugAdapter):
    """
    Tells the client how Flask's requests, responses and views work.

    Args:
        async_redirect_url: Where redirected clients wait; see `with_options`.
        held_waits: How many of them each process holds at a time, if given; see `with_options`.
    """

    in_threads = True

    def __init__(self, async_redirect_url: http.RedirectUrl | None = None, held_waits: int | None = None) -> None:
        super().__init__(async_redirect_url)
        self._held_waits = held_waits
        # Keyed by the engine's event loop: a forked child has its own, and holds none of the parent's clients.
        self._held: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()

    def with_options(
        self, *, async_redirect_url: http.RedirectUrl | None = None, held_waits: int | None = None
    ) -> FlaskAdapter:
        """
        Return a new adapter with these options; this one is not changed.

        Args:
            async_redirect_url: A path such as ``"/wait"``, served by ``inngest.endpoint_proxy()``, or a full URL; both
                get ``runId`` and ``token`` as query parameters. A callable gets *run_id* and *token* by name and
                returns the URL; it runs on the engine's event loop, in the context of the request, and must not block.
            held_waits: How many clients each process holds at the wait URL at a time. Each takes a thread of the
                server for up to 25 s; further ones are answered ``202`` with ``Retry-After: 1`` at once, unless their
                run has ended. By default half of the server's threads, with gunicorn, waitress and Werkzeug's server;
                2 with another. If you set it, then lower than the number of threads. If there is one thread per
                process, a client is held for 2 s, then redirected to the wait URL again.
        """
        return FlaskAdapter(async_redirect_url, held_waits)

    def root_path(self, edge: str) -> str:
        """Return the prefix of the wait URL in this request, which came to the *edge* with that root path."""
        return _werkzeug.root_path_of(request, current_app, edge)

    def init_app(self, app: Flask, client: Lifecycle) -> WsgiEdge:
        """
        Put the edge round *app*, mount the wait URL, and leave *client* in ``app.extensions["inngest"]``.

        Call it after the application's other middleware, so that re-entries pass through that too.

        Raises:
            ConfigurationError: It was called before for this application, or *app* is not a Flask application.
        """
        edge = WsgiEdge(_werkzeug.callable_of(app, "wsgi_app", WsgiEdge), client)
        app.wsgi_app = edge  # type: ignore[method-assign]  # the documented way to add middleware
        _werkzeug.mount_output(app, self.proxy(client))
        if client.inbox.event_key:
            _werkzeug.mount_inbox(app, _inbox(client))
        _werkzeug.mount_events(app, self._view(client, is_stream=True), self._look_up(client))
        _werkzeug.mount_health(app, _health(client), _alive)
        app.extensions[_werkzeug.EXTENSION] = client
        return edge

    def outermost(self, app: Flask) -> Any:
        """Return the callable of *app* that requests reach first: the edge, unless it was wrapped since."""
        return app.wsgi_app

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Awaitable[T]:
        """Run *work* on the engine's event loop, and block until it is done; called there, run it when awaited."""
        return work() if portal.is_here() else Done(portal.call(work))

    def wrap(self, endpoint: Endpoint, handler: Callable[..., Any]) -> Callable[..., Any]:
        """
        Return the view that serves *handler* durably.

        Raises:
            ConfigurationError: *handler* is ``async def``.
        """
        if is_coroutine_function(handler):
            raise ConfigurationError(
                f"{endpoint.id} is `async def`: on Flask a durable endpoint is `def`, and calls its steps without "
                "await, by `from inngest_durable.sync import step`. For `async def` handlers use Quart with "
                "inngest_durable.quart"
            )

        @functools.wraps(handler)
        def view(*args: Any, **kwargs: Any) -> Any:
            return _serve(endpoint, functools.partial(handler, *args, **kwargs))

        return _werkzeug.endpoint_view(view, endpoint.id)

    def proxy(self, client: Lifecycle) -> Callable[..., Response]:
        """Return the view behind ``inngest.endpoint_proxy()``; the default wait URL is one too."""
        return self._view(client)

    def _view(self, client: Lifecycle, *, is_stream: bool = False) -> Callable[..., Response]:
        def inngest_output(run_id: str = "", **_: str) -> Response:
            query = _werkzeug.query_of(request, run_id, is_stream)
            threads = _server_threads()
            if threads == 1:
                query = replace(query, most_seconds=ONLY_THREAD_SECONDS)
            return _sent_by_edge(portal.call(self._answer, client, query, self._most_held(threads), request.environ))

        return _werkzeug.output_view(inngest_output)

    def _most_held(self, server_threads: float | None) -> float:
        if self._held_waits is not None:
            return self._held_waits
        return HELD_WAITS if server_threads is None else max(1, server_threads / 2)

    async def _answer(self, client: Lifecycle, query: OutputQuery, most_held: float, environ: Environ) -> http.Answer:
        await _started(client)
        may_hold = self._hold(0) < most_held
        self._hold(may_hold)
        try:
            answer = await while_there(environ, output_or_events(client.engine, client.cors, query, may_hold))
        finally:
            self._hold(-may_hold)
        if answer is None:
            # Nobody is there to read it, or a client that has closed its own side of the connection alone.
            may_hold = False
            answer = await output_or_events(client.engine, client.cors, query, may_hold)
        if not isinstance(answer, http.StreamedResponse):
            return answer
        # A stream goes on for as long as its run.
        if not may_hold or query.most_seconds < http.WAIT_SECONDS:
            return http.unavailable("as many clients follow runs as there are threads for")
        return http.StreamedResponse(answer.status, answer.headers, self._held_stream(answer.chunks, environ))

    async def _held_stream(self, chunks: AsyncGenerator[bytes, None], environ: Environ) -> AsyncGenerator[bytes, None]:
        self._hold(1)
        try:
            async with aclosing(chunks):
                while (chunk := await while_there(environ, anext(chunks, None))) is not None:
                    yield chunk
        finally:
            self._hold(-1)

    def _hold(self, more: int) -> int:
        """Count *more* clients as held; return how many are."""
        loop = asyncio.get_running_loop()
        self._held[loop] = held = self._held.get(loop, 0) + more
        return held

    def _look_up(self, client: Lifecycle) -> Callable[..., Response]:
        async def started(look_up: Callable[[], Awaitable[RecordedResponse]]) -> RecordedResponse:
            await _started(client)
            return await look_up()

        def inngest_runs(**_: str) -> Response:
            return _sent_by_edge(portal.call(started, _werkzeug.look_up(client, request)))

        return _werkzeug.output_view(inngest_runs)


def _server_threads() -> float | None:
    holder = _werkzeug.holder_in(request.environ)
    return holder.server_threads if isinstance(holder, WsgiHolder) else None


async def _started(client: Lifecycle) -> None:
    if not client.is_started():
        await client.start()


def _sent_by_edge(answer: http.Answer) -> Response:
    """Let the edge send *answer* as it is: the application's hooks have already seen it once."""
    _werkzeug.holder_in(request.environ).answer(answer)
    return Response("", 204)


def _inbox(client: Lifecycle) -> Callable[..., Response]:
    async def received(event_key: str, holder: Holder) -> RecordedResponse:
        await _started(client)
        return await client.inbox.receive(event_key, holder)

    def inngest_inbox(event_key: str, **_: str) -> Response:
        holder = _completed_holder()
        return _sent_by_edge(portal.call(received, event_key, holder))

    return inngest_inbox


def _health(client: Lifecycle) -> Callable[..., Response]:
    return lambda **_: _sent_by_edge(portal.call(health, client.engine, client.start))


def _alive(**_: str) -> Response:
    # By way of the engine's event loop: if that does not answer, neither does this.
    return _sent_by_edge(portal.call(_lives))


async def _lives() -> RecordedResponse:
    return ALIVE


def _completed_holder() -> Holder:
    """
    Return the holder of this request once its body has come in whole: read here, since that waits for the client.

    Raises `BodyCutOff` if it does not.
    """
    holder = _werkzeug.holder_in(request.environ)
    if isinstance(holder, WsgiHolder):
        try:
            holder.body.complete()
        except (OSError, ValueError) as error:
            # It was cut off, or server and client disagree on its length.
            raise _werkzeug.BodyCutOff from error
    return holder


def _serve(endpoint: Endpoint, handler: Callable[[], Any]) -> Any:
    """Run one pass of *handler* in this thread. Returns or raises what the framework is to answer."""
    holder = _completed_holder()
    _werkzeug.note_key(holder, endpoint, request.headers.get("Idempotency-Key"))
    current = portal.call(endpoint.open, holder, ThreadPass)
    # The edge sends the substitute, if there is one.
    substituted = Response("", 204)
    if current is None:
        return substituted
    error: BaseException | None = None
    try:
        result = current.run(handler)
    except BaseException as raised:
        if isinstance(raised, KeyboardInterrupt | SystemExit) and current.kind == "first":
            # For the server, whose thread this is. A re-entry is in no server's thread: there it is a failed attempt.
            portal.post(endpoint.abandon, current)
            raise
        error = raised if current.interrupted else as_exception(raised, "the handler")
    if error is None and not current.interrupted:
        endpoint.completed(holder, current)
        return result
    portal.call(endpoint.close, holder, current, error)
    return substituted


def current_pass() -> PassKind | None:
    """
    Return which pass of a durable endpoint this request is: for hooks.

    Returns:
        ``"reentry"`` for a later pass, started by the engine: a rate limiter lets it through; ``"first"`` for a
        client's request to a durable endpoint; None for any other request, and outside a request.
    """
    return _werkzeug.pass_of(request.environ, request, current_app.view_functions) if has_request_context() else None


endpoint_adapter = FlaskAdapter()
