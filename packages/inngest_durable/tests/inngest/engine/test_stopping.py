"""While a process starts or stops, a dispatch is answered so that the server sends it again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
from inngest_durable import ConfigurationError
from inngest_durable.engines.inngest.engine import InngestEngine

from packages.inngest_durable.tests.inngest.engine.application import Rows
from packages.inngest_durable.tests.inngest.engine.conftest import OpenRig
from packages.inngest_durable.tests.inngest.engine.rig import Rig
from packages.inngest_durable.tests.inngest.fake_state import COMPLETED
from packages.inngest_durable.tests.inngest.fake_wire import new_ulid
from testkit.colourless import Web, over_quart_only
from testkit.waiting import wait_until

ENDED = {"one": 2, "two": 1, "three": 1}


class UnstartableEngine(InngestEngine):
    """Is configured so that it cannot start."""

    async def start(self, host: Any) -> None:
        """Raise."""
        raise ConfigurationError("the engine cannot start")


class CutRequest:
    """A dispatch of a run of /held, by a web server that cancels it in flight."""

    def __init__(self, rig: Rig, run_id: str) -> None:
        self.sent: list[dict[str, Any]] = []
        self.was_cancelled = False
        self._app = rig.rows.app
        headers = {"host": rig.url.partition("//")[2], "x-run-id": run_id, "x-request-id": new_ulid(rig.clock.now())}
        headers["x-inngest-signature"] = ""
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/held",
            "raw_path": b"/held",
            "root_path": "",
            "query_string": b"fail=1",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", rig.server.port),
        }

    async def serve(self) -> None:
        """Do what the web server does with the application."""
        try:
            await self._app(self._scope, self._receive, self._send)
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise

    async def _receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)


def ends(rig: Rig) -> None:
    """Let the run go on, and check that nothing of it is done twice."""
    rig.outside.open("two")
    assert rig.finish().status == COMPLETED
    assert {name: count for name, count in rig.outside.counts().items() if name != "pass held"} == ENDED


@over_quart_only
def test_dispatch_that_the_web_server_cancels_is_answered_first(rig: Rig) -> None:
    # The server's own request comes later.
    rig.fake.faults.late_seconds = 1000
    run_id = rig.ask("/held?fail=1").headers["x-inngest-run-id"]
    rig.advance(61)
    request = CutRequest(rig, run_id)
    serving = rig.server.submit(request.serve)
    rig.outside.wait_for("two")
    serving.cancel()
    wait_until(lambda: request.was_cancelled, "the request to end as the web server wants it to")
    start, body = request.sent
    headers = dict(start["headers"])

    assert (start["status"], headers[b"x-inngest-no-retry"], body["more_body"]) == (503, b"false", False)
    assert headers[b"x-inngest-sdk"].startswith(b"inngest-durable:v")
    # The pass has not been harmed.
    rig.fake.faults.late_seconds = 0
    ends(rig)


def test_dispatch_is_answered_soon_when_the_process_stops(open_rig: OpenRig) -> None:
    rig = open_rig(shutdown_grace="1m")
    rig.ask("/held?fail=1")
    rig.advance(60)
    rig.outside.wait_for("two")
    stopping = rig.server.submit(rig.rows.inngest.stop)
    # Long before the grace ends, and the step.
    (dispatch,) = rig.dispatched(1)
    headers = httpx.Headers(dispatch.response_headers)

    assert (dispatch.status, headers["x-inngest-no-retry"]) == (503, "false")
    assert headers["x-inngest-sdk"].startswith("inngest-durable:v")
    assert not rig.outside.is_open("two")
    assert not stopping.done()
    rig.outside.open("two")
    stopping.result(20)
    assert b"two" in b"".join(call.body for call in rig.fake.called("POST /v1/checkpoint/.*"))


def test_dispatch_to_an_engine_that_cannot_start_is_answered(tmp_path: Path, web: Web) -> None:
    app = Rows(tmp_path, UnstartableEngine(is_dev=True)).app
    headers = {"x-run-id": new_ulid(1.8e9), "x-request-id": new_ulid(1.8e9), "x-inngest-signature": ""}
    if web.blocks:
        with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://app") as client:
            answer = client.get("/book", headers=headers)
    else:
        answer = asyncio.run(_asked(app, headers))

    assert (answer.status_code, answer.headers["x-inngest-no-retry"]) == (503, "false")
    assert answer.headers["x-inngest-sdk"].startswith("inngest-durable:v")


async def _asked(app: Any, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
        return await client.get("/book", headers=headers)
