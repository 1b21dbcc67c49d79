"""The request of a child run, and what its end means for the step that waits for it."""

from __future__ import annotations

import pytest
from inngest_durable import EventError
from inngest_durable._core.invoke_flow import child_request, family, is_child
from inngest_durable._core.model import RecordedRequest, Run
from msgspec.structs import replace

CALLER = RecordedRequest(
    method="POST",
    scheme="https",
    root_path="",
    path="/trips",
    raw_path=b"/trips",
    query_string=b"a=1",
    headers=(
        (b"Host", b"shop.example"),
        (b"cookie", b"session=1"),
        (b"authorization", b"Bearer x"),
        (b"idempotency-key", b"k"),
        (b"content-type", b"text/plain"),
        (b"content-length", b"5"),
    ),
    client=("10.0.0.1", 999),
    server=("shop.example", 443),
    http_version="2",
    body=b"hello",
)


def test_child_request_is_sent_on_behalf_of_the_same_client() -> None:
    assert child_request(CALLER, "GET", "/pay/Z%C3%BCrich", "x=1%202", None) == replace(
        CALLER,
        method="GET",
        path="/pay/Zürich",
        raw_path=b"/pay/Z%C3%BCrich",
        query_string=b"x=1%202",
        headers=(*CALLER.headers[:3], (b"accept", b"application/json"), (b"content-length", b"0")),
        client=None,
        body=b"",
    )


def test_child_request_carries_its_body_as_json() -> None:
    request = child_request(CALLER, "POST", "/pay", "", {"a": [1]})

    assert request.body == b'{"a":[1]}'
    assert request.header(b"content-type") == "application/json"
    assert request.header(b"content-length") == "9"
    assert request.header(b"idempotency-key") is None


def test_child_request_without_json_form_is_refused() -> None:
    with pytest.raises(EventError, match="the body for the child run has no JSON form"):
        child_request(CALLER, "POST", "/pay", "", object())


@pytest.mark.parametrize(
    ("path", "expected"), [("/shop/trips", "/shop/pay"), ("/shop", "/shop/pay"), ("/trips", "/pay"), ("/shops", "/pay")]
)
def test_child_request_has_a_root_path_where_the_callers_has(path: str, expected: str) -> None:
    """Servers differ in whether the path begins with the root path."""
    caller = replace(CALLER, root_path="/shop", path=path)
    request = child_request(caller, "GET", "/pay", "", None)

    assert (request.root_path, request.path, request.raw_path) == ("/shop", expected, expected.encode())


def test_child_is_told_from_other_runs() -> None:
    run = Run("01JR", "app", "pay", CALLER, 1.0)

    assert not is_child(run)
    assert is_child(replace(run, idempotency=family("01JP", "call")))
    assert family("01JP", "call") != family("01JP", "call:1")
