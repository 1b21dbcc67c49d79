"""The file of the SQLite store: whose it is, what is refused, and how it stays small and quick."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import EmbeddedEngine
from inngest_durable.engines.base import Claim
from inngest_durable.engines.embedded import checkpointer
from inngest_durable.engines.embedded.database import Database
from inngest_durable.engines.embedded.queries import QUERIES, SCHEMA
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.engines.records import Insert
from inngest_durable.errors import StoreError

from packages.inngest_durable.tests.store.samples import Samples


def test_every_commit_is_synced_unless_asked_otherwise(path: Path) -> None:
    def level(synchronous: Any) -> int:
        connection, _ = Database(path, synchronous).open()
        (value,) = connection.execute("PRAGMA synchronous").fetchone()
        connection.close()
        return int(value)

    assert level("FULL") == 2
    assert level("NORMAL") == 1


@pytest.mark.parametrize(("options", "level"), [({}, 2), ({"synchronous": "NORMAL"}, 1)])
async def test_engine_syncs_as_it_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], level: int
) -> None:
    levels: list[int] = []
    connect = Database.connect

    def connected(database: Database, busy_seconds: float = 0.0) -> sqlite3.Connection:
        connection = connect(database, busy_seconds)
        levels.append(connection.execute("PRAGMA synchronous").fetchone()[0])
        return connection

    monkeypatch.setattr(Database, "connect", connected)
    engine = EmbeddedEngine(path, **options)
    await engine.start(NoHost())
    await engine.stop()

    assert set(levels) == {level}


def test_engine_refuses_another_way_to_sync(path: Path) -> None:
    with pytest.raises(ValueError, match=r'"FULL" or "NORMAL", not .OFF.'):
        EmbeddedEngine(path, synchronous="OFF")  # type: ignore[arg-type]  # that is the test


class NoHost:
    """An application that no run comes back to."""

    async def reenter(self, claim: Claim) -> None:
        """Refuse."""
        raise AssertionError(claim.run.id)


def file_sizes(path: Path) -> dict[str, int]:
    """Return the size of each file beside *path*, itself included."""
    return {file.name: file.stat().st_size for file in path.parent.iterdir()}


async def test_log_is_moved_into_the_database_and_written_from_its_start_again(
    path: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpointer, "_LOG_BYTES", 200_000)
    store = SqliteStore(path, synchronous="NORMAL")
    store.open()
    for _ in range(500):
        run = samples.run()
        await store.write(Insert(run), samples.save(run, result=b'"' + b"x" * 50_000 + b'"'))

    sizes = file_sizes(path)
    await store.close()

    # 25 MB were written without a pause.
    assert sizes["durable.db-wal"] < 15_000_000
    assert sizes["durable.db"] > 5_000_000


async def test_log_that_others_have_left_long_is_moved_into_the_file(
    path: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that are restarted before they have written much do not let it grow for ever."""
    monkeypatch.setattr(checkpointer, "_LOG_BYTES", 200_000)
    # Stays open: the last one to close the file would move the log.
    first = SqliteStore(path)
    first.open()
    for _ in range(60):
        store = SqliteStore(path)
        store.open()
        await store.write(*(Insert(samples.run()) for _ in range(10)))
        await store.close()
    sizes = file_sizes(path)
    await first.close()

    assert sizes["durable.db-wal"] < 600_000


async def test_closed_store_leaves_one_file(path: Path, samples: Samples) -> None:
    store = SqliteStore(path)
    store.open()
    await store.write(Insert(samples.run()))
    await store.close()

    assert [file.name for file in path.parent.iterdir()] == ["durable.db"]


async def test_new_files_belong_to_their_user_only(path: Path, samples: Samples) -> None:
    store = SqliteStore(path)
    store.open()
    await store.write(Insert(samples.run()))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes == dict.fromkeys(("durable.db", "durable.db-wal", "durable.db-shm"), 0o600)

    await store.close()


def create(path: Path) -> None:
    """Make a database at *path*."""
    store = SqliteStore(path)
    store.open()
    asyncio.run(store.close())


def test_existing_folder_keeps_its_permissions(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    create(tmp_path / "durable.db")

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def sqlite_file(path: Path, *statements: str) -> None:
    path.parent.mkdir(exist_ok=True)
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def refusal(path: Path) -> str:
    """Return why the store refuses *path*, having checked that the file was left alone."""
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        SqliteStore(path).open()
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return str(caught.value)


def test_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("shopping list\n" * 100)

    assert refusal(path) == f"cannot open the database {path}: file is not a database"


def test_database_of_another_program_is_refused(path: Path) -> None:
    sqlite_file(path, "CREATE TABLE runs (id TEXT)", "PRAGMA user_version = 1")

    assert refusal(path) == f"{path} belongs to another program; it was not changed"


def test_database_of_a_newer_version_is_refused(path: Path) -> None:
    create(path)
    sqlite_file(path, "PRAGMA user_version = 99")

    assert refusal(path) == (
        f"{path} was written by a newer version of inngest_durable (its schema is 99, "
        f"this version knows {SCHEMA.version}); it was not changed"
    )


def test_damaged_database_is_refused(path: Path) -> None:
    create(path)
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xa5" * 3996
    path.write_bytes(content)

    assert refusal(path) == f"cannot open the database {path}: database disk image is malformed"


def test_database_without_its_secret_is_refused(path: Path) -> None:
    create(path)
    sqlite_file(path, "DELETE FROM meta")

    assert refusal(path) == f"{path} is damaged: it holds no secret"


def test_folder_in_place_of_the_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open database file"):
        SqliteStore(tmp_path).open()


def test_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot open the database"):
        SqliteStore(tmp_path / "file" / "durable.db").open()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_file_is_refused(path: Path) -> None:
    create(path)
    path.chmod(0o400)
    with pytest.raises(StoreError, match="no permission"):
        SqliteStore(path).open()


def test_empty_file_becomes_a_database(tmp_path: Path) -> None:
    file = tmp_path / "empty"
    file.touch()
    store = SqliteStore(file)
    store.open()

    assert len(store.secret) == 32

    asyncio.run(store.close())


def test_schema_names_its_version(path: Path) -> None:
    connection, _ = Database(path, "FULL").open()

    assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA.version,)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []

    connection.close()


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("due", "runs_due"),
        ("orphans", "runs_owned"),
        ("save_memo", "runs_owned"),
        ("save_completed", "runs_owned"),
    ],
)
def test_query_reads_its_index_only(path: Path, query: str, index: str) -> None:
    connection, _ = Database(path, "FULL").open()
    sql = QUERIES[query]
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", (None,) * sql.count("?"))]

    assert any(f"runs USING COVERING INDEX {index}" in step for step in plan)
    assert not any("TEMP B-TREE" in step for step in plan)

    connection.close()


@pytest.mark.parametrize("query", QUERIES)
def test_placeholders_have_no_names_since_values_are_given_in_order(query: str) -> None:
    """Python 3.14 refuses a sequence of values for ``?1`` or ``:name``, and 3.12 warns of each at every call."""
    assert re.search(r"\?\d|[:@$][a-z]", QUERIES[query]) is None
