"""
CEL expressions over ``event``, a run's own event, and ``async``, an incoming one. Pure.

CEL is evaluated by cel-python, the optional extra ``inngest-durable[cel]``, which is imported when it is first used.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from ..errors import EventError

_EVENT = re.compile(r"\bevent\b")


class ExpressionFailedError(Exception):
    """An expression cannot be evaluated for an event, which therefore does not match. Never shown to user code."""


class Expression:
    """
    One expression, compiled.

    Args:
        text: The expression.

    Raises:
        EventError: It is not valid CEL, or cel-python is not installed.
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str) or not text.strip():
            raise EventError(f"if_exp is a CEL expression, not {text!r}")
        try:
            from celpy import Environment, celtypes
            from celpy.adapter import json_to_cel
            from celpy.celparser import CELParseError
            from celpy.evaluation import CELEvalError
        except ImportError as error:
            raise EventError(
                'if_exp needs cel-python: pip install "inngest-durable[cel]", or use match={path: value}'
            ) from error
        self._text = text
        self._to_cel = json_to_cel
        self._bool = celtypes.BoolType
        self._failure = CELEvalError
        environment = Environment()
        try:
            self._program = environment.program(environment.compile(text))
        except CELParseError as error:
            raise EventError(f"if_exp={text!r} is no CEL expression:\n{error}") from error

    @staticmethod
    @functools.lru_cache(maxsize=256)
    def of(text: str) -> Expression:
        """Return the expression of this text, compiled once."""
        return Expression(text)

    def check(self, event: dict[str, Any], name: str) -> None:
        """
        Try the expression on an event without data, to find expressions that can work with no event.

        Raises:
            EventError: It uses an unknown name, or its value is neither true nor false.
        """
        try:
            value = self._evaluate(event, {"name": name, "id": "", "ts": 0, "data": {}})
        except self._failure as error:
            # A missing field may be there in another event.
            if "undeclared reference" in str(error.args[0]):
                unknown = str(error.args[0]).partition("(in ")[0].strip()
                text = f"if_exp={self._text!r}: {unknown}; there are `event`, the run's own, and `async`, the incoming"
                raise EventError(text) from error
            return
        if not isinstance(value, self._bool):
            raise EventError(f"if_exp={self._text!r} is neither true nor false, but {value!r}")

    def holds(self, event: dict[str, Any], incoming: dict[str, Any]) -> bool:
        """Return whether *incoming* fulfils the expression. Raises `ExpressionFailedError`."""
        try:
            value = self._evaluate(event, incoming)
        except Exception as error:
            # Whatever the library raises for this event: the write that brought it has nothing to do with it.
            raise ExpressionFailedError(f"{self._text!r}: {type(error).__name__}: {error}") from error
        return isinstance(value, self._bool) and bool(value)

    def _evaluate(self, event: dict[str, Any], incoming: dict[str, Any]) -> Any:
        return self._program.evaluate({"event": self._to_cel(event), "async": self._to_cel(incoming)})


def mentions_event(text: str) -> bool:
    """Return whether *text* may ask for the run's own event."""
    return isinstance(text, str) and _EVENT.search(text) is not None
