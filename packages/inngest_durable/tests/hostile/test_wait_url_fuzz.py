"""The wait URL, the stream of events and the look-up by key, asked for with whatever a client may send."""

from __future__ import annotations

from urllib.parse import quote_from_bytes, urlencode

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from packages.inngest_durable.tests.hostile.doors import Doors
from testkit.colourless import web

HUGE = "9" * 5_000
VALUES = st.one_of(
    st.sampled_from(["", "0", "-1", "15", "1e9", "٣", HUGE, str(2**63), str(-(2**63)), "end", "\0", "a\r\nb", "../.."]),
    st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace").decode()),
)
SEGMENTS = st.one_of(
    st.binary(min_size=1, max_size=30).map(lambda data: quote_from_bytes(data, safe="")),
    st.sampled_from(["%2e%2e", "%00", "%2f", "..", "%ED%A0%80", "%ff", "%", "%zz", ";", "a" * 8_000]),
)
LINES = st.one_of(
    st.sampled_from([b"wait=0", b"wait=" + b"9" * 400, b"wait=-1", b"text/event-stream", b"*/*;q=x", b",,,;=", b""]),
    st.binary(max_size=30).map(lambda data: bytes(byte for byte in data if byte >= 32 and byte != 127)),
)
NAMES = st.sampled_from([b"prefer", b"accept", b"last-event-id", b"origin", b"idempotency-key", b"authorization"])
HEADERS = st.lists(st.tuples(NAMES, LINES), max_size=5)
METHODS = st.sampled_from(["GET", "HEAD", "DELETE", "OPTIONS", "POST", "PUT", "TRACE", "PROPFIND", "get", "X"])
QUERIES = st.lists(st.tuples(st.sampled_from(["runId", "token", "n", "lastEventId", "key", "endpoint"]), VALUES))
# What ends a header never comes in one.
KEYS = st.one_of(
    st.binary(max_size=40).filter(lambda key: not {*b"\r\n\0"} & {*key}),
    st.sampled_from([b"k" * 255, b"k" * 256, b"", b" ", b"\t", b"\x01", b"\x7f", b"\xff", b"a,b"]),
)
AT_ONCE = (b"prefer", b"wait=0")


def is_answered(status: int, method: str) -> bool:
    """Whether a request without a token got a clear answer: a refusal, or that of OPTIONS."""
    return 400 <= status < 500 or (method == "OPTIONS" and status in (200, 204))


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    method=METHODS,
    route=st.sampled_from(["/_inngest/runs/{}/output", "/_inngest/runs/{}/events", "/_inngest/runs", "/wait", "/{}"]),
    segment=SEGMENTS,
    query=QUERIES.map(urlencode).map(str.encode) | st.binary(max_size=40),
    headers=HEADERS,
)
@example("GET", "/wait", "x", "runId=é&token=é".encode(), [])
@example("GET", "/wait", "x", b"runId=%ED%A0%80&token=%ED%A0%80", [])
@example("GET", "/_inngest/runs", "x", b"endpoint=order&key=%00", [(b"authorization", b"\xff")])
def test_who_has_no_token_is_refused(
    doors: Doors, method: str, route: str, segment: str, query: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    """Whatever else the request says: a clear answer, and nothing is begun."""
    # Servers of Quart refuse such bytes, and Quart itself breaks on them before it looks for a view.
    assume(query.isascii() or web().blocks)
    before = doors.counts()
    reply = doors.ask(method, route.format(segment), query, headers)

    assert is_answered(reply.status, method), reply
    assert b"Traceback" not in reply.body
    assert doors.counts() == before


@settings(deadline=None, derandomize=True, max_examples=20)
@given(query=QUERIES, headers=HEADERS)
@example([("n", HUGE)], [])
@example([("n", "9" * 4_000)], [])
@example([], [(b"prefer", b"wait=" + b"9" * 400 + b", wait=0")])
@example([], [(b"origin", b"https://\xff.example")])
def test_who_has_the_token_is_answered_whatever_else_the_request_says(
    doors: Doors, query: list[tuple[str, str]], headers: list[tuple[bytes, bytes]]
) -> None:
    path, token = doors.parked()
    more = urlencode([(name, value) for name, value in query if name not in ("token", "runId")]).encode()
    # What holds the request comes first, so that the examples do not wait; and no stream, which would not end.
    kept = [(name, value) for name, value in headers if name not in (b"prefer", b"accept")]
    reply = doors.ask("GET", path, token + b"&" + more, [AT_ONCE, *kept])

    assert reply.status in (202, 303)
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["location"].isascii() if reply.status == 303 else True

    assert doors.ask("DELETE", path, token).status == 202


@pytest.mark.parametrize("last", ["9" * 5_000, "9" * 400, str(2**63), str(2**63 - 1), str(2**64), "-1", "٣", "²", "x"])
@pytest.mark.parametrize("place", ["header", "query"])
def test_stream_takes_any_last_event_id(doors: Doors, last: str, place: str) -> None:
    """One that no event can have is as good as none, or as one after all events; the stream ends with the result."""
    path, token = doors.parked()
    doors.ask("DELETE", path, token)
    accept = (b"accept", b"text/event-stream")
    if place == "header":
        reply = doors.ask("GET", path, token, [accept, (b"last-event-id", last.encode())])
    else:
        reply = doors.ask("GET", path, token + b"&" + urlencode({"lastEventId": last}).encode(), [accept])

    assert reply.status == 200
    assert b"event: result" in reply.body


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("route", ["{}", "/wait"])
def test_no_answer_leaks_the_token_by_its_referrer(doors: Doors, method: str, route: str) -> None:
    """Each answer to a request whose URL holds a token tells browsers not to send that URL on."""
    path, token = doors.parked()
    run_id = path.split("/")[3]
    query = token if route == "{}" else token + f"&runId={run_id}".encode()
    found, wrong = (
        doors.ask(method, route.format(path), asked, [AT_ONCE])
        for asked in (query, query.replace(b"token=", b"token=x"))
    )
    missing = doors.ask(method, route.format(path), b"token=x" if route == "/wait" else b"", [AT_ONCE])

    for reply in (found, wrong, missing):
        if reply.status == 405:
            # The framework's: the application's own route has not this method.
            assert (method, route) == ("DELETE", "/wait")
            continue
        assert reply.headers.get("referrer-policy") == "no-referrer", reply


@settings(deadline=None, derandomize=True, max_examples=20)
@given(KEYS)
def test_idempotency_key_of_any_bytes_is_taken_or_refused(doors: Doors, key: bytes) -> None:
    """Taken: one run, which a repeated request meets again. Refused: nothing is recorded."""
    before = doors.counts()
    header = [(b"idempotency-key", key), (b"authorization", b"Bearer " + key)]
    first, second = (doors.ask("POST", "/order", b"", header, b"{}") for _ in range(2))
    after = doors.counts()

    if first.status == 400:
        assert second.status == 400
        assert after == before
    else:
        # A run whose end is not on disk yet is to be waited for.
        assert {first.status, second.status} <= {200, 303}
        assert first.headers["x-inngest-run-id"] == second.headers["x-inngest-run-id"]
        assert 1 <= len(key.strip(b" \t")) <= 255


@pytest.mark.parametrize("keys", [("k\u00e0", "k\u00c5"), ("k", "k\u2003")], ids=ascii)
def test_idempotency_keys_that_differ_in_a_last_byte_are_two(doors: Doors, keys: tuple[str, str]) -> None:
    """Their last bytes are spaces to Python, not to HTTP: each key has its own run."""
    first, second = (doors.ask("POST", "/order", b"", [(b"idempotency-key", key.encode())], b"{}") for key in keys)

    assert (first.status, second.status) == (200, 200)
    assert first.headers["x-inngest-run-id"] != second.headers["x-inngest-run-id"]


def test_idempotency_key_is_found_again_by_its_look_up(doors: Doors) -> None:
    """A key beyond ASCII goes as UTF-8 in the header and in the query; both mean the same run."""
    key = "bestellung-ü-7"
    owner = (b"authorization", b"Bearer me")
    made = doors.ask("POST", "/order", b"", [(b"idempotency-key", key.encode()), owner], b"{}")
    found = doors.ask("GET", "/_inngest/runs", urlencode({"endpoint": "order", "key": key}).encode(), [owner])

    assert made.status == 200
    assert found.status == 303
    assert found.headers["x-inngest-run-id"] == made.headers["x-inngest-run-id"]
