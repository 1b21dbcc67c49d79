"""
Files of older versions are brought to this one, as a whole or not at all.

`schemas` holds a database of each version as SQL, with the same runs in each. Whoever adds a migration adds the next:
the tests that take a version run for it too.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
from asyncio.subprocess import PIPE
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import EmbeddedEngine, Inngest, step
from inngest_durable.engines.embedded.database import Database
from inngest_durable.engines.embedded.queries import SCHEMA, Migration, Schema, statements
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.errors import StoreError
from inngest_durable.quart import endpoint_adapter
from quart import Quart

from packages.inngest_durable.tests.store.migrating_process import later
from testkit.records import Records

PROGRAM = Path(__file__).with_name("migrating_process.py")
SNAPSHOTS = Path(__file__).with_name("schemas")
VERSIONS = sorted(int(file.stem) for file in SNAPSHOTS.glob("*.sql"))
NEXT = SCHEMA.version + 1

COMPLETED, WAITING, RUNNING = (
    "01HF7YAV72040G2081040G2081",
    "01HF7YAW6A081040G2081040G2",
    "01HF7YAX5J0C1G60R30C1G60R3",
)


def make(path: Path, version: int = SCHEMA.version) -> None:
    """Make a database as *version* had it."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((SNAPSHOTS / f"{version}.sql").read_text())


def open_and_close(path: Path, schema: Schema = SCHEMA) -> None:
    """Open a database as the worker does, which may create or migrate it."""
    connection, _ = Database(path, "FULL", schema).open()
    connection.close()


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Return what the database answers."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def content(path: Path) -> list[str]:
    """Return all that is in the database, its version included."""
    with closing(sqlite3.connect(path)) as connection:
        return [*map(str, connection.execute("PRAGMA user_version").fetchone()), *connection.iterdump()]


def schema_of(path: Path) -> list[tuple[str, str, str]]:
    """Return tables and indexes; how a statement is laid out, commented and quoted does not count."""
    rows = query(path, "SELECT type, name, coalesce(sql, '') FROM sqlite_master ORDER BY type, name")
    return [(kind, name, _plain(sql)) for kind, name, sql in rows]


def _plain(sql: str) -> str:
    sql = re.sub(r"--[^\n]*", " ", sql.replace('"', ""))
    return re.sub(r"\s*([(),])\s*", r"\1", " ".join(sql.split()))


def followed_by(*sql: str) -> Schema:
    """Return the schema with one more migration, of the statements *sql*."""
    return Schema(SCHEMA.statements, (*SCHEMA.migrations, Migration(NEXT, f"{NEXT:04}_test.sql", sql)))


def test_each_version_has_its_migration_and_its_snapshot() -> None:
    assert [migration.version for migration in SCHEMA.migrations] == list(range(2, SCHEMA.version + 1))
    assert list(range(1, SCHEMA.version + 1)) == VERSIONS


def test_no_migration_leaves_its_transaction() -> None:
    """A COMMIT in mid-migration would let half of it be seen; BEGIN and most PRAGMAs do nothing or fail there."""
    words = {
        re.sub(r"--[^\n]*", "", statement).split()[0].upper()
        for migration in SCHEMA.migrations
        for statement in migration.statements
    }

    assert words.isdisjoint({"BEGIN", "COMMIT", "END", "ROLLBACK", "PRAGMA", "VACUUM"})


@pytest.mark.parametrize("version", VERSIONS)
def test_migrated_database_has_the_schema_of_a_new_one(tmp_path: Path, version: int) -> None:
    """From every version. Of the newest it says that `schema.sql` was not changed without a migration."""
    open_and_close(tmp_path / "new" / "durable.db")
    old = tmp_path / "old" / "durable.db"
    make(old, version)
    open_and_close(old)

    assert schema_of(old) == schema_of(tmp_path / "new" / "durable.db")
    assert query(old, "PRAGMA user_version") == [(SCHEMA.version,)]
    assert query(old, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("version", VERSIONS)
async def test_runs_of_an_older_version_are_read(path: Path, version: int) -> None:
    make(path, version)
    store = SqliteStore(path)
    store.open()
    runs = {run_id: store.run(run_id) for run_id in (COMPLETED, WAITING, RUNNING)}
    journals = {run_id: [memo.key for memo in store.memos(run_id)] for run_id in runs}
    await store.close()

    assert [run.status.value for run in runs.values() if run] == ["completed", "waiting", "running"]
    assert journals == {
        COMPLETED: ["charge", "pause", "ship"],
        WAITING: ["charge", "pause"],
        RUNNING: ["charge", "pause"],
    }


@pytest.mark.parametrize("version", VERSIONS)
async def test_runs_of_an_older_version_are_finished(path: Path, version: int) -> None:
    """One that waits and one whose worker died go on from their memos."""
    make(path, version)
    called: list[str] = []

    def call(name: str) -> Any:
        called.append(name)
        return name

    app = Quart("shop")
    inngest = Inngest("shop", endpoint_adapter, EmbeddedEngine(path), handle_signals=False)

    @app.get("/order")
    @inngest.endpoint(id="order")
    async def order() -> dict[str, Any]:
        charge = await step.run("charge", call, "charge")
        await step.sleep("pause", "1m")
        return {"charge": charge, "ship": await step.run("ship", call, "ship")}

    inngest.init_app(app)
    records = Records(path)
    async with inngest.running():
        ended = [await asyncio.to_thread(records.wait_for_end, run_id) for run_id in (WAITING, RUNNING)]

    assert [run.status for run in ended] == ["completed", "completed"]
    assert called == ["ship", "ship"]


def test_several_versions_are_one_transaction(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are applied in order, and said."""
    make(path)
    with caplog.at_level("INFO"):
        open_and_close(path, later(2))

    assert query(path, "SELECT id FROM moved") == [("moved",)]
    assert query(path, "PRAGMA user_version") == [(NEXT + 1,)]
    assert caplog.messages == [f"{path} was brought from schema {SCHEMA.version} to {NEXT + 1}"]


def test_database_of_this_version_is_opened_without_writing(path: Path) -> None:
    """So it opens at once however long another process holds it."""
    make(path)
    open_and_close(path, later(2))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        open_and_close(path, later(2))


def test_migrated_database_is_refused_by_the_older_version(path: Path) -> None:
    make(path)
    open_and_close(path, later(1))
    with pytest.raises(StoreError, match=f"its schema is {NEXT}, this version knows {SCHEMA.version}"):
        SqliteStore(path).open()


def test_new_table_takes_the_place_of_an_old_one(path: Path) -> None:
    """Runs may be copied into a table made anew: dropping the old one does not delete their steps."""
    make(path)
    journal = query(path, "SELECT * FROM steps")
    (table,) = (sql for sql in SCHEMA.statements if "CREATE TABLE runs" in sql)
    schema = followed_by(
        table.replace("CREATE TABLE runs", "CREATE TABLE new_runs"),
        "INSERT INTO new_runs SELECT * FROM runs",
        "DROP TABLE runs",
        "ALTER TABLE new_runs RENAME TO runs",
    )
    connection, _ = Database(path, "FULL", schema).open()
    foreign_keys = connection.execute("PRAGMA foreign_keys").fetchone()
    connection.close()

    assert journal
    assert query(path, "SELECT * FROM steps") == journal
    assert query(path, "PRAGMA foreign_key_list(steps)")[0][2] == "runs"
    assert foreign_keys == (1,)


@pytest.mark.parametrize(
    ("last", "why"),
    [
        ("INSERT INTO half VALUES ('one')", "UNIQUE constraint failed: half.id"),
        ("CREATE TABEL whole (id TEXT)", 'near "TABEL": syntax error'),
        ("DELETE FROM runs", "rows of steps refer to runs that are not there"),
    ],
)
def test_migration_that_fails_changes_nothing(path: Path, last: str, why: str) -> None:
    """The error names the file, the versions and the cause; a better version may then do it."""
    make(path)
    before = content(path)
    schema = followed_by("CREATE TABLE half (id TEXT PRIMARY KEY)", "INSERT INTO half VALUES ('one')", last)
    with pytest.raises(StoreError) as caught:
        open_and_close(path, schema)

    assert str(caught.value) == (
        f"cannot bring {path} from schema {SCHEMA.version} to {NEXT} by {NEXT:04}_test.sql: {why}; it was not changed"
    )
    assert content(path) == before

    open_and_close(path, later(1))


def test_statements_are_told_apart() -> None:
    """A trigger holds semicolons, and the last statement may do without one."""
    trigger = "CREATE TRIGGER t AFTER INSERT ON runs BEGIN\n  DELETE FROM a;\n  DELETE FROM b;\nEND;\n"

    assert statements(f"-- Why; and how.\n{trigger}\nDELETE FROM c\n") == (
        f"-- Why; and how.\n{trigger}",
        "\nDELETE FROM c\n",
    )
    assert statements("DELETE FROM c;\n-- The end.\n\n") == ("DELETE FROM c;\n",)


class Migrating:
    """A process of a later version that opens the database, and stops before one statement."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, path: Path, stop_before: str, versions: int = 2) -> Migrating:
        """Start the process; it has come to where it stops when this returns."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(PROGRAM), str(path), str(versions), stop_before),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"stopped\n"
        return cls(process)

    async def go_on(self) -> None:
        """Let it go on to where it stops next."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"go on\n")
        assert await self.process.stdout.readline() == b"stopped\n"

    async def ended(self) -> tuple[int | None, str]:
        """Let it go on to its end, and return its exit status and what it complained of."""
        _, error = await self.process.communicate(b"")
        return self.process.returncode, error.decode()


async def test_kill_in_mid_migration_leaves_the_old_version(path: Path) -> None:
    make(path)
    before = content(path)
    killed = await Migrating.start(path, "CREATE TABLE whole")
    killed.process.kill()
    await killed.process.wait()

    assert content(path) == before

    open_and_close(path, later(2))

    assert query(path, "SELECT id FROM moved") == [("moved",)]


async def test_process_waits_for_another_ones_migration(path: Path) -> None:
    """It tries to begin one of its own, and finds the work done when the other lets it in."""
    make(path)
    first = await Migrating.start(path, "CREATE TABLE whole")
    second = await Migrating.start(path, "BEGIN IMMEDIATE")
    # Busy: it comes to BEGIN again, and stops there again.
    await second.go_on()
    outcomes = [await first.ended(), await second.ended()]

    assert outcomes == [(0, ""), (0, "")]
    assert query(path, "SELECT id FROM moved") == [("moved",)]
    assert query(path, "PRAGMA user_version") == [(NEXT + 1,)]


async def test_migration_is_not_done_again_after_another_process_did_it(path: Path) -> None:
    """This one has read the old version, but had not begun when the other one ended."""
    make(path)
    second = await Migrating.start(path, "BEGIN IMMEDIATE")
    open_and_close(path, later(2))

    assert await second.ended() == (0, "")
    assert query(path, "SELECT id FROM moved") == [("moved",)]


async def test_process_refuses_what_a_newer_one_made_of_the_file_meanwhile(path: Path) -> None:
    make(path)
    older = await Migrating.start(path, "BEGIN IMMEDIATE", 1)
    open_and_close(path, later(2))
    status, error = await older.ended()

    assert status == 1
    assert f"its schema is {NEXT + 1}, this version knows {NEXT}" in error
    assert query(path, "PRAGMA user_version") == [(NEXT + 1,)]
