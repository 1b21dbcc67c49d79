"""What Quart and Flask have in common: their requests, views and HTTP exceptions are Werkzeug's."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from werkzeug.exceptions import BadRequest, HTTPException, RequestTimeout

from . import _routes
from ._core import http
from ._core.model import RecordedRequest, RecordedResponse
from ._pass import PassKind
from ._portal import Done
from .endpoint import Endpoint
from .errors import ConfigurationError
from .exchange import HOLDER_KEY, Holder, Lifecycle
from .output import OutputQuery

# Where an application keeps its client, for those who have nothing but the application: a server's hooks, tests.
EXTENSION = "inngest"
# The name of the wait URL's view.
_OUTPUT = "_inngest_output"


class BodyCutOff(BadRequest):  # an answer, as the framework's own
    """The answer to a request whose body has not come in whole."""

    description = "The body of the request has not come in whole."


class BodyLate(RequestTimeout):
    """The answer to a request whose body has not come in whole in time."""


class WerkzeugAdapter:
    """
    What the adapters of both frameworks have.

    Args:
        async_redirect_url: Where redirected clients wait.

    Raises:
        ConfigurationError: That cannot be a URL.
    """

    def __init__(self, async_redirect_url: http.RedirectUrl | None = None) -> None:
        _check_redirect_url(async_redirect_url)
        self.async_redirect_url = async_redirect_url

    def is_answer(self, error: Exception) -> bool:
        """Whether *error* is the framework's way to answer, such as ``abort(404)``."""
        return isinstance(error, HTTPException)

    def endpoint_id(self, view: Callable[..., Any]) -> str | None:
        """Return the ID of the endpoint that *view* serves; None for another function."""
        found = getattr(view, _routes.IS_ENDPOINT, None)
        return found if isinstance(found, str) else None

    def request_for(
        self, app: Any, endpoint_id: str, params: Mapping[str, Any], body: Any, caller: RecordedRequest
    ) -> RecordedRequest:
        """
        Return a request to the route of an endpoint, made by the run whose request is *caller*.

        Its first route whose path these *params* fill is taken; the other *params* go to the query string. The method
        is POST if there is a body, otherwise GET, if the route has it.

        Raises:
            StepUsageError: It has no route, or none that takes these *params*.
        """
        return _routes.request_for(app, endpoint_id, params, body, caller)


def _check_redirect_url(url: http.RedirectUrl | None) -> None:
    """Refuse what would lead clients astray: a relative *url* even to the endpoint, which would begin another run."""
    if url is None:
        return
    if not callable(url) and not (isinstance(url, str) and http.is_location(url)):
        raise ConfigurationError(
            f"async_redirect_url={url!r} is neither a path nor a full URL: write '/wait' or 'https://shop.example/wait'"
        )
    if inspect.iscoroutinefunction(url):
        raise ConfigurationError(
            f"async_redirect_url={url.__qualname__} is `async def`, but it is called without await: make it a `def`"
        )
    if callable(url):
        _check_parameters(url)


def _check_parameters(url: Callable[..., str]) -> None:
    try:
        inspect.signature(url).bind(run_id="", token="")
    except TypeError as error:
        name = getattr(url, "__qualname__", type(url).__name__)
        raise ConfigurationError(
            f"async_redirect_url={name} cannot be called with run_id= and token=: {error}"
        ) from error
    except ValueError:
        # Of some functions that are not written in Python nothing is known.
        return


def callable_of(app: Any, name: str, edge: type[object]) -> Any:
    """
    Return the callable of *app* that has that *name*, to put an *edge* round it.

    Raises `ConfigurationError` if it is one already, or if *app* is of another framework.
    """
    found = getattr(app, name, None)
    if found is None:
        raise ConfigurationError(
            f"{type(app).__name__} has no {name}: the client's adapter is of another framework. Take endpoint_adapter "
            "from inngest_durable.quart for Quart, and from inngest_durable.flask for Flask"
        )
    if isinstance(found, edge):
        raise ConfigurationError("init_app() was called twice for this application: call it once")
    return found


def mount_output(app: Any, view: Callable[..., Any]) -> None:
    """Mount the default wait URL."""
    _mount(app, f"{http.PREFIX}/runs/<run_id>/output", _OUTPUT, view, ["GET", "DELETE", "OPTIONS"])


def mount_events(app: Any, view: Callable[..., Any], look_up: Callable[..., Any]) -> None:
    """Mount the stream of a run's events, and the look-up of a run by its idempotency key."""
    _mount(app, f"{http.PREFIX}/runs/<run_id>/events", "_inngest_events", view, ["GET", "OPTIONS"])
    _mount(app, f"{http.PREFIX}/runs", "_inngest_runs", look_up, ["GET", "OPTIONS"])


def mount_health(app: Any, ready: Callable[..., Any], alive: Callable[..., Any]) -> None:
    """Mount what balancers and supervisors ask: whether to send requests here, and whether the process lives."""
    _mount(app, f"{http.PREFIX}/health", "_inngest_health", ready, ["GET"])
    _mount(app, f"{http.PREFIX}/health/live", "_inngest_live", alive, ["GET"])


def mount_inbox(app: Any, view: Callable[..., Any]) -> None:
    """Mount the route to which others send events."""
    _mount(app, f"{http.PREFIX}/e/<event_key>", "_inngest_inbox", view, ["POST"])


def _mount(app: Any, rule: str, name: str, view: Callable[..., Any], methods: list[str]) -> None:
    """Mount *view* at every host and sub-domain where an endpoint may be: a redirect leads to the same one."""
    hosts: list[dict[str, str]] = [{}]
    if app.url_map.host_matching:
        hosts = [{"host": "<_host>"}]
    elif app.subdomain_matching:
        hosts += [{"subdomain": "<_host>"}]
    for host in hosts:
        app.add_url_rule(rule, name, view, methods=methods, **host)


def note_key(holder: Holder, endpoint: Endpoint, key: str | None) -> None:
    """Put the idempotency *key* of a request to *endpoint* into the holder, and whose it is; no key for a re-entry."""
    if key is not None and holder.claim is None:
        holder.key, holder.owner = key, endpoint.owner()


def look_up(client: Lifecycle, request: Any) -> Callable[[], Awaitable[RecordedResponse]]:
    """
    Return what looks up where the run with an idempotency key is: query parameters ``endpoint`` and ``key``.

    Called in the thread of *request*; what it returns, where the engine is.
    """
    origin = request.headers.get("Origin")
    if request.method == "OPTIONS":
        return partial(Done, client.cors.preflight(origin))
    arguments = _arguments(request)
    endpoint_id, key = arguments.get("endpoint", ""), arguments.get("key", "")
    endpoint = client.endpoints.find(endpoint_id)
    looking: Callable[[], Awaitable[RecordedResponse]]
    if not endpoint_id or not key:
        looking = partial(Done, http.answer(400, {"error": "Missing endpoint or key query parameter"}))
    elif endpoint is None:
        looking = partial(Done, http.answer(404, {"error": f"There is no endpoint {endpoint_id!r}"}))
    else:
        looking = partial(endpoint.look_up, key, request.headers.get("Authorization"), endpoint.owner())

    async def looked_up() -> RecordedResponse:
        return http.with_headers(await looking(), client.cors.headers(origin))

    return looked_up


def output_view(view: Callable[..., Any]) -> Callable[..., Any]:
    """Return *view* as one that answers OPTIONS itself: the framework would do so without CORS."""
    setattr(view, "provide_automatic_options", False)  # noqa: B010  # a function's attribute, as Flask documents it
    return view


def endpoint_view(view: Callable[..., Any], endpoint_id: str) -> Callable[..., Any]:
    """Return *view*, marked as that of a durable endpoint."""
    setattr(view, _routes.IS_ENDPOINT, endpoint_id)
    return view


def root_path_of(request: Any, app: Any, edge: str) -> str:
    """
    Return the prefix of the wait URL: as the framework sees it, whether the server or middleware has set it.

    If *app* is mounted inside the one that was connected, the wait URL is that one's: as it came to the *edge*.
    """
    return request.root_path if _OUTPUT in app.view_functions else edge.rstrip("/")


def holder_in(carrier: Mapping[str, Any]) -> Holder:
    """Return the holder that the edge has put into *carrier*. Raises `ConfigurationError` if there is no edge."""
    holder = carrier.get(HOLDER_KEY)
    if not isinstance(holder, Holder):
        raise ConfigurationError(
            "this application is not connected: call inngest.init_app(app) once, after its middleware"
        )
    return holder


def pass_of(carrier: Mapping[str, Any], request: Any, views: Mapping[str, Any]) -> PassKind | None:
    """Return which pass of a durable endpoint *request* is; see ``current_pass`` of the adapters."""
    holder = carrier.get(HOLDER_KEY)
    if isinstance(holder, Holder) and holder.claim is not None:
        return "reentry"
    view = views.get(request.endpoint or "")
    if (view_class := getattr(view, "view_class", None)) is not None:
        # A class-based view: its methods may be endpoints, each by itself.
        method = "get" if request.method == "HEAD" else request.method.lower()
        view = getattr(view_class, method, None) if not getattr(view, _routes.IS_ENDPOINT, False) else view
    return "first" if getattr(view, _routes.IS_ENDPOINT, False) else None


def query_of(request: Any, run_id: str, is_stream: bool = False) -> OutputQuery:
    """Return what *request* asks of the wait URL, or of the stream; *run_id* is in its path, or empty."""
    arguments = _arguments(request)
    return OutputQuery(
        method=request.method,
        path=quote(f"{request.root_path}{request.path}"),
        parameters=arguments.to_dict(),
        run_id=run_id or arguments.get("runId", ""),
        token=arguments.get("token", ""),
        rounds=max(0, arguments.get("n", 0, type=int)),
        prefer=", ".join(request.headers.getlist("Prefer")),
        origin=request.headers.get("Origin"),
        follows=is_stream or http.wants_events(", ".join(request.headers.getlist("Accept"))),
        last_event_id=request.headers.get("Last-Event-ID") or arguments.get("lastEventId", ""),
        root_path=request.root_path,
    )


def _arguments(request: Any) -> Any:
    """Return the query parameters of *request*. Raises `BadRequest` for unquoted bytes that are not UTF-8."""
    try:
        return request.args
    except UnicodeDecodeError as error:
        raise BadRequest("The query string is not UTF-8.") from error
