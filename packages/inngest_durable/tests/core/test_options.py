"""Options of one step."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from inngest_durable import RetryPolicy, StepOptions


def test_options_of_a_name_are_the_name_alone() -> None:
    """A step without options takes the endpoint's retries and has no timeout."""
    options = StepOptions.of("pay")

    assert options == StepOptions("pay")
    assert options.policy is None
    assert options.timeout_seconds is None


def test_options_of_options_are_themselves() -> None:
    """Both forms of the first argument of a step."""
    options = StepOptions("pay", retries=2, timeout="1m")

    assert StepOptions.of(options) is options
    assert options.policy == RetryPolicy(max_retries=2)
    assert options.timeout_seconds == 60.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"id": 7},
        {"id": None},
        {"id": "pay", "retries": -1},
        {"id": "pay", "timeout": "soon"},
        {"id": "pay", "timeout": timedelta(seconds=-1)},
    ],
    ids=str,
)
def test_options_refuse_what_means_nothing(wrong: dict[str, Any]) -> None:
    """A mistake shows where the options are made."""
    with pytest.raises(ValueError):
        StepOptions(**wrong)


@pytest.mark.parametrize("wrong", ["", 7, None])
def test_options_of_no_name_are_refused(wrong: Any) -> None:
    """A step has a name."""
    with pytest.raises(ValueError, match="non-empty text"):
        StepOptions.of(wrong)
