"""
One exchange over ASGI: the request's body is kept for the record, and so is the response, unless another one is sent
in its place.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing
from typing import Any

from ._core import http
from ._core.limits import Limits
from ._core.model import Headers, RecordedRequest, RecordedResponse
from ._recording import Kept, KeptResponse
from .engines.base import Claim
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


class AsgiExchange(Holder):
    """
    The holder of an exchange over ASGI. Passes the framework's response on, or its substitute, and keeps what ends the
    run.

    One object for all of that: several would refer to each other, and be left to the cycle collector.

    Args:
        send: Takes what goes to the client.
        method: The request's method.
        limits: How much is kept.
        claim: See `Holder`.

    Attributes:
        started: Whether the framework has begun to answer.
        response: What went out whole, or None.
    """

    started = False
    response: RecordedResponse | None = None
    _substituted = False
    _kept: KeptResponse | None = None

    def __init__(self, send: Send, method: str, limits: Limits, claim: Claim | None = None) -> None:
        super().__init__(claim)
        self._send = send
        self._method = method
        self._limits = limits

    @abstractmethod
    async def receive(self) -> Message:
        """Return the next message for the framework."""

    async def send(self, message: Message) -> None:
        """Take one message from the framework."""
        if message["type"] == "http.response.start":
            self.started = True
            if self.substitute is not None:
                self._substituted = True
                await self._send_substitute(self.substitute(tuple(message.get("headers", ()))))
            else:
                await self._send(self._with_run(message))
        elif not self._substituted:
            await self._send(message)
            if self._kept is not None and message["type"] == "http.response.body":
                self._keep(self._kept, message.get("body", b""), not message.get("more_body", False))

    def _with_run(self, message: Message) -> Message:
        """Return the first *message* of a response with the run that it belongs to, if there is one."""
        claim = self.claim or (None if self.current_pass is None else self.current_pass.claim)
        if claim is None:
            return message
        headers: Headers = tuple(message.get("headers", ()))
        if claim.accepted:
            self._kept = KeptResponse(message["status"], headers, self._limits.response)
        return {**message, "headers": [*headers, (http.RUN_ID_HEADER, claim.run.id.encode())]}

    def _keep(self, kept: KeptResponse, chunk: bytes, is_last: bool) -> None:
        """Note that *chunk* has been sent."""
        if chunk:
            kept.add(chunk)
        elif self.response is not None:
            return
        # A server that has seen the declared length may end the connection before the framework's last, empty chunk.
        if is_last or kept.has_declared_length:
            self.response = kept.recorded()

    async def _send_substitute(self, answer: http.Answer) -> None:
        if isinstance(answer, http.StreamedResponse):
            await self._send_stream(answer)
        else:
            await self._send_whole(answer)

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


class ClientExchange(AsgiExchange):
    """
    An exchange with a client: passes the request's messages on, and keeps the body for the record.

    Args:
        scope: The request's scope.
        receive: Returns what comes from the client.
        send, limits: See `AsgiExchange`.
    """

    _is_complete = False
    _awaited: asyncio.Future[None] | None = None

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits) -> None:
        super().__init__(send, scope["method"], limits)
        # A copy, since middleware in between could otherwise change what is re-entered later.
        self._scope = {**scope, "headers": tuple(scope["headers"])}
        self._receive = receive
        self._body = Kept("request_body", limits.request_body)

    async def receive(self) -> Message:
        """Return the next message from the client."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._body.add(message.get("body", b""))
            if not message.get("more_body", False):
                self._is_complete = True
                if self._awaited is not None and not self._awaited.done():
                    self._awaited.set_result(None)
        elif message["type"] == "http.disconnect" and self.current_pass is not None:
            self.current_pass.interrupt("the client went away")
        return message

    async def whole(self) -> None:
        """Read the body to its end, if no framework does. Raises ConnectionAbortedError if the client has gone."""
        while not self._is_complete:
            if (await self.receive())["type"] == "http.disconnect":
                raise ConnectionAbortedError("the client went away before its request had come in whole")

    async def request(self) -> RecordedRequest:
        """Return the request, when its body has come in whole. Raises `RequestTooLargeError`, `BodyLateError`."""
        if not self._is_complete:
            await self._completed()
        if (excess := self._body.excess) is not None:
            raise RequestTooLargeError(excess)
        scope = self._scope
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
            body=self._body.whole(),
        )

    async def _completed(self) -> None:
        # The framework reads the body in a task of its own, which may begin after this.
        if not _may_have_body(self._scope):
            # No header announces a body, so a server sends none. A test client's body arrives in a few turns.
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            return
        self._awaited = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self.body_seconds):
                await self._awaited
        except TimeoutError as error:
            raise BodyLateError from error


class Reentry(AsgiExchange):
    """
    An exchange with nobody: a later pass of *claim*'s run.

    Attributes:
        sent: Whether the framework's response is complete.
    """

    claim: Claim
    _is_given = False

    def __init__(self, claim: Claim, limits: Limits) -> None:
        super().__init__(_nowhere, claim.run.request.method, limits, claim)
        self.sent = asyncio.Event()

    async def request(self) -> RecordedRequest:
        """Return the request that was recorded."""
        return self.claim.run.request

    async def receive(self) -> Message:
        """Give the body once, then the disconnect when the response is complete: earlier, it would end the handler."""
        if self._is_given:
            await self.sent.wait()
            return {"type": "http.disconnect"}
        self._is_given = True
        return {"type": "http.request", "body": self.claim.run.request.body, "more_body": False}

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


async def _nowhere(message: Message) -> None:
    """Take a re-entry's response: nobody is connected, and the exchange has kept it."""
