"""The kinds of requests: which steps their runs have, and what the right response is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EVENT = "chaos/told"
EVENT_KEY = "key"
REFUSAL = "the card was refused"
# The numbers of the events that a run of kind `told` waits for, in this order.
NUMBERS = [1, 2]


@dataclass(frozen=True, slots=True)
class Kind:
    """
    What is known of a run before it begins.

    Attributes:
        route: The first part of its path.
        steps: IDs of its steps that have an effect.
        flaky: The one that fails some times, or empty.
        refused: The one that is refused for good, or empty.
        weight: How often it is asked for.
        keyed: Whether the request has an ``Idempotency-Key``, and is sent twice.
        child: The kind of the run that it invokes, or None.
    """

    route: str
    steps: tuple[str, ...]
    flaky: str = ""
    refused: str = ""
    weight: int = 1
    keyed: bool = False
    child: Kind | None = None


CHILD = Kind("child", ("child-one", "child-two"))
KINDS = {
    "chain": Kind("chain", ("one", "two", "three"), weight=3),
    "fan": Kind("fan", ("one", "left", "middle", "right", "last"), weight=2),
    "flaky": Kind("flaky", ("one", "flaky", "two"), flaky="flaky", weight=2),
    "nap": Kind("nap", ("one", "two"), weight=2),
    "told": Kind("told", ("one", "two"), weight=2),
    "parent": Kind("parent", ("one", "two"), weight=2, child=CHILD),
    "saga": Kind("saga", ("reserve", "charge", "release"), refused="charge", weight=2),
    "keyed": Kind("chain", ("one", "two", "three"), weight=2, keyed=True),
}


def right_response(kind: Kind, tokens: Mapping[str, str | None]) -> tuple[int, dict[str, Any]]:
    """
    Return status and JSON of the response of a run.

    Args:
        kind: The run's kind.
        tokens: The memoized results of its steps, and of those of its child.
    """
    body: dict[str, Any] = {step: tokens.get(step) for step in kind.steps if step != kind.refused}
    if kind.refused:
        return 402, body | {"error": REFUSAL}
    if kind.route == "told":
        body["numbers"] = NUMBERS
    if kind.child is not None:
        body["child"] = right_response(kind.child, tokens)[1]
    return 200, body
