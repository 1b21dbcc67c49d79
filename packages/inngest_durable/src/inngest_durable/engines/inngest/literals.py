"""JSON values and paths as CEL, in a form that an Inngest server reads as it is meant. Pure."""

from __future__ import annotations

import math
import re
from typing import Any

from ...errors import EventError

_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
# Cannot stand after a point, or not everywhere.
_RESERVED = frozenset(
    (
        *("as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop"),
        *("namespace", "null", "package", "return", "true", "var", "void", "while"),
    )
)
# The server takes what is between quotes as it is, without undoing escapes.
_NEEDS_ESCAPE = re.compile(r"[\\\x00-\x1f\x7f]")
# A name that ends so, with a point behind it, reads like the run's own event.
_ENDS_AS_EVENT = re.compile(r"\.(\w*event)$")
_INT64 = 2**63


def literal(value: Any) -> str:
    """
    Return a JSON value as CEL.

    Raises:
        EventError: It holds a text that an Inngest server would not read as it is.
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, int):
        return str(value) if -_INT64 <= value < _INT64 else _number(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return "{" + ", ".join(f"{literal(key)}: {literal(inner)}" for key, inner in value.items()) + "}"


def selected(receiver: str, field: str) -> str:
    """Return *field* of *receiver*, both as CEL; as a name if *field* is one."""
    if _IDENTIFIER.fullmatch(field) and field not in _RESERVED:
        return f"{before_point(receiver)}.{field}"
    return f"{receiver}[{literal(field)}]"


def before_point(receiver: str) -> str:
    """Return *receiver* in a form that a point may follow."""
    return _ENDS_AS_EVENT.sub(r'["\1"]', receiver)


def _number(value: float) -> str:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise EventError(f"the Inngest server cannot compare with the number {value!r}: it is out of range")
    return repr(number)


def _text(value: str) -> str:
    if _NEEDS_ESCAPE.search(value):
        raise EventError(
            f"the Inngest server cannot compare with {value!r}: a text in a condition may hold no backslash and no "
            "control character such as a line break"
        )
    # What cannot stand in one literal stands in several: the name of the run's own event, and quotes of both kinds.
    parts = [piece for part in re.split(r"(?<=event)(?=\.)", value) for piece in _one_quoted(part)]
    quoted = [f"'{part}'" if '"' in part else f'"{part}"' for part in parts]
    return quoted[0] if len(quoted) == 1 else f"({' + '.join(quoted)})"


def _one_quoted(text: str) -> list[str]:
    """Return the pieces of *text*, each with quotes of one kind at most."""
    return re.findall(r"[^\"]+|[^']+", text) if '"' in text and "'" in text else [text]
