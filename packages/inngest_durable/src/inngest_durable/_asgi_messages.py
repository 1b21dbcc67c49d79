"""
What the ASGI edge does with the messages of one exchange: the request's body is kept for the record, and so is the
response, unless another one is sent in its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing
from typing import Any

from ._core import http
from ._core.limits import Limits
from ._core.model import Headers, RecordedRequest, RecordedResponse
from ._recording import Kept, KeptResponse
from .errors import RequestTooLargeError
from .exchange import BodyLateError, Holder

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


_BODY_HEADERS = frozenset((b"content-length", b"transfer-encoding"))
# Turns of the event loop in which a body that is there already arrives.
_TURNS = 8


class Body:
    """Passes the request's messages on, and keeps the body for the record."""

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        self.holder: Holder | None = None
        # A copy, since middleware in between could otherwise change what is re-entered later.
        self._scope = {**scope, "headers": tuple(scope["headers"])}
        self._receive = receive
        self._kept = Kept("request_body", limit)
        self._complete = False
        self._awaited: asyncio.Future[None] | None = None

    async def receive(self) -> Message:
        """Return the next message from the client."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._kept.add(message.get("body", b""))
            if not message.get("more_body", False):
                self._complete = True
                if self._awaited is not None and not self._awaited.done():
                    self._awaited.set_result(None)
        elif message["type"] == "http.disconnect" and self.holder is not None:
            _interrupt(self.holder, "the client went away")
        return message

    async def whole(self) -> None:
        """Read the body to its end, if no framework does. Raises ConnectionAbortedError if the client has gone."""
        while not self._complete:
            if (await self.receive())["type"] == "http.disconnect":
                raise ConnectionAbortedError("the client went away before its request had come in whole")

    async def request(self) -> RecordedRequest:
        """Return the request, when its body has come in whole. Raises `RequestTooLargeError`, `BodyLateError`."""
        scope = self._scope
        # The framework reads the body in a task of its own, which may begin after this.
        if not self._complete and not _may_have_body(scope):
            # No header announces a body, so a server sends none. A test client's body arrives in a few turns.
            for _ in range(_TURNS):
                await asyncio.sleep(0)
        elif not self._complete:
            self._awaited = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(self.holder.body_seconds if self.holder is not None else None):
                    await self._awaited
            except TimeoutError as error:
                raise BodyLateError from error
        if (excess := self._kept.excess) is not None:
            raise RequestTooLargeError(excess)
        client, server = scope.get("client"), scope.get("server")
        return RecordedRequest(
            method=scope["method"],
            scheme=scope.get("scheme", "http"),
            root_path=scope.get("root_path", ""),
            path=scope["path"],
            raw_path=scope.get("raw_path") or scope["path"].encode(),
            query_string=scope.get("query_string", b""),
            headers=tuple(map(tuple, scope["headers"])),
            client=tuple(client) if client else None,
            server=tuple(server) if server else None,
            http_version=scope.get("http_version", "1.1"),
            body=self._kept.whole(),
        )


class Recorder:
    """Passes the framework's response on, or its substitute, and keeps what ends the run."""

    def __init__(self, holder: Holder, send: Send, method: str, limits: Limits) -> None:
        self.holder = holder
        self.started = False
        self.response: RecordedResponse | None = None
        self._send = send
        self._method = method
        self._limit = limits.response
        self._substituted = False
        self._kept: KeptResponse | None = None

    async def send(self, message: Message) -> None:
        """Take one message from the framework."""
        if message["type"] == "http.response.start":
            await self._start(message)
        elif not self._substituted:
            await self._send(message)
            if self._kept is not None and message["type"] == "http.response.body":
                self._keep(self._kept, message.get("body", b""), not message.get("more_body", False))

    async def _start(self, message: Message) -> None:
        self.started = True
        holder = self.holder
        headers: Headers = tuple(message.get("headers", ()))
        if holder.substitute is not None:
            self._substituted = True
            answer = holder.substitute(headers)
            if isinstance(answer, http.StreamedResponse):
                await self._send_stream(answer)
            else:
                await self._send_whole(answer)
            return
        run = holder.claim or (holder.current_pass.claim if holder.current_pass is not None else None)
        if run is not None and run.accepted:
            self._kept = KeptResponse(message["status"], headers, self._limit)
        if run is not None:
            message = {**message, "headers": [*headers, (http.RUN_ID_HEADER, run.run.id.encode())]}
        await self._send(message)

    def _keep(self, kept: KeptResponse, chunk: bytes, is_last: bool) -> None:
        """Note that *chunk* has been sent."""
        if chunk:
            kept.add(chunk)
        elif self.response is not None:
            return
        # A server that has seen the declared length may end the connection before the framework's last, empty chunk.
        if is_last or kept.has_declared_length:
            self.response = kept.recorded()

    async def _send_whole(self, response: RecordedResponse) -> None:
        headers = http.framed(response)
        body = b"" if self._method == "HEAD" else response.body
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _send_stream(self, response: http.StreamedResponse) -> None:
        """Send what comes, as fast as the client takes it; a client that goes away ends the framework's task."""
        async with aclosing(response.chunks) as chunks:
            await self._send({"type": "http.response.start", "status": response.status, "headers": response.headers})
            if self._method != "HEAD":
                async for chunk in chunks:
                    await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class ReentryRecorder(Recorder):
    """
    The recorder of a re-entry.

    Attributes:
        sent: Whether the framework's response is complete.
    """

    def __init__(self, holder: Holder, send: Send, method: str, limits: Limits) -> None:
        super().__init__(holder, send, method, limits)
        self.sent = asyncio.Event()

    async def send(self, message: Message) -> None:
        """Take one message from the framework."""
        await super().send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.sent.set()


def _may_have_body(scope: Scope) -> bool:
    """Whether a body may come: in HTTP/1, one of two headers would announce it (RFC 9112, 6.3)."""
    if scope.get("http_version", "1.1") not in ("1.0", "1.1"):
        return True
    return any(name.lower() in _BODY_HEADERS for name, _ in scope["headers"])


async def nowhere(message: Message) -> None:
    """Take a re-entry's response: nobody is connected, and the recorder has kept it."""


def replay_body(body: bytes, sent: asyncio.Event) -> Receive:
    """Give the body once, and the disconnect when the response is complete: earlier, it would cancel the handler."""
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            await sent.wait()
            return {"type": "http.disconnect"}
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _interrupt(holder: Holder, reason: str) -> None:
    if holder.current_pass is not None:
        holder.current_pass.interrupt(reason)
