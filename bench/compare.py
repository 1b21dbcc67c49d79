"""
The comparison of some systems.

All servers run at the same time and are loaded in turns, in short rounds: whatever else the machine does hits all of
them, and each ratio is taken within one round.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import LoadError, Round, load, measure
from bench.servers import Serve, Server, uvicorn


@dataclass(frozen=True, slots=True)
class System:
    """An app to measure: its name in the table, and what `Server` needs to know."""

    name: str
    app: str
    database: Path | None = None
    serve: Serve = uvicorn


@dataclass(slots=True)
class Series:
    """What was measured of one system at one concurrency."""

    name: str
    connections: int
    rounds: list[Round] = field(default_factory=list)

    def median(self, figure: str) -> float:
        """Return the median of *figure* (an attribute of `Round`) over the rounds."""
        values: list[float] = [getattr(measured, figure) for measured in self.rounds]
        return statistics.median(values)

    def ratio_to(self, base: Series) -> float:
        """Return the median of the ratios of requests per second, taken round by round."""
        pairs = zip(self.rounds, base.rounds, strict=True)
        return statistics.median(mine.per_second / theirs.per_second for mine, theirs in pairs)


def compare(
    connections: int, systems: Sequence[System], options: argparse.Namespace, folder: Path, wrk: str | None
) -> list[Series]:
    """Load all *systems* in turns at one concurrency."""
    with ExitStack() as stack:
        served: list[tuple[Series, Server]] = []
        for system in systems:
            server = Server(system.app, database=system.database, folder=folder, serve=system.serve)
            served.append((Series(system.name, connections), stack.enter_context(server)))

        for series, server in served:
            warm_up = asyncio.run(load(server.url, connections, 1))
            if warm_up.errors:
                raise LoadError(f"{series.name}: {warm_up.errors} of {warm_up.requests} answers were not 200")
        for number in range(options.rounds):
            turn = number % len(served)
            for series, server in served[turn:] + served[:turn]:
                series.rounds.append(
                    measure(server.url, connections=connections, seconds=options.seconds, wrk=wrk, folder=folder)
                )
        return [series for series, _ in served]
