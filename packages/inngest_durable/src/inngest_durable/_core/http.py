"""Pure parts of the HTTP contract: headers that are recorded, the wait URL and its answers."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TypeVar
from urllib.parse import quote, urlencode, urljoin, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from ..errors import ConfigurationError
from .model import Headers, RecordedRequest, RecordedResponse, Run, RunStatus

PREFIX = "/_inngest"
WAIT_SECONDS = 25.0
WAIT_ROUNDS = 15
RUN_ID_HEADER = b"x-inngest-run-id"

EVENT_STREAM = "text/event-stream"

RedirectUrl = str | Callable[..., str]

# They belong to one connection, not to the response (RFC 9110, 7.6.1), or are written anew by the sending server.
_NOT_RECORDED = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer"),
        *(b"transfer-encoding", b"upgrade", b"date", b"server"),
    )
)
_NO_REFERRER = (b"referrer-policy", b"no-referrer")
_NO_STORE = ((b"cache-control", b"no-store"), _NO_REFERRER)
# What an answer varies with because of CORS; it may also vary with a cookie.
_CORS_VARIES = frozenset((b"origin", b"access-control-request-method", b"access-control-request-headers"))
_EXPOSED = b"X-Inngest-Run-Id, Location, Retry-After, Idempotent-Replayed"
# What a page sends to an endpoint, its browser sends to the wait URL too.
_ALLOWED = b"Accept, Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer"
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:")
_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d+)\"?\s*(?=$|[,;])", re.IGNORECASE)


class StreamedResponse(Struct, frozen=True):
    """A response whose body is made while it is sent."""

    status: int
    headers: Headers
    chunks: AsyncGenerator[bytes, None]


Answer = RecordedResponse | StreamedResponse
AnswerT = TypeVar("AnswerT", bound=Answer)


class Cors(Struct, frozen=True):
    """
    Which origins may read the wait URL.

    Args:
        origins: Origins such as ``"https://shop.example"``, or ``"*"`` for all. The token protects the answer.
    """

    origins: Sequence[str] = ("*",)

    def headers(self, origin: str | None) -> Headers:
        """Return the CORS headers of an answer to a request from *origin*."""
        if not origin:
            return () if "*" in self.origins else ((b"vary", b"Origin"),)
        if "*" in self.origins:
            return ((b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED))
        if origin not in self.origins:
            return ((b"vary", b"Origin"),)
        allowed = (b"access-control-allow-origin", origin.encode("latin-1", "replace"))
        return (allowed, (b"access-control-expose-headers", _EXPOSED), (b"vary", b"Origin"))

    def preflight(self, origin: str | None) -> RecordedResponse:
        """Return the answer to an OPTIONS request."""
        allowed = (
            (b"access-control-allow-methods", b"GET, HEAD, DELETE, OPTIONS"),
            (b"access-control-allow-headers", _ALLOWED),
            (b"access-control-max-age", b"3600"),
        )
        allow = (b"allow", b"GET, HEAD, DELETE, OPTIONS")
        # The URL holds a token, like that of the request that is to follow.
        return RecordedResponse(204, (*self.headers(origin), *allowed, allow, _NO_REFERRER), b"")


def wants_events(accept: str | None) -> bool:
    """Whether an ``Accept`` header asks for a stream of events by name, as browsers do."""
    return any(part.partition(";")[0].strip().lower() == EVENT_STREAM for part in (accept or "").split(","))


def is_dispatch(headers: Headers) -> bool:
    """Whether these headers are of a request by which an Inngest server starts a later pass of a run."""
    named = {name.lower(): value for name, value in headers}
    return bool(named.get(b"x-run-id")) and b"x-inngest-signature" in named


def recorded_headers(headers: Headers) -> Headers:
    """Return the headers that belong to the response itself, names in lower case."""
    return tuple([(lower, value) for name, value in headers if (lower := name.lower()) not in _NOT_RECORDED])


def declared_length(headers: Headers) -> int | None:
    """Return the response's ``Content-Length``, or None; the names in *headers* are in lower case."""
    length = dict(headers).get(b"content-length", b"")
    return int(length) if length.isdigit() else None


def wait_location(redirect_url: RedirectUrl | None, root_path: str, run_id: str, token: str) -> str:
    """
    Return the URL where a redirected client waits.

    By default it is a path without scheme or host, so that proxies need no configuration. A string that begins with
    ``/`` is a path of the application, any other is a full URL; both get ``runId`` and ``token`` as query parameters.
    A callable gets *run_id* and *token* and returns the URL.
    """
    if redirect_url is None:
        return f"{quote(root_path)}{PREFIX}/runs/{run_id}/output?{urlencode({'token': token})}"
    if not isinstance(redirect_url, str):
        return _made_by(redirect_url, run_id, token)
    base, mark, fragment = redirect_url.partition("#")
    prefix = quote(root_path) if base.startswith("/") else ""
    joint = "&" if "?" in base else "?"
    return f"{prefix}{base}{joint}{urlencode({'runId': run_id, 'token': token})}{mark}{fragment}"


def _made_by(redirect_url: Callable[..., str], run_id: str, token: str) -> str:
    made: object = redirect_url(run_id=run_id, token=token)
    if isinstance(made, str) and is_location(made):
        return made
    # Not quoted: it may hold the token.
    what = "a text that is neither a path nor a full URL" if isinstance(made, str) else type(made).__name__
    name = getattr(redirect_url, "__qualname__", type(redirect_url).__name__)
    raise ConfigurationError(f"async_redirect_url={name} returned {what}: return '/wait?…' or 'https://shop.example/…'")


def is_location(redirect_url: str) -> bool:
    """Whether a text is a path of the application, or a full URL."""
    if any(character <= " " for character in redirect_url):
        return False
    if redirect_url.startswith("/"):
        return not redirect_url.startswith("//")
    parts = urlsplit(redirect_url)
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def prefer_wait(prefer: str | None) -> float:
    """Return the seconds to hold a request with this ``Prefer`` header: ``wait=N``, from 0 to 25; 25 without it."""
    found = _PREFER_WAIT.search(prefer or "")
    return min(float(found.group(1)), WAIT_SECONDS) if found else WAIT_SECONDS


def redirect(location: str, run_id: str) -> RecordedResponse:
    """Return a ``303`` to the wait URL."""
    return RecordedResponse(303, ((b"location", location.encode()), *own_headers(run_id)), b"")


def cors_of(framework_headers: Headers) -> Headers:
    """
    Return those of the framework's headers that go with an answer of this package, sent in place of the framework's.

    Cookies and the like belong to the final response, and so does what it varies with apart from the origin; a browser
    needs the CORS headers at every hop.
    """
    found: list[tuple[bytes, bytes]] = []
    for name, value in framework_headers:
        lower = name.lower()
        if lower.startswith(b"access-control-"):
            found.append((lower, value))
        elif lower == b"vary":
            varies = [part for part in map(bytes.strip, value.split(b",")) if part.lower() in _CORS_VARIES]
            found += [(lower, b", ".join(varies))] if varies else []
    return tuple(found)


def replayed(run: Run, root_path: str, method: str) -> RecordedResponse:
    """
    Return the response of a run that has ended, as the wait URL sends it.

    Args:
        run: The run.
        root_path: Prefix of the application's URLs.
        method: Method of the request to the wait URL.
    """
    response = run.response or without_response(run)
    left_out = _OWN_NAMES
    if run.request.method == "HEAD" != method:
        # It is the length of the body that a GET would have got; this response has none.
        left_out |= {b"content-length"}
    kept = [_resolved(header, run.request, root_path) for header in response.headers if header[0] not in left_out]
    return RecordedResponse(response.status, (*kept, *own_headers(run.id)), response.body)


def _resolved(header: tuple[bytes, bytes], request: RecordedRequest, root_path: str) -> tuple[bytes, bytes]:
    """Return *header*; a ``Location`` relative to the URL of *request* becomes a path, as the wait URL is another."""
    name, value = header
    if name != b"location" or value.startswith(b"/") or _SCHEME.match(value):
        return header
    return name, urljoin(quote(f"{root_path}{request.own_path}"), value.decode("latin-1")).encode("latin-1")


def idempotent_replay(response: RecordedResponse, run_id: str) -> RecordedResponse:
    """Return a recorded response for another request with the same idempotency key; cookies were for the first."""
    kept = tuple(header for header in response.headers if header[0] not in (b"set-cookie", RUN_ID_HEADER))
    own = ((RUN_ID_HEADER, run_id.encode()), (b"idempotent-replayed", b"true"))
    return RecordedResponse(response.status, (*kept, *own), response.body)


def with_headers(response: AnswerT, added: Headers) -> AnswerT:
    """Return *response* with *added* headers in place of those of the same names."""
    names = {name for name, _ in added if name != b"vary"}
    kept = tuple(header for header in response.headers if header[0] not in names)
    return replace(response, headers=(*kept, *added))


def framed(response: RecordedResponse) -> list[tuple[bytes, bytes]]:
    """Return the headers to send, with a length if the status has a body and the framework gave none."""
    headers = list(response.headers)
    has_length = any(name == b"content-length" for name, _ in headers)
    if not has_length and response.status not in (204, 304):
        headers.append((b"content-length", str(len(response.body)).encode()))
    return headers


def answer(status: int, body: dict[str, str], run_id: str = "", extra: Headers = ()) -> RecordedResponse:
    """Return an answer of this package itself, as JSON."""
    data = json.dumps(body).encode()
    headers = ((b"content-type", b"application/json"), *own_headers(run_id), *extra)
    return RecordedResponse(status, headers, data)


def cancelled(run_id: str) -> RecordedResponse:
    """Return the ``410`` of a cancelled run."""
    return answer(410, {"status": "cancelled", "run_id": run_id}, run_id)


def without_response(run: Run) -> RecordedResponse:
    """Return the answer of a run that has ended without a response of its own."""
    if run.status is RunStatus.CANCELLED:
        return cancelled(run.id)
    return answer(500, {"error": "The run ended without a response", "run_id": run.id}, run.id)


def unavailable(why: str) -> RecordedResponse:
    """Return the ``503`` to a request whose run cannot be recorded: nothing was accepted, so it may be sent again."""
    return answer(503, {"error": f"{why}; try again later"}, extra=((b"retry-after", b"5"),))


def own_headers(run_id: str) -> Headers:
    """Return the headers of every answer about a run; without a run ID, those of any answer of this package."""
    return (*_NO_STORE, (RUN_ID_HEADER, run_id.encode())) if run_id else _NO_STORE


_OWN_NAMES = frozenset({name for name, _ in _NO_STORE} | {RUN_ID_HEADER})
