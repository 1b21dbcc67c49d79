"""
One exchange between a client, or the engine, and an application: what the edge, the adapter and the endpoint share.

Knows no framework. `endpoint` runs the pass; the edges and the adapters are the framework's side.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ._core import http
from ._core.limits import Limits
from ._core.model import Failure, Headers, RecordedRequest, RecordedResponse, Run, RunStatus
from ._pass import Pass
from .engines.base import Claim, Engine

if TYPE_CHECKING:
    from ._endpoints import Endpoints
    from .endpoint import Endpoint

# The run's last status, and what failed it.
Ending = tuple[RunStatus, Failure | None]
T = TypeVar("T")

Substitute = Callable[[Headers], http.Answer]

# Where the edge puts the holder: a key of the ASGI scope, or of the WSGI environ.
HOLDER_KEY = "inngest.pass"

# Where middleware keeps what it wraps. Some of it also refers to the application object.
_WRAPPED = ("app", "_app", "application", "wrapped")
_MOST_MIDDLEWARE = 8


class BodyLateError(Exception):
    """The body of a request has not come in whole within the time that the framework allows."""


class Holder(ABC):
    """
    What the edge and the endpoint of one exchange share, carried in the ASGI scope or the WSGI environ.

    No network client can put one there, which is why nothing in a request can re-enter a run. Copying gives the holder
    itself: some middleware deep-copies the scope.

    Args:
        claim: The run to re-enter, or None for a client's request.

    Attributes:
        body_seconds: How long `request` waits for the body before it raises `BodyLateError`; None for no limit.
        claim: As given.
        current_pass: The pass, once the request has reached its endpoint.
        ending: How the run ends if the framework's response goes out whole; None if it does not end here.
        key: The ``Idempotency-Key`` of a client's request, as the framework sees it, or None.
        owner: Whose key that is, if the endpoint has a function of its own for that.
        substitute: Makes the response to send in place of the framework's, from the framework's headers.
    """

    body_seconds: float | None = None
    current_pass: Pass | None = None
    ending: Ending | None = None
    key: str | None = None
    owner: str | None = None
    substitute: Substitute | None = None

    def __init__(self, claim: Claim | None = None) -> None:
        self.claim = claim

    @abstractmethod
    async def request(self) -> RecordedRequest:
        """
        Return the request as the edge got it, when its body is complete.

        Raises `RequestTooLargeError`, or `BodyLateError` if it takes longer than `body_seconds`.
        """

    def answer(self, response: http.Answer) -> None:
        """Let the edge send *response* in place of the framework's, of which only the CORS headers are kept."""
        self.substitute = lambda headers: http.with_headers(response, http.cors_of(headers))

    def __copy__(self) -> Holder:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Holder:
        return self


class Inbox(Protocol):
    """
    Takes what others send to the application's runs; see `inbox`.

    Attributes:
        event_key: Opens the HTTP route; empty if there is none.
    """

    event_key: str

    async def receive(self, key: str, holder: Holder) -> RecordedResponse:
        """Return the answer to a request that sends events."""


class Lifecycle(Protocol):
    """
    What edges and endpoints need of the client.

    Attributes:
        engine: Records and resumes the runs.
        limits: How much one run may hold.
        cors: Who may read the wait URL.
        endpoints: The application's endpoints.
    """

    engine: Engine
    limits: Limits
    cors: http.Cors
    endpoints: Endpoints

    @property
    def inbox(self) -> Inbox:
        """Takes the events that others send."""

    def is_started(self) -> bool:
        """Whether the engine runs on this event loop."""

    def start(self) -> Awaitable[None]:
        """Start the engine; harmless when it runs."""

    def stop(self) -> Awaitable[None]:
        """Stop the engine; harmless when it does not run."""


class Edge(Protocol):
    """The callable round an application."""

    async def reenter(self, claim: Claim) -> None:
        """Run one later pass of *claim*'s run through the application, to its finish or park."""


class EndpointAdapter(Protocol):
    """
    What a framework module must provide; passed to the client as ``endpoint_adapter``.

    Attributes:
        async_redirect_url: Where redirected clients wait; see `_core.http.wait_location`.
        in_threads: Whether views run in threads, so that `run` blocks there.
    """

    async_redirect_url: http.RedirectUrl | None
    in_threads: bool

    def root_path(self, edge: str) -> str:
        """Return the prefix of the wait URL in the calling request, which came to the *edge* with that root path."""

    def init_app(self, app: Any, client: Any) -> Edge:
        """Put the edge round *app* and mount the wait URL."""

    def outermost(self, app: Any) -> Any:
        """Return the callable of *app* that requests reach first: the edge, unless it was wrapped since."""

    def wrap(self, endpoint: Endpoint, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Return the view that serves *handler* durably. Raises `ConfigurationError` if it is of the wrong colour."""

    def proxy(self, client: Lifecycle) -> Callable[..., Any]:
        """Return the view behind ``inngest.endpoint_proxy()``."""

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Awaitable[T]:
        """Run *work* on the event loop of the engine: when the result is awaited, or at once, which blocks."""

    def endpoint_id(self, view: Callable[..., Any]) -> str | None:
        """Return the ID of the endpoint that `wrap` made *view* of; None for another function."""

    def request_for(
        self, app: Any, endpoint_id: str, params: Mapping[str, Any], body: Any, caller: RecordedRequest
    ) -> RecordedRequest:
        """
        Return a request to the route of an endpoint, made by the run whose request is *caller*.

        Raises `StepUsageError` if it has no route, or none that takes these *params*.
        """

    def is_answer(self, error: Exception) -> bool:
        """Whether *error* is the framework's way to answer, such as ``abort(404)``."""


def wait_url(adapter: EndpointAdapter, engine: Engine, run: Run, *, is_own: bool = False) -> str:
    """
    Return where the client of *run* waits for its response. Called in the request of that client.

    An engine may have a URL for that. Run events and ``DELETE`` are only at the SDK's *own* URL.
    """
    if adapter.async_redirect_url is None and not is_own and (url := engine.wait_url(run.id)) is not None:
        return url
    return http.wait_location(
        adapter.async_redirect_url, adapter.root_path(run.request.root_path), run.id, engine.token(run.id)
    )


def middleware_outside(edge: Edge, outermost: Any) -> list[str]:
    """Name what was put round *edge*, from the outside in; only *outermost* if it hides what it wraps."""
    if outermost is edge:
        return []
    return _down_to(edge, outermost, _MOST_MIDDLEWARE) or [_name_of(outermost)]


def _down_to(edge: Edge, found: Any, depth: int) -> list[str] | None:
    """Return the names from *found* to what wraps *edge*; None if it does not lead there."""
    if found is edge:
        return []
    if found is None or depth == 0:
        return None
    for attribute in _WRAPPED:
        inner = _down_to(edge, getattr(found, attribute, None), depth - 1)
        if inner is not None:
            return [_name_of(found), *inner]
    return None


def _name_of(middleware: Any) -> str:
    return str(getattr(middleware, "__qualname__", type(middleware).__name__))
