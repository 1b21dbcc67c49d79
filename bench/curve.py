"""
Whether many runs in the file slow down new ones: `python -m bench.curve`.

The same durable endpoint on files with ever more finished runs, and at last 100,000 sleeping ones besides. All servers
run at the same time and are loaded in turns; each share is taken within one round.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from bench.compare import System, compare
from bench.life import put_to_sleep
from bench.load import find_wrk
from bench.stored import store_finished_runs

FINISHED = (0, 10_000, 100_000, 1_000_000)
SLEEPING = 100_000
SLEEP_SECONDS = 24 * 3600.0
CONNECTIONS = 32


def systems(folder: Path) -> list[System]:
    """Return the durable app on each file."""
    found = []
    for number in FINISHED:
        database = _database(folder, number)
        if number:
            store_finished_runs(database, number, folder)
        found.append(System(f"{number:,} finished", "durable_app", database))
    largest, sleeping = FINISHED[-1], folder / "sleeping.db"
    shutil.copyfile(_database(folder, largest), sleeping)
    asyncio.run(put_to_sleep(sleeping, SLEEPING, time.time() + SLEEP_SECONDS))
    return [*found, System(f"{largest:,} finished, {SLEEPING:,} sleeping", "durable_app", sleeping)]


def _database(folder: Path, finished: int) -> Path:
    return folder / f"finished-{finished}.db"


def main() -> int:
    """Measure and print; the exit status is 1 if a request failed, since the figures then mean nothing."""
    parser = argparse.ArgumentParser(prog="nox -s bench -- curve", description="New runs in a file that has many.")
    parser.add_argument("--rounds", type=int, default=8, help="rounds per file (8)")
    parser.add_argument("--seconds", type=int, default=2, help="length of a round (2)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="curve-") as name:
        folder = Path(name)
        empty, *others = compare(CONNECTIONS, systems(folder), options, folder, find_wrk())
    print(f"\n{'runs in the file':<38}{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'of the empty one':>18}")
    for series in (empty, *others):
        print(
            f"{series.name:<38}{series.median('per_second'):>11,.0f}{series.median('p50_ms'):>9.2f}"
            f"{series.median('p99_ms'):>9.2f}{series.ratio_to(empty):>18.2f}"
        )
    errors = sum(measured.errors for series in (empty, *others) for measured in series.rounds)
    if errors:
        print(f"{errors} requests failed: these figures mean nothing.")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
