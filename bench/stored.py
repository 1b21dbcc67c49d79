"""
A database with many finished runs: a few real ones, copied in SQL under new IDs.

A day's worth of traffic in a few seconds. Reads the tables' columns from the database, so that a new column is copied
like all others.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from inngest_durable.engines.ulids import ulid_time

from bench.load import LoadError, load
from bench.servers import Server

COPY = "INSERT INTO {table} ({key}, {columns}) SELECT ?, {columns} FROM {table} WHERE {key} = ?"


def store_finished_runs(database: Path, number: int, folder: Path) -> None:
    """Make *database* with *number* completed runs in it, and no log beside it: the file alone may be copied."""
    with Server("durable_app", database=database, folder=folder) as server:
        answered = asyncio.run(load(server.url, connections=4, seconds=0.2))
    if answered.errors:
        raise LoadError(f"{answered.errors} of {answered.requests} answers were not 200")
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        real = [row[0] for row in db.execute("SELECT id FROM runs WHERE status = 'completed'")]
        # A millisecond apart and all in the past, so that the runs of the benchmark come after them as they would.
        begin = time.time() - 3600 - number / 1000
        copies = [
            (ulid_time(begin + index / 1000) + f"{index:016d}", real[index % len(real)])
            for index in range(number - len(real))
        ]
        db.execute("BEGIN")
        for statement in copy_statements(db):
            db.executemany(statement, copies)
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (stored,) = db.execute("SELECT count(*) FROM runs WHERE status = 'completed'").fetchone()
    print(f"Stored {stored:,} finished runs: {database.stat().st_size / 2**20:.0f} MiB.", flush=True)


def copy_statements(db: sqlite3.Connection) -> list[str]:
    """Return what copies a run and all that belongs to it; each takes the new and the old ID of the run."""
    statements = []
    for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name != 'runs', name"):
        # A number that SQLite gives is given anew.
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[2] != "INTEGER" or not row[5]]
        key = "id" if table == "runs" else "run_id"
        if key in columns:
            columns.remove(key)
            statements.append(COPY.format(table=table, key=key, columns=", ".join(columns)))
    return statements
