"""
What `step.fetch` does in one attempt: an HTTP request with httpx, and which responses are worth another attempt.

The request carries the step's idempotency key, so that a service that knows the header does its work once, however
often the attempt is repeated after a crash.
"""

from __future__ import annotations

import email.utils
import functools
import ssl
from collections.abc import AsyncIterable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from . import _context
from ._core.duration import Duration, seconds
from ._core.limits import exceeded
from .errors import LimitExceededError, NonRetriableError, RetryAfterError, StepValueError

IDEMPOTENCY_KEY = "idempotency-key"
TOO_MANY_REQUESTS = 429
SERVER_ERRORS = 500
# A longer pause that a server asks for is cut to this.
LONGEST_PAUSE = timedelta(days=1)
# The URL is not one, HTTP cannot express the method or a header, or a header is no text.
_UNSENDABLE = httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, UnicodeError, TypeError
_LAST_PORT = 65535
# They are followed here: httpx would read their bodies to the end.
MOST_REDIRECTS = 20
# Each piece of a compressed body is decompressed whole: to about a thousand times its size.
_PIECE_BYTES = 4096


class FetchRequest(Struct, frozen=True):
    """
    What to ask for; the step keeps it only as part of its fingerprint.

    Attributes:
        query: What is added to the query of *url*, quoted.
        timeout_seconds: How long connecting may take, and each wait for the next bytes.
    """

    method: str
    url: str
    query: str
    headers: dict[str, str]
    content: bytes | None
    timeout_seconds: float

    @classmethod
    def of(
        cls,
        url: str,
        method: str,
        params: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        json: Any,
        content: bytes | str | None,
        timeout: Duration,
    ) -> FetchRequest:
        """
        Return the request.

        Raises:
            ValueError: Both *json* and *content* are given, or *timeout* is not a duration.
            StepValueError: *json* has no JSON form.
        """
        if json is not None and content is not None:
            raise ValueError("step.fetch takes either json= or content=, not both")
        named = {name.lower(): value for name, value in (headers or {}).items()}
        body = content.encode() if isinstance(content, str) else content
        if json is not None:
            try:
                body = msgspec.json.encode(json)
            except (TypeError, ValueError, OverflowError, RecursionError) as error:
                raise StepValueError(f"json= of step.fetch has no JSON form: {error}") from error
            named.setdefault("content-type", "application/json")
        return cls(method.upper(), url, str(httpx.QueryParams(params)), named, body, seconds(timeout))

    def for_httpx(self) -> dict[str, Any]:
        """Return the arguments of httpx's ``stream``. Raises one of its errors if it cannot be sent."""
        url, length = httpx.URL(self.url), str(len(self.content or b""))
        if (declared := self.headers.get("content-length", length)) != length:
            raise httpx.LocalProtocolError(f"its body has {length} bytes, but its content-length is {declared}")
        if self.query:
            # After the query that the URL has, which stays as it is: httpx would replace it by its params=.
            url = url.copy_with(query=b"&".join(filter(None, (url.query, self.query.encode()))))
        return {
            "method": self.method,
            "url": url,
            "headers": {IDEMPOTENCY_KEY: _context.idempotency_key(), **self.headers},
            "content": self.content,
        }


class FetchResponse(Struct, frozen=True):
    """
    The response to `step.fetch`, as it is memoized.

    Attributes:
        status: Status code below 500, and never 429.
        url: Where it came from, after redirects.
        headers: Names in lower case, in the order they came in.
        body: The whole body, decompressed.
    """

    status: int
    url: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is 200 to 299."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as text: in the charset of its content type, otherwise UTF-8; invalid bytes are replaced."""
        charset = httpx.Response(self.status, headers=self._content_type()).charset_encoding
        try:
            return self.body.decode(charset or "utf-8", "replace")
        except (LookupError, ValueError):
            # It is none, or none of texts (``hex``), or one that cannot replace what is invalid.
            return self.body.decode(errors="replace")

    def json(self) -> Any:
        """Return the body as plain JSON types. Raises `ValueError` if it is not JSON."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError as error:
            raise ValueError(f"the answer of {self.url} (status {self.status}) is no JSON: {error}") from error

    def header(self, name: str) -> str | None:
        """Return the first header with that name, or None."""
        return next((value for given, value in self.headers if given == name.lower()), None)

    def _content_type(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.headers if name == "content-type"]


class FetchStatusError(Exception):
    """The response's status asks for another attempt: 5xx or 429."""


async def fetch_on_loop(request: FetchRequest) -> FetchResponse:
    """Send *request* once, on the event loop."""
    try:
        async with httpx.AsyncClient(**_client_options(request), event_hooks={"request": [_check_on_loop]}) as client:
            sent = client.build_request(**request.for_httpx())
            for _ in range(MOST_REDIRECTS + 1):
                response = await client.send(sent, stream=True)
                try:
                    if response.next_request is None:
                        return _accepted(response, await _read_on_loop(response))
                    sent = response.next_request
                finally:
                    await response.aclose()
    except _UNSENDABLE as error:
        raise _useless(request, error) from error
    raise httpx.TooManyRedirects(f"more than {MOST_REDIRECTS} redirects", request=sent)


async def _read_on_loop(response: httpx.Response) -> bytes:
    _check_answer(response)
    if response.is_stream_consumed:
        # It came whole, from what stands for the other service in a test.
        return response.content
    body = bytearray()
    async for chunk in _decoded(response, response.aiter_raw(_PIECE_BYTES)).aiter_bytes():
        _add(body, chunk)
    return bytes(body)


def fetch_in_thread(request: FetchRequest) -> FetchResponse:
    """Send *request* once, in this thread."""
    try:
        with httpx.Client(**_client_options(request), event_hooks={"request": [_check]}) as client:
            sent = client.build_request(**request.for_httpx())
            for _ in range(MOST_REDIRECTS + 1):
                response = client.send(sent, stream=True)
                try:
                    if response.next_request is None:
                        return _accepted(response, _read_in_thread(response))
                    sent = response.next_request
                finally:
                    response.close()
    except _UNSENDABLE as error:
        raise _useless(request, error) from error
    raise httpx.TooManyRedirects(f"more than {MOST_REDIRECTS} redirects", request=sent)


def _read_in_thread(response: httpx.Response) -> bytes:
    _check_answer(response)
    if response.is_stream_consumed:
        # It came whole, from what stands for the other service in a test.
        return response.content
    body = bytearray()
    for chunk in _decoded(response, response.iter_raw(_PIECE_BYTES)).iter_bytes():
        _add(body, chunk)
    return bytes(body)


def _client_options(request: FetchRequest) -> dict[str, Any]:
    return {"timeout": request.timeout_seconds, "verify": _trusted()}


@functools.cache
def _trusted() -> ssl.SSLContext:
    # Reading the certificates takes longer than most requests.
    return httpx.create_ssl_context()


def _check(request: httpx.Request) -> None:
    """Refuse what only the socket would, on asyncio and in threads in different ways. Called at each redirect too."""
    url = request.url
    if url.port is not None and not 0 < url.port <= _LAST_PORT:
        raise httpx.InvalidURL(f"{url.port} is no port")
    # As the socket encodes it: raises UnicodeError if a part of the name is empty or too long.
    url.raw_host.decode("ascii").encode("idna")


async def _check_on_loop(request: httpx.Request) -> None:
    _check(request)


def _check_answer(response: httpx.Response) -> None:
    if response.status_code == TOO_MANY_REQUESTS or response.status_code >= SERVER_ERRORS:
        # Errors are logged: without the password that a URL may have.
        url = response.request.url.copy_with(userinfo=b"")
        told = f"{response.request.method} {url} answered {response.status_code}"
        now = datetime.fromtimestamp(_context.scope.get().current_pass.clock.now(), UTC)
        after = _retry_after(response.headers.get("retry-after", ""), now)
        raise FetchStatusError(told) if after is None else RetryAfterError(told, after)
    if "," in (codings := response.headers.get("content-encoding", "")):
        # A piece would be decompressed whole, again and again.
        raise NonRetriableError(f"the answer of {response.url} is compressed more than once: {codings}")


def _decoded(response: httpx.Response, raw: Iterable[bytes] | AsyncIterable[bytes]) -> httpx.Response:
    """Return a response that decompresses the *raw* body of *response* piece by piece."""
    return httpx.Response(response.status_code, headers=response.headers, content=raw)


def _add(body: bytearray, chunk: bytes) -> None:
    """Add what has come to *body*. Raises `LimitExceededError` if the step could not record so much."""
    body += chunk
    most = _context.scope.get().current_pass.journal.limits.step_result
    if len(body) > most:
        raise LimitExceededError(exceeded("step_result", len(body), most))


def _accepted(response: httpx.Response, body: bytes) -> FetchResponse:
    headers = [(name.lower(), value) for name, value in response.headers.multi_items()]
    return FetchResponse(response.status_code, str(response.url), headers, body)


def _retry_after(text: str, now: datetime) -> timedelta | None:
    """Return the pause that ``Retry-After`` asks for, by seconds or a date; None if it does not (RFC 9110, 10.2.3)."""
    if text.isdecimal():
        return min(timedelta(seconds=int(text[:9])), LONGEST_PAUSE)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return min(max(aware - now, timedelta()), LONGEST_PAUSE)


def _useless(request: FetchRequest, error: Exception) -> NonRetriableError:
    return NonRetriableError(f"the request to {request.url!r} cannot be sent: {error}")
