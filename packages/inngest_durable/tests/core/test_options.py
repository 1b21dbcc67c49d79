"""Options of one step."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from inngest_durable import StepOptions


def test_step_with_a_name_alone_has_no_settings_of_its_own() -> None:
    """It takes the endpoint's retries, and has no timeout."""
    assert StepOptions.parts("pay") == ("pay", None, None)


def test_step_with_options_has_those() -> None:
    """Both forms of the first argument of a step."""
    options = StepOptions("pay", retries=2, timeout="1m")

    assert StepOptions.parts(options) == ("pay", 2, 60.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"id": 7},
        {"id": None},
        {"id": "half \ud83d"},
        {"id": "pay", "retries": -1},
        {"id": "pay", "retries": 2.5},
        {"id": "pay", "retries": "3"},
        {"id": "pay", "timeout": "soon"},
        {"id": "pay", "timeout": timedelta(seconds=-1)},
    ],
    ids=str,
)
def test_options_refuse_what_means_nothing(wrong: dict[str, Any]) -> None:
    """A mistake shows where the options are made."""
    with pytest.raises(ValueError):
        StepOptions(**wrong)


@pytest.mark.parametrize("wrong", ["", 7, None, "half \ud83d"])
def test_step_without_a_name_is_refused(wrong: Any) -> None:
    """A step has a name."""
    with pytest.raises(ValueError, match="non-empty text"):
        StepOptions.parts(wrong)
