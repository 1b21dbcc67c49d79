"""The endpoints whose runs are killed. `app` holds their handlers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Who approves in the pattern that waits.
APPROVER = "Ann"


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """
    An endpoint, as far as those who kill and judge its runs know it.

    Attributes:
        name: Its ID, and the first part of its path.
        does: What its handler does, in one line.
        steps: Its steps with an effect, those of the run that it invokes included.
        hit: The step that the points are about.
        together: Steps that may be in flight while *hit* is.
        fails: Steps that fail for good, without an effect.
        pause: The step in which the run waits, if it does.
        hit_endpoint: Where *hit* is, if not in the endpoint itself.
        status: Status of the answer.
        answer: What the answer holds beside the result of each step.
    """

    name: str
    does: str
    steps: tuple[str, ...]
    hit: str
    together: tuple[str, ...] = ()
    fails: tuple[str, ...] = ()
    pause: str = ""
    hit_endpoint: str = ""
    status: int = 200
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def place_of_hit(self) -> str:
        """The endpoint in which *hit* is."""
        return self.hit_endpoint or self.name


PATTERNS = {
    pattern.name: pattern
    for pattern in (
        Pattern("sequential", "steps one, **two**, three", ("one", "two", "three"), "two"),
        Pattern(
            "parallel",
            "step one; steps left and **right** at the same time; step three",
            ("one", "left", "right", "three"),
            "right",
            together=("left",),
        ),
        Pattern("sleep", "step one; a durable sleep; step **two**", ("one", "two"), "two", pause="nap"),
        Pattern(
            "wait",
            "step one; waits for an event; step **two**",
            ("one", "two"),
            "two",
            pause="approval",
            answer={"by": APPROVER},
        ),
        Pattern(
            "invoke",
            "step one; invokes another endpoint, whose run has the step **charge**; step two",
            ("one", "charge", "two"),
            "charge",
            pause="call",
            hit_endpoint="child",
        ),
        Pattern(
            "saga",
            "step one; step charge, which fails for good; in `except StepError` the step **refund**; answers 409",
            ("one", "refund"),
            "refund",
            fails=("charge",),
            status=409,
        ),
    )
}
