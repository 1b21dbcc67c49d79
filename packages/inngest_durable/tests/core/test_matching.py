"""Which events a step waits for: conditions by path and value, and CEL expressions."""

from __future__ import annotations

import builtins
import math
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from inngest_durable import EventError
from inngest_durable._core import expressions
from inngest_durable._core.expressions import Expression, ExpressionFailedError
from inngest_durable._core.matching import Conditions, WaitFor, fits, fits_at, value_at, wait_for_event

OWN = {"name": "inngest/http.request", "id": "01JR", "ts": 1, "data": {"id": "7", "trip": {"legs": ["ZRH", "VIE"]}}}


def wait(match: str | Mapping[str, Any] | None = None, if_exp: str | None = None) -> WaitFor:
    """Return what a step of a run with the own event `OWN` waits for."""
    return wait_for_event("approved", match, if_exp, lambda: OWN)


def comes(wait: WaitFor, **data: Any) -> bool:
    """Tell whether an event with these data fits."""
    incoming = {"name": "approved", "id": "e1", "ts": 5, "data": data}
    return fits_at(wait.path, wait.value, incoming) and fits(wait.spec, incoming)


def test_wait_without_condition_takes_any_event() -> None:
    assert wait() == WaitFor("event", "approved")
    assert comes(wait())


def test_path_compares_with_the_own_event() -> None:
    assert wait("data.id") == WaitFor("event", "approved", "data.id", '"7"', values=(("data.id", '"7"'),))
    assert comes(wait("data.id"), id="7")
    assert not comes(wait("data.id"), id=7)
    assert not comes(wait("data.id"))
    assert comes(wait("data.trip"), trip={"legs": ["ZRH", "VIE"]})
    assert comes(wait("data.trip.legs.1"), trip={"legs": [None, "VIE"]})


def test_path_that_the_own_event_lacks_is_refused() -> None:
    with pytest.raises(EventError, match=r"match='data\.booking' compares .* its data holds id, trip"):
        wait("data.booking")


@pytest.mark.parametrize("path", ["", "booking", "async.data.id", "data..id", "data.", ".data", "data.half \ud83d", 7])
def test_path_that_leads_nowhere_is_refused(path: Any) -> None:
    with pytest.raises(EventError, match=r'match takes a path into the event, such as "data\.requestId", not'):
        wait({path: 1})


def test_values_must_all_be_there() -> None:
    both = wait({"data.id": 7, "data.by": "Ann"})

    assert (both.path, both.value) == ('["data.by","data.id"]', r'["\"Ann\"","7"]')
    assert comes(both, id=7, by="Ann")
    assert not comes(both, id=7, by="Bob")
    assert not comes(both, id=8, by="Ann")


def test_values_are_looked_up_together_in_any_order() -> None:
    """Each may be common among the steps that wait, and all of them are looked up at once."""
    both = wait({"data.by": "Ann", "data.id": 7})

    assert (both.path, both.value) == (wait({"data.id": 7, "data.by": "Ann"}).path, both.value)
    assert value_at({"data": {"id": 7.0, "by": "Ann"}}, both.path) == both.value
    assert value_at({"data": {"id": 7}}, both.path) is None
    assert len(wait({"data.id": "x" * 99, "data.by": "y" * 99}).value) <= 64


def test_further_value_of_an_earlier_version_must_be_there() -> None:
    """It was kept beside the first one, which alone was looked up."""
    spec = msgspec.json.encode(Conditions([("data.by", '"Ann"')])).decode()

    assert fits(spec, {"data": {"by": "Ann"}})
    assert not fits(spec, {"data": {"by": "Bob"}})


def test_expression_that_an_earlier_version_took_matches_nothing() -> None:
    """It is refused today, where a step begins to wait; the write that brings an event has nothing to do with it."""
    spec = msgspec.json.encode(Conditions([], "async.data.at.getDate() == 'x'")).decode()

    with pytest.raises(ExpressionFailedError, match="found no matching overload"):
        fits(spec, {"data": {"at": 1}})


@pytest.mark.parametrize("match", [{}, [], 5, {"data.id"}])
def test_match_of_another_kind_is_refused(match: Any) -> None:
    with pytest.raises(EventError, match="match is a path into the event, or values by path, not"):
        wait(match)


@pytest.mark.parametrize("value", [object(), math.nan, [math.inf]])
def test_value_without_json_form_is_refused(value: Any) -> None:
    with pytest.raises(EventError, match=r"the value to match at 'data\.id' has no JSON form"):
        wait({"data.id": value})


@pytest.mark.parametrize("name", ["", "half \ud83d", None])
def test_wait_for_an_event_without_name_is_refused(name: Any) -> None:
    with pytest.raises(EventError, match="the event to wait for is named by a non-empty text"):
        wait_for_event(name, None, None, dict)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), ({"a": 1, "b": [2.0]}, {"b": [2], "a": 1.0}), (2**53, 2**53), ([], ()), (None, None), ("x" * 99,) * 2],
)
def test_equal_values_look_alike(one: Any, other: Any) -> None:
    text = value_at({"it": one}, "it")

    assert text == value_at({"it": list(other) if isinstance(other, tuple) else other}, "it")
    assert text is not None
    assert len(text) <= 64


@pytest.mark.parametrize(
    ("one", "other"), [("1", 1), (True, 1), (None, ""), ("null", None), (1, 1.5), ("x" * 99, "x" * 98), (1e300, 1e301)]
)
def test_different_values_look_different(one: Any, other: Any) -> None:
    assert value_at({"it": one}, "it") != value_at({"it": other}, "it")


def test_path_finds_what_is_there() -> None:
    assert value_at(OWN, "data.id") == '"7"'
    assert value_at({"data": {"id": None}}, "data.id") == "null"
    for path in ("data.no", "data.id.x", "data.trip.legs.2", "data.trip.legs.x"):
        assert value_at(OWN, path) is None


@pytest.mark.parametrize(
    ("expression", "data", "holds"),
    [
        ("async.data.amount <= 100", {"amount": 100}, True),
        ("async.data.amount <= 100", {"amount": 101}, False),
        ("async.data.id == event.data.id", {"id": "7"}, True),
        ("async.data.id == event.data.id", {"id": "8"}, False),
        ("async.name == 'approved' && async.id == 'e1' && async.ts == 5", {}, True),
        ("event.data.trip.legs.exists(leg, leg == async.data.leg)", {"leg": "VIE"}, True),
        ("has(async.data.by) || async.ts > 9", {}, False),
        ("async.data.note.contains('async')", {"note": "an async one"}, True),
        ("async.data.amount > 100", {"amount": 100.5}, True),
        ("async.data.amount == 100", {"amount": 100.0}, True),
        ("async.data.amount == 1", {"amount": True}, False),
        ("async.ts > 0", {"amount": 2**70}, True),
    ],
)
def test_expression_decides(expression: str, data: dict[str, Any], holds: bool) -> None:
    assert comes(wait(if_exp=expression), **data) is holds


def test_expression_and_values_must_both_hold() -> None:
    both = wait({"data.id": "7"}, "async.data.n > 3")

    assert comes(both, id="7", n=4)
    assert not comes(both, id="7", n=3)
    assert not comes(both, id="8", n=4)


def test_own_event_is_kept_where_the_expression_asks_for_it() -> None:
    assert '"legs"' in wait(if_exp="async.data.id == event.data.id").spec
    assert '"legs"' not in wait(if_exp="async.data.n > 3").spec


def test_expression_that_fails_says_so() -> None:
    with pytest.raises(ExpressionFailedError, match='Key not found in map : "n"'):
        comes(wait(if_exp="async.data.n > 3"))
    with pytest.raises(ExpressionFailedError):
        comes(wait(if_exp="async.data.n > 3"), n="many")


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("async.data.n >", "is no CEL expression"),
        ("booking.data.n > 3", r"over `event`, the run's own, and `async`, .*\n.*undeclared reference to 'booking"),
        ("async.data.n > 1 + 'x'", "found no matching overload"),
        ("async.name == '\ud83d'", "is no CEL expression"),
        ("async.name", "is neither true nor false, but 'approved'"),
        ("1 + 1", "is neither true nor false, but"),
        ("", "if_exp is a CEL expression, not ''"),
        (7, "if_exp is a CEL expression, not 7"),
    ],
)
def test_expression_that_can_never_work_is_refused(expression: Any, fault: str) -> None:
    with pytest.raises(EventError, match=fault):
        wait(if_exp=expression)


def test_expression_without_the_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any) -> Any:
        if name.startswith("cel_expr_python"):
            raise ImportError(name)
        return real(name, *args)

    expressions._environment.cache_clear()
    monkeypatch.setattr(builtins, "__import__", refuse)

    with pytest.raises(EventError, match=r'pip install "inngest-durable\[cel\]", or use match'):
        Expression("async.data.n > 3")
