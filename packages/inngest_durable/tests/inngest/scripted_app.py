"""A tiny application that talks to the server by hand, to try the fake without any SDK."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from packages.inngest_durable.tests.inngest.fake_server import FakeInngest
from packages.inngest_durable.tests.inngest.fake_wire import new_ulid, step_hash
from testkit.servers import UvicornThread

SDK = {"X-Inngest-SDK": "scripted:v0.0.1", "X-Inngest-Req-Version": "2", "Content-Type": "application/json"}
RESULT = {"status": 418, "headers": {"x-tea": "yes"}, "body": "short and stout"}
FINISH = {"id": step_hash("complete"), "op": "RunComplete", "data": RESULT}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the application answers to a re-entry: *content* as JSON, or its bytes as they are."""

    content: Any
    status: int = 206
    headers: dict[str, str] | None = None

    @property
    def body(self) -> bytes:
        """What is sent."""
        return self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()


class ScriptedApp:
    """
    An application that answers re-entries in turn from *answers*, the last one again and again.

    Attributes:
        server: What serves it.
        requests: Method, URL with query, headers and body of each re-entry.
    """

    def __init__(self, *answers: Answer | Callable[[], Answer]) -> None:
        self._answers = itertools.chain(answers, itertools.repeat(answers[-1] if answers else Answer(FINISH)))
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.server = UvicornThread(self)
        self.domain = f"http://127.0.0.1:{self.server.port}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        message = await receive()
        url = scope["raw_path"].decode() + (f"?{scope['query_string'].decode()}" if scope["query_string"] else "")
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.requests.append((scope["method"], url, headers, message.get("body", b"")))
        answer = next(self._answers)
        answer = answer if isinstance(answer, Answer) else answer()
        raw = [(k.lower().encode(), v.encode()) for k, v in (SDK if answer.headers is None else answer.headers).items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        await send({"type": "http.response.body", "body": answer.body})


class ByHand:
    """
    One run, whose opcodes a test sends itself.

    Args:
        app: Where the server calls back; without one, nowhere that answers.
        options: Fields of the create call (``retries``), or of the event's data (``method``, ``path``, ``body``, ...).
    """

    def __init__(self, fake: FakeInngest, app: ScriptedApp | None = None, **options: Any) -> None:
        self.fake = fake
        self.client = httpx.Client(base_url=fake.url, timeout=20)
        self.run_id: str = options.pop("run_id", None) or new_ulid(fake.clock.now())
        self._retries = options.pop("retries", 3)
        body = base64.b64encode(options.pop("body", b"")).decode()
        domain = app.domain if app else "http://127.0.0.1:9"
        data = {"domain": domain, "path": "/work", "method": "GET", "query_params": "", "body": body}
        self.data: dict[str, Any] = {**data, "content_type": "", "ip": "", "fn": "", **options}
        self.ids: dict[str, Any] = {}
        self.token = ""

    def create(self, *steps: dict[str, Any], **fields: Any) -> httpx.Response:
        """Create the run."""
        event = {"name": "inngest/http.request", "data": self.data}
        content = {"run_id": self.run_id, "event": event, "steps": list(steps), "request_version": 2}
        response = self.client.post("/v1/checkpoint", json={**content, "retries": self._retries, "ts": 1, **fields})
        if response.status_code == 200:
            self.ids = {name: response.json()["data"][name] for name in ("run_id", "fn_id", "app_id")}
            self.token = response.json()["data"].get("token", "")
        return response

    def post(self, *steps: dict[str, Any]) -> httpx.Response:
        """Send a checkpoint."""
        content = {**self.ids, "steps": list(steps), "ts": 1}
        return self.client.post(f"/v1/checkpoint/{self.run_id}/steps", json=content)

    def actions(self) -> Any:
        """Return what is memoized."""
        return self.client.get(f"/v0/runs/{self.run_id}/actions").json()

    def status(self) -> str:
        """Return the run's status, as the API tells it."""
        return str(self.client.get(f"/v1/runs/{self.run_id}").json()["data"]["status"])

    def output(self, **options: Any) -> httpx.Response:
        """Wait for the run's answer, as a redirected client does."""
        return self.client.get(f"/v1/http/runs/{self.run_id}/output", params={"token": self.token}, **options)

    def ended(self) -> str:
        """Wait for the run's end, and return its status."""
        self.fake.wait_until(lambda: self.fake.run(self.run_id).is_over, "the end of the run")
        return self.status()


def op(kind: str, step: str, **fields: Any) -> dict[str, Any]:
    """Return an opcode."""
    return {"op": kind, "id": step_hash(step), "displayName": step, "userland": {"id": step}, "opts": {}, **fields}


def ran(step: str, data: Any = None) -> dict[str, Any]:
    """Return the opcode of a step that has run."""
    return op("StepRun", step, name=step, data=data)


def failed(step: str, kind: str = "StepError") -> dict[str, Any]:
    """Return the opcode of a step that has failed."""
    return op(kind, step, name=step, error={"name": "ValueError", "message": "no", "stack": ""})


def sleep(step: str, duration: str) -> dict[str, Any]:
    """Return the opcode of a sleep."""
    return op("Sleep", step, name=duration)


def discovery(text: str) -> dict[str, Any]:
    """Return the opcode that asks for a re-entry at once."""
    return {"op": "DiscoveryRequest", "id": step_hash(text)}


def wait_for(step: str, event: str, timeout: str = "1h", condition: str | None = None) -> dict[str, Any]:
    """Return the opcode of a wait for an event."""
    opts = {"timeout": timeout} | ({"if": condition} if condition is not None else {})
    return op("WaitForEvent", step, name=event) | {"opts": opts}
