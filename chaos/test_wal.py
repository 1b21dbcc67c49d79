"""The reader of the write-ahead log agrees with SQLite."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from chaos.wal import Log


def rows(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM t").fetchone()
    return int(count)


def cut_copy(database: Path, length: int) -> Path:
    copy = database.with_name(f"copy-{length}.db")
    shutil.copyfile(database, copy)
    shutil.copyfile(f"{database}-wal", f"{copy}-wal")
    os.truncate(f"{copy}-wal", length)
    return copy


def test_log_that_is_cut_off_at_a_committed_offset_holds_what_was_committed(tmp_path: Path) -> None:
    """A byte less, and the last transaction is gone as a whole."""
    database = tmp_path / "t.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x)")
        for number in range(1, 4):
            connection.execute("INSERT INTO t VALUES (zeroblob(9000))")
            committed = Log(database).committed()

            assert rows(cut_copy(database, committed)) == number
            assert rows(cut_copy(database, committed - 1)) == number - 1


def test_frames_from_before_the_log_began_anew_do_not_count(tmp_path: Path) -> None:
    database = tmp_path / "t.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (zeroblob(90000))")
        before, header = Log(database).committed(), Log(database).header()
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
        connection.execute("INSERT INTO t VALUES (1)")

        assert Log(database).committed() < before
        assert Log(database).header() != header


def test_without_a_log_nothing_is_committed_in_it(tmp_path: Path) -> None:
    assert Log(tmp_path / "t.db").committed() == 0
    assert Log(tmp_path / "t.db").header() == b""
