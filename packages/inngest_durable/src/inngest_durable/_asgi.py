"""
The edge of an ASGI application: the callable put round it by ``init_app``. Imports no framework.

It drives the engine's life by the lifespan, puts the holder into each HTTP scope, records what the framework really
sent for a finished run, sends a substitute in place of the framework's response, and runs re-entries.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing
from typing import Any

from ._core import http
from ._core.limits import Limits
from ._core.model import Headers, RecordedRequest, RecordedResponse
from ._recording import Kept, KeptResponse
from .ending import SERVER_ERROR, conclude, conclude_unreached
from .engines.base import Claim
from .engines.inngest.answers import refused_answer
from .errors import RequestTooLargeError
from .exchange import HOLDER_KEY, Holder, Lifecycle

logger = logging.getLogger("inngest_durable")

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


_BODY_HEADERS = frozenset((b"content-length", b"transfer-encoding"))
# Turns of the event loop in which a body comes that is there already.
_TURNS = 8


class AsgiEdge:
    """
    The ASGI callable round *app*.

    Args:
        app: The application, with its own middleware.
        client: Starts and stops the engine, and knows the endpoints.
    """

    def __init__(self, app: ASGIApp, client: Lifecycle) -> None:
        self._app = app
        self._client = client
        self._state: dict[str, Any] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            if self._client.engine.takes_dispatches and http.is_dispatch(scope["headers"]):
                await self._dispatch(scope, receive, send)
            else:
                await self._first_pass(scope, receive, send)
        elif scope["type"] == "lifespan":
            self._state = scope.get("state")
            await self._app(scope, self._draining(receive), self._starting(send))
        else:
            await self._app(scope, receive, send)

    async def reenter(self, claim: Claim) -> None:
        """Run one later pass of *claim*'s run through the application, with the recorded request."""
        request = claim.run.request

        async def recorded_request() -> RecordedRequest:
            return request

        holder = Holder(recorded_request, claim)
        recorder = _ReentryRecorder(holder, _nowhere, request.method, self._client.limits)
        receive = _replay_body(request.body, recorder.sent)
        await self._exchange(self._scope_of(request, holder), receive, recorder)
        if holder.current_pass is None:
            await conclude_unreached(self._client, claim, recorder.response or SERVER_ERROR)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give a request that starts a later pass to the engine: the application sees what the run has recorded."""
        try:
            answer = await self._dispatched(_Body(scope, receive, self._client.limits.request_body))
        except asyncio.CancelledError:
            # The web server stops, and would answer in its own way: Inngest takes that for the end of the run.
            await self._send_dispatched(refused_answer(503, "the process stops"), send)
            raise
        except RequestTooLargeError as error:
            answer = refused_answer(413, str(error))
        except Exception:
            logger.exception("a request of the Inngest server could not be served")
            answer = refused_answer(503, "the application's log says why")
        await self._send_dispatched(answer, send)

    async def _dispatched(self, body: _Body) -> RecordedResponse:
        if not self._client.is_started():
            await self._client.start()
        await body.whole()
        return await self._client.engine.dispatch(await body.request())

    async def _send_dispatched(self, answer: RecordedResponse, send: Send) -> None:
        await send({"type": "http.response.start", "status": answer.status, "headers": http.framed(answer)})
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})

    async def _first_pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits = self._client.limits
        body = _Body(scope, receive, limits.request_body)
        body.holder = scope[HOLDER_KEY] = holder = Holder(body.request)
        try:
            await self._exchange(scope, body.receive, _Recorder(holder, send, scope["method"], limits))
        finally:
            # Scope, holder and body refer to each other: without this, each request is left to the cycle collector.
            del scope[HOLDER_KEY]
            body.holder = None

    async def _exchange(self, scope: Scope, receive: Receive, recorder: _Recorder) -> None:
        holder = recorder.holder
        broken: Exception | None = None
        try:
            await self._app(scope, receive, recorder.send)
        except Exception as error:
            broken = error
            # The framework let its own or the handler's error through (as in testing mode): the server answers 500.
            if not recorder.started:
                recorder.response = SERVER_ERROR
            if holder.claim is None:
                raise
            logger.exception("the application raised at a re-entry [run=%s]", holder.claim.run.id)
        finally:
            current = holder.current_pass
            if current is not None and holder.ending is not None:
                ending = conclude(self._client, current, holder.ending, recorder.response, broken)
                if recorder.response is None and current.claim.accepted:
                    # In mid-response: an exchange that the server cancels must not keep the run from its end.
                    await asyncio.shield(self._client.engine.spawn(ending))
                else:
                    await ending

    def _scope_of(self, request: RecordedRequest, holder: Holder) -> Scope:
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.http_version,
            "method": request.method,
            "scheme": request.scheme,
            "root_path": request.root_path,
            "path": request.path,
            "raw_path": request.raw_path,
            "query_string": request.query_string,
            "headers": list(request.headers),
            "client": request.client,
            "server": request.server,
            "extensions": {},
            HOLDER_KEY: holder,
        }
        if self._state is not None:
            # As a server does: each request gets its own copy of what the lifespan left there.
            scope["state"] = self._state.copy()
        return scope

    def _starting(self, send: Send) -> Send:
        async def started(message: Message) -> None:
            # The application's own resources are open now, so recovered runs may be re-entered.
            if message["type"] == "lifespan.startup.complete":
                try:
                    await self._client.start()
                except Exception as error:
                    logger.exception("the engine could not be started")
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
            await send(message)

        return started

    def _draining(self, receive: Receive) -> Receive:
        async def drained() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._client.stop()
            return message

        return drained


class _Body:
    """Hands the request's messages on, and keeps the body for the record."""

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        self.holder: Holder | None = None
        self._scope = scope
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
        """Read the body to its end, where no framework does. Raises ConnectionAbortedError if the client has gone."""
        while not self._complete:
            if (await self.receive())["type"] == "http.disconnect":
                raise ConnectionAbortedError("the client went away before its request had come in whole")

    async def request(self) -> RecordedRequest:
        """Return the request, when its body has come in whole. Raises `RequestTooLargeError`."""
        scope = self._scope
        # The framework reads the body in a task of its own, which may begin after this.
        if not self._complete and not _may_have_body(scope):
            # No header tells of a body, so from a server there is none. A test client's comes in a few turns.
            for _ in range(_TURNS):
                await asyncio.sleep(0)
        elif not self._complete:
            self._awaited = asyncio.get_running_loop().create_future()
            await self._awaited
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


class _Recorder:
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


class _ReentryRecorder(_Recorder):
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
    """Whether a body may come: in HTTP/1, one of two headers would tell (RFC 9112, 6.3)."""
    if scope.get("http_version", "1.1") not in ("1.0", "1.1"):
        return True
    return any(name.lower() in _BODY_HEADERS for name, _ in scope["headers"])


async def _nowhere(message: Message) -> None:
    """Take a re-entry's response: nobody is connected, and the recorder has kept it."""


def _replay_body(body: bytes, sent: asyncio.Event) -> Receive:
    """Give the body once, and the disconnect when the response is complete: before, it would cancel the handler."""
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
