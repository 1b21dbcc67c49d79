"""
Code on a page of the documentation is quoted from a file that tests execute: `nox -s docs -- --write` renews it.

A page says ``quote("docs/examples/shop.py", "place_order")`` in a comment that cog finds, and cog puts the source of
that function below it. So readers of the site and readers of the Markdown see the same, and `nox -s docs` fails where a
page shows something else than its file, or a file or a function that is gone.
"""

from __future__ import annotations

import ast
from pathlib import Path

from docs.examples.side_by_side import side_by_side
from docs.states import states

__all__ = ["both", "quote", "states"]

ROOT = Path(__file__).parents[1]
LANGUAGES = {".py": "python", ".js": "js", ".sql": "sql"}


def quote(path: str, *names: str) -> str:
    """
    Return a link to a file of the repository, and its source as a Markdown block.

    Args:
        path: The file, seen from the root of the repository.
        *names: Functions and classes of it, with their decorators; without any, the whole file.

    Raises:
        OSError: There is no such file.
        LookupError: It has no function or class of that name at its top.
    """
    source = (ROOT / path).read_text()
    shown = "\n\n\n".join(definition(source, name) for name in names) if names else source.strip()
    return f"\n{link(path)}:\n\n```{LANGUAGES[Path(path).suffix]}\n{shown}\n```\n"


def both(quart: str, flask: str) -> str:
    """Return two versions of an example as one Markdown block, the lines that differ marked."""
    return f"\n```diff\n{side_by_side(quart, flask)}\n```\n"


def link(path: str) -> str:
    """Return a Markdown link from a page in ``docs`` to a file of the repository."""
    target = path.removeprefix("docs/") if path.startswith("docs/") else f"../{path}"
    return f"[`{Path(path).name}`]({target})"


def definition(source: str, name: str) -> str:
    """Return the lines of what *source* calls *name*. Raises `LookupError` if it has nothing of that name."""
    for node in ast.parse(source).body:
        if name in _names_of(node):
            decorators = getattr(node, "decorator_list", [])
            first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
            return "\n".join(source.splitlines()[first - 1 : node.end_lineno])
    raise LookupError(f"nothing at the top of the file is called {name!r}")


def _names_of(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []
