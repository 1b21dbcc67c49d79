"""The SQL of the store, read from the `.sql` files beside this module. Nothing here talks to a database."""

from __future__ import annotations

import re
import sqlite3
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def _named(text: str) -> dict[str, str]:
    """Return the queries of *text* by the name in the comment above each."""
    _, *parts = _NAME.split(text)
    return {name: query.strip() for name, query in zip(parts[::2], parts[1::2], strict=True)}


def _statements(text: str) -> list[str]:
    """Return the statements of *text*: `executescript` would take each out of the transaction it belongs to."""
    statements = []
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements


_FOLDER = files(__package__)

QUERIES = _named(_FOLDER.joinpath("queries.sql").read_text())
SCHEMA = _statements(_FOLDER.joinpath("schema.sql").read_text())
SCHEMA_VERSION = 1
