"""The fake server's HTTP API, as an ASGI application."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import unquote

from packages.inngest_durable.tests.inngest.fake_answers import (
    TEXT,
    Call,
    Reply,
    description,
    error,
    gone,
    output_reply,
)
from packages.inngest_durable.tests.inngest.fake_checks import (
    check_call,
    check_create,
    check_post,
    check_steps,
    check_sync_ops,
)
from packages.inngest_durable.tests.inngest.fake_faults import Faults
from packages.inngest_durable.tests.inngest.fake_ops import Operations, Panic
from packages.inngest_durable.tests.inngest.fake_pace import Pace
from packages.inngest_durable.tests.inngest.fake_runs import Runs
from packages.inngest_durable.tests.inngest.fake_state import CANCELLED, MAX_CREATE_BYTES, Json, Received, Run
from packages.inngest_durable.tests.inngest.fake_wire import (
    compact,
    from_base64,
    hashed_key,
    is_ulid,
    is_uuid,
    new_ulid,
    rfc3339,
    run_of_token,
    run_token,
    without_prefix,
)

# 1980-01-01, in milliseconds.
_FIRST_TS = 315_532_800_000

Route = Callable[[Call, str], Awaitable[Reply]]


class Api:
    """
    Answers API calls.

    Args:
        signing_key: What calls must be authenticated with, hashed or as it is; None: with anything.
        event_key: What events must be sent with; None: with anything.

    Attributes:
        calls: Every call, in order.
        is_stopping: Set when the server ends, so that nobody waits any longer.
    """

    def __init__(
        self,
        runs: Runs,
        operations: Operations,
        faults: Faults,
        pace: Pace,
        *,
        signing_key: str | None,
        event_key: str | None,
    ) -> None:
        self._runs = runs
        self._operations = operations
        self._faults = faults
        self._pace = pace
        self._signing_key = signing_key
        self._event_key = event_key
        self._seen: dict[str, tuple[float, Reply]] = {}
        self.calls: list[Call] = []
        self.is_stopping = False
        self._routes: list[tuple[str, str, Route]] = [
            ("POST", r"/v1/checkpoint", self._create),
            ("POST", r"/v1/http/runs", self._create),
            ("POST", r"/v1/(?:checkpoint|http/runs)/([^/]+)/steps", self._steps),
            ("GET", r"/v1/(?:checkpoint|http/runs)/([^/]+)/output", self._output),
            ("HEAD", r"/v1/(?:checkpoint|http/runs)/([^/]+)/output", self._output),
            ("GET", r"/v0/runs/([^/]+)/actions", self._actions),
            ("GET", r"/v0/runs/([^/]+)/batch", self._batch),
            ("GET", r"/v1/runs/([^/]+)", self._run),
            ("DELETE", r"/v1/runs/([^/]+)", self._cancel),
            ("GET", r"/v1/runs/([^/]+)/jobs", self._jobs),
            ("POST", r"/v1/signals", self._signals),
            ("POST", r"/e/([^/]+)", self._events),
        ]

    async def answer(self, call: Call) -> Reply | None:
        """Return the answer to *call*; None to cut the connection."""
        self.calls.append(call)
        content = call.content
        if (fault := self._take("slow", call, content)) is not None:
            await asyncio.sleep(fault.value)
        if self._faults.is_unreachable or self._take("cut", call, content) is not None:
            return None
        if (fault := self._take("answer", call, content)) is not None:
            return error(int(fault.value), "the fake server was told to say so")
        reply = await self._route(call)
        return None if self._take("cut-after", call, content) is not None else reply

    async def _route(self, call: Call) -> Reply:
        for method, pattern, route in self._routes:
            if method == call.method and (found := re.fullmatch(pattern, call.path)) is not None:
                is_open = route in (self._output, self._events)
                if not is_open:
                    self._complain(call, check_call(call.headers, self._signing_key))
                    if not self._is_authenticated(call):
                        return Reply(401, b"Authentication failed", {"Content-Type": TEXT})
                return await route(call, found[1] if found.re.groups else "")
        self._complain(call, ["there is no such call"])
        return error(404, "not found")

    def _take(self, kind: str, call: Call, content: Any) -> Any:
        return self._faults.take(kind, call.method, call.path, content)

    def _complain(self, call: Call, problems: Iterable[str]) -> None:
        self._runs.violations += [f"{call.method} {call.path}: {problem}" for problem in problems]

    def _is_authenticated(self, call: Call) -> bool:
        if self._signing_key is None:
            return True
        scheme, _, key = call.headers.get("authorization", "").partition(" ")
        accepted = (hashed_key(self._signing_key), without_prefix(self._signing_key))
        return scheme.lower() == "bearer" and without_prefix(key) in accepted

    async def _create(self, call: Call, _: str) -> Reply:
        body = call.content
        self._complain(call, check_post(call.headers))
        data = body.get("event", {}).get("data", {}) if isinstance(body, dict) else {}
        if len(call.body) > MAX_CREATE_BYTES or not is_ulid((body or {}).get("run_id")):
            self._complain(call, [f"{len(call.body)} bytes that are refused"])
            return error(400, "Invalid request body")
        self._complain(call, check_create(body))
        if from_base64(data.get("body") or "") is None:
            return error(400, "Invalid request body")
        run = self._runs.create(body)
        steps = body.get("steps") or []
        try:
            self._checkpoint(call, run, steps)
        except Panic:
            return Reply(500)
        now = self._runs.clock.now()
        answer = {"fn_id": run.fn_id, "app_id": run.app_id, "run_id": run.run_id}
        answer |= {"token": run_token(run.run_id, now)} if steps else {}
        return self._data({**answer, "realtime_token": "realtime"})

    async def _steps(self, call: Call, path_run_id: str) -> Reply:
        body = call.content
        self._complain(call, check_post(call.headers))
        if not isinstance(body, dict) or not all(is_uuid(body.get(name)) for name in ("fn_id", "app_id")):
            self._complain(call, [f"fn_id or app_id is no UUID: {call.body[:200]!r}"])
            return error(400, "invalid request body")
        run = self._runs.runs.get(str(body.get("run_id")))
        if run is None:
            self._complain(call, [f"there is no run {body.get('run_id')!r}"])
            return Reply(200)
        self._complain(call, check_steps(body, run, path_run_id))
        try:
            self._checkpoint(call, run, body.get("steps") or [])
        except Panic:
            return Reply(500)
        return Reply(200)

    def _checkpoint(self, call: Call, run: Run, steps: list[Json]) -> None:
        self._complain(call, check_sync_ops(steps))
        received = [Received(op, "sync") for op in steps]
        run.ops += received
        is_lost = self._take("lose", call, call.content) is not None
        self._operations.checkpoint(None if is_lost else run, received)

    async def _actions(self, call: Call, run_id: str) -> Reply:
        run = self._runs.live(run_id)
        return gone() if run is None else Reply(200, compact(run.actions), {"Content-Type": TEXT})

    async def _batch(self, call: Call, run_id: str) -> Reply:
        run = self._runs.live(run_id)
        return gone() if run is None else Reply(200, compact([run.event]), {"Content-Type": TEXT})

    async def _run(self, call: Call, run_id: str) -> Reply:
        return self._cached(call, lambda: self._look(run_id, description))

    async def _jobs(self, call: Call, run_id: str) -> Reply:
        return self._cached(call, lambda: self._look(run_id, self._jobs_of))

    def _jobs_of(self, run: Run) -> list[Json]:
        jobs = [job for job in self._runs.jobs if job.run_id == run.run_id]
        return [
            {
                "JobID": job.job_id,
                "at": rfc3339(job.at),
                "position": 0,
                "kind": job.kind,
                "attempt": job.attempt,
                "Raw": {"data": {"payload": {"edge": {"outgoing": job.settles}}}},
            }
            for job in jobs[:10]
        ]

    def _look(self, run_id: str, describe: Callable[[Run], Any]) -> Reply:
        run = self._runs.runs.get(run_id)
        if not is_ulid(run_id):
            return Reply(200, error(400, f"Invalid run ID: {run_id}").body)
        if run is None:
            # Its cache in between drops the status 500 that is meant: only the body tells.
            return Reply(200, error(500, f"Unable to load function run: {run_id}").body)
        return self._data(describe(run))

    def _cached(self, call: Call, make: Callable[[], Reply]) -> Reply:
        seen = self._seen.get(call.path)
        if seen is not None and time.monotonic() - seen[0] < self._pace.cache_seconds:
            return seen[1]
        reply = make()
        if b'"error":' not in reply.body[:10]:
            self._seen[call.path] = time.monotonic(), reply
        return reply

    async def _cancel(self, call: Call, run_id: str) -> Reply:
        run = self._runs.runs.get(run_id)
        if run is None:
            return error(404, f"Unable to load function run: {run_id}")
        if self._runs.live(run_id) is not None:
            self._runs.end(run, CANCELLED, b"", listed={})
        # Without its state, the run is not cancelled, and nobody is told.
        return Reply(200)

    async def _signals(self, call: Call, _: str) -> Reply:
        body = call.content
        if not isinstance(body, dict):
            return error(400, "Invalid signal data")
        if not body.get("signal"):
            return error(500, "Failed to receive signal")
        run_id = self._runs.signal(body["signal"], body.get("data"))
        return error(404, "No signal found") if run_id is None else self._data({"run_id": run_id})

    async def _events(self, call: Call, key: str) -> Reply:
        if self._event_key is not None and unquote(key) != self._event_key:
            return Reply(401, compact({"status": 401, "message": "", "error": "Event key not found"}))
        content = call.content
        events = content if isinstance(content, list) else [content]
        if not all(
            isinstance(event, dict) and isinstance(event.get("name"), str) and event["name"] for event in events
        ):
            return Reply(400, compact({"ids": [""], "status": 400, "error": "event name is empty"}))
        if reserved := [event["name"] for event in events if event["name"].startswith("inngest/")]:
            text = f"event name is reserved for internal use: {reserved[0]}"
            return Reply(400, compact({"ids": [""], "status": 400, "error": text}))
        if any(isinstance(event.get("ts"), int) and 0 < event["ts"] < _FIRST_TS for event in events):
            return Reply(400, compact({"ids": [""], "status": 400, "error": "timestamp is before Jan 1, 1980"}))
        ids = []
        for event in events:
            now = self._runs.clock.now()
            ids.append(new_ulid(now))
            filled = {"data": {}, "id": ids[-1], "ts": int(now * 1000)}
            self._runs.publish(filled | {name: value for name, value in event.items() if value})
        return Reply(200, compact({"ids": ids, "status": 200}), {"Content-Type": TEXT})

    async def _output(self, call: Call, _: str) -> Reply:
        token = (call.query.get("token") or [""])[0]
        run_id = run_of_token(token, self._runs.clock.now())
        if run_id is None:
            return Reply(401, error(401, "Unable to find run with auth token").body, {"Content-Type": TEXT})
        until = time.monotonic() + self._pace.output_seconds
        while time.monotonic() < until and not call.is_cut() and not self.is_stopping:
            run = self._runs.runs.get(run_id)
            if run is not None and run.output is not None:
                return output_reply(run.output)
            await asyncio.sleep(self._pace.poll_seconds)
        text = b'{"status":"running","message":"run did not end within 5 minutes"}'
        return Reply(200, text, {"Content-Type": TEXT})

    def _data(self, data: Any) -> Reply:
        return Reply(200, compact({"data": data, "metadata": {"fetched_at": rfc3339(self._runs.clock.now())}}))
