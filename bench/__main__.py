"""Compare durable with plain requests, and print it."""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.compare import Series, System, compare
from bench.load import find_wrk
from bench.servers import THREADS, gunicorn
from bench.stored import store_finished_runs

STEPS = 3


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; `--quick` is a shorter default for three of them."""
    parser = argparse.ArgumentParser(prog="nox -s bench --", description="Durable against plain requests per second.")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 1 s, nothing stored beforehand")
    parser.add_argument("--rounds", type=int, help="rounds per system and concurrency (8)")
    parser.add_argument("--seconds", type=int, help="length of a round (2)")
    parser.add_argument("--stored", type=int, help="measure again with this many finished runs stored (100000)")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 32, 128], help="open connections (1 32 128)")
    options = parser.parse_args(arguments)
    defaults = (3, 1, 0) if options.quick else (8, 2, 100_000)
    for name, default in zip(("rounds", "seconds", "stored"), defaults, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, default)
    return options


def on_quart(connections: int, options: argparse.Namespace, folder: Path) -> list[System]:
    """Return the plain app and the durable ones, each with a database as it was at the start."""
    systems = [
        System("plain", "plain_app"),
        System("durable", "durable_app", folder / f"empty-{connections}.db"),
    ]
    if options.stored:
        database = folder / f"stored-{connections}.db"
        shutil.copyfile(folder / "stored.db", database)
        systems.append(System(f"durable, {options.stored:,} runs stored", "durable_app", database))
    return systems


def on_flask(folder: Path) -> list[System]:
    """Return the same two in Flask."""
    return [
        System("Flask plain", "plain_app", serve=gunicorn),
        System("Flask durable", "durable_app", folder / "flask.db", serve=gunicorn),
    ]


def report(all_series: Sequence[Sequence[Series]]) -> None:
    """Print the table, and what a step adds where nothing else waits."""
    print(f"\n{'connections':>11}  {'system':<30}{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'durable/plain':>15}")
    for plain, *others in all_series:
        for series in (plain, *others):
            ratio = "" if series is plain else f"{series.ratio_to(plain):.2f}"
            print(
                f"{series.connections:>11}  {series.name:<30}{series.median('per_second'):>11,.0f}"
                f"{series.median('p50_ms'):>9.2f}{series.median('p99_ms'):>9.2f}{ratio:>15}"
            )
    print()
    for plain, durable, *stored in all_series:
        if plain.connections == 1:
            added = (durable.median("p50_ms") - plain.median("p50_ms")) / STEPS * 1000
            print(f"A step adds {added:.0f} microseconds to the p50 at concurrency 1.")
        for series in stored:
            share = series.ratio_to(durable)
            print(f"At concurrency {plain.connections}, {series.name}: {share:.2f} of the rate with none stored.")


def commit_microseconds(folder: Path) -> float:
    """Return the median time of one SQLite commit as the engine makes them (WAL, synchronous=FULL) in *folder*."""
    database = sqlite3.connect(folder / "commit.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE row (value)")
    times = []
    for number in range(500):
        started = time.perf_counter()
        database.execute("INSERT INTO row VALUES (?)", (number,))
        times.append(time.perf_counter() - started)
    database.close()
    return statistics.median(times) * 1e6


def main() -> int:
    """Measure and report; the exit status is 1 if a request failed, since the figures then mean nothing."""
    options = parse(sys.argv[1:])
    wrk = find_wrk()
    systems = len(options.concurrency) * (3 if options.stored else 2) + 2
    seconds = systems * (options.rounds * options.seconds + 2)
    print(f"Load by {wrk or 'a Python client, so all figures are lower than with wrk (install wrk to compare)'}.")
    print(f"Rounds: {options.rounds} of {options.seconds} s, in turns; medians. About {seconds} s in all.", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        print(f"One SQLite commit takes {commit_microseconds(folder):.0f} microseconds here.", flush=True)
        if options.stored:
            store_finished_runs(folder / "stored.db", options.stored, folder)
        all_series = [
            compare(connections, on_quart(connections, options, folder), options, folder, wrk)
            for connections in options.concurrency
        ]
        all_series.append(compare(THREADS, on_flask(folder), options, folder, wrk))
    report(all_series)
    errors = sum(measured.errors for group in all_series for series in group for measured in series.rounds)
    if errors:
        print(f"{errors} requests failed: these figures mean nothing.")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
