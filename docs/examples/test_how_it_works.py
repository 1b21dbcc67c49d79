"""What `how-it-works.md` and the pages beside it say of names and numbers is so."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_args

from inngest_durable import EmbeddedEngine, RetryPolicy, endpoint
from inngest_durable._core import run_flow
from inngest_durable._core.effects import Effect
from inngest_durable._core.model import RunStatus
from inngest_durable.engines.embedded.recovery import LOOK_SECONDS

DOCS = Path(__file__).parents[1]
PAGE = (DOCS / "how-it-works.md").read_text()


def first_cells(heading: str) -> list[str]:
    """Return the names in the first column of the table below *heading*."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+).*?` \|", section, re.MULTILINE)


def test_every_status_is_explained() -> None:
    assert first_cells("The statuses of a run") == [status.value for status in RunStatus]


def test_every_effect_is_explained() -> None:
    """The closed union, with the fields that each has."""
    assert first_cells("A step asks, a driver acts") == [effect.__name__ for effect in get_args(Effect)]
    for effect in get_args(Effect):
        assert f"`{effect.__name__}({', '.join(effect.__struct_fields__)})`" in PAGE


def test_numbers_are_those_of_the_code() -> None:
    words = " ".join(PAGE.split())
    assert (run_flow.QUIET_SECONDS, run_flow.SUSPECT_DEATHS, LOOK_SECONDS) == (0.05, 2, 1.0)
    assert inspect.signature(EmbeddedEngine).parameters["max_recoveries"].default == 10
    for text in ("50 ms at first", "two deaths is a suspect", "after ten more deaths", "Every second"):
        assert text in words


def test_default_policy_is_as_the_patterns_say() -> None:
    """Three retries, after up to 1, 2 and 4 seconds."""
    policy = RetryPolicy()
    error = ConnectionError()
    pauses = [policy.decide(error, attempt, now=0, jitter=1) for attempt in (1, 2, 3)]

    assert [getattr(pause, "after_seconds", None) for pause in pauses] == [1, 2, 4]
    assert not hasattr(policy.decide(error, 4, now=0, jitter=1), "after_seconds")
    assert "three retries: after up to 1 s, 2 s and 4 s" in (DOCS / "patterns.md").read_text()


def test_warning_of_a_step_that_was_not_visited_is_logged_so() -> None:
    (text,) = re.findall(r"Look at the log for `(.*?)`", (DOCS / "code-changes.md").read_text())

    assert text in inspect.getsource(endpoint)
