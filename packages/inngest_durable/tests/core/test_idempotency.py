"""Which requests are the same."""

from __future__ import annotations

import pytest
from inngest_durable._core.idempotency import identity_of
from inngest_durable._core.model import Headers, RecordedRequest


def request(
    method: str = "POST", path: bytes = b"/book", query: bytes = b"", body: bytes = b"{}", headers: Headers = ()
) -> RecordedRequest:
    """Return a request."""
    return RecordedRequest(method, "http", "", path.decode(), path, query, headers, None, None, "1.1", body)


def test_equal_requests_are_the_same() -> None:
    """Scope, key and digest depend on nothing but the request."""
    assert identity_of("trip", "k", request(), None) == identity_of("trip", " k ", request(), None)


@pytest.mark.parametrize(
    "other",
    [
        request("PUT"),
        request(path=b"/pay"),
        request(query=b"a=1"),
        request(body=b"[]"),
        request(path=b"/boo", query=b"k"),
    ],
    ids=["method", "path", "query", "body", "boundary"],
)
def test_other_request_has_another_digest_in_the_same_scope(other: RecordedRequest) -> None:
    """The key is known, and the request is not the one it was used with."""
    one, two = identity_of("trip", "k", request(), None), identity_of("trip", "k", other, None)
    assert one is not None
    assert two is not None

    assert (one.scope, one.key) == (two.scope, two.key)
    assert one.digest != two.digest


def test_key_of_another_user_or_endpoint_has_another_scope() -> None:
    """Nobody meets another user's run; a scope of the application's own does not look like a header."""
    alice = request(headers=((b"authorization", b"alice"),))
    found = [
        identity_of("trip", "k", request(), None),
        identity_of("trip", "k", alice, None),
        identity_of("hotel", "k", alice, None),
        identity_of("trip", "k", alice, ""),
        identity_of("trip", "k", alice, "alice"),
    ]

    assert len({identity.scope for identity in found if identity}) == len(found)


@pytest.mark.parametrize(
    ("key", "taken"),
    [("", False), ("  ", False), ("x", True), ("x" * 255, True), ("x" * 256, False)],
    ids=["empty", "blank", "short", "longest", "too long"],
)
def test_key_has_1_to_255_characters(key: str, taken: bool) -> None:
    """Others are refused."""
    assert (identity_of("trip", key, request(), None) is not None) is taken
