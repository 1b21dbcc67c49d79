"""
Which events a step waits for. Pure: the store looks up the values by an index, and asks here for the expression.

A value is what must be at a path into the incoming event. Values are compared as JSON, so the text ``"17"`` is not the
number 17; numbers are compared by value, so 1 is 1.0. Several paths are looked up as one, which is the list of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct

from ..errors import EventError
from .events import json_of
from .expressions import Expression, ExpressionFailedError, mentions_event
from .names import is_name

Match = str | Mapping[str, Any]
Fields = dict[str, Any]

_PATH = re.compile(r"(?:data|id|name|ts)(?:\.[^.]+)*")
# A longer value is looked up by its digest; JSON never begins with this mark.
_LONGEST_VALUE = 64
_DIGEST = "#"
# Beyond it, a number with a point stands for several whole ones.
_EXACT = 2.0**53
# Begins a list of paths, and no path.
_LIST = "["
_MISSING = object()


class WaitFor(Struct, frozen=True, gc=False):
    """
    What a step waits for, as the store keeps it.

    Attributes:
        kind: ``"event"``, ``"signal"`` or ``"run"``.
        name: Name of the event or signal, or ID of the run.
        path: Where to look for *value* in the event, see `value_at`; empty if any event of that name will do.
        value: What must be there, as `value_at` returns it.
        spec: `Conditions` as JSON, or empty if there are none.
        since: Take an event that was received at this time or later, in seconds since the epoch; None takes only those
            to come.
        taken: IDs of events that resumed other steps of the run, so that each counts once in a run.
        values: Path and JSON of each value, for which *path* and *value* stand. Not stored.
    """

    kind: str
    name: str
    path: str = ""
    value: str = ""
    spec: str = ""
    since: float | None = None
    taken: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()


class Conditions(Struct, frozen=True):
    """
    What must hold besides the value that is looked up.

    Attributes:
        values: Path and value of each further one, where an earlier version has written the wait.
        expression: A CEL expression, or empty.
        event: The run's own event, if the expression asks for it.
    """

    values: list[tuple[str, str]] = []
    expression: str = ""
    event: Fields = {}


def wait_for_event(name: str, match: Match | None, if_exp: str | None, own_event: Callable[[], Fields]) -> WaitFor:
    """
    Return what a step waits for.

    Args:
        name: The event's name.
        match: A path such as ``"data.requestId"``, whose value must be that of the run's own event; or values by path.
        if_exp: A CEL expression over ``event``, the run's own, and ``async``, the incoming one.
        own_event: Returns the run's own event.

    Raises:
        EventError: A path or the expression cannot work, or the run's own event has nothing at the path.
    """
    if not is_name(name):
        raise EventError(f"the event to wait for is named by a non-empty text of Unicode characters, not {name!r}")
    values = _values(match, own_event)
    path, value = _looked_up(values)
    if if_exp is None:
        return WaitFor("event", name, path, value, values=values)
    event = own_event() if mentions_event(if_exp) else {}
    Expression.of(if_exp).check(event, name)
    spec = msgspec.json.encode(Conditions([], if_exp, event)).decode()
    return WaitFor("event", name, path, value, spec, values=values)


def fits(spec: str, incoming: Fields) -> bool:
    """
    Return whether *incoming* fulfils what is left of a wait after its value was looked up.

    Raises:
        ExpressionFailedError: The expression cannot be evaluated for this event, e.g. because a field is missing.
    """
    if not spec:
        return True
    conditions = _conditions.decode(spec)
    if any(value_at(incoming, path) != value for path, value in conditions.values):
        return False
    if not conditions.expression:
        return True
    try:
        expression = Expression.of(conditions.expression)
    except EventError as error:
        # An earlier version has taken it, or the library is not installed any more.
        raise ExpressionFailedError(str(error)) from error
    return expression.holds(conditions.event, incoming)


def fits_at(path: str, value: str, incoming: Fields) -> bool:
    """Return whether *incoming* has the value that is looked up for a wait."""
    return not path or value_at(incoming, path) == value


def value_at(fields: Any, path: str) -> str | None:
    """
    Return what is at *path*, in the form in which values are compared; None if there is nothing.

    That is JSON in one form: keys sorted, whole numbers without a point; a digest if it is long. If *path* is a list of
    paths, as JSON, it is the list of what is at each.
    """
    if not path.startswith(_LIST):
        text = _text_at(fields, path)
        return None if text is None else _short(text)
    texts = [_text_at(fields, each) for each in msgspec.json.decode(path, type=list[str])]
    return None if None in texts else _short(_listed(texts))


def _looked_up(values: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """Return the path and the value that are looked up for *values*: with several, one list of each."""
    if not values:
        return "", ""
    if len(values) == 1:
        [(path, text)] = values
        return path, _short(text)
    # In one order, so that steps that look at the same paths are found by one look.
    paths, texts = zip(*sorted(values), strict=True)
    return msgspec.json.encode(paths).decode(), _short(_listed(texts))


def _listed(texts: Sequence[str | None]) -> str:
    return msgspec.json.encode(texts).decode()


def _text_at(fields: Any, path: str) -> str | None:
    found = fields
    for part in path.split("."):
        if isinstance(found, dict):
            found = found.get(part, _MISSING)
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return None if found is _MISSING else _text(found)


def _text(value: Any) -> str:
    return msgspec.json.encode(_whole(value), order="sorted").decode()


def _short(text: str) -> str:
    encoded = text.encode()
    return text if len(encoded) <= _LONGEST_VALUE else _DIGEST + blake2b(encoded, digest_size=16).hexdigest()


def _whole(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _EXACT else value
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    return [_whole(inner) for inner in value] if isinstance(value, list) else value


def _values(match: Match | None, own_event: Callable[[], Fields]) -> tuple[tuple[str, str], ...]:
    if match is None:
        return ()
    if isinstance(match, str):
        value = _text_at(own := own_event(), _checked(match))
        if value is None:
            known = ", ".join(sorted(own["data"])) or "nothing"
            raise EventError(
                f"match={match!r} compares with the run's own event, which has no such field: its data holds {known}. "
                "It is the request's query parameters and JSON body; compare with a value by match={path: value}"
            )
        return ((match, value),)
    if not isinstance(match, Mapping) or not match:
        raise EventError(f"match is a path into the event, or values by path, not {match!r}; None takes every event")
    return tuple((_checked(path), _json_of(path, value)) for path, value in match.items())


def _checked(path: str) -> str:
    if not is_name(path) or not _PATH.fullmatch(path):
        raise EventError(f'match takes a path into the event, such as "data.requestId", not {path!r}')
    return path


def _json_of(path: str, value: Any) -> str:
    return _text(msgspec.json.decode(json_of(value, f"the value to match at {path!r}")))


_conditions = msgspec.json.Decoder(Conditions)
