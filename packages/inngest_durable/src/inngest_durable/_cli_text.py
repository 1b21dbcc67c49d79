"""
What the command line says about runs: as data for ``--json``, and as text for people. Pure.

Never shows what opens something: tokens, ``Idempotency-Key``, request headers. Nor results and responses, which may
hold anything. Texts of others lose their control characters, which would otherwise reach the operator's terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from ._core.invoke_flow import is_child
from ._core.model import Failure, Memo, RecordedRequest, Run, RunStatus
from ._core.run_events import RunEvent
from ._core.run_flow import SUSPECT_DEATHS
from .engines.embedded.operator import RunRecord
from .engines.embedded.store import ListedRun

_TIMES = ("started_at", "until")


def listed(runs: Sequence[ListedRun], longest_cell: int | None = None) -> str:
    """Return a table of *runs*, in which longer cells are cut off."""
    rows = [
        (run.id, run.status, run.endpoint, str(run.attempt), when(run.created_at), _then(run), run.error or "")
        for run in runs
    ]
    return table(("RUN", "STATUS", "ENDPOINT", "ATTEMPT", "CREATED", "ENDED OR DUE", "ERROR"), rows, longest_cell)


def described(record: RunRecord, with_query: bool) -> dict[str, Any]:
    """Return what is shown of a run, as JSON; times are in seconds since the epoch."""
    run = record.run
    return {
        "id": run.id,
        "app_id": run.app_id,
        "endpoint": run.endpoint,
        "status": run.status.value,
        "attempt": run.attempt,
        "passes": run.epoch,
        "recoveries": run.recoveries,
        "is_suspect": not run.status.is_final and run.recoveries >= SUSPECT_DEATHS,
        "created_at": run.created_at,
        "ended_at": run.ended_at,
        "wake_at": run.wake_at,
        "deadline": run.deadline,
        "worker": None if record.process is None else {"pid": record.process[0], "host": record.process[1]},
        "invoked_by": _parent(run),
        "has_idempotency_key": run.idempotency is not None and not is_child(run),
        "request": _request_line(run.request, with_query),
        "response_status": None if run.response is None else run.response.status,
        "error": _error(run.failure),
        "steps": [_step(memo) for memo in record.memos],
        "waits": msgspec.to_builtins(record.waits),
        "events": [_event(event) for event in record.events],
    }


def shown(shown_run: dict[str, Any], longest_cell: int | None = None) -> str:
    """Return what `described` has returned as text for people, in whose tables longer cells are cut off."""
    passes = "1 pass" if shown_run["passes"] == 1 else f"{shown_run['passes']} passes"
    fields = {
        "run": shown_run["id"],
        "endpoint": f"{shown_run['endpoint']} of {shown_run['app_id']}",
        "status": f"{shown_run['status']}, attempt {shown_run['attempt']}, {passes}",
        "request": shown_run["request"],
        "answered": shown_run["response_status"],
        "created": when(shown_run["created_at"]),
        "ended": when(shown_run["ended_at"]),
        "due": when(shown_run["wake_at"]),
        "deadline": when(shown_run["deadline"]),
        "worker": "process {pid} on {host}".format(**shown_run["worker"]) if shown_run["worker"] else "",
        "invoked by": shown_run["invoked_by"],
        "suspect": _suspect(shown_run),
        "error": _error_text(shown_run["error"]),
    }
    parts = ["\n".join(f"{name:<11} {printable(str(value))}" for name, value in fields.items() if value)]
    if shown_run["error"] and shown_run["error"].get("traceback"):
        parts.append("\n".join(f"    {printable(line)}" for line in shown_run["error"]["traceback"].splitlines()))
    steps = [
        (step["key"], step["op"], step["state"], step["attempt"], when(step["wake_at"]), _error_text(step["error"]))
        for step in shown_run["steps"]
    ]
    waits = [(wait["key"], wait["kind"], wait["name"]) for wait in shown_run["waits"]]
    events = [_event_row(event) for event in shown_run["events"]]
    parts += [
        table(("STEP", "KIND", "STATE", "ATTEMPT", "DUE", "ERROR"), steps, longest_cell) if steps else "no steps",
        *([table(("WAITING STEP", "FOR", "NAME"), waits, longest_cell)] if waits else []),
        table(("AT", "EVENT", "STEP", "ATTEMPT", "MORE"), events, longest_cell) if events else "no events",
    ]
    return "\n\n".join(parts)


def table(head: Sequence[str], rows: Iterable[Sequence[object]], longest_cell: int | None = None) -> str:
    """Return *rows* in columns under *head*, each cell on one line, and cut off if it is longer than that."""
    lines = [list(head), *[[_cell(value, longest_cell) for value in row] for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def when(seconds: float | None) -> str:
    """Return a time in seconds since the epoch as people read it, in UTC; empty for None."""
    if seconds is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}Z"
    except (OverflowError, ValueError, OSError):
        return "never"


def printable(text: str) -> str:
    """Return *text* with its control characters, and what is not valid Unicode, as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _cell(value: object, longest: int | None) -> str:
    text = printable("" if value is None else str(value))
    return text if longest is None or len(text) <= longest else f"{text[: longest - 1]}…"


def _suspect(shown_run: dict[str, Any]) -> str:
    if not shown_run["is_suspect"]:
        return ""
    turn = "; it waits until no other suspect executes" if shown_run["status"] == RunStatus.WAITING else ""
    return f"it was under way at {shown_run['recoveries']} deaths of a worker{turn}"


def _then(run: ListedRun) -> str:
    return when(run.wake_at if run.ended_at is None else run.ended_at)


def _parent(run: Run) -> str | None:
    return run.idempotency.key.partition("/")[0] if run.idempotency is not None and is_child(run) else None


def _request_line(request: RecordedRequest, with_query: bool) -> str:
    query = request.query_string.decode("latin-1")
    if query and not with_query:
        # A value may be a secret, as in a signed link.
        query = "&".join(f"{name}=…" for name, _ in parse_qsl(query, keep_blank_values=True))
    return f"{request.method} {request.path}{'?' if query else ''}{query}"


def _error(failure: Failure | None) -> dict[str, str] | None:
    if failure is None:
        return None
    return {"name": failure.name, "message": failure.message, "traceback": failure.traceback}


def _error_text(error: dict[str, str] | None) -> str:
    return "" if error is None else f"{error['name']}: {error['message']}"


def _step(memo: Memo) -> dict[str, Any]:
    return {
        "key": memo.key,
        "op": memo.op.value,
        "state": memo.state.value,
        "attempt": memo.attempt,
        "wake_at": memo.wake_at,
        "result_bytes": None if memo.result is None else len(memo.result),
        "error": _error(memo.failure),
    }


def _event(event: RunEvent) -> dict[str, Any]:
    return {"id": event.id, "at": event.at, "kind": event.kind, **json.loads(event.data or "{}")}


def _told(name: str, value: Any) -> str:
    return when(value) if name in _TIMES and value is not None else json.dumps(value)


def _event_row(event: dict[str, Any]) -> tuple[object, ...]:
    known = ("id", "at", "kind", "step", "attempt")
    more = " ".join(f"{name}={_told(name, value)}" for name, value in event.items() if name not in known)
    return when(event["at"]), event["kind"], event.get("step"), event.get("attempt"), more
