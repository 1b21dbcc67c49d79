"""
The edge of an ASGI application: the callable put round it by ``init_app``. Imports no framework.

It starts and stops the engine with the lifespan, puts the holder into each HTTP scope, records what the framework
actually sent for a finished run, sends a substitute in place of the framework's response, and runs re-entries.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ._asgi_exchange import (
    ASGIApp,
    AsgiExchange,
    ClientExchange,
    Message,
    Receive,
    Reentry,
    Scope,
    Send,
)
from ._core import http
from ._core.model import RecordedRequest, RecordedResponse
from .ending import SERVER_ERROR, conclude, conclude_unreached
from .engines.base import Claim
from .engines.inngest.answers import refused_answer
from .errors import RequestTooLargeError
from .exchange import HOLDER_KEY, Lifecycle

logger = logging.getLogger("inngest_durable")


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
            exchange = ClientExchange(scope, receive, send, self._client.limits)
            if self._client.engine.takes_dispatches and http.is_dispatch(scope["headers"]):
                await self._dispatch(exchange, send)
                return
            scope[HOLDER_KEY] = exchange
            try:
                await self._serve(scope, exchange)
            finally:
                # A server may keep the scope, which must not keep the exchange: it would be left to the cycle
                # collector. An edge inside this one, of an application that is reached through this one, may have
                # done it.
                scope.pop(HOLDER_KEY, None)
        elif scope["type"] == "lifespan":
            self._state = scope.get("state")
            await self._app(scope, self._draining(receive), self._starting(send))
        else:
            await self._app(scope, receive, send)

    async def reenter(self, claim: Claim) -> None:
        """Run one later pass of *claim*'s run through the application, with the recorded request."""
        exchange = Reentry(claim, self._client.limits)
        await self._serve(self._scope_of(claim.run.request, exchange), exchange)
        if exchange.current_pass is None:
            await conclude_unreached(self._client, claim, exchange.response or SERVER_ERROR)

    async def _dispatch(self, exchange: ClientExchange, send: Send) -> None:
        """Give a request that starts a later pass to the engine: the application sees what the run has recorded."""
        try:
            answer = await self._dispatched(exchange)
        except asyncio.CancelledError:
            # The web server is stopping, and would answer in its own way: Inngest takes that for the end of the run.
            await self._send_dispatched(refused_answer(503, "the process stops"), send)
            raise
        except RequestTooLargeError as error:
            answer = refused_answer(413, str(error))
        except Exception:
            logger.exception("a request of the Inngest server could not be served")
            answer = refused_answer(503, "the application's log says why")
        await self._send_dispatched(answer, send)

    async def _dispatched(self, exchange: ClientExchange) -> RecordedResponse:
        if not self._client.is_started():
            await self._client.start()
        await exchange.whole()
        return await self._client.engine.dispatch(await exchange.request())

    async def _send_dispatched(self, answer: RecordedResponse, send: Send) -> None:
        await send({"type": "http.response.start", "status": answer.status, "headers": http.framed(answer)})
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})

    async def _serve(self, scope: Scope, exchange: AsgiExchange) -> None:
        broken: Exception | None = None
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:
            broken = error
            # The framework let its own or the handler's error through (as in testing mode): the server answers 500.
            if not exchange.started:
                exchange.response = SERVER_ERROR
            if exchange.claim is None:
                raise
            logger.exception("the application raised at a re-entry [run=%s]", exchange.claim.run.id)
        finally:
            current = exchange.current_pass
            if current is not None and exchange.ending is not None:
                ending = conclude(self._client, current, exchange.ending, exchange.response, broken)
                if exchange.response is None and current.claim.accepted:
                    # In mid-response: an exchange that the server cancels must not keep the run from ending.
                    await asyncio.shield(self._client.engine.spawn(ending))
                else:
                    await ending

    def _scope_of(self, request: RecordedRequest, exchange: Reentry) -> Scope:
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
            HOLDER_KEY: exchange,
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
