"""
Responses in the form in which an Inngest server keeps and sends them, and answers to its dispatches. Pure.

The server keeps a status, one text for each header name, and the body as text. What that loses goes along in a header
of its own, which is taken out again where the response comes back through this package.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from ..._core.http import answer
from ..._core.model import Failure, Finish, Headers, Idempotency, RecordedResponse, RunStatus
from .ops import Op, run_complete
from .protocol import LARGEST_ANSWER, SDK
from .records import storable

OWN_HEADER = b"x-inngest-durable"

_REQUEST_VERSION = b"2"
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# How the server sends a response is up to it: these would contradict that.
_FRAMING = frozenset(("content-length", "transfer-encoding", "connection"))
_ENDED_WITHOUT_RESPONSE = "The run ended without a response"


class ApiResult(Struct, frozen=True):
    """
    A response as the server keeps it.

    Attributes:
        status: The HTTP status.
        headers: One text for each name; several values are joined by a comma, and of cookies there is the first.
        body: The body as text, or base64 if it is not text.
        failure: What the run failed with; the server keeps it, and does not send it to the client.
    """

    status: int
    headers: dict[str, str] = {}
    body: str = ""
    failure: Failure | None = None


class Kept(Struct, frozen=True):
    """
    What the server has kept of a run's end.

    Attributes:
        response: The response, as it was recorded.
        digest: Digest of the request if it had an idempotency key, otherwise empty.
    """

    response: RecordedResponse
    digest: str = ""


class _Lost(Struct, frozen=True, omit_defaults=True):
    """What the server's form of a response loses; bytes are latin-1 texts."""

    headers: list[tuple[str, str]] = []
    base64: bool = False
    digest: str = ""


class _FailedRun(Struct, frozen=True):
    name: str
    message: str
    stack: str
    data: ApiResult


def api_result(finish: Finish, idempotency: Idempotency | None = None) -> ApiResult:
    """
    Return how the server is to keep the end of a run.

    One that is larger than it keeps becomes a ``500`` that says so.
    """
    digest = "" if idempotency is None else idempotency.digest
    response = finish.response or answer(500, {"error": _ENDED_WITHOUT_RESPONSE})
    result = _result(response, finish.failure, digest)
    size = len(_json.encode(result))
    if size <= LARGEST_ANSWER:
        return result
    text = (
        f"The response has {size:,} bytes in the form in which the Inngest server keeps it, which takes "
        f"{LARGEST_ANSWER:,}: answer with less, or with the URL of a file"
    )
    return _result(answer(500, {"error": text}), Failure("ResponseTooLargeError", text), digest)


def completion(finish: Finish, idempotency: Idempotency | None = None) -> bytes:
    """
    Return the data of the operation that ends a run outside of a dispatch.

    The server keeps only their ``body``, which therefore holds the whole response.
    """
    kept = _json.encode(api_result(finish, idempotency)).decode()
    status = 200 if finish.status is RunStatus.COMPLETED else 500
    return _json.encode(ApiResult(status, {}, kept))


def ops_answer(ops: Sequence[Op]) -> RecordedResponse:
    """Return the answer to a dispatch whose run waits: what the server has to do."""
    return _answer(206, _json.encode(list(ops)))


def finished_answer(finish: Finish, idempotency: Idempotency | None = None) -> RecordedResponse:
    """Return the answer to a dispatch that has ended the run."""
    result = api_result(finish, idempotency)
    if finish.status is RunStatus.COMPLETED:
        # The bare operation: from an array of it the server would take the end, and lose the response.
        return _answer(206, run_complete(_json.encode(result)).json())
    failure = result.failure or Failure("RunFailedError", _ENDED_WITHOUT_RESPONSE)
    body = _json.encode(_FailedRun(failure.name, failure.message, failure.traceback, result))
    return _answer(400, body, ((b"x-inngest-no-retry", b"true"),))


def refused_answer(status: int, message: str, *, is_final: bool = False) -> RecordedResponse:
    """
    Return the answer to a dispatch for which nothing was executed.

    Args:
        status: 4xx or 5xx.
        message: Why.
        is_final: Whether the server is to fail the run; otherwise it dispatches the run again later.
    """
    headers: Headers = ((b"x-inngest-no-retry", b"true" if is_final else b"false"),)
    return _answer(status, _json.encode({"name": "DispatchRefusedError", "message": message}), headers)


def kept_response(status: int, headers: Headers, body: bytes) -> Kept | None:
    """
    Return the response in what the server's output URL has answered; None if it is not a response of this package.

    It is not one while the run goes on, after it was cancelled, and when the server itself has ended it.
    """
    own = next((value for name, value in headers if name.lower() == OWN_HEADER), None)
    if own is None:
        return None
    try:
        lost = _lost.decode(urlsafe_b64decode(own))
        given = b64decode(body, validate=True) if lost.base64 else body
    except (ValueError, msgspec.DecodeError):
        return None
    return Kept(RecordedResponse(status, _bytes(lost.headers), given), lost.digest)


def kept_result(output: Raw | bytes) -> tuple[Kept | None, Failure | None]:
    """Return the response and the failure in what the server's API reports of a run that has ended."""
    try:
        value = msgspec.json.decode(output)
    except msgspec.DecodeError:
        return None, None
    failure: Failure | None = None
    while True:
        if isinstance(value, str):
            if (inner := _inner(value)) is None:
                return None, failure
            value = inner
        elif not isinstance(value, dict):
            return None, failure
        elif isinstance(value.get("status"), int):
            break
        else:
            failure = _failure(value) or failure
            value = value.get("data")
    try:
        result = msgspec.convert(value, ApiResult)
    except msgspec.ValidationError:
        return None, failure
    headers = tuple((name.encode(), text.encode()) for name, text in result.headers.items())
    return kept_response(result.status, headers, result.body.encode()), result.failure or failure


def _inner(text: str) -> Any:
    """Return the JSON in a text, which the API gives as base64 of the bytes that it has kept; None if it has none."""
    for given in (text.encode(), _bytes_of(text)):
        try:
            return msgspec.json.decode(given)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return None


def _bytes_of(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return b""


def finish_of(status: str | None, output: Raw | bytes | None) -> Finish | None:
    """
    Return the end of a run from what the server's API reports; None if it has not ended.

    Args:
        status: Its status at the server; None if the server does not know the run.
        output: What it has kept of its end.
    """
    if status == "Cancelled":
        return Finish(RunStatus.CANCELLED, None)
    if status not in ("Completed", "Failed"):
        return None
    kept, failure = kept_result(output or b"null")
    response = None if kept is None else kept.response
    if status == "Completed":
        return Finish(RunStatus.COMPLETED, response)
    return Finish(RunStatus.FAILED, response, failure or Failure("UnknownError", "no error was recorded"))


def _result(response: RecordedResponse, failure: Failure | None, digest: str) -> ApiResult:
    try:
        body, is_text = response.body.decode(), True
    except UnicodeDecodeError:
        body, is_text = b64encode(response.body).decode(), False
    lost = _Lost([(n.decode("latin-1"), v.decode("latin-1")) for n, v in response.headers], not is_text, digest)
    headers = _sent(response.headers, is_text)
    headers[OWN_HEADER.decode()] = urlsafe_b64encode(_json.encode(lost)).decode()
    return ApiResult(response.status, headers, body, None if failure is None else storable(failure))


def _sent(headers: Headers, is_text: bool) -> dict[str, str]:
    """Return the headers for clients that ask the server itself."""
    sent: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        # Base64 is not gzip.
        if name in _FRAMING or not _NAME.fullmatch(name) or (name == "content-encoding" and not is_text):
            continue
        if name not in sent:
            sent[name] = value
        elif name != "set-cookie":
            sent[name] += f", {value}"
    return sent


def _answer(status: int, body: bytes, extra: Headers = ()) -> RecordedResponse:
    # Without the first, the server takes whatever it gets for the run's result.
    own = (
        (b"x-inngest-sdk", SDK.encode()),
        (b"x-inngest-req-version", _REQUEST_VERSION),
        (b"content-type", b"application/json"),
    )
    return RecordedResponse(status, (*own, *extra), body)


def _bytes(headers: Sequence[tuple[str, str]]) -> Headers:
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)


def _failure(value: dict[str, Any]) -> Failure | None:
    name, message = value.get("name"), value.get("message")
    if not isinstance(name, str) or not isinstance(message, str):
        return None
    stack = value.get("stack")
    return Failure(name, message, stack if isinstance(stack, str) else "")


_json = msgspec.json.Encoder()
_lost = msgspec.json.Decoder(_Lost)
