"""A process forks while it has a database open: parent and children write to it, and nothing that resolved is lost."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("forking_process.py")


@pytest.mark.parametrize(("what", "children"), [("outlived", 2), ("busy", 12)])
def test_forked_children_lose_nothing(path: Path, what: str, children: int) -> None:
    """Neither those of a parent that is in the midst of a commit, nor those that outlive their parent's store."""
    # Python warns of every fork beside a thread.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(PROGRAM), str(path), what, str(children)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    with closing(sqlite3.connect(path)) as db:
        found = dict(db.execute("SELECT host, count(*) FROM workers WHERE host <> 'parent' GROUP BY host").fetchall())

        assert (process.returncode, process.stderr) == (0, "")
        assert found == {"before": children, "after": children}
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
