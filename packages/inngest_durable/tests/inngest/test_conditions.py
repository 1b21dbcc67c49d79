"""What a step waits for, as the server evaluates it: the same truth as with the run's own event at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inngest_durable import EventError
from inngest_durable._core.expressions import Expression, ExpressionFailedError
from inngest_durable._core.matching import WaitFor, fits, fits_at, wait_for_event
from inngest_durable.engines.inngest.conditions import cel_of
from inngest_durable.engines.inngest.literals import literal

OWN: dict[str, Any] = {
    "name": "inngest/http.request",
    "id": "01JR",
    "ts": 1,
    "data": {
        "id": "7",
        "n": 5,
        "minus": -5,
        "half": 1.5,
        "ok": True,
        "none": None,
        "trip": {"legs": ["ZRH", "VIE"], "x-y": "dash"},
        "items": [{"name": "a"}, {"name": "b"}],
        "at": "2026-01-02T00:00:00Z",
        "event": "inner",
    },
}


def told(match: str | Mapping[str, Any] | None = None, if_exp: str | None = None) -> str:
    """Return what the server is told of a wait of the run with the own event `OWN`."""
    return cel_of(wait_for_event("approved", match, if_exp, lambda: OWN))


def incoming(data: dict[str, Any]) -> dict[str, Any]:
    """Return an event with these data."""
    return {"name": "approved", "id": "e1", "ts": 5, "data": data}


def holds(text: str, event: dict[str, Any]) -> bool:
    """Tell whether a text that the server is told holds for an event: as there, an error is no match."""
    if not text:
        return True
    try:
        return Expression.of(text).holds({}, event)
    except ExpressionFailedError:
        return False


def is_awaited(wait: WaitFor, event: dict[str, Any]) -> bool:
    """Tell whether the embedded engine takes an event for what is waited for."""
    try:
        return fits_at(wait.path, wait.value, event) and fits(wait.spec, event)
    except ExpressionFailedError:
        return False


@pytest.mark.parametrize(
    ("match", "text"),
    [
        (None, ""),
        ("data.id", 'async.data.id == "7"'),
        ("data.trip.x-y", 'async.data.trip["x-y"] == "dash"'),
        ({"data.n": 7.0, "name": "approved"}, 'async.data.n == 7 && async.name == "approved"'),
        ({"data.in.null": None}, 'async.data["in"]["null"] == null'),
        ({"data.legs.1": True}, '(async.data.legs[1] == true || async.data.legs["1"] == true)'),
        ({"data.trip": {"a": [1, -2.5]}}, 'async.data.trip == {"a": [1, -2.5]}'),
        ({"data.id": "x" * 99}, f'async.data.id == "{"x" * 99}"'),
        ({"data.event.id": 1, "data.my_event": 2}, 'async.data["event"].id == 1 && async.data.my_event == 2'),
        ({"data.by": 'say "hi"'}, "async.data.by == 'say \"hi\"'"),
    ],
)
def test_values_stand_in_the_text(match: str | Mapping[str, Any] | None, text: str) -> None:
    assert told(match) == text


def test_long_values_of_several_paths_are_all_there() -> None:
    text = told({"data.a": "a" * 99, "data.b": 1, "data.c": "c" * 99})
    assert text == f'async.data.a == "{"a" * 99}" && async.data.b == 1 && async.data.c == "{"c" * 99}"'


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("async.data.amount <= 100", "async.data.amount <= 100"),
        ("async.data.id == event.data.id", 'async.data.id == "7"'),
        ('async.data.id == event["data"]["id"]', 'async.data.id == "7"'),
        ("async.data.id == event.data.trip.legs[1]", 'async.data.id == "VIE"'),
        ("async.data.id == (event).data.items[0].name", 'async.data.id == "a"'),
        ("async.data.n == event.data.minus", "async.data.n == -5"),
        ("async.data.n > -event.data.n + 1", "async.data.n > -4"),
        ("async.data.x == event.data.trip", 'async.data.x == {"legs": ["ZRH", "VIE"], "x-y": "dash"}'),
        ("async.data.x in event.data.trip.legs", 'async.data.x in ["ZRH", "VIE"]'),
        ("has(event.data.id) && async.data.ok", "async.data.ok"),
        ("has(event.data.no) && event.data.no == async.data.x", 'async.name == ""'),
        ("async.data.x == event.data.no && has(event.data.no)", 'async.name == ""'),
        ("has(event.data.no) ? event.data.no == async.data.x : async.data.y == 1", "async.data.y == 1"),
        ("event.data.n == 5 || async.data.ok", ""),
        ("event.data.n == 6 || async.data.ok", "async.data.ok"),
        ("!(event.data.n == 5) || !async.data.ok", "!async.data.ok"),
        ("event.data.n == 6", 'async.name == ""'),
        ("true", ""),
        ("async.data.event == 'event'", 'async.data.event == "event"'),
        ("async.data.event.id == 'a'", 'async.data["event"].id == "a"'),
        ("has(async.data.event)", "has(async.data.event)"),
        ("async.data.text == 'event.data.id'", 'async.data.text == ("event" + ".data.id")'),
        ("async.data.event == event.data.event", 'async.data.event == "inner"'),
        ("async.data.l.exists(event, event == 1)", "async.data.l.exists(event, event == 1)"),
        (
            "event.data.trip.legs.exists(leg, leg == async.data.leg)",
            'dyn(["ZRH", "VIE"]).exists(leg, leg == async.data.leg)',
        ),
        (
            "async.data.l.exists(one, one == event.data.n && one > async.data.n)",
            "async.data.l.exists(one, one == 5 && one > async.data.n)",
        ),
        ("event.data.items.exists(one, one.name == 'b') && async.data.ok", "async.data.ok"),
        ("event.data.trip.legs[async.data.i] == 'VIE'", 'dyn(["ZRH", "VIE"])[async.data.i] == "VIE"'),
        ("async.data.s.startsWith(event.data.id)", 'async.data.s.startsWith(dyn("7"))'),
        ("timestamp(async.data.at) > timestamp(event.data.at)", None),
        ("[async.data.n, event.data.n] == [1, 5]", "[async.data.n, 5] == [1, 5]"),
        ("{'a': async.data.n} == {'a': event.data.n}", '{"a": async.data.n} == {"a": 5}'),
        ("async.data.n % 2 == 1 // odd", "async.data.n % 2 == 1"),
        ("async.data.n == 5u", "async.data.n == 5u"),
        ("async.data.t == r'a'", 'async.data.t == "a"'),
    ],
)
def test_own_event_stands_in_the_text_as_literals(expression: str, text: str | None) -> None:
    found = told(if_exp=expression)
    expected = 'timestamp(async.data.at) > timestamp(dyn("2026-01-02T00:00:00Z"))' if text is None else text
    assert found == expected


def test_values_and_expression_are_joined() -> None:
    text = told({"data.id": "7"}, "async.data.n > 3 || event.data.n == async.data.n")
    assert text == 'async.data.id == "7" && (async.data.n > 3 || 5 == async.data.n)'
    assert told({"data.id": "7"}, "event.data.n == 5") == 'async.data.id == "7"'


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("async.data.x == event.data.booking", "whose data holds at, event, .*: no such member in mapping: 'booking'"),
        ("async.data.x == event.data.n.y", "a part of it fails for the run's own event"),
        ("event.data.id > 5 && async.data.ok", "a part of it fails for the run's own event"),
        ("event.data.id && async.data.ok", "'7' stands where it needs true or false"),
        ("async.data.x in event.data.id", "'7' cannot stand beside 'in'"),
        ("async.data.x < event.data.none", "None cannot stand beside '<'"),
        ("async.data.b == b'bytes'", "it takes no literal such as b'bytes'"),
    ],
)
def test_expression_that_cannot_be_told_is_refused(expression: str, why: str) -> None:
    with pytest.raises(EventError, match=why) as caught:
        told(if_exp=expression)
    assert f"if_exp={expression!r} cannot be told to the Inngest server" in str(caught.value)


def test_text_that_the_server_takes_for_the_own_event_never_reaches_it() -> None:
    assert told(if_exp="async.event.x == 1") == 'async["event"].x == 1'
    assert told(if_exp="async.data.event.contains('x')") == 'async.data["event"].contains("x")'
    with pytest.raises(EventError, match=r"takes the text 'event\.' for the run's own event: async"):
        told(if_exp="async.data.l.exists(event, event.id == 1)")


@pytest.mark.parametrize("text", ["a\\b", "line\nbreak", "tab\t", "\x7f"])
def test_text_that_needs_escapes_is_refused(text: str) -> None:
    with pytest.raises(EventError, match="may hold no backslash and no control character"):
        told({"data.x": text})


def test_number_out_of_range_is_refused() -> None:
    with pytest.raises(EventError, match="it is out of range"):
        literal(10**400)
    with pytest.raises(EventError, match="it is out of range"):
        literal(float("inf"))
    assert literal(2**70) == "1.1805916207174113e+21"


json_texts = st.text(
    st.characters(codec="utf-8", exclude_characters="\\\x7f", exclude_categories=["Cc", "Cs"]), max_size=8
) | st.sampled_from(["event.", "my event.data", "'", '"', "'\"event.\"'", "vars.a", "async.data", "//x", "é😀"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(min_value=-(2**62), max_value=2**62) | json_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_texts, inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(values)
def test_literal_means_its_value(value: Any) -> None:
    text = told({"data.x": value})

    assert "event." not in text
    assert holds(text, incoming({"x": value}))


@settings(deadline=None, derandomize=True, max_examples=100)
@given(json_texts, json_texts)
def test_other_text_does_not_match(wanted: str, given_text: str) -> None:
    assert holds(told({"data.x": wanted}), incoming({"x": given_text})) is (wanted == given_text)


numbers = st.sampled_from(["event.data.n", "event.data.minus", "async.data.n", "5", "-1", "size(event.data.items)"])
strings = st.sampled_from(
    [
        "event.data.id",
        "event['data'].trip.legs[0]",
        "async.data.s",
        "async.data.event",
        "'7'",
        '"event.data.id"',
        "'ZRH'",
    ]
)
comparisons = st.one_of(
    st.tuples(numbers, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), numbers),
    st.tuples(strings, st.sampled_from(["==", "!="]), strings),
    st.tuples(strings, st.just("in"), st.sampled_from(["event.data.trip.legs", "async.data.l", "['7', async.data.s]"])),
).map(" ".join)
conditions = st.recursive(
    comparisons
    | st.sampled_from(
        [
            "event.data.ok",
            "async.data.ok",
            "has(event.data.no)",
            "has(event.data.id)",
            "has(async.data.s)",
            "event.data.trip.legs.exists(leg, leg == async.data.s)",
            "async.data.l.all(event, event != 'ZRH')",
            "async.data.s.startsWith(event.data.id)",
        ]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda one: f"!({one})"),
        st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} ? {parts[1]} : {parts[2]})"),
    ),
    max_leaves=5,
)
events = st.fixed_dictionaries(
    {},
    optional={
        "n": st.sampled_from([-5, -1, 2, 5]),
        "s": st.sampled_from(["7", "ZRH", "event.data.id", "7up"]),
        "event": st.sampled_from(["7", "inner"]),
        "ok": st.booleans(),
        "l": st.lists(st.sampled_from(["7", "ZRH"]), max_size=2),
    },
)


@settings(deadline=None, derandomize=True, max_examples=120)
@given(conditions, st.lists(events, min_size=1, max_size=4))
def test_reduced_expression_has_the_same_truth(expression: str, data: list[dict[str, Any]]) -> None:
    wait = wait_for_event("approved", None, expression, lambda: OWN)
    text = cel_of(wait)

    assert "event." not in text
    for one in data:
        assert holds(text, incoming(one)) is is_awaited(wait, incoming(one)), text
