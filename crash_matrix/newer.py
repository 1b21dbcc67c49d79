"""The database as the next version of the package would open it, for the cells that die in a migration."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from inngest_durable.engines.embedded.database import Database
from inngest_durable.engines.embedded.queries import SCHEMA, Migration, Schema

from testkit.effects import Effects

# Workers of this version may run on meanwhile: only columns and tables are added. Applied in part, it would show, and
# could not be applied again.
MIGRATION = Migration(
    SCHEMA.version + 1,
    f"{SCHEMA.version + 1:04}_later.sql",
    (
        "ALTER TABLE runs ADD COLUMN later TEXT",
        "UPDATE runs SET later = 'moved'",
        "CREATE TABLE later (id TEXT PRIMARY KEY)",
    ),
)


class NewerDatabase(Database):
    """
    A database that is brought to the next version when it is opened.

    Args:
        path: The file.
        effects: Counts the passages of the place ``migration``, before the last statement, and kills there.
    """

    def __init__(self, path: Path, effects: Effects) -> None:
        super().__init__(path, "FULL", Schema(SCHEMA.statements, (*SCHEMA.migrations, MIGRATION)))
        self._effects = effects

    def connect(self, busy_seconds: float = 0.0) -> sqlite3.Connection:
        """Return a new connection."""
        connection = super().connect(busy_seconds)
        connection.set_trace_callback(self._notice)
        return connection

    def _notice(self, statement: str) -> None:
        if statement == MIGRATION.statements[-1]:
            self._effects.pass_by("migration")
