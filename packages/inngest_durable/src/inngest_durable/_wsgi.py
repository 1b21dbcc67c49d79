"""
The edge of a WSGI application: the callable put round it by ``init_app``. Imports no framework.

It puts the holder into each environ, records what the framework actually sent for a finished run, sends a substitute in
place of the framework's response, and runs re-entries in threads of its own.

A WSGI server does not say when a client goes away: the pass goes on, and the run ends with it. Only of a client that
waits or follows is it asked now and then, and one that leaves while its response is being sent is noticed.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from http import HTTPStatus
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

from ._core import http
from ._core.model import Headers, RecordedRequest, RecordedResponse
from ._environ import Body, environ_of, headers_of
from ._portal import portal
from ._recording import KeptResponse
from ._threads import as_exception, start_thread
from ._wsgi_server import threads_of
from .ending import SERVER_ERROR, conclude, conclude_unreached
from .engines.base import Claim
from .engines.inngest.answers import refused_answer
from .errors import RequestTooLargeError
from .exchange import HOLDER_KEY, Holder, Lifecycle

logger = logging.getLogger("inngest_durable")

Environ = dict[str, Any]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None
Write = Callable[[bytes], object]
StartResponse = Callable[..., Write]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]

# Re-entries at once in one process; further ones wait their turn. A run that waits between two passes needs none.
REENTRY_THREADS = 8


class WsgiHolder(Holder):
    """
    The holder of an exchange over WSGI.

    Attributes:
        body: The request's body, as the application reads it.
        server_threads: How many requests the server serves at a time in this process; None if that is unknown.
    """

    def __init__(self, body: Body, claim: Claim | None = None, server_threads: float | None = None) -> None:
        super().__init__(claim)
        self.body = body
        self.server_threads = server_threads

    async def request(self) -> RecordedRequest:
        """Return the request as the edge got it."""
        return self.body.request()


class WsgiEdge:
    """
    The WSGI callable round *app*.

    Args:
        app: The application, with its own middleware.
        client: Knows the engine and the endpoints.
    """

    def __init__(self, app: WSGIApp, client: Lifecycle) -> None:
        self._app = app
        self._client = client
        # Keyed by event loop: a forked child has its own, and none of the parent's threads.
        self._slots_of: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        if self._client.engine.takes_dispatches and http.is_dispatch(headers_of(environ)):
            return self._dispatch(environ, start_response)
        exchange = self._open(environ, start_response)
        try:
            return exchange.sending(self._app(environ, exchange.start))
        except Exception as error:
            exchange.end(error)
            raise

    def _dispatch(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Give a request that starts a later pass to the engine: the application sees what the run has recorded."""
        body = Body(environ, self._client.limits.request_body)
        try:
            body.complete()
            answer = portal.call(self._dispatched, body)
        except RequestTooLargeError as error:
            answer = refused_answer(413, str(error))
        except Exception:
            logger.exception("a request of the Inngest server could not be served")
            answer = refused_answer(503, "the application's log says why")
        named = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in http.framed(answer)]
        start_response(_status_line(answer.status), named)
        return [answer.body]

    async def _dispatched(self, body: Body) -> RecordedResponse:
        if not self._client.is_started():
            await self._client.start()
        return await self._client.engine.dispatch(body.request())

    async def reenter(self, claim: Claim) -> None:
        """Run one later pass of *claim*'s run through the application, with the recorded request."""
        environ = environ_of(claim.run.request)
        exchange = self._open(environ, _nowhere, claim)
        holder = exchange.holder
        async with self._slots():
            done, _ = start_thread("inngest re-entry", lambda: self._run(environ, exchange))
            await done
        if holder.current_pass is None:
            await conclude_unreached(self._client, claim, exchange.response or SERVER_ERROR)
        elif holder.ending is not None:
            await conclude(self._client, holder.current_pass, holder.ending, exchange.response, exchange.error)

    def _slots(self) -> asyncio.Semaphore:
        return self._slots_of.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(REENTRY_THREADS))

    def _open(self, environ: Environ, start_response: StartResponse, claim: Claim | None = None) -> _Exchange:
        # The limit is for what clients send: a re-entry has the body that was recorded, whatever the limit is now.
        most = self._client.limits.request_body if claim is None else len(claim.run.request.body)
        # A copy, since middleware in between could otherwise change what is re-entered later.
        body = environ["wsgi.input"] = Body(environ.copy(), most)
        holder = environ[HOLDER_KEY] = WsgiHolder(body, claim, threads_of(environ, start_response))
        return _Exchange(self._client, holder, start_response, environ["REQUEST_METHOD"])

    def _run(self, environ: Environ, exchange: _Exchange) -> None:
        try:
            sending = exchange.sending(self._app(environ, exchange.start))
            try:
                for _ in sending:
                    pass
            finally:
                getattr(sending, "close", _nothing)()
        except BaseException as error:
            # In a thread of the engine, there is no server that a SystemExit could end.
            exchange.end(as_exception(error, "the application"))
            logger.exception("the application raised at a re-entry [run=%s]", exchange.run_id)


class _Exchange:
    """
    Passes the framework's response on, or its substitute, and ends the run when it has gone out.

    Attributes:
        holder: What the edge and the endpoint share.
        response: What went out whole, or None.
        error: What the application raised while it answered, if it did.
    """

    def __init__(self, client: Lifecycle, holder: Holder, start_response: StartResponse, method: str) -> None:
        self.response: RecordedResponse | None = None
        self.error: Exception | None = None
        self._client = client
        self.holder = holder
        self._start_response = start_response
        self._method = method
        self._substitute: http.Answer | None = None
        self._kept: KeptResponse | None = None
        self._started = self._ended = self._exhausted = False
        self._source: Iterable[bytes] = ()
        self._chunks: Iterator[bytes] = iter(())

    @property
    def run_id(self) -> str:
        """The run that the response belongs to, or an empty string."""
        claim = self.holder.claim or (self.holder.current_pass and self.holder.current_pass.claim)
        return claim.run.id if claim else ""

    # What the application calls.

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo = None) -> Write:
        """Take status and headers from the framework; see PEP 3333."""
        self._started = True
        sent: Headers = tuple([(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers])
        if self.holder.substitute is not None:
            self._substitute = self.holder.substitute(sent)
            return self._start_substitute(self._substitute)
        current = self.holder.current_pass
        claim = self.holder.claim or (current.claim if current is not None else None)
        again = (exc_info,) if exc_info else ()
        if claim is None:
            return self._start_response(status, headers, *again)
        if claim.accepted:
            self._kept = KeptResponse(int(status[:3]), sent, self._client.limits.response)
        headers = [*headers, (http.RUN_ID_HEADER.decode(), claim.run.id)]
        return self._recording(self._start_response(status, headers, *again))

    def _start_substitute(self, answer: http.Answer) -> Write:
        headers = answer.headers if isinstance(answer, http.StreamedResponse) else http.framed(answer)
        named = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
        self._start_response(_status_line(answer.status), named)
        return _nothing

    def _recording(self, write: Write) -> Write:
        def recorded(chunk: bytes) -> None:
            if self._kept is not None:
                self._kept.add(chunk)
            write(chunk)

        return recorded

    # What the server calls.

    def sending(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        """Return what the server is to send: *chunks* themselves if there is nothing to do with them."""
        holder = self.holder
        if self._started and not (holder.current_pass or holder.claim or holder.substitute):
            return chunks
        self._source = chunks
        self._chunks = iter(chunks) if self._started else self._begun(iter(chunks))
        if isinstance(self._substitute, http.StreamedResponse):
            self._chunks = _streamed(self._substitute.chunks, self._method == "HEAD")
        elif self._substitute is not None:
            self._chunks = iter(() if self._method == "HEAD" else (self._substitute.body,))
        return self

    def _begun(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Take the first chunk of an application that begins its response with it, as middleware may."""
        first = list(itertools.islice(chunks, 1))
        return itertools.chain(first, chunks)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self._exhausted = True
            self.end(None)
            raise
        except Exception as error:
            self.end(error)
            raise
        if self._kept is not None:
            self._kept.add(chunk)
            if self._kept.has_declared_length:
                # Not everybody asks for more, or closes what was sent: test clients do neither.
                self.end(None)
        return chunk

    def close(self) -> None:
        """Let the application clean up; a response that was not sent to its end does not end its run."""
        try:
            getattr(self._source, "close", _nothing)()
        finally:
            if isinstance(self._chunks, Generator):
                self._chunks.close()
            self.end(None)

    def end(self, error: Exception | None) -> None:
        """Note that the exchange has ended, perhaps because the application raised *error*; only the first counts."""
        if self._ended:
            return
        self._ended = True
        self.error = error
        if self._kept is not None and error is None and (self._exhausted or self._kept.has_declared_length):
            self.response = self._kept.recorded()
        elif error is not None and not self._started:
            # The framework let its own or the handler's error through (as in testing mode): the server answers 500.
            self.response = SERVER_ERROR
        current = self.holder.current_pass
        if self.holder.claim is None and current is not None and self.holder.ending is not None:
            # Not waited for: a crash before the run's end is on disk only replays its memos.
            ending = conclude(self._client, current, self.holder.ending, self.response, error)
            portal.post(self._client.engine.spawn, ending)


def _streamed(chunks: AsyncGenerator[bytes, None], is_head: bool) -> Iterator[bytes]:
    """Yield what is made on the engine's event loop while it is sent; each wait for it takes the server's thread."""
    try:
        while not is_head:
            yield portal.call(chunks.__anext__)
    except StopAsyncIteration:
        return
    finally:
        portal.call(chunks.aclose)


def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Unknown"


def _nowhere(*_: object) -> Write:
    """Take a re-entry's response: nobody is connected, and the exchange keeps it."""
    return _nothing


def _nothing(*_: object) -> None:
    """Do nothing."""
