"""
The code on the page is the code that runs: a handler's own source, with its steps found in it.

Pygments colours it; `ast` finds the lines of each step by the literal ID that the call has.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

# Stands for the steps whose ID is computed: the saga has one line for all that it takes back.
ANY_STEP = "*"


@dataclass(frozen=True, slots=True)
class Line:
    """
    One line of a listing.

    Attributes:
        number: Its number in the file.
        html: Its text, coloured, without the newline.
        indent: How many blanks it begins with.
        step: ID of the step that is called on it; `ANY_STEP` if the ID is computed; None for other lines.
        ends_step: Whether the call of a step ends on it.
    """

    number: int
    html: str
    indent: int
    step: str | None
    ends_step: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """A handler and what follows it in its file: the step functions that it runs."""

    file: str
    lines: tuple[Line, ...]

    @property
    def steps(self) -> set[str]:
        """The literal step IDs."""
        return {line.step for line in self.lines if line.step and line.step != ANY_STEP}


def listing(handler: Callable[..., Any]) -> Listing:
    """Return the source of *handler* and of what follows it in its module, as it is on disk."""
    handler = inspect.unwrap(handler)
    _, first = inspect.getsourcelines(handler)
    module = inspect.getmodule(handler)
    assert module is not None
    source = inspect.getsource(module)
    calls = [(step, range(node.lineno, (node.end_lineno or 0) + 1)) for node, step in _steps(source)]
    steps = {number: step for step, numbers in calls for number in numbers}
    ends = {numbers[-1] for _, numbers in calls}
    coloured = highlight(source, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True)).splitlines()
    lines = [
        Line(number, html, len(text) - len(text.lstrip()), steps.get(number), number in ends)
        for number, (text, html) in enumerate(zip(source.splitlines(), coloured, strict=True), 1)
        if number >= first
    ]
    return Listing(PurePath(inspect.getfile(handler)).name, tuple(lines))


def _steps(source: str) -> Iterator[tuple[ast.Call, str]]:
    """Yield each call of a function of the module ``step`` that takes a step ID, with that ID."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="step")), args=[ast.Constant(value=str(step)), *_]):
                yield node, step
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="step")),
                args=[ast.Call(func=ast.Name(id="StepOptions"), args=[ast.Constant(value=str(step)), *_]), *_],
            ):
                yield node, step
            case ast.Call(func=ast.Attribute(value=ast.Name(id="step"), attr="run"), args=[_, *_]):
                yield node, ANY_STEP
