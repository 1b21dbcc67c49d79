"""Responses as the server keeps them, and answers to its dispatches."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from inngest_durable._core.model import Failure, Finish, Headers, Idempotency, RecordedResponse, RunStatus
from inngest_durable.engines.inngest.answers import (
    Kept,
    api_result,
    completion,
    finish_of,
    finished_answer,
    kept_response,
    ops_answer,
    refused_answer,
)
from inngest_durable.engines.inngest.ops import sleep, step_hash
from inngest_durable.engines.inngest.protocol import LARGEST_ANSWER

IDEMPOTENCY = Idempotency("scope", "key", "digest")
TEXT = RecordedResponse(418, ((b"content-type", b"text/plain"), (b"x-tea", b"yes")), b"teapot")
COOKIES = RecordedResponse(
    200, ((b"set-cookie", b"a=1"), (b"vary", b"a"), (b"set-cookie", b"b=2"), (b"vary", b"b")), b"\x89PNG\xff"
)
FAILURE = Failure("CardDeclined", "no", "Traceback: …")


def done(response: RecordedResponse) -> Finish:
    """Return the end of a completed run."""
    return Finish(RunStatus.COMPLETED, response)


def from_output(kept: dict[str, Any]) -> Kept | None:
    """Return what comes back of a kept response through the server's output URL, which has headers of its own."""
    headers = [(name.encode(), value.encode()) for name, value in sorted(kept["headers"].items())]
    own: Headers = ((b"Content-Length", b"9"), (b"Date", b"now"), (b"Vary", b"Origin"))
    return kept_response(kept["status"], (*own, *headers), kept["body"].encode())


headers = st.lists(
    st.tuples(
        st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1).map(str.encode),
        st.binary(max_size=20).filter(lambda value: b"\r" not in value and b"\n" not in value),
    ),
    max_size=6,
).map(tuple)


@settings(deadline=None, derandomize=True)
@given(st.integers(min_value=200, max_value=599), headers, st.one_of(st.binary(), st.text().map(str.encode)))
@example(200, ((b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")), b"\xff")
@example(204, (), b"")
def test_response_comes_back_byte_by_byte(status: int, given_headers: Headers, body: bytes) -> None:
    response = RecordedResponse(status, given_headers, body)
    data = json.loads(completion(done(response), IDEMPOTENCY))
    answered = json.loads(finished_answer(done(response), IDEMPOTENCY).body)["data"]

    assert from_output(json.loads(data["body"])) == Kept(response, "digest")
    assert from_output(answered) == Kept(response, "digest")


def test_server_keeps_what_it_can_send_itself() -> None:
    kept = json.loads(finished_answer(done(TEXT)).body)["data"]
    assert (kept["status"], kept["body"]) == (418, "teapot")
    del kept["headers"]["x-inngest-durable"]
    assert kept["headers"] == {"content-type": "text/plain", "x-tea": "yes"}


def test_several_values_are_joined_but_for_cookies() -> None:
    result = api_result(done(COOKIES))
    assert (result.headers["set-cookie"], result.headers["vary"], result.body) == ("a=1", "a, b", "iVBOR/8=")


def test_server_is_not_told_how_to_send() -> None:
    response = RecordedResponse(200, ((b"content-length", b"2"), (b"content-encoding", b"gzip")), b"\x1f\x8b")
    assert list(api_result(done(response)).headers) == ["x-inngest-durable"]
    assert from_output({"status": 200, "headers": api_result(done(response)).headers, "body": "H4s="}) == Kept(response)


def test_first_pass_ends_with_the_whole_response_in_the_body() -> None:
    assert json.loads(completion(done(TEXT)))["status"] == 200
    failed = json.loads(completion(Finish(RunStatus.FAILED, TEXT, FAILURE)))
    assert (failed["status"], failed["headers"]) == (500, {})
    kept = json.loads(failed["body"])
    assert (kept["status"], kept["failure"]["name"]) == (418, "CardDeclined")


def test_completed_dispatch_is_answered_with_a_bare_operation() -> None:
    answer = finished_answer(done(TEXT))
    body = json.loads(answer.body)
    assert (answer.status, body["op"], body["id"]) == (206, "RunComplete", step_hash("complete"))


def test_failed_dispatch_is_answered_with_the_error_and_the_response() -> None:
    answer = finished_answer(Finish(RunStatus.FAILED, TEXT, FAILURE))
    body = json.loads(answer.body)
    assert answer.status == 400
    assert (b"x-inngest-no-retry", b"true") in answer.headers
    assert (body["name"], body["message"], body["stack"]) == ("CardDeclined", "no", "Traceback: …")
    assert from_output(body["data"]) == Kept(TEXT)


def test_waiting_dispatch_is_answered_with_operations() -> None:
    answer = ops_answer([sleep("wake", 2, "wake-up")])
    assert (answer.status, [op["name"] for op in json.loads(answer.body)]) == (206, ["2s"])


@pytest.mark.parametrize(("is_final", "header"), [(True, b"true"), (False, b"false")])
def test_refusal_says_whether_to_come_again(is_final: bool, header: bytes) -> None:
    answer = refused_answer(403, "another endpoint", is_final=is_final)
    assert answer.status == 403
    assert (b"x-inngest-no-retry", header) in answer.headers
    assert json.loads(answer.body)["message"] == "another endpoint"


@pytest.mark.parametrize(
    "answer",
    [
        ops_answer([]),
        finished_answer(done(TEXT)),
        finished_answer(Finish(RunStatus.FAILED, None)),
        refused_answer(503, "drains"),
    ],
)
def test_every_answer_says_who_speaks(answer: RecordedResponse) -> None:
    found = dict(answer.headers)
    assert found[b"x-inngest-sdk"].startswith(b"inngest-durable:v")
    assert (found[b"x-inngest-req-version"], found[b"content-type"]) == (b"2", b"application/json")


@pytest.mark.parametrize("body", [bytes([255]) * LARGEST_ANSWER, b'"' * LARGEST_ANSWER])
def test_response_that_is_too_large_names_the_limit(body: bytes) -> None:
    answer = finished_answer(done(RecordedResponse(200, (), body)), IDEMPOTENCY)
    kept = from_output(json.loads(answer.body)["data"])
    assert kept is not None
    assert (kept.response.status, kept.digest) == (500, "digest")
    assert b"which takes 7,864,320" in kept.response.body
    assert len(answer.body) < 2000


def test_failure_without_utf_8_form_is_kept() -> None:
    failed = Finish(RunStatus.FAILED, TEXT, Failure("E", "file \udcff"))
    assert json.loads(finished_answer(failed).body)["message"] == "file \\udcff"
    assert json.loads(json.loads(completion(failed))["body"])["failure"]["message"] == "file \\udcff"


@pytest.mark.parametrize(
    ("status", "given_headers", "body"),
    [
        (200, ((b"content-type", b"text/plain"),), b'{"status":"running","message":"run did not end"}'),
        (200, (), b""),
        (200, ((b"x-inngest-durable", b"!"),), b""),
        (200, ((b"x-inngest-durable", b"e30"),), b""),
        (200, ((b"x-inngest-durable", b"W10="),), b""),
        (200, ((b"x-inngest-durable", b"eyJiYXNlNjQiOnRydWV9"),), b"no base64!"),
    ],
)
def test_what_is_no_response_of_a_run_is_none(status: int, given_headers: Headers, body: bytes) -> None:
    assert kept_response(status, given_headers, body) is None


@pytest.mark.parametrize("ended", [done(TEXT), done(COOKIES), Finish(RunStatus.FAILED, TEXT, FAILURE)])
def test_end_is_read_from_what_the_api_tells(ended: Finish) -> None:
    status = "Completed" if ended.status is RunStatus.COMPLETED else "Failed"
    kept = json.loads(completion(ended))["body"]
    answered = finished_answer(ended).body.decode()
    for output in (kept, f'{{"data":{kept}}}', json.dumps(kept), answered, json.dumps({"data": json.loads(answered)})):
        assert finish_of(status, output.encode()) == ended


def test_end_without_response_is_read() -> None:
    error = b'{"name":"E","message":"server","stack":"s"}'
    assert finish_of("Cancelled", None) == Finish(RunStatus.CANCELLED, None)
    assert finish_of("Failed", error) == Finish(RunStatus.FAILED, None, Failure("E", "server", "s"))
    assert finish_of("Completed", b"null") == Finish(RunStatus.COMPLETED, None)
    for output in (None, b"", b"text", b'"text"', b"[]", b"{}", b'{"status":200,"headers":[]}'):
        found = finish_of("Failed", output)
        assert found == Finish(RunStatus.FAILED, None, Failure("UnknownError", "no error was recorded"))


@pytest.mark.parametrize("status", [None, "Running", "Queued"])
def test_run_that_has_not_ended_has_no_end(status: str | None) -> None:
    assert finish_of(status, b"null") is None
