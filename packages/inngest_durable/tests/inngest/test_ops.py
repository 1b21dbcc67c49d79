"""Operations as they are on the wire."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inngest_durable import LimitExceededError
from inngest_durable.engines.inngest import ops
from inngest_durable.engines.inngest.ops import go_duration, step_hash


def wire(op: ops.Op) -> Any:
    """Return an operation as the server reads it."""
    return json.loads(op.json())


def test_hashes_are_those_of_other_clients() -> None:
    assert step_hash("one") == "fe05bcdcdc4928012781a5f1a2a77cbb5398e106"
    assert step_hash("complete") == "0737c22d3bfae812339732d14d8c7dbd6dc4e09c"


def test_finished_step_on_the_wire() -> None:
    assert wire(ops.step_run("one", "One", b'{"a":1}', 1795352349.523, 1795352350.0)) == {
        "op": "StepRun",
        "id": "fe05bcdcdc4928012781a5f1a2a77cbb5398e106",
        "name": "One",
        "displayName": "One",
        "opts": {},
        "userland": {"id": "one"},
        "data": {"a": 1},
        "timing": {"a": 1795352349523000000, "b": 477000000},
    }
    assert wire(ops.step_run("one", "One", b"null"))["data"] is None
    assert "timing" not in wire(ops.step_run("one", "One", b"null"))
    # Clocks may be set back.
    assert wire(ops.step_run("one", "One", b"null", 2.0, 1.0))["timing"]["b"] == 0


def test_other_operations_on_the_wire() -> None:
    """What a run waits for races: its end brings the run back, whatever else is pending."""
    race = {"parallelMode": "race"}
    assert wire(ops.sleep("nap", 2, "Nap")) == {
        "op": "Sleep",
        "id": step_hash("nap"),
        "name": "2s",
        "displayName": "Nap",
        "opts": race,
        "userland": {"id": "nap"},
    }
    waits = wire(ops.wait_for_event("w", "app/approved", 'async.data.id == "17"', 60, "wait"))
    assert (waits["op"], waits["name"]) == ("WaitForEvent", "app/approved")
    assert waits["opts"] == race | {"event": "app/approved", "timeout": "60s", "if": 'async.data.id == "17"'}
    assert "if" not in wire(ops.wait_for_event("w", "e", "", 60, "wait"))["opts"]
    taken = wire(ops.wait_for_signal("w", "go", 0.25, "wait"))
    assert taken["opts"] == race | {"signal": "go", "timeout": "250ms", "conflict": "fail"}
    assert wire(ops.discovery("now"))["op"] == "DiscoveryRequest"
    done = wire(ops.run_complete(b'{"status":200}'))
    assert (done["id"], done["op"], done["data"]) == (step_hash("complete"), "RunComplete", {"status": 200})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2, "2s"),
        (0.25, "250ms"),
        (1.5, "1.5s"),
        (1.001, "1.001s"),
        (90, "90s"),
        (1.0001, "1.001s"),
        (0, "1ms"),
        (-5, "1ms"),
        (366 * 86400, "31622400s"),
    ],
)
def test_durations_are_rounded_up(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


@settings(deadline=None, derandomize=True)
@given(st.floats(min_value=0, max_value=ops.LONGEST_SECONDS))
def test_duration_is_never_too_short(seconds: float) -> None:
    found = re.fullmatch(r"(\d+(?:\.\d{1,3})?)(ms|s)", go_duration(seconds))

    assert found is not None
    meant = float(found[1]) * (0.001 if found[2] == "ms" else 1)
    assert seconds - 1e-6 <= meant <= max(seconds, 0.001) + 0.0010001


@pytest.mark.parametrize("seconds", [366 * 86400 + 1, float("inf")])
def test_duration_beyond_a_year_is_refused(seconds: float) -> None:
    with pytest.raises(LimitExceededError, match="waits for 366 days at most, not"):
        go_duration(seconds)


def test_duration_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        go_duration(float("nan"))
