"""
Durable endpoints for Quart: pass `endpoint_adapter` to the client, and call ``inngest.init_app(app)``.

`inngest_durable.flask` has the same names in the same order.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from ._asgi import AsgiEdge
from ._core import http
from ._core.model import first_header
from ._extras import needed_by
from ._pass import PassKind
from .endpoint import Endpoint
from .errors import ConfigurationError
from .exchange import BodyLateError, Lifecycle
from .health import ALIVE, health
from .output import output_or_events

with needed_by(__name__, extra="quart"):
    from quart import Quart, Request, Response, current_app, has_request_context, has_websocket_context, request

    from . import _werkzeug

__all__ = ["QuartAdapter", "current_pass", "endpoint_adapter"]

T = TypeVar("T")


class QuartAdapter(_werkzeug.WerkzeugAdapter):
    """
    Tells the client how Quart's requests, responses and views work.

    Args:
        async_redirect_url: Where redirected clients wait; see `with_options`.
    """

    in_threads = False

    def with_options(self, *, async_redirect_url: http.RedirectUrl | None = None) -> QuartAdapter:
        """
        Return a new adapter with these options; this one is not changed.

        Args:
            async_redirect_url: A path such as ``"/wait"``, served by ``inngest.endpoint_proxy()``, or a full URL; both
                get ``runId`` and ``token`` as query parameters. A callable gets *run_id* and *token* by name and
                returns the URL.
        """
        return QuartAdapter(async_redirect_url)

    def root_path(self, edge: str) -> str:
        """Return the prefix of the wait URL in this request, which came to the *edge* with that root path."""
        return _werkzeug.root_path_of(request, current_app, edge)

    def init_app(self, app: Quart, client: Lifecycle) -> AsgiEdge:
        """
        Put the edge round *app*, mount the wait URL, and leave *client* in ``app.extensions["inngest"]``.

        Call it after the application's other middleware, so that re-entries pass through that too.

        Raises:
            ConfigurationError: It was called before for this application, or *app* is not a Quart application.
        """
        edge = AsgiEdge(_werkzeug.callable_of(app, "asgi_app", AsgiEdge), client)
        app.asgi_app = edge  # type: ignore[method-assign, assignment]  # the documented way to add middleware
        _werkzeug.mount_output(app, self.proxy(client))
        if client.inbox.event_key:
            _werkzeug.mount_inbox(app, _inbox(client))
        _werkzeug.mount_events(app, self._view(client, is_stream=True), self._look_up(client))
        _werkzeug.mount_health(app, _health(client), _alive)
        app.extensions[_werkzeug.EXTENSION] = client
        return edge

    def outermost(self, app: Quart) -> Any:
        """Return the callable of *app* that requests reach first: the edge, unless it was wrapped since."""
        return app.asgi_app

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Awaitable[T]:
        """Return an awaitable that runs *work*."""
        return work()

    def wrap(self, endpoint: Endpoint, handler: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """
        Return the view that serves *handler* durably.

        Raises:
            ConfigurationError: *handler* is not ``async def``.
        """
        if not inspect.iscoroutinefunction(handler):
            raise ConfigurationError(
                f"{endpoint.id} is not `async def`: on Quart a durable endpoint is, and awaits its steps. "
                "For `def` handlers use Flask with inngest_durable.flask and inngest_durable.sync"
            )

        @functools.wraps(handler)
        async def view(*args: Any, **kwargs: Any) -> Any:
            try:
                # Once: the proxy looks it up at each attribute access.
                current: Request = request._get_current_object()  # type: ignore[attr-defined]  # a proxy has it
            except RuntimeError as error:
                raise _no_request(endpoint) from error
            holder = _werkzeug.holder_in(current.scope)
            holder.body_seconds = current.body_timeout
            _werkzeug.note_key(holder, endpoint, first_header(current.scope["headers"], b"idempotency-key"))
            try:
                result = await endpoint.serve(holder, functools.partial(handler, *args, **kwargs))
            except BodyLateError as error:
                # As the framework does when a handler reads the body.
                raise _werkzeug.BodyLate from error
            # The edge sends the substitute, or nobody is there to be answered.
            return Response("", 204) if holder.ending is None and result is None else result

        return _werkzeug.endpoint_view(view, endpoint.id)

    def proxy(self, client: Lifecycle) -> Callable[..., Awaitable[Response]]:
        """Return the view behind ``inngest.endpoint_proxy()``; the default wait URL is one too."""
        return self._view(client)

    def _view(self, client: Lifecycle, *, is_stream: bool = False) -> Callable[..., Awaitable[Response]]:
        async def inngest_output(run_id: str = "", **_: str) -> Response:
            if not client.is_started():
                await client.start()
            query = _werkzeug.query_of(request, run_id, is_stream)
            return _sent_by_edge(await output_or_events(client.engine, client.cors, query))

        return _werkzeug.output_view(inngest_output)

    def _look_up(self, client: Lifecycle) -> Callable[..., Awaitable[Response]]:
        async def inngest_runs(**_: str) -> Response:
            if not client.is_started():
                await client.start()
            return _sent_by_edge(await _werkzeug.look_up(client, request)())

        return _werkzeug.output_view(inngest_runs)


def _no_request(endpoint: Endpoint) -> ConfigurationError:
    if has_websocket_context():
        return ConfigurationError(
            f"{endpoint.id} is on a websocket route: a durable endpoint answers an HTTP request, so call one from there"
        )
    return ConfigurationError(f"{endpoint.id} was called outside a request: put it on a route of the application")


def _sent_by_edge(answer: http.Answer) -> Response:
    """Let the edge send *answer* as it is: the application's hooks have already seen it once."""
    _werkzeug.holder_in(request.scope).answer(answer)
    response = Response("", 204)
    # A stream takes as long as its run.
    response.timeout = None
    return response


def _inbox(client: Lifecycle) -> Callable[..., Awaitable[Response]]:
    async def inngest_inbox(event_key: str, **_: str) -> Response:
        if not client.is_started():
            await client.start()
        holder = _werkzeug.holder_in(request.scope)
        holder.body_seconds = request.body_timeout
        try:
            holder.answer(await client.inbox.receive(event_key, holder))
        except BodyLateError as error:
            raise _werkzeug.BodyLate from error
        return Response("", 204)

    return inngest_inbox


def _health(client: Lifecycle) -> Callable[..., Awaitable[Response]]:
    async def inngest_health(**_: str) -> Response:
        return _sent_by_edge(await health(client.engine, client.start))

    return inngest_health


async def _alive(**_: str) -> Response:
    return _sent_by_edge(ALIVE)


def current_pass() -> PassKind | None:
    """
    Return which pass of a durable endpoint this request is: for hooks.

    Returns:
        ``"reentry"`` for a later pass, started by the engine: a rate limiter lets it through; ``"first"`` for a
        client's request to a durable endpoint; None for any other request, and outside a request.
    """
    return _werkzeug.pass_of(request.scope, request, current_app.view_functions) if has_request_context() else None


endpoint_adapter = QuartAdapter()
