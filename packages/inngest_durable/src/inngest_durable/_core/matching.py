"""
Which events a step waits for. Pure: the store looks up the first condition by an index, and asks here for the others.

A condition is a path into the incoming event and the value that must be there. Values are compared as JSON, so the text
``"17"`` is not the number 17; numbers are compared by value, so 1 is 1.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct

from ..errors import EventError
from .expressions import Expression, mentions_event
from .names import is_name

Match = str | Mapping[str, Any]
Fields = dict[str, Any]

_PATH = re.compile(r"(?:data|id|name|ts)(?:\.[^.]+)*")
# A longer value is looked up by its digest; JSON never begins with this mark.
_LONGEST_VALUE = 64
_DIGEST = "#"
# Beyond it, a number with a point stands for several whole ones.
_EXACT = 2.0**53
_MISSING = object()


class WaitFor(Struct, frozen=True, gc=False):
    """
    What a step waits for, as the store keeps it.

    Attributes:
        kind: ``"event"``, ``"signal"`` or ``"run"``.
        name: Name of the event or signal, or ID of the run.
        path: Where to look for *value* in the event; empty if any event of that name will do.
        value: What must be there, as `value_at` returns it.
        spec: `Conditions` as JSON, or empty if there are no others.
        since: Take an event that was received at this time or later, in seconds since the epoch; None takes only those
            to come.
        taken: IDs of events that resumed other steps of the run, so that each counts once in a run.
        digested: The values that digests stand for in *value* and *spec*, as JSON by path. Not stored.
    """

    kind: str
    name: str
    path: str = ""
    value: str = ""
    spec: str = ""
    since: float | None = None
    taken: tuple[str, ...] = ()
    digested: tuple[tuple[str, str], ...] = ()


class Conditions(Struct, frozen=True):
    """
    What must hold besides the first condition.

    Attributes:
        values: Path and value of each.
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
    texts = _values(match, own_event)
    values = [(path, _short(text)) for path, text in texts]
    digested = tuple(given for given, short in zip(texts, values, strict=True) if given != short)
    (path, value), others = (values[0], values[1:]) if values else (("", ""), [])
    event: Fields = {}
    if if_exp is not None:
        event = own_event() if mentions_event(if_exp) else {}
        Expression.of(if_exp).check(event, name)
    if not others and not if_exp:
        return WaitFor("event", name, path, value, digested=digested)
    spec = msgspec.json.encode(Conditions(others, if_exp or "", event)).decode()
    return WaitFor("event", name, path, value, spec, digested=digested)


def fits(spec: str, incoming: Fields) -> bool:
    """
    Return whether *incoming* fulfils what is left of a wait after its first condition.

    Raises:
        ExpressionFailedError: The expression cannot be evaluated for this event, e.g. because a field is missing.
    """
    if not spec:
        return True
    conditions = _conditions.decode(spec)
    if any(value_at(incoming, path) != value for path, value in conditions.values):
        return False
    return not conditions.expression or Expression.of(conditions.expression).holds(conditions.event, incoming)


def fits_at(path: str, value: str, incoming: Fields) -> bool:
    """Return whether *incoming* fulfils the first condition of a wait."""
    return not path or value_at(incoming, path) == value


def value_at(fields: Any, path: str) -> str | None:
    """
    Return what is at *path*, in the form in which values are compared; None if there is nothing.

    That is JSON in one form: keys sorted, whole numbers without a point; a digest if it is long.
    """
    text = _text_at(fields, path)
    return None if text is None else _short(text)


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


def _values(match: Match | None, own_event: Callable[[], Fields]) -> list[tuple[str, str]]:
    if match is None:
        return []
    if not isinstance(match, str):
        return [(_checked(path), _json_of(path, value)) for path, value in match.items()]
    value = _text_at(own := own_event(), _checked(match))
    if value is None:
        known = ", ".join(sorted(own["data"])) or "nothing"
        raise EventError(
            f"match={match!r} compares with the run's own event, which has no such field: its data holds {known}. "
            "It is the request's query parameters and JSON body; compare with a value by match={path: value}"
        )
    return [(match, value)]


def _checked(path: str) -> str:
    if not is_name(path) or not _PATH.fullmatch(path):
        raise EventError(f'match takes a path into the event, such as "data.requestId", not {path!r}')
    return path


def _json_of(path: str, value: Any) -> str:
    try:
        return _text(msgspec.to_builtins(value))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EventError(f"the value to match at {path!r} has no JSON form: {error}") from error


_conditions = msgspec.json.Decoder(Conditions)
