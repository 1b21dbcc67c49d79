"""The command: makes the plan, goes through it, prints what came of it. Ends with 1 if the accounting is not clean."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from chaos.exercise import Exercise, Options, keep_or_remove, worker_names
from chaos.plan import Plan, make_plan
from chaos.report import report


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="nox -s chaos --", description="Disturb workers under load, then account.")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long the load lasts (1)")
    parser.add_argument("--seed", type=int, help="makes the plan and the requests; chosen by chance, and printed")
    parser.add_argument("--clients", type=int, default=3, help="clients of each framework, at least one (3)")
    parser.add_argument("--plan", action="store_true", help="print the plan, and do nothing")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a clean run, too")
    parser.add_argument("--no-mount", action="store_true", help="use the ordinary disk: files that may not grow")
    options = parser.parse_args(arguments)
    if options.minutes <= 0 or options.clients < 1:
        parser.error("--minutes is more than 0, and --clients at least 1")
    if options.seed is None:
        options.seed = random.randrange(1_000_000)
    return options


def main() -> int:
    """Do what the options say; return the exit status."""
    options = parse(sys.argv[1:])
    plan = make_plan(options.seed, options.minutes * 60, worker_names())
    print(f"seed {plan.seed}, {options.minutes:g} minutes, {len(plan.disturbances)} disturbances, plan {plan.digest}")
    if options.plan:
        print(plan)
        return 0
    signal.signal(signal.SIGTERM, _end)
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{plan.seed}-"))
    (folder / "plan.txt").write_text(f"{plan}\n")
    print(f"in {folder}; its plan.txt says what happens when", flush=True)
    return go_through(plan, Options(options.clients, not options.no_mount), folder, options.keep)


def go_through(plan: Plan, options: Options, folder: Path, keep: bool) -> int:
    """Go through a plan, and report; return the exit status. The folder stays if something is wrong."""
    clean = False
    try:
        outcome = Exercise(plan, options, folder, lambda text: print(text, flush=True)).run()
        clean = not outcome.faults
        (folder / "faults.txt").write_text("".join(f"{fault}\n" for fault in outcome.faults))
        print("\n".join(report(plan, outcome)), flush=True)
    finally:
        if not clean or keep:
            print(f"database, ledger and log are in {folder}", flush=True)
        keep_or_remove(folder, not clean or keep)
    return 0 if clean else 1


def _end(_number: int, _frame: FrameType | None) -> None:
    """End as Ctrl-C would: the workers with their supervisor."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
