"""How the server reads what the application answered to a re-entry. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from packages.inngest_durable.tests.inngest.fake_state import COMPLETED, FAILED, MAX_ANSWER_BYTES, MAX_OUTPUT_BYTES
from packages.inngest_durable.tests.inngest.fake_wire import compact

KNOWN_OPS = frozenset(
    {
        *("None", "Step", "StepRun", "StepError", "StepFailed", "StepPlanned", "StepNotFound"),
        *("Sleep", "WaitForEvent", "WaitForSignal", "InvokeFunction", "Gateway", "AIGateway"),
        *("DiscoveryRequest", "RunComplete", "SyncRunComplete", "DeferAdd", "DeferAbort"),
    }
)
_SHORTEST_RETRY, _LONGEST_RETRY = 1, 86400
_LONGEST_RETRY_TEXT = 7


@dataclass(frozen=True, slots=True)
class Ended:
    """The run is over: *status*, and what is kept of the answer."""

    status: str
    output: bytes
    error: Any = None


@dataclass(frozen=True, slots=True)
class Ops:
    """Opcodes to process. *may_retry* and *retry_seconds* say what becomes of a failed step."""

    ops: list[dict[str, Any]]
    may_retry: bool
    retry_seconds: float | None


@dataclass(frozen=True, slots=True)
class Again:
    """The same request is to be made again, while there are attempts."""


def read(status: int, headers: Mapping[str, str], body: bytes, now: float) -> Ended | Ops | Again:
    """Return what an answer means; the names of *headers* are in lower case."""
    if len(body) > MAX_ANSWER_BYTES:
        return Ended(COMPLETED, b"")
    if not headers.get("x-inngest-sdk"):
        is_ok = 200 <= status <= 299
        return Ended(COMPLETED, body if is_ok else _upstream_error(status, headers.get("content-type", ""), body))
    no_retry = headers.get("x-inngest-no-retry") == "true"
    if (ops := _ops(body)) is not None:
        return _read_ops(ops, body, not no_retry, retry_after(headers.get("retry-after"), now))
    if no_retry:
        return Ended(FAILED, body, _json(body))
    return Ended(COMPLETED, body) if 200 <= status <= 299 else Again()


def _read_ops(ops: list[Any], body: bytes, may_retry: bool, retry_seconds: float | None) -> Ended | Ops:
    if not all(isinstance(op, dict) and op.get("op") in KNOWN_OPS for op in ops):
        return Ended(COMPLETED, body)
    if any(op["op"] == "StepRun" and len(compact({"data": op.get("data")})) - 1 > MAX_OUTPUT_BYTES for op in ops):
        return Ended(COMPLETED, b"")
    if any(op["op"] in ("RunComplete", "SyncRunComplete") for op in ops):
        # What the opcode carries is lost here, whatever it is.
        return Ended(COMPLETED, b"null")
    return Ops(ops, may_retry, retry_seconds)


def retry_after(text: str | None, now: float) -> float | None:
    """Return the seconds of a ``Retry-After`` header, which may be a date; None if it is of no use."""
    if not text:
        return None
    if text.isdecimal():
        seconds = float(text) if len(text) <= _LONGEST_RETRY_TEXT else None
    else:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except ValueError:
            seconds = None
    return None if seconds is None else min(max(seconds, _SHORTEST_RETRY), _LONGEST_RETRY)


def api_result(output: bytes) -> tuple[int, dict[str, str], bytes] | None:
    """Return status, headers and body, if *output* is an object with them in ``data``."""
    data = _json(output)
    data = data.get("data") if isinstance(data, dict) else None
    if not isinstance(data, dict):
        return None
    status, headers, body = data.get("status"), data.get("headers") or {}, data.get("body") or ""
    if not isinstance(status, int) or isinstance(status, bool) or status <= 0 or not isinstance(body, str):
        return None
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        return None
    return status, headers, body.encode()


def _ops(body: bytes) -> list[Any] | None:
    found = _json(body) if body.lstrip().startswith(b"[") else None
    return found if isinstance(found, list) else None


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _upstream_error(status: int, content_type: str, body: bytes) -> bytes:
    message = f"Your server returned HTTP {status} before the SDK responded."
    stack = f"No step output was produced before the request failed.\n\nUpstream response ({content_type}):\n\n"
    return compact(
        {
            "error": message,
            "name": "Server returned a fatal error",
            "message": message,
            "stack": stack + body.decode(errors="replace"),
        }
    ).rstrip()
