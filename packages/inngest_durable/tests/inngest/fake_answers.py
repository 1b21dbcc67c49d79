"""What the fake server is asked, and what it answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from packages.inngest_durable.tests.inngest.fake_reading import api_result
from packages.inngest_durable.tests.inngest.fake_state import Json, Run
from packages.inngest_durable.tests.inngest.fake_wire import compact, rfc3339

TEXT = "text/plain; charset=utf-8"
_NO_BODY = (204, 304)


@dataclass(slots=True)
class Call:
    """One request to the server: the names of *headers* are in lower case, and *is_cut* tells whether it has gone."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    is_cut: Callable[[], bool] = lambda: False
    at: float = field(default_factory=time.monotonic)

    @property
    def content(self) -> Any:
        """What its body says as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(slots=True)
class Reply:
    """An answer of the server."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def output_reply(output: bytes) -> Reply:
    """Return what the output endpoint makes of what was kept of a run."""
    if not output:
        return Reply(200, b"", {})
    if (result := api_result(output)) is None:
        return Reply(200, output)
    status, headers, body = result
    if status in _NO_BODY:
        return Reply(status, b"", headers)
    is_typed = any(name.lower() == "content-type" for name in headers)
    return Reply(status, body, headers if is_typed or not body else {**headers, "content-type": TEXT})


def description(run: Run) -> Json:
    """Return a run as the API tells of it."""
    return {
        "run_id": run.run_id,
        "run_started_at": rfc3339(run.created_at),
        "function_id": run.fn_id,
        "status": run.status,
        "ended_at": None if run.ended_at is None else rfc3339(run.ended_at),
    } | ({} if run.listed is None else {"output": run.listed})


def gone() -> Reply:
    """Return the answer for a run without state."""
    return Reply(410, error(410, "runtime state is no longer available").body, {"Content-Type": TEXT})


def error(status: int, text: str) -> Reply:
    """Return an error in the form of the API."""
    return Reply(status, compact({"error": text, "data": None, "status": status}))
