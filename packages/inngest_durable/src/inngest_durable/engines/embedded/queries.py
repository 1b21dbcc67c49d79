"""The SQL of the store, read from the `.sql` files beside this module. Nothing here talks to a database."""

from __future__ import annotations

import re
import sqlite3
from importlib.resources import files

from msgspec import Struct

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


class Migration(Struct, frozen=True):
    """
    What brings a database from the version before to *version*.

    Attributes:
        version: The version it leads to; the first one is 2.
        name: Its file, e.g. ``"0002_events.sql"``.
        statements: Its SQL, one statement each.
    """

    version: int
    name: str
    statements: tuple[str, ...]


class Schema(Struct, frozen=True):
    """
    How a database looks.

    Attributes:
        statements: Make a new one.
        migrations: Make one of an older version the same, in order.
    """

    statements: tuple[str, ...]
    migrations: tuple[Migration, ...]

    @property
    def version(self) -> int:
        """The number kept in the file as ``user_version``."""
        return self.migrations[-1].version if self.migrations else 1


def statements(text: str) -> tuple[str, ...]:
    """Return the statements of *text*: `executescript` would take each out of the transaction it belongs to."""
    found = []
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending)
            pending = ""
    # The last one may have no semicolon; what is left may also be a comment.
    if any(line.strip() and not line.startswith("--") for line in pending.splitlines()):
        found.append(pending)
    return tuple(found)


def _named(text: str) -> dict[str, str]:
    """Return the queries of *text* by the name in the comment above each."""
    _, *parts = _NAME.split(text)
    return {name: query.strip() for name, query in zip(parts[::2], parts[1::2], strict=True)}


def _migrations() -> tuple[Migration, ...]:
    found = [file for file in _FOLDER.joinpath("migrations").iterdir() if file.name.endswith(".sql")]
    return tuple(
        Migration(int(file.name.partition("_")[0]), file.name, statements(file.read_text()))
        for file in sorted(found, key=lambda file: file.name)
    )


_FOLDER = files(__package__)

QUERIES = {
    name: query
    for file in ("queries.sql", "waits.sql", "operator.sql")
    for name, query in _named(_FOLDER.joinpath(file).read_text()).items()
}
SCHEMA = Schema(statements(_FOLDER.joinpath("schema.sql").read_text()), _migrations())
