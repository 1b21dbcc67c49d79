"""The calls of an Inngest server that this package uses, and what their answers mean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar
from urllib.parse import quote

import httpx
import msgspec
from msgspec import Raw, Struct

from ..._core.events import SentEvent
from ...errors import ConfigurationError
from .calls import REFUSED_KEY, Answer, Calls, RefusedError, UnreachableError, start_of
from .protocol import Created, HttpRequestEvent, ProtocolError, parse_actions, parse_batch, parse_created
from .settings import Settings

__all__ = ["Answer", "InngestApi", "RefusedError", "ServerRun", "UnreachableError"]

TRIES = 5
_GONE = (404, 410)
_UNKNOWN_RUN = "Unable to load function run"
# Sent with every answer of an endpoint: an answer with one of these is the application's, not the server's.
_OF_ENDPOINT = (b"x-inngest-durable", b"x-inngest-run-id")

T = TypeVar("T")


class ServerRun(Struct, frozen=True):
    """
    A run as the server knew it up to three seconds ago.

    Attributes:
        status: ``"Running"``, ``"Completed"``, ``"Failed"`` or ``"Cancelled"``.
        output: What is kept of its answer, as JSON; ``null`` if there is none.
    """

    status: str
    output: Raw = Raw(b"null")


class InngestApi:
    """
    The server's API. Calls are made between `open` and `close`, on one event loop.

    A call that fails in a way that may pass is made again, up to *tries* times, with growing pauses. Every call
    raises `UnreachableError` or `RefusedError`; their texts name the server and what to do, and show no key.

    Args:
        settings: Where the server is, and the keys.
        transport: Used in place of the network.
        first_pause_seconds: Pause after the first try; each one after it is twice as long.
    """

    def __init__(
        self,
        settings: Settings,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        first_pause_seconds: float = 0.1,
    ) -> None:
        self._settings = settings
        self._calls = Calls(settings, transport, first_pause_seconds)

    async def open(self) -> None:
        """Begin to make calls, on the running event loop."""
        await self._calls.open()

    async def close(self) -> None:
        """Make no more calls, and close the connections. Harmless if repeated."""
        await self._calls.close()

    async def create(self, body: bytes, tries: int = TRIES) -> Created:
        """Create a run; harmless if there is one with the same ID that has not ended."""
        return self._read(parse_created, "POST", await self._calls.call("POST", "/v1/checkpoint", body, tries))

    async def checkpoint(self, run_id: str, body: bytes, tries: int = TRIES) -> None:
        """Report operations of a run. That the server takes them does not mean that it has stored them."""
        await self._calls.call("POST", f"/v1/checkpoint/{quote(run_id, safe='')}/steps", body, tries)

    async def actions(self, run_id: str, tries: int = TRIES) -> dict[str, Raw] | None:
        """Return what the server has stored of a run, by hash; None if it has no state: ended, unknown or lost."""
        found = await self._known("GET", f"/v0/runs/{quote(run_id, safe='')}/actions", None, tries)
        return None if found is None else self._read(parse_actions, "GET", found)

    async def batch(self, run_id: str, tries: int = TRIES) -> HttpRequestEvent | None:
        """Return the request that has begun a run; None as for `actions`."""
        found = await self._known("GET", f"/v0/runs/{quote(run_id, safe='')}/batch", None, tries)
        return None if found is None else self._read(parse_batch, "GET", found)

    async def run(self, run_id: str, tries: int = TRIES) -> ServerRun | None:
        """Return a run as the server knew it up to three seconds ago; None if it does not know it."""
        return await self._looked(f"/v1/runs/{quote(run_id, safe='')}", tries, _run)

    async def jobs(self, run_id: str, tries: int = TRIES) -> list[bytes]:
        """Return what was scheduled for a run up to three seconds ago, ten at most; none if it is unknown."""
        found = await self._looked(f"/v1/runs/{quote(run_id, safe='')}/jobs", tries, _jobs)
        return [bytes(job) for job in found or ()]

    async def cancel(self, run_id: str) -> bool:
        """Cancel a run; False if the server does not know it. One that has ended stays as it is."""
        return await self._known("DELETE", f"/v1/runs/{quote(run_id, safe='')}", None, TRIES) is not None

    async def send_events(self, events: Sequence[SentEvent]) -> None:
        """
        Send events; one whose ID was sent before counts once.

        Raises:
            ConfigurationError: There is no event key.
        """
        if not self._settings.event_key:
            raise ConfigurationError(
                "events cannot be sent without an event key: set INNGEST_EVENT_KEY to a key of your environment"
            )
        if events:
            await self._calls.send(b"[" + b",".join(event.json() for event in events) + b"]", TRIES)

    async def send_signal(self, name: str, data: Raw) -> bool:
        """
        Send a signal; return whether a step waited for it.

        If the answer to one try is lost, the next try finds no step that still waits: then it is False too.
        """
        body = msgspec.json.encode({"signal": name, "data": data})
        return await self._known("POST", "/v1/signals", body, TRIES) is not None

    def output_url(self, run_id: str, token: str) -> str:
        """Return where a client waits for the run's answer."""
        return f"{self._settings.api_url}/v1/http/runs/{quote(run_id, safe='')}/output?token={quote(token, safe='')}"

    async def output(self, run_id: str, token: str, timeout_seconds: float) -> Answer | None:
        """
        Wait for the end of a run, for some minutes at most; return what it answers, or None if it still runs.

        Raises:
            RefusedError: The token does not open it; its status is 401.
            UnreachableError: The server cannot be reached; it was tried once.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                answer = await self._calls.wait(self.output_url(run_id, token))
        except TimeoutError:
            return None
        where = self._settings.api_url
        if not _is_of_run(answer):
            if answer.status < 500:
                raise RefusedError(answer.status, f"the Inngest server at {where} refuses the token of run {run_id}")
            raise self._calls.unreachable("GET", where, f"status {answer.status}")
        return None if _is_running(answer) else answer

    async def _known(
        self, method: str, path: str, body: bytes | None, tries: int, accepted: bytes = b""
    ) -> bytes | None:
        """Make a call; return the body of the answer, or None if what it is about is not there."""
        try:
            return await self._calls.call(method, path, body, tries, accepted)
        except RefusedError as error:
            if error.status not in _GONE:
                raise
            return None

    async def _looked(self, path: str, tries: int, decoder: msgspec.json.Decoder[_Looked[T]]) -> T | None:
        # For an unknown run, only the body says so: the status is 500, or 200 from a cache.
        found = await self._known("GET", path, None, tries, accepted=_UNKNOWN_RUN.encode())
        return None if found is None else self._read(lambda body: _parse_look(decoder, body), "GET", found)

    def _read(self, parse: Callable[[bytes], T], method: str, body: bytes) -> T:
        try:
            return parse(body)
        except ProtocolError as error:
            # Something else listens there, such as a proxy with a page of its own.
            raise self._calls.unreachable(method, self._settings.api_url, str(error)) from error


class _Looked(Struct, Generic[T]):
    data: T | None = None
    error: str = ""


class _OwnError(Struct, forbid_unknown_fields=True):
    error: str
    status: int
    data: None = None


class _Running(Struct, forbid_unknown_fields=True):
    status: str
    message: str


def _parse_look(decoder: msgspec.json.Decoder[_Looked[T]], body: bytes) -> T | None:
    try:
        answer = decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"the answer about a run is not as expected: {error}: {start_of(body)!r}") from error
    if answer.data is None and answer.error and not answer.error.startswith(_UNKNOWN_RUN):
        raise ProtocolError(f"the answer about a run is an error: {answer.error!r}")
    return answer.data


def _is_of_run(answer: Answer) -> bool:
    """
    Whether this is what the run answers, not what the server says to the one who asks.

    An endpoint may answer 401 or 500 as well. If the two cannot be told apart, the token counts as refused: it also
    opens what this process knows of the run.
    """
    if answer.status < 400 or answer.has(*_OF_ENDPOINT):
        return True
    if answer.status in REFUSED_KEY or not answer.has(b"x-inngest-server-kind"):
        return False
    own = _decoded(answer.body, _OwnError)
    return own is None or own.status != answer.status


def _is_running(answer: Answer) -> bool:
    if answer.status != 200 or answer.has(*_OF_ENDPOINT):
        return False
    found = _decoded(answer.body, _Running)
    return found is not None and found.status == "running" and found.message.startswith("run did not end within")


def _decoded(body: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


_run = msgspec.json.Decoder(_Looked[ServerRun])
_jobs = msgspec.json.Decoder(_Looked[list[Raw]])
