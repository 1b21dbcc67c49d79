"""
Runs as a process of its own: opens a database as a later version of the package would, and stops on the way.

It says "stopped", and goes on when it is given a line, or the end of its input.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

from inngest_durable.engines.embedded.database import Database
from inngest_durable.engines.embedded.queries import SCHEMA, Migration, Schema
from inngest_durable.errors import StoreError

# Run twice, either would fail; applied without the other, it would show.
MIGRATIONS = (
    (
        "CREATE TABLE half (id TEXT PRIMARY KEY)",
        "UPDATE runs SET endpoint = 'half-way'",
        "CREATE TABLE whole (id TEXT PRIMARY KEY)",
    ),
    ("INSERT INTO half VALUES ('moved')", "ALTER TABLE half RENAME TO moved"),
)


def later(count: int) -> Schema:
    """Return the schema *count* versions later. It is for existing files only: its statements are today's."""
    new = [
        Migration(SCHEMA.version + number, f"{SCHEMA.version + number:04}_test.sql", statements)
        for number, statements in enumerate(MIGRATIONS[:count], 1)
    ]
    return Schema(SCHEMA.statements, (*SCHEMA.migrations, *new))


class Stopped(Database):
    """A database that stops before each statement that begins like *stop_before*, until it is given a line."""

    def __init__(self, path: Path, schema: Schema, stop_before: str) -> None:
        super().__init__(path, "FULL", schema)
        self._stop_before = stop_before

    def connect(self, busy_seconds: float = 0.0) -> sqlite3.Connection:
        """Return a new connection."""
        connection = super().connect(busy_seconds)
        connection.set_trace_callback(self._stop)
        return connection

    def _stop(self, statement: str) -> None:
        if statement.startswith(self._stop_before):
            print("stopped", flush=True)  # noqa: T201
            sys.stdin.readline()


def main(path: str, count: str, stop_before: str) -> None:
    """Open the database."""
    try:
        connection, _ = Stopped(Path(path), later(int(count)), stop_before).open()
    except StoreError as error:
        sys.exit(str(error))
    connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
