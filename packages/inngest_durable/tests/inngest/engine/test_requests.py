"""What the client sent reaches the handler at each pass, and what the handler answers reaches the client."""

from __future__ import annotations

import base64
import http.client
from typing import Any

import pytest

from packages.inngest_durable.tests.inngest.engine.application import BINARY
from packages.inngest_durable.tests.inngest.engine.conftest import OpenRig
from packages.inngest_durable.tests.inngest.engine.rig import Rig, counts
from packages.inngest_durable.tests.inngest.fake_state import COMPLETED
from testkit.colourless import over_quart_only

BODIES: dict[str, dict[str, Any]] = {
    "json": {"json": {"b": 2, "a": [1, None, "ü"]}},
    "form": {"data": {"a": "1 2", "b": "ü"}},
    "multipart": {"files": {"up": ("name.bin", BINARY, "application/x-bin")}, "data": {"a": "1"}},
    "binary": {"content": BINARY, "headers": {"Content-Type": "application/octet-stream"}},
    "empty": {},
    # As it is, and decoded, it would both be a body.
    "like base64": {"content": b"YWJjZA==", "headers": {"Content-Type": "text/plain"}},
    "unlike base64": {"content": b"{not base64", "headers": {"Content-Type": "text/plain"}},
}
PRIVATE = {"Authorization": "Bearer of-the-user", "Cookie": "who=me", "X-Mine": "yes", "Accept-Language": "eo"}


@pytest.mark.parametrize(
    ("web", "kind"),
    [*(("quart", kind) for kind in BODIES), *(("flask", kind) for kind in ("multipart", "binary", "empty"))],
    indirect=["web"],
)
def test_body_is_replayed_byte_for_byte(rig: Rig, kind: str) -> None:
    request = rig.client.build_request("PUT", "/echo?x=1&y=2%203", **BODIES[kind])
    request.read()
    seen = rig.follow(rig.client.send(request)).json()

    assert base64.b64decode(seen["body"]) == request.content
    assert seen["headers"].get("content-type") == request.headers.get("content-type")
    assert (seen["method"], seen["query"]) == ("PUT", "x=1&y=2%203")
    assert rig.outside.counts() == {"pass echo": 2, "note": 2}


def test_headers_are_given_back_to_the_handler(rig: Rig) -> None:
    seen = rig.answer("/echo", headers=PRIVATE).json()["headers"]
    (dispatch,) = rig.fake.dispatches()

    assert {name: seen.get(name.lower()) for name in PRIVATE} == PRIVATE
    # The server does not know them but from the run's record.
    assert [dispatch.header(name) for name in PRIVATE] == [None] * len(PRIVATE)
    assert "x-inngest-signature" not in seen


def test_only_kept_headers_are_recorded(open_rig: OpenRig) -> None:
    rig = open_rig(kept_headers=["cookie", "X-Mine"])
    response = rig.ask("/echo", headers=PRIVATE)
    sent = b"".join(call.body for call in rig.fake.calls)
    seen = rig.follow(response).json()["headers"]

    assert {name: seen.get(name.lower()) for name in PRIVATE} == {
        "Authorization": None,
        "Cookie": "who=me",
        "X-Mine": "yes",
        "Accept-Language": None,
    }
    assert b"who=me" in sent
    assert b"of-the-user" not in sent


@pytest.mark.parametrize("waits_at", ["", "/wait"])
def test_status_headers_and_text_reach_the_redirected_client(open_rig: OpenRig, waits_at: str) -> None:
    rig = open_rig(waits_at=waits_at)
    answer = rig.answer("/json")

    assert answer.status_code == 201
    assert answer.headers["x-ticket"] == "yes"
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"text": 'a "quoted" ü'}


def test_cookies_and_bytes_reach_the_client_of_the_proxy(open_rig: OpenRig) -> None:
    answer = open_rig(waits_at="/wait").answer("/answer")

    assert answer.status_code == 207
    assert answer.content == BINARY
    assert answer.headers["content-type"] == "application/octet-stream"
    cookies = [value.partition(";")[0] for value in answer.headers.get_list("set-cookie")]
    assert cookies == ["a=1", "b=2"]
    assert "x-inngest-durable" not in answer.headers


@over_quart_only
def test_answer_of_a_first_pass_is_kept_as_it_was(open_rig: OpenRig) -> None:
    rig = open_rig(waits_at="/wait")
    rig.outside.record("flaky")
    first = rig.ask("/answer")
    run = rig.fake.only_run()
    rig.fake.wait_until(lambda: run.is_over, "the end of the run")
    token = rig.engine.token(run.run_id)
    answer = rig.ask(f"/wait?runId={run.run_id}&token={token}")

    assert (answer.status_code, answer.content) == (first.status_code, first.content) == (207, BINARY)
    assert answer.headers.get_list("set-cookie") == first.headers.get_list("set-cookie")


def test_head_is_answered_by_re_entries_with_get(rig: Rig) -> None:
    response = rig.ask("/book?fail=1", "HEAD")
    assert response.status_code == 303
    run = rig.finish()

    assert run.status == COMPLETED
    # What the server reads of an answer is its body, and HEAD has none.
    assert run.event["data"]["method"] == "GET"
    assert {dispatch.method for dispatch in rig.fake.dispatches()} == {"GET"}
    # The handler is entered as the client asked.
    assert [call["method"] for call in rig.outside.calls("pass book")] == ["HEAD", "HEAD"]
    assert counts(rig) == {"reserve": 1, "charge": 2, "confirm": 1}


@pytest.mark.parametrize(
    ("sent", "recorded"),
    [
        ('/below/a|b"c^d{e}f', "/below/a%7Cb%22c%5Ed%7Be%7Df"),
        ("/below/100%", "/below/100%25"),
        ("/below/a%2Fb%7cc|d%zz", "/below/a%2Fb%7cc%7Cd%25zz"),
    ],
)
def test_run_goes_on_whatever_stands_in_its_path(rig: Rig, sent: str, recorded: str) -> None:
    # Not by way of a client that tidies the path up.
    connection = http.client.HTTPConnection("127.0.0.1", rig.server.port, timeout=20)
    connection.request("GET", sent)
    assert connection.getresponse().status == 303
    connection.close()
    run = rig.finish()

    assert (run.status, run.event["data"]["path"]) == (COMPLETED, recorded)
    assert counts(rig) == {"before": 1, "after": 1}
