"""
CEL expressions over ``event``, a run's own event, and ``async``, an incoming one. Pure.

CEL is evaluated by cel-expr-python, Google's implementation, of the optional extra ``inngest-durable[cel]``, which is
imported when it is first used.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from ..errors import EventError

_EVENT = re.compile(r"\bevent\b")
_WHOLE = 2**63
_LARGEST = int(1.7976931348623157e308)


class ExpressionFailedError(Exception):
    """An expression cannot be evaluated for an event, which therefore does not match. Never shown to user code."""


class Expression:
    """
    One expression, compiled.

    Args:
        text: The expression.

    Raises:
        EventError: It is not valid CEL, uses an unknown name, or cel-expr-python is not installed.
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str) or not text.strip():
            raise EventError(f"if_exp is a CEL expression, not {text!r}")
        environment, self._types = _environment()
        self._text = text
        try:
            self._program = environment.compile(text)
        except (RuntimeError, TypeError) as error:
            # The latter for a lone surrogate.
            raise EventError(
                f"if_exp={text!r} is no CEL expression over `event`, the run's own, and `async`, the incoming:\n{error}"
            ) from error

    @staticmethod
    @functools.lru_cache(maxsize=256)
    def of(text: str) -> Expression:
        """Return the expression of this text, compiled once."""
        return Expression(text)

    def check(self, event: dict[str, Any], name: str) -> None:
        """
        Try the expression on an event without data, to find one whose value is neither true nor false.

        Raises:
            EventError: It is such an expression.
        """
        incoming = {"name": name, "id": "", "ts": 0, "data": {}}
        value = self._program.eval(data={"event": _in_cel(event), "async": incoming})
        # A field that is missing may be there in another event.
        if value.type() not in (self._types.BOOL, self._types.ERROR):
            raise EventError(f"if_exp={self._text!r} is neither true nor false, but {value.value()!r}")

    def holds(self, event: dict[str, Any], incoming: dict[str, Any]) -> bool:
        """Return whether *incoming* fulfils the expression. Raises `ExpressionFailedError`."""
        try:
            value = self._program.eval(data={"event": _in_cel(event), "async": _in_cel(incoming)})
        except Exception as error:
            # Whatever the library raises for this event: the write that brought it has nothing to do with it.
            raise ExpressionFailedError(f"{self._text!r}: {type(error).__name__}: {error}") from error
        if value.type() == self._types.ERROR:
            raise ExpressionFailedError(f"{self._text!r}: {value.value()}")
        return value.type() == self._types.BOOL and bool(value.value())


@functools.cache
def _environment() -> tuple[Any, Any]:
    """Return what compiles expressions, and the types of their values."""
    try:
        from cel_expr_python import cel  # type: ignore[import-untyped]  # its stubs are not marked as such
    except ImportError as error:
        raise EventError(
            'if_exp needs cel-expr-python: pip install "inngest-durable[cel]", or use match={path: value}'
        ) from error
    return cel.NewEnv(variables={"event": cel.Type.DYN, "async": cel.Type.DYN}), cel.Type


def _in_cel(value: Any) -> Any:
    """Return a JSON value as CEL has it, whose whole numbers have 64 bits; larger ones are floating-point numbers."""
    if isinstance(value, dict):
        return {key: _in_cel(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_in_cel(inner) for inner in value]
    if isinstance(value, int) and not -_WHOLE <= value < _WHOLE:
        return float(min(max(value, -_LARGEST), _LARGEST))
    return value


def mentions_event(text: str) -> bool:
    """Return whether *text* may ask for the run's own event."""
    return isinstance(text, str) and _EVENT.search(text) is not None
