"""What others send to ``POST /_inngest/e/<event key>``: all of it is recorded, or it is refused and nothing is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from packages.inngest_durable.tests.hostile.doors import EVENTS, Doors, is_clear

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
EVENT = st.fixed_dictionaries(
    {"name": JSON | st.just("noted")}, optional={"data": JSON, "id": JSON, "ts": JSON, "user": JSON, "v": JSON}
)
BODIES = st.one_of(
    st.binary(max_size=60),
    # NaN and Infinity as Python writes them, lone surrogates as escapes.
    st.lists(EVENT | JSON, max_size=3).map(lambda items: json.dumps(items).encode()),
    EVENT.map(lambda event: json.dumps(event).encode()),
    # Cut off.
    st.lists(EVENT, min_size=1, max_size=3).flatmap(
        lambda items: st.integers(1, 20).map(lambda left: json.dumps(items).encode()[:-left])
    ),
)
GOOD = b'{"name":"noted"}'
DEEP = 10_000


def with_data(data: bytes) -> bytes:
    """Return a good event, and one with this JSON in its data."""
    return b'[%s,{"name":"noted","data":{"x":%s}}]' % (GOOD, data)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(BODIES)
@example(with_data(b"[" * DEEP + b"]" * DEEP))
@example(with_data(b'{"a":' * DEEP + b"1" + b"}" * DEEP))
@example(with_data(b"[" * 940 + b"]" * 940))
@example(with_data(b"9" * 5_000))
@example(with_data(b"1" + b"0" * 300))
@example(with_data(b"1e400"))
@example(with_data(b"NaN"))
@example(with_data(b'"\\ud800"'))
@example(with_data(b'"\\u0000"'))
@example(with_data(b'"\xed\xa0\x80"'))
@example(with_data(b'"%s"' % (b"x" * 10_001)))
@example(b'[%s,{"name":"\\u0000","id":"\\u0000"}]' % GOOD)
@example(b'{"name":"noted","name":7}')
@example(b'\xef\xbb\xbf{"name":"noted"}')
@example(b'{"name":"noted"}'.decode().encode("utf-16"))
@example(b'{"name":"noted","ts":253402300800000}')
@example(b'{"name":"noted","ts":-0}')
@example(b"[" + b",".join([GOOD] * 6_000) + b"]")
def test_events_are_taken_whole_or_not_at_all(doors: Doors, body: bytes) -> None:
    before = doors.counts()
    reply = doors.ask("POST", EVENTS, b"", [(b"content-type", b"application/json")], body)
    after = doors.counts()

    if reply.status == 200:
        ids = json.loads(reply.body)["ids"]
        sent = json.loads(body)
        assert len(ids) == (len(sent) if isinstance(sent, list) else 1)
        # An event whose ID was seen counts once.
        assert 0 <= after[2] - before[2] <= len(set(ids))
    else:
        assert is_clear(reply), reply
        assert json.loads(reply.body)["status"] == reply.status
        assert after == before
    assert after[:2] == before[:2]


@pytest.mark.parametrize("depth", [100, 400, 600, 700, 800, 850, 900, 950])
def test_event_that_was_accepted_is_received(doors: Doors, depth: int) -> None:
    """However deep its data is: what is too deep for the handler that waits for it is refused at the door."""
    path, token = doors.parked()
    data: dict[str, Any] = {"n": depth}
    for _ in range(depth):
        data = {"in": data}
    sent = doors.ask("POST", EVENTS, b"", [], b'{"name":"approved","data":%s}' % _json(data))
    if sent.status != 200:
        assert is_clear(sent)
        assert doors.ask("DELETE", path, token).status == 202
        return
    answer = doors.ask("GET", path, token)

    assert answer.status == 200, answer
    assert answer.body.count(b"in") == depth


def _json(data: dict[str, Any]) -> bytes:
    """Return JSON that is deeper than Python writes it."""
    depth = 0
    while "in" in data:
        data, depth = data["in"], depth + 1
    return b'{"in":' * depth + json.dumps(data).encode() + b"}" * depth


@settings(deadline=None, derandomize=True, max_examples=30)
@given(
    key=st.binary(max_size=12).map(lambda data: "".join(f"%{byte:02x}" for byte in data)),
    method=st.sampled_from(["POST", "GET", "PUT", "HEAD", "OPTIONS", "DELETE", "post"]),
)
@example("key-1%00", "POST")
@example("key-1/", "POST")
@example("key-1%2f", "POST")
@example("x/../key-1", "POST")
@example("%2e%2e/e/key-1", "POST")
def test_nobody_sends_without_the_key(doors: Doors, key: str, method: str) -> None:
    before = doors.counts()
    reply = doors.ask(method, f"/_inngest/e/{key}", b"", [], GOOD)

    # Automatic OPTIONS, and the redirect of a path with two slashes, are the framework's.
    assert is_clear(reply) or reply.status in (308, 405) or method == "OPTIONS", reply
    assert doors.counts() == before
