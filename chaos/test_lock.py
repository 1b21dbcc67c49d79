"""The outside program really locks the database."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from chaos.lock import MODES
from testkit.processes import Process
from testkit.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent


def can_write(database: Path) -> bool:
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
    return True


@pytest.mark.parametrize("mode", MODES)
def test_nobody_writes_while_the_lock_is_held(mode: str, tmp_path: Path) -> None:
    database = tmp_path / "t.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    command = [sys.executable, "-m", "chaos.lock", str(database), "60", mode]
    process = Process(command, env={}, cwd=ROOT, log=tmp_path / "log")
    try:
        wait_until(lambda: not can_write(database), "the lock to be held")
    finally:
        process.kill()

    assert can_write(database)
