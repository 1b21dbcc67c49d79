"""Play all cells and write the document, or those that are asked for and print what came of them."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from queue import Empty, SimpleQueue

from crash_matrix import page
from crash_matrix.cells import Cell, every_cell, matching
from crash_matrix.verdict import Verdict, try_cell
from testkit.forks import Zygote

# Plays mostly wait: twice as many as CI has cores.
AT_A_TIME = 4


def try_all(cells: Sequence[Cell], at_a_time: int, tell: Callable[[Verdict], None]) -> list[Verdict]:
    """Play *cells*, so many at a time; *tell* is called with each verdict as it comes."""
    queue: SimpleQueue[Cell] = SimpleQueue()
    for cell in cells:
        queue.put(cell)

    def verdicts() -> list[Verdict]:
        with closing(Zygote()) as zygote:
            return [told(try_cell(cell, zygote)) for cell in _taken(queue)]

    def told(verdict: Verdict) -> Verdict:
        tell(verdict)
        return verdict

    with ThreadPoolExecutor(at_a_time) as threads:
        players = [threads.submit(verdicts) for _ in range(at_a_time)]
        try:
            return [verdict for player in players for verdict in player.result()]
        finally:
            # Of what is interrupted, no further cell is played.
            for _ in _taken(queue):
                pass


def _taken(queue: SimpleQueue[Cell]) -> Iterator[Cell]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="nox -s crash_matrix --", description=__doc__)
    parser.add_argument("--only", help="<pattern>/<adapter>/<workers>/<point>; * or a missing part is all; no document")
    parser.add_argument("--at-a-time", type=int, default=AT_A_TIME, help=f"plays at a time ({AT_A_TIME})")
    options = parser.parse_args(arguments)
    try:
        options.cells = matching(options.only) if options.only else every_cell()
    except ValueError as error:
        parser.error(str(error))
    return options


def main(arguments: Sequence[str]) -> int:
    """Do it; return the exit status."""
    options = parse(arguments)
    started = time.monotonic()
    verdicts = try_all(options.cells, options.at_a_time, lambda verdict: print(verdict, flush=True))
    seconds = time.monotonic() - started
    failed = [str(verdict.cell) for verdict in verdicts if verdict.complaints]
    print(f"{len(verdicts)} cells in {seconds:.0f} s, {len(failed)} failed", *failed, sep="\n")
    if not options.only:
        page.PAGE.write_text(page.document(verdicts, seconds))
        print(f"wrote {page.PAGE}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
