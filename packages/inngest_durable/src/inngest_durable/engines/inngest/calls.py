"""How calls to an Inngest server are made: with which keys, how often, and what is reported when they fail."""

from __future__ import annotations

import asyncio
import logging
import random
from itertools import count
from typing import Any
from urllib.parse import quote

import httpx
from msgspec import Struct

from ..._core.model import Headers
from .protocol import SDK
from .settings import Settings
from .signing import api_key

# A call takes milliseconds; one that does not is given up, and made again.
_TIMEOUT = httpx.Timeout(15.0, connect=5.0)
# Of one that waits for the end of a run, its caller says how long it may take.
_WAITING = httpx.Timeout(None, connect=5.0)
_LONGEST_PAUSE_SECONDS = 5.0
_LONGEST_TEXT = 200
REFUSED_KEY = (401, 403)
# The server is at the same run, or has enough to do.
_TRIED_AGAIN = (408, 409, 425, 429)


class UnreachableError(Exception):
    """
    The server could not be reached, or has failed, as often as it was tried. Never shown to user code as such.

    Its text names the server, what was wrong, and what to do.
    """


class RefusedError(Exception):
    """
    The server refuses a call, and would refuse it again. Never shown to user code as such.

    Attributes:
        status: Its status code.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status

    def __str__(self) -> str:
        return str(self.args[1])


class Answer(Struct, frozen=True):
    """What the server has answered; names of headers in lower case, the body as it came over the wire."""

    status: int
    headers: Headers
    body: bytes

    def has(self, *names: bytes) -> bool:
        """Whether it has a header with one of these names, which are in lower case."""
        return any(name in names for name, _ in self.headers)


class Calls:
    """
    Makes calls between `open` and `close`, on one event loop. No error and no log record shows a key or a token.

    Args:
        settings: Where the server is, and the keys.
        transport: Used in place of the network.
        first_pause_seconds: Pause after the first try; each one after it is twice as long.
    """

    def __init__(
        self, settings: Settings, transport: httpx.AsyncBaseTransport | None, first_pause_seconds: float
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._first_pause_seconds = first_pause_seconds
        self._keys = [api_key(key) for key in settings.signing_keys]
        self._client: httpx.AsyncClient | None = None
        self._hides = _Hides(settings)

    async def open(self) -> None:
        """Begin to make calls, on the running event loop."""
        headers = {"x-inngest-sdk": SDK}
        if self._settings.env:
            headers["x-inngest-env"] = self._settings.env
        # No limit on connections: clients that wait for a run hold one each, and must not keep a checkpoint waiting.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=30.0)
        self._client = httpx.AsyncClient(headers=headers, timeout=_TIMEOUT, limits=limits, transport=self._transport)
        logging.getLogger("httpx").addFilter(self._hides)

    async def close(self) -> None:
        """Make no more calls, and close the connections. Harmless if repeated."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
            logging.getLogger("httpx").removeFilter(self._hides)

    async def call(self, method: str, path: str, body: bytes | None, tries: int, accepted: bytes = b"") -> bytes:
        """
        Call the API, with the signing key; return the body of the answer. Raises `RefusedError`.

        An error of the server whose body has *accepted* in it is as good an answer as one with 200.
        """
        return await self._tried(method, self._settings.api_url, path, body, tries, self._keys, accepted)

    async def send(self, body: bytes, tries: int) -> None:
        """Call the event API, with the event key. Raises `RefusedError`."""
        path = f"/e/{quote(self._settings.event_key, safe='')}"
        await self._tried("POST", self._settings.event_url, path, body, tries, [], b"")

    async def wait(self, url: str) -> Answer:
        """Get *url* once, without a key, however long that takes. Raises `UnreachableError`."""
        try:
            # A body that the application has compressed is its answer as it is.
            headers = {"accept-encoding": "identity"}
            async with self._opened().stream("GET", url, headers=headers, timeout=_WAITING) as got:
                body = b"".join([chunk async for chunk in got.aiter_raw()])
        except httpx.RequestError as error:
            raise self.unreachable("GET", self._settings.api_url, _shown(error)) from error
        return Answer(got.status_code, tuple((name.lower(), value) for name, value in got.headers.raw), body)

    def unreachable(self, method: str, where: str, why: str, tried: int = 1) -> UnreachableError:
        """Return the error of a call that was not answered as it should be."""
        times = "" if tried == 1 else f", {tried} times"
        if self._settings.is_dev:
            what = "is the Dev Server running there? INNGEST_DEV can name another URL"
        else:
            what = "check the network, and INNGEST_API_BASE_URL or INNGEST_BASE_URL"
        return UnreachableError(
            f"the Inngest server at {where} did not answer {method} as it should{times} ({why}): {what}"
        )

    async def _tried(
        self,
        method: str,
        where: str,
        path: str,
        body: bytes | None,
        tries: int,
        keys: list[str],
        accepted: bytes,
    ) -> bytes:
        for tried in count(1):
            try:
                answer = await self._sent(method, where + path, body, keys)
            except httpx.RequestError as error:
                why = _shown(error)
            else:
                status = answer.status_code
                if status < 300 or (status >= 500 and accepted and accepted in answer.content):
                    return answer.content
                if status < 500 and status not in _TRIED_AGAIN:
                    raise RefusedError(status, self._refused(method, where, answer))
                why = f"status {status}: {start_of(answer.content)}"
            if tried >= tries:
                raise self.unreachable(method, where, why, tried)
            pause = min(_LONGEST_PAUSE_SECONDS, self._first_pause_seconds * 2 ** (tried - 1))
            await asyncio.sleep(pause + random.random() * self._first_pause_seconds)
        raise AssertionError("count() ended")  # pragma: no cover

    async def _sent(self, method: str, url: str, body: bytes | None, keys: list[str]) -> httpx.Response:
        """Make a call once; with the other key if one is refused. The key that is taken is the first from then on."""
        headers = {} if body is None else {"content-type": "application/json"}
        for key in keys:
            authorization = {"authorization": f"Bearer {key}"}
            answer = await self._opened().request(method, url, content=body, headers=headers | authorization)
            if answer.status_code not in REFUSED_KEY:
                self._keys = [key, *(other for other in keys if other != key)]
                return answer
            if key == keys[-1]:
                return answer
        return await self._opened().request(method, url, content=body, headers=headers)

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            raise UnreachableError("the engine has not been started, or has stopped: it makes no calls")
        return self._client

    def _refused(self, method: str, where: str, answer: httpx.Response) -> str:
        status = answer.status_code
        if status not in REFUSED_KEY:
            return f"the Inngest server at {where} refuses {method} with status {status}: {start_of(answer.content)}"
        if answer.request.url.path.startswith("/e/"):
            what = "the event key: check INNGEST_EVENT_KEY"
        elif self._keys:
            what = "the signing key: check INNGEST_SIGNING_KEY, and INNGEST_SIGNING_KEY_FALLBACK while it is replaced"
        else:
            what = "a call without a key: set INNGEST_SIGNING_KEY, or let INNGEST_DEV name a Dev Server"
        return f"the Inngest server at {where} refuses {what} (status {status})"


class _Hides(logging.Filter):
    """Takes event keys and tokens out of what httpx logs of each request; calls of others pass as they are."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._event_url = f"{settings.event_url}/e/"
        self._api_url = f"{settings.api_url}/"

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(self._hidden(arg) if isinstance(arg, httpx.URL) else arg for arg in record.args)
        return True

    def _hidden(self, url: httpx.URL) -> Any:
        text = str(url)
        if text.startswith(self._event_url):
            return f"{self._event_url}***"
        return text.partition("?")[0] if text.startswith(self._api_url) else url


def start_of(body: bytes) -> str:
    """Return the beginning of a text that came over the wire, on one line."""
    shown = " ".join(body[: 4 * _LONGEST_TEXT].decode(errors="replace").split())
    return shown if len(shown) <= _LONGEST_TEXT else f"{shown[:_LONGEST_TEXT]}…"


def _shown(error: httpx.RequestError) -> str:
    """Return what went wrong: many errors of httpx have no text of their own."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
