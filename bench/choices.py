"""
What some choices of an application cost or gain: `python -m bench.choices`.

All servers run at the same time and are loaded in turns; each share is taken within one round.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

from bench.compare import System, compare
from bench.load import find_wrk
from bench.servers import uvicorn

# Name in the table, and the app in `bench.choices_app`.
CHOICES = {
    "durable: three steps": "durable",
    "the three steps at the same time": "parallel",
    "one step": "one_step",
    'synchronous="NORMAL"': "unsynced",
    "run_events=False": "untold",
    "gc.freeze() at the start": "frozen",
}


def main() -> int:
    """Measure and print; the exit status is 1 if a request failed, since the figures then mean nothing."""
    parser = argparse.ArgumentParser(prog="nox -s bench -- choices", description="What an application can choose.")
    parser.add_argument("--rounds", type=int, default=8, help="rounds per app and concurrency (8)")
    parser.add_argument("--seconds", type=int, default=2, help="length of a round (2)")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 32], help="open connections (1 32)")
    options = parser.parse_args()
    wrk, errors = find_wrk(), 0
    print(f"{'connections':>11}  {'app':<36}{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'of plain':>10}")
    for connections in options.concurrency:
        with tempfile.TemporaryDirectory(prefix="choices-") as name:
            folder = Path(name)
            chosen = [
                System(title, app, folder / f"{app}.db", partial(uvicorn, module="choices_app"))
                for title, app in CHOICES.items()
            ]
            plain, *others = compare(connections, [System("plain", "plain_app"), *chosen], options, folder, wrk)
        for series in (plain, *others):
            print(
                f"{connections:>11}  {series.name:<36}{series.median('per_second'):>11,.0f}"
                f"{series.median('p50_ms'):>9.2f}{series.median('p99_ms'):>9.2f}{series.ratio_to(plain):>10.2f}",
                flush=True,
            )
            errors += sum(measured.errors for measured in series.rounds)
    if errors:
        print(f"{errors} requests failed: these figures mean nothing.")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
