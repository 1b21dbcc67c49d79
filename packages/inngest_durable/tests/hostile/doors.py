"""
An application whose doors are knocked at by hand: over ASGI or WSGI, in this process, with whatever bytes a client may
send. No test client and no HTTP library tidies a request up before it arrives.

    route          what its handler does
    /order         GET, POST: step pay; answers its result
    /approval      waits for an event "approved"
    /plain         no endpoint
    /wait          `endpoint_proxy()`
"""

from __future__ import annotations

import asyncio
import io
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from inngest_durable import EmbeddedEngine, Inngest
from inngest_durable._core.limits import Limits
from quart import Quart

from packages.inngest_durable.tests.adapters.application import QUICK
from testkit.colourless import adapter_of, endpoint_adapter, step, web
from testkit.records import database_of
from testkit.waiting import PATIENCE_SECONDS

EVENT_KEY = "key-1"
EVENTS = f"/_inngest/e/{EVENT_KEY}"
LIMITS = Limits(request_body=100_000, event_data=10_000)

RawHeaders = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client got: names of *headers* are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Doors:
    """
    The application of the framework that `colourless` stands for.

    Args:
        folder: Where its database is.
        **options: Options of the engine.

    Attributes:
        app: The framework's object.
        inngest: Its client.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        self.database = database_of(folder)
        engine = EmbeddedEngine(self.database, **options)
        self.inngest = Inngest(*("doors", adapter_of(endpoint_adapter), engine), event_key=EVENT_KEY, limits=LIMITS)
        self.app: Quart = web().app("doors")
        self._add_routes()
        self.inngest.init_app(self.app)
        self.app.add_url_rule("/wait", view_func=self.inngest.endpoint_proxy(), methods=["GET", "OPTIONS"])

    def _add_routes(self) -> None:
        @self.app.route("/order", methods=["GET", "POST"])
        @self.inngest.endpoint(id="order", retries=QUICK)
        async def order() -> str:
            return await step.run("pay", lambda: "paid")

        @self.app.get("/approval")
        @self.inngest.endpoint(id="approval", retries=0)
        async def approval() -> dict[str, Any]:
            event = await step.wait_for_event("approval", event="approved", timeout="1h")
            return {"data": event.data if event else None}

        @self.app.get("/plain")
        async def plain() -> str:
            return "plain"

    @contextmanager
    def opened(self) -> Iterator[Doors]:
        """Run the engine for the time of a block."""
        if web().blocks:
            with self.inngest.running():
                yield self
            return
        with asyncio.Runner() as self._runner:
            try:
                self._runner.run(self._started())
                yield self
            finally:
                self._runner.run(self._stopped())

    @contextmanager
    def unstarted(self) -> Iterator[Doors]:
        """Let the first request start the engine, which is stopped at the end of a block."""
        if web().blocks:
            try:
                yield self
            finally:
                self.inngest.stop()
            return
        with asyncio.Runner() as self._runner:
            try:
                yield self
            finally:
                self._runner.run(self._stopped())

    async def _started(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.inngest.start()

    async def _stopped(self) -> None:
        await self.inngest.stop()
        # One that could not be started may hold the file.
        await self.inngest.engine.stop()

    def ask(
        self,
        method: str,
        path: str,
        query: bytes = b"",
        headers: RawHeaders = (),
        body: bytes | None = None,
        **environ: Any,
    ) -> Reply:
        """
        Send one request as a server hands it on: *path* is quoted, a *body* has a length.

        Over WSGI, a server may say more in its *environ*.
        """
        if body is not None:
            headers = (*headers, (b"content-length", b"%d" % len(body)))
        if web().blocks:
            return self._over_wsgi(method, path, query, headers, body or b"", environ)

        async def asking() -> Reply:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._over_asgi(method, path, query, headers, body or b"")

        return self._runner.run(asking())

    async def _over_asgi(self, method: str, path: str, query: bytes, headers: RawHeaders, body: bytes) -> Reply:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "root_path": "",
            "path": unquote(path),
            "raw_path": path.encode("latin-1", "replace"),
            "query_string": query,
            "headers": [(b"host", b"localhost"), *headers],
            "client": ("127.0.0.1", 40000),
            "server": ("127.0.0.1", 80),
            "extensions": {},
        }
        sent: list[Any] = []
        given, answered_whole = False, asyncio.Event()

        async def receive() -> dict[str, Any]:
            nonlocal given
            if given:
                # A server says so once it has answered, and newer Quart waits for it.
                await answered_whole.wait()
                return {"type": "http.disconnect"}
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                answered_whole.set()

        app: Any = self.app.asgi_app
        await app(scope, receive, send)
        start, *chunks = sent
        answered = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
        return Reply(start["status"], answered, b"".join(chunk.get("body", b"") for chunk in chunks))

    def _over_wsgi(
        self, method: str, path: str, query: bytes, headers: RawHeaders, body: bytes, more: dict[str, Any]
    ) -> Reply:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query.decode("latin-1"),
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "localhost",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in headers:
            key = name.decode("latin-1").upper().replace("-", "_")
            key = key if key in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{key}"
            # As servers do it.
            environ[key] = f"{environ[key]},{value.decode('latin-1')}" if key in environ else value.decode("latin-1")
        environ |= more
        started: list[Any] = []
        app: Any = self.app
        chunks = app.wsgi_app(environ, lambda *given: started.append(given))
        try:
            sent = b"".join(chunks)
        finally:
            getattr(chunks, "close", lambda: None)()
        status, answered, *_ = started[-1]
        return Reply(int(status[:3]), {name.lower(): value for name, value in answered}, sent)

    def parked(self) -> tuple[str, bytes]:
        """Begin a run that waits; return the path of its wait URL, and the query with its token."""
        answer = self.ask("GET", "/approval")
        assert answer.status == 303, answer
        path, _, query = answer.headers["location"].partition("?")
        return path, query.encode()

    def counts(self) -> tuple[int, ...]:
        """Return how many rows the tables of the runs and events have, read from outside."""
        with closing(sqlite3.connect(self.database, timeout=10)) as connection:
            return tuple(
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608  # these three
                for table in ("runs", "steps", "events")
            )

    def unfinished(self) -> int:
        """Return how many runs have not ended."""
        with closing(sqlite3.connect(self.database, timeout=10)) as connection:
            ((count,),) = connection.execute("SELECT count(*) FROM runs WHERE ended_at IS NULL").fetchall()
        return int(count)


def is_clear(reply: Reply) -> bool:
    """Whether a request was refused, and nothing of our insides was told."""
    return 400 <= reply.status < 500 and b"Traceback" not in reply.body and b"site-packages" not in reply.body
