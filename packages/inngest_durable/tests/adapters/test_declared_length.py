"""A server that has sent as much as ``Content-Length`` says may end the exchange before the framework's last chunk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import step
from quart import Response

from packages.inngest_durable.tests.adapters.quart_app import small_app
from testkit.records import Records, database_of

BODY = b"one two"


class Server:
    """The server's side of one exchange; it closes the connection once it has sent *closes_after* bytes."""

    def __init__(self, closes_after: int) -> None:
        self._closes_after = closes_after
        self._sent = 0
        self._given = False
        self._closed = asyncio.Event()

    scope: dict[str, Any] = {  # noqa: RUF012  # copied by the test
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/file",
        "raw_path": b"/file",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 80),
    }

    async def receive(self) -> dict[str, Any]:
        """Give the empty body, then the end of the connection."""
        if self._given:
            await self._closed.wait()
            return {"type": "http.disconnect"}
        self._given = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Any) -> None:
        """Take the response until the connection is closed."""
        self._sent += len(message.get("body", b""))
        if self._sent >= self._closes_after:
            self._closed.set()


@pytest.mark.parametrize(("closes_after", "passes"), [(len(BODY), 1), (3, 2)], ids=["whole", "cut off"])
async def test_response_is_whole_when_its_declared_length_is_sent(
    tmp_path: Path, closes_after: int, passes: int
) -> None:
    """A whole one ends the run; one that is cut off is made again from the memos."""
    app, inngest, outside = small_app(tmp_path)

    @app.get("/file")
    @inngest.endpoint
    async def file() -> Response:
        await step.run("find", asyncio.sleep, 0)
        number = outside.record("pass")

        async def chunks() -> Any:
            for start in range(0, len(BODY), 3):
                yield BODY[start : start + 3]
                if number == 1 and start + 3 >= closes_after:
                    # No more gets out, not even the framework's last, empty chunk.
                    await asyncio.Event().wait()

        return Response(chunks(), headers={"content-length": str(len(BODY))})

    inngest.init_app(app)
    async with inngest.running(), asyncio.timeout(10):
        server = Server(closes_after)
        await app.asgi_app(dict(server.scope), server.receive, server.send)  # type: ignore[arg-type]
        run = await inngest.engine.ended(Records(database_of(tmp_path)).runs()[0].id, 5)

    assert run is not None
    assert run.response is not None
    assert (run.status, run.response.body) == ("completed", BODY)
    assert len(outside.calls("pass")) == passes
