"""
Another program that holds the database's write lock: `python -m chaos.lock <database> <seconds> <mode>`.

It writes nothing and takes back what it began. Ends with 1 if it did not get the lock within its time.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from contextlib import closing

MODES = ("IMMEDIATE", "EXCLUSIVE")


def hold(database: str, seconds: float, mode: str) -> int:
    """Hold the lock for some seconds."""
    with closing(sqlite3.connect(database, timeout=seconds, isolation_level=None)) as connection:
        try:
            connection.execute(f"BEGIN {mode}")
        except sqlite3.OperationalError:
            return 1
        time.sleep(seconds)
        connection.execute("ROLLBACK")
    return 0


if __name__ == "__main__":
    sys.exit(hold(sys.argv[1], float(sys.argv[2]), sys.argv[3]))
