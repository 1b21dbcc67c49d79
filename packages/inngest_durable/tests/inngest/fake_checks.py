"""
What the fake server verifies beyond what the real one refuses. Pure: each function returns what is wrong, as texts.

The real server answers 200 to most mistakes and loses what it was sent, so a test would see only a run that hangs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from celpy import Environment
from celpy.adapter import json_to_cel
from celpy.celparser import CELParseError
from celpy.evaluation import CELEvalError

from packages.inngest_durable.tests.inngest.fake_reading import KNOWN_OPS
from packages.inngest_durable.tests.inngest.fake_state import (
    MAX_ANSWER_BYTES,
    MAX_OUTPUT_BYTES,
    MAX_PAUSE_SECONDS,
    Json,
    Run,
)
from packages.inngest_durable.tests.inngest.fake_wire import (
    RUN_COMPLETE,
    compact,
    duration,
    from_base64,
    hashed_key,
    is_ulid,
    mentions_event,
    step_hash,
    without_prefix,
)

_HASH = re.compile(r"[0-9a-f]{40}")
_SDK = re.compile(r"[\w.-]+:v\d+\.\d+\.\d+[\w.+-]*")
_DOMAIN = re.compile(r"https?://[^/?#\s]+")
# Percent-encoded as Go does it: the server calls any other path by another name than it was given.
_PATH = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@\[\]/]|%[0-9A-Fa-f]{2})*")
_METHOD = re.compile(r"[A-Z]+")
# A step in a checkpoint of the sync phase must have ended: the server would go on by itself with these.
_NOT_IN_SYNC = ("StepPlanned", "StepError")
_ANSWER_HEADERS = {
    "x-inngest-sdk": _SDK,
    "x-inngest-req-version": re.compile("2"),
    "content-type": re.compile(r"application/json\b.*"),
}


def check_call(headers: Mapping[str, str], signing_key: str | None) -> Iterator[str]:
    """Check an API call: the names of *headers* are in lower case."""
    if (sdk := headers.get("x-inngest-sdk")) is not None and not _SDK.fullmatch(sdk):
        yield f"X-Inngest-SDK is {sdk!r}, not <name>:v<version>"
    if signing_key is not None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or without_prefix(key) != hashed_key(signing_key):
            yield "Authorization is not the hashed signing key"


def check_post(headers: Mapping[str, str]) -> Iterator[str]:
    """Check the headers of a call with a body."""
    if headers.get("content-type", "").partition(";")[0] != "application/json":
        yield f"Content-Type is {headers.get('content-type')!r}"


def check_create(body: Json) -> Iterator[str]:
    """Check what a run is created with, without its steps."""
    event = body.get("event") or {}
    data = event.get("data") or {}
    if not is_ulid(body.get("run_id")):
        yield f"run_id is {body.get('run_id')!r}, no ULID"
    if event.get("name") != "inngest/http.request":
        yield f"event.name is {event.get('name')!r}"
    if body.get("request_version") != 2:
        yield f"request_version is {body.get('request_version')!r}"
    if not isinstance(body.get("retries", 0), int):
        yield f"retries is {body.get('retries')!r}"
    for name, form in (("domain", _DOMAIN), ("path", _PATH), ("method", _METHOD)):
        if not isinstance(data.get(name), str) or not form.fullmatch(data[name]):
            yield f"event.data.{name} is {data.get(name)!r}"
    yield from _check_replayed(data)


def _check_replayed(data: Json) -> Iterator[str]:
    for name in ("query_params", "content_type", "ip", "fn", "body"):
        if not isinstance(data.get(name, ""), str):
            yield f"event.data.{name} is {data[name]!r}, no text"
    if str(data.get("query_params", "")).startswith("?"):
        yield "event.data.query_params begins with ?"
    if from_base64(data.get("body", "")) is None:
        yield "event.data.body is not base64"


def check_steps(body: Json, run: Run, path_run_id: str) -> Iterator[str]:
    """Check whether a checkpoint belongs to *run*, which its URL names."""
    expected = {"run_id": path_run_id, "fn_id": run.fn_id, "app_id": run.app_id}
    for name, value in expected.items():
        if body.get(name) != value:
            yield f"{name} is {body.get(name)!r}, not {value!r}"


def check_sync_ops(ops: list[Json]) -> Iterator[str]:
    """Check the opcodes of a checkpoint of the sync phase, or of one made within a re-entry."""
    if len([op for op in ops if op.get("op") != "RunComplete"]) > 1:
        yield f"one POST carries {[op.get('op') for op in ops]}, which makes the server plan every step"
    for op in ops:
        yield from check_op(op)
        if op.get("op") in _NOT_IN_SYNC:
            yield f"{op['op']} in a checkpoint"
        if op.get("op") == "WaitForEvent" and mentions_event(str((op.get("opts") or {}).get("if") or "")):
            yield f"the condition of a WaitForEvent in a checkpoint mentions `event`: {op['opts']['if']}"


def check_answer(status: int, headers: Mapping[str, str], body: bytes) -> Iterator[str]:
    """Check what the application answered to a re-entry: the names of *headers* are in lower case."""
    for name, form in _ANSWER_HEADERS.items():
        if not form.fullmatch(headers.get(name, "")):
            yield f"answer {status} has the {name} {headers.get(name)!r}"
    if headers.get("x-inngest-no-retry", "false") not in ("true", "false"):
        yield f"answer {status} has the x-inngest-no-retry {headers['x-inngest-no-retry']!r}"
    if len(body) > MAX_ANSWER_BYTES:
        yield f"answer {status} has {len(body)} bytes"
        return
    try:
        content = json.loads(body)
    except ValueError:
        yield f"answer {status} is no JSON: {body[:80]!r}"
        return
    if isinstance(content, list):
        yield from _check_array(content)
    elif isinstance(content, dict) and 200 <= status <= 299:
        if content.get("op") != "RunComplete":
            yield f"answer {status} is an object that is no RunComplete: the run ends with it"
        yield from check_op(content)
    elif headers.get("x-inngest-no-retry") == "true" and not _is_error(content):
        yield f"the error of a failed run has no name and message: {body[:80]!r}"


def _check_array(ops: list[Any]) -> Iterator[str]:
    for op in ops:
        yield from check_op(op)
        if op.get("op") in ("RunComplete", "SyncRunComplete"):
            yield f"{op['op']} in an array: its data is lost"
        if op.get("op") == "StepPlanned":
            yield "StepPlanned in an answer"


def check_op(op: Json) -> Iterator[str]:
    """Check one opcode."""
    kind, userland = op.get("op"), op.get("userland")
    if kind not in KNOWN_OPS:
        yield f"there is no opcode {kind!r}"
        return
    if not _HASH.fullmatch(str(op.get("id"))):
        yield f"{kind} has the ID {op.get('id')!r}, no hash"
    if kind == "RunComplete":
        yield from _check_result(op)
        return
    # What only asks for a re-entry needs no name.
    if kind != "DiscoveryRequest" or userland is not None:
        yield from _check_userland(op, userland)
    if kind != "DiscoveryRequest" and not (isinstance(op.get("displayName"), str) and op["displayName"]):
        yield f"{kind} {userland} has no displayName"
    for problem in _CHECKS.get(str(kind), _nothing)(op):
        yield f"{kind} {userland}: {problem}"


def _check_userland(op: Json, userland: Any) -> Iterator[str]:
    if not isinstance(userland, dict) or not isinstance(userland.get("id"), str):
        yield f"{op['op']} has the userland {userland!r}"
        return
    index = userland.get("index", 0)
    text = f"{userland['id']}:{index}" if index else userland["id"]
    if op.get("id") != step_hash(text):
        yield f"{op['op']} {text!r} has the ID {op.get('id')!r}, not its SHA-1"


def _check_result(op: Json) -> Iterator[str]:
    data = op.get("data")
    if op.get("id") != RUN_COMPLETE:
        yield f"RunComplete has the ID {op.get('id')!r}"
    if not isinstance(data, dict) or not isinstance(data.get("status"), int) or not 100 <= data["status"] <= 599:
        yield f"RunComplete carries {str(data)[:80]}, no result"
        return
    headers = data.get("headers", {})
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        yield f"RunComplete has headers {headers!r}, not one text each"
    if not isinstance(data.get("body", ""), str):
        yield f"RunComplete has a body that is no text: {type(data['body']).__name__}"


def _check_step_run(op: Json) -> Iterator[str]:
    if "data" not in op:
        yield "no data"
    elif (size := len(compact({"data": op["data"]})) - 1) > MAX_OUTPUT_BYTES:
        yield f"{size} bytes of output are not stored"


def _check_error(op: Json) -> Iterator[str]:
    if not _is_error(op.get("error")):
        yield f"its error is {op.get('error')!r}"


def _check_sleep(op: Json) -> Iterator[str]:
    yield from _check_duration(op.get("name") or (op.get("opts") or {}).get("duration"))


def _check_event(op: Json) -> Iterator[str]:
    opts = op.get("opts") or {}
    if not (opts.get("event") or op.get("name")):
        yield "no event"
    yield from _check_duration(opts.get("timeout"))
    if (expression := opts.get("if")) is not None and not can_compile(expression):
        yield f"no CEL: {expression!r}"


def _check_signal(op: Json) -> Iterator[str]:
    opts = op.get("opts") or {}
    if not opts.get("signal"):
        yield "no signal"
    if opts.get("conflict", "fail") not in ("fail", "replace"):
        yield f"conflict is {opts['conflict']!r}"
    yield from _check_duration(opts.get("timeout"))


def _check_duration(text: object) -> Iterator[str]:
    if (seconds := duration(text)) is None:
        yield f"{text!r} is no duration"
    elif not 0 <= seconds <= MAX_PAUSE_SECONDS:
        yield f"{text!r} is not within 0 and 366 days"


def can_compile(expression: object) -> bool:
    """Tell whether *expression* is CEL that knows of no names but ``event`` and ``async``."""
    if not isinstance(expression, str):
        return False
    environment = Environment()
    try:
        program = environment.program(environment.compile(expression))
        program.evaluate({"event": json_to_cel({}), "async": json_to_cel({})})
    except CELParseError:
        return False
    except CELEvalError as error:
        # Whatever else is missing may be there in an event.
        return "undeclared reference" not in str(error.args[0])
    return True


def _is_error(error: object) -> bool:
    return isinstance(error, dict) and all(isinstance(error.get(name), str) for name in ("name", "message"))


def _nothing(op: Json) -> Iterator[str]:
    return iter(())


_CHECKS = {
    "StepRun": _check_step_run,
    "StepError": _check_error,
    "StepFailed": _check_error,
    "Sleep": _check_sleep,
    "WaitForEvent": _check_event,
    "WaitForSignal": _check_signal,
}
