"""
What a step waits for as one CEL text over ``async``, the incoming event, as an Inngest server evaluates it. Pure.

Whatever asks for ``event``, the run's own event, is evaluated here and stands in the text as a literal: a server that
meets ``event.`` in a run that it has never called breaks, even if that is part of a literal or of another name.
"""

from __future__ import annotations

from itertools import product

import msgspec

from ..._core.matching import Conditions, WaitFor
from ...errors import EventError
from .literals import literal, selected

# The server must not find it, see above.
_BANNED = "event."


def cel_of(wait: WaitFor) -> str:
    """
    Return the condition of a wait for an event; empty if any event of its name will do.

    Raises:
        EventError: It has no form that an Inngest server evaluates.
    """
    conditions = msgspec.json.decode(wait.spec, type=Conditions) if wait.spec else Conditions()
    terms = [_equals(path, value) for path, value in wait.values]
    if conditions.expression:
        # It needs cel-python, too, which only those who use expressions have.
        from .residue import residue_of

        reduced = residue_of(conditions.expression, conditions.event)
        terms += [f"({reduced})" if terms and reduced else reduced] if reduced else []
    text = " && ".join(terms)
    if _BANNED in text:
        raise EventError(
            f"the condition for {wait.name!r} cannot be told to the Inngest server, which takes the text {_BANNED!r} "
            f"for the run's own event: {text}. Give the variable or field another name"
        )
    return text


def _equals(path: str, json: str) -> str:
    value = literal(msgspec.json.decode(json))
    # A number in a path leads into a list, or is the name of a field.
    forms = [f"{found} == {value}" for found in _places(path)]
    return forms[0] if len(forms) == 1 else f"({' || '.join(forms)})"


def _places(path: str) -> list[str]:
    choices: list[list[int | str]] = [[int(part), part] if part.isdecimal() else [part] for part in path.split(".")]
    places = []
    for parts in product(*choices):
        place = "async"
        for part in parts:
            place = f"{place}[{part}]" if isinstance(part, int) else selected(place, part)
        places.append(place)
    return places
