"""
Durable endpoints for Quart: pass `endpoint_adapter` to the client, and call ``inngest.init_app(app)``.

`inngest_durable.flask` has the same names in the same order.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import quote

from quart import Quart, Response, current_app, has_request_context, request
from werkzeug.exceptions import HTTPException

from ._asgi import HOLDER_KEY, ASGIApp, AsgiEdge
from ._core import http
from ._pass import PassKind
from .endpoint import Endpoint
from .errors import ConfigurationError
from .exchange import Holder, Lifecycle
from .output import OutputQuery, output

__all__ = ["QuartAdapter", "current_pass", "endpoint_adapter"]

_IS_ENDPOINT = "__inngest_endpoint__"


class QuartAdapter:
    """
    Tells the client how Quart's requests, responses and views work.

    Args:
        async_redirect_url: Where redirected clients wait; see `with_options`.
    """

    def __init__(self, async_redirect_url: http.RedirectUrl | None = None) -> None:
        self.async_redirect_url = async_redirect_url

    def with_options(self, *, async_redirect_url: http.RedirectUrl | None = None) -> QuartAdapter:
        """
        Return a new adapter with these options; this one is not changed.

        Args:
            async_redirect_url: A path such as ``"/wait"``, served by ``inngest.endpoint_proxy()``, or a full URL; both
                get ``runId`` and ``token`` as query parameters. A callable gets *run_id* and *token* by name and
                returns the URL.
        """
        return QuartAdapter(async_redirect_url)

    def init_app(self, app: Quart, client: Lifecycle) -> AsgiEdge:
        """
        Put the edge round *app* and mount the wait URL.

        Call it after the application's other middleware, so that re-entries pass through that too.

        Raises:
            ConfigurationError: It was called before for this application.
        """
        if isinstance(app.asgi_app, AsgiEdge):
            raise ConfigurationError("init_app() was called twice for this application: call it once")
        # Quart types its messages one by one; the edge hands them on as they are.
        edge = AsgiEdge(cast("ASGIApp", app.asgi_app), client)
        app.asgi_app = edge  # type: ignore[method-assign, assignment]  # the documented way to add middleware
        app.add_url_rule(
            f"{http.PREFIX}/runs/<run_id>/output",
            "_inngest_output",
            self.proxy(client),
            methods=["GET", "OPTIONS"],
            provide_automatic_options=False,
        )
        return edge

    def outermost(self, app: Quart) -> Any:
        """Return the callable of *app* that requests reach first: the edge, unless it was wrapped since."""
        return app.asgi_app

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
            holder = _holder()
            result = await endpoint.serve(holder, functools.partial(handler, *args, **kwargs))
            # The edge sends the substitute, or nobody is there to be answered.
            return Response("", 204) if holder.ending is None and result is None else result

        setattr(view, _IS_ENDPOINT, True)
        return view

    def proxy(self, client: Lifecycle) -> Callable[..., Awaitable[Response]]:
        """Return the view behind ``inngest.endpoint_proxy()``; the default wait URL is one too."""

        async def inngest_output(run_id: str = "") -> Response:
            if not client.is_started():
                await client.start()
            holder = _holder()
            answer = await output(client.engine, client.cors, _query(run_id))
            # Sent by the edge as it was recorded: the application's hooks have already seen it once.
            holder.answer(answer)
            return Response("", 204)

        # Quart would answer OPTIONS by itself, without CORS.
        inngest_output.provide_automatic_options = False  # type: ignore[attr-defined]  # Flask's documented attribute
        return inngest_output

    def is_answer(self, error: Exception) -> bool:
        """Whether *error* is Quart's way to answer, such as ``abort(404)``."""
        return isinstance(error, HTTPException)


def current_pass() -> PassKind | None:
    """
    Tell a hook which pass of a durable endpoint this request is.

    Returns:
        ``"reentry"`` for a later pass, started by the engine: a rate limiter lets it through; ``"first"`` for a
        client's request to a durable endpoint; None for any other request, and outside a request.
    """
    if not has_request_context():
        return None
    holder = request.scope.get(HOLDER_KEY)
    if isinstance(holder, Holder) and holder.claim is not None:
        return "reentry"
    view: Any = current_app.view_functions.get(request.endpoint or "")
    if (view_class := getattr(view, "view_class", None)) is not None:
        # A class-based view: its methods may be endpoints, each by itself.
        method = "get" if request.method == "HEAD" else request.method.lower()
        view = getattr(view_class, method, None) if not getattr(view, _IS_ENDPOINT, False) else view
    return "first" if getattr(view, _IS_ENDPOINT, False) else None


def _query(run_id: str) -> OutputQuery:
    arguments = request.args
    return OutputQuery(
        method=request.method,
        path=quote(f"{request.root_path.rstrip('/')}{request.path}"),
        parameters=arguments.to_dict(),
        run_id=run_id or arguments.get("runId", ""),
        token=arguments.get("token", ""),
        rounds=max(0, arguments.get("n", 0, type=int)),
        prefer=", ".join(request.headers.getlist("Prefer")),
        origin=request.headers.get("Origin"),
    )


def _holder() -> Holder:
    holder = request.scope.get(HOLDER_KEY)
    if not isinstance(holder, Holder):
        raise ConfigurationError("this application has no edge: call inngest.init_app(app) once, after its middleware")
    return holder


endpoint_adapter = QuartAdapter()
