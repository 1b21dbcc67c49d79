"""What users send, what is stored of it, and a run's own event."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from inngest_durable import Event, EventError, Limits, Signal
from inngest_durable._core.events import (
    DEEPEST,
    MOST_EVENTS,
    SentEvent,
    check_signal,
    received,
    received_signal,
    run_event,
    sent_events,
    signal_result,
)
from inngest_durable._core.model import RecordedRequest, Run
from msgspec.structs import replace

REQUEST = RecordedRequest("POST", "http", "", "/trips", b"/trips", b"", (), None, None, "1.1", b"")
JSON = ((b"content-type", b"application/json; charset=utf-8"),)
NOW = 1_700_000_000.5


def sent(*events: Event, limits: Limits | None = None) -> tuple[SentEvent, ...]:
    """Return events as they are stored."""
    return sent_events(events, lambda index: f"new-{index}", NOW, limits or Limits())


def data_of(query: bytes = b"", body: bytes = b"", headers: Any = JSON) -> Any:
    """Return the data of the own event of a run with such a request."""
    request = replace(REQUEST, query_string=query, body=body, headers=headers)
    return run_event(Run("01JR", "app", "trips", request, NOW))["data"]


def nested(levels: int) -> Any:
    """Return lists in lists, so many levels deep."""
    inner: Any = "leaf"
    for _ in range(levels):
        inner = [inner]
    return inner


@pytest.mark.parametrize("name", ["", "half \ud83d", None, 7])
def test_event_without_a_name_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="an event's name is a non-empty text"):
        Event(name)


def test_event_whose_id_cannot_be_stored_is_refused() -> None:
    with pytest.raises(ValueError, match="the ID of event 'a' is a text of Unicode characters"):
        Event("a", id="half \ud83d")


def test_event_whose_data_is_no_object_is_refused() -> None:
    with pytest.raises(ValueError, match="the data of event 'a' is a dict, not a list"):
        Event("a", [1])  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("ts", [1.5, "5", True, -1, 10**15, 2**70, None])
def test_event_at_no_time_is_refused(ts: Any) -> None:
    """It would be stored, and could not be read by those who wait for it."""
    with pytest.raises(EventError, match="the ts of event 'a' is a whole number of milliseconds, not"):
        sent(Event("a", ts=ts))


def test_event_that_was_sent_at_no_time_is_received() -> None:
    """An earlier version has sent it."""
    assert received(b'{"name":"a","data":{},"id":"e1","ts":-5}') == Event("a", id="e1", ts=-5)


def test_event_gets_what_it_lacks_when_it_is_sent() -> None:
    assert sent(Event("a", {"n": 1}), Event("b", id="mine", ts=5)) == (
        SentEvent("new-0", "a", b'{"n":1}', 1_700_000_000_500),
        SentEvent("mine", "b", b"{}", 5),
    )


def test_one_event_needs_no_list() -> None:
    assert [event.name for event in sent_events(Event("a"), str, NOW, Limits())] == ["a"]


def test_event_that_is_none_is_refused() -> None:
    with pytest.raises(EventError, match=r"an event is an inngest_durable\.Event, not a dict"):
        sent({"name": "a"})  # type: ignore[arg-type]  # what is tested


def test_event_without_json_form_is_refused() -> None:
    with pytest.raises(EventError, match="the data of event 'a' has no JSON form"):
        sent(Event("a", {"at": object()}))


@pytest.mark.parametrize("value", [math.nan, [math.inf]])
def test_event_with_a_number_that_json_lacks_is_refused(value: Any) -> None:
    with pytest.raises(EventError, match="the data of event 'a' has no JSON form: it holds NaN or an infinity"):
        sent(Event("a", {"n": value}))


def test_event_that_is_nested_too_deep_is_refused() -> None:
    sent(Event("a", {"n": nested(DEEPEST - 1), "text": "[[{" * DEEPEST}))

    with pytest.raises(EventError, match="the data of event 'a' are nested more than 100 levels deep"):
        sent(Event("a", {"n": nested(DEEPEST)}))


def test_too_many_events_at_once_are_refused() -> None:
    assert len(sent(*[Event("a")] * MOST_EVENTS)) == MOST_EVENTS

    with pytest.raises(EventError, match=r"5,001 events were to be sent at once, and 5,000 can"):
        sent(*[Event("a")] * (MOST_EVENTS + 1))


def test_event_over_the_limit_is_refused() -> None:
    sent(Event("a", {"n": 1}), limits=Limits(event_data=7))

    with pytest.raises(EventError, match="event 'a': event_data is 7, over the limit of 6: raise it with"):
        sent(Event("a", {"n": 1}), limits=Limits(event_data=6))


def test_event_is_received_as_it_was_sent() -> None:
    event = Event("a", {"n": [1, None, "ü"]}, "e1", 5)

    assert received(sent(event)[0].json()) == event
    assert sent(event)[0].fields() == {"name": "a", "data": {"n": [1, None, "ü"]}, "id": "e1", "ts": 5}


@pytest.mark.parametrize("result", [None, b"null"])
def test_nothing_is_received_where_nothing_came(result: bytes | None) -> None:
    assert received(result) is None
    assert received_signal(result) is None


@pytest.mark.parametrize("data", [None, 1, {"by": "Ann"}])
def test_signal_is_received_as_it_was_sent(data: Any) -> None:
    assert received_signal(signal_result("go", data, Limits())) == Signal("go", data)


def test_signal_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(EventError, match="the data of signal 'go' has no JSON form"):
        signal_result("go", object(), Limits())
    with pytest.raises(EventError, match="signal 'go': event_data is 7"):
        signal_result("go", "12345", Limits(event_data=6))
    with pytest.raises(EventError, match="a signal's name is a non-empty text"):
        check_signal("")
    with pytest.raises(EventError, match="a signal's name is a non-empty text"):
        check_signal("half \ud83d")


def test_own_event_of_a_run_is_its_request() -> None:
    assert run_event(Run("01JR", "app", "trips", REQUEST, NOW)) == {
        "name": "inngest/http.request",
        "id": "01JR",
        "ts": 1_700_000_000_500,
        "data": {},
    }


@pytest.mark.parametrize(
    ("query", "body", "data"),
    [
        (b"id=7&to=Z%C3%BCrich&empty=", b"", {"id": "7", "to": "Zürich", "empty": ""}),
        (b"leg=ZRH&leg=VIE", b"", {"leg": ["ZRH", "VIE"]}),
        (b"", b'{"id": 7}', {"id": 7}),
        (b"id=7&n=1", b'{"id": 8}', {"id": 8, "n": "1"}),
        (b"id=7", b"[1]", {"id": "7"}),
        (b"id=7", b"{", {"id": "7"}),
        (b"id=%ff", b"\xff", {"id": "\ufffd"}),
    ],
)
def test_own_event_holds_query_and_body(query: bytes, body: bytes, data: dict[str, Any]) -> None:
    assert data_of(query, body) == data


@pytest.mark.parametrize(("levels", "is_read"), [(DEEPEST - 1, True), (DEEPEST, False)])
def test_own_event_leaves_out_a_body_that_is_nested_too_deep(levels: int, is_read: bool) -> None:
    assert bool(data_of(body=msgspec.json.encode({"n": nested(levels)}))) is is_read


def test_own_event_leaves_out_a_body_that_never_ends() -> None:
    """Nothing looks for the end of its text again and again: that would take hours."""
    assert data_of(body=b'{"' + b'\\"' * 500_000 + b"[" * 200) == {}


@pytest.mark.parametrize(
    ("kind", "is_json"), [(b"application/json", True), (b"application/ld+json", True), (b"text/plain", False)]
)
def test_own_event_holds_a_body_that_says_it_is_json(kind: bytes, is_json: bool) -> None:
    assert data_of(body=b'{"id":1}', headers=((b"Content-Type", kind),)) == ({"id": 1} if is_json else {})
    assert data_of(body=b'{"id":1}', headers=()) == {}
