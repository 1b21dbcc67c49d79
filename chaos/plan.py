"""What is done to the workers, when and to whom: all of it from the seed, before anything starts."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

What = Literal["kill", "blackout", "term", "stop", "stop, kill", "lock", "full", "clock", "cut"]
Tail = Literal["whole", "torn", "zeroed"]

# In this proportion, shuffled again and again: so a short run has some of each, too.
DECK: tuple[What, ...] = (
    *("kill", "kill", "kill", "term", "term", "stop", "stop", "stop, kill"),
    *("blackout", "lock", "full", "clock", "clock", "cut"),
)
TAILS: tuple[Tail, ...] = ("whole", "torn", "torn", "zeroed")
GAP_SECONDS = (0.3, 2.2)
# Fellow workers look for dead ones each second: a pause may be shorter or longer than that.
STOP_SECONDS = (0.2, 5.0)
LOCK_SECONDS = (0.3, 4.0)
FULL_SECONDS = (0.3, 4.0)
RESTART_SECONDS = (0.0, 1.5)
# A worker is left alone for this long after it was started again.
RECOVER_SECONDS = 1.0
# The clock jumps by up to so much in runs of minutes, and by up to a fifth of the time in shorter ones.
CLOCK_SECONDS = 90.0
# Copies of the machine; each is served by two processes until its runs have ended.
MOST_CUTS = 30


@dataclass(frozen=True, slots=True)
class Disturbance:
    """
    One thing that happens.

    Attributes:
        at: When, in seconds from the start.
        what: What it is.
        worker: To whom, or empty for all.
        seconds: How long it lasts: until the worker is started again, goes on, the lock is released, the disk is
            freed. For the clock, how far ahead it is from then on.
        tail: For a cut, what becomes of the unsynced end of the log.
    """

    at: float
    what: What
    worker: str = ""
    seconds: float = 0.0
    tail: Tail = "whole"

    def __str__(self) -> str:
        whom = f" {self.worker}" if self.worker else ""
        tail = f" {self.tail}" if self.what == "cut" else f" {self.seconds:+.2f} s"
        return f"{self.at:8.2f} s  {self.what}{whom}{tail}"


@dataclass(frozen=True, slots=True)
class Plan:
    """
    All that happens.

    Attributes:
        seed: What it was made from, with the two below.
        seconds: How long the load lasts.
        workers: Names of the workers.
        disturbances: What happens, in order.
    """

    seed: int
    seconds: float
    workers: tuple[str, ...]
    disturbances: tuple[Disturbance, ...]

    @property
    def furthest_clock(self) -> float:
        """How far ahead the clock ever is. In the end it is set there, so that nothing sleeps any longer."""
        return max([0.0, *(each.seconds for each in self.disturbances if each.what == "clock")])

    @property
    def digest(self) -> str:
        """The plan in a few letters: two runs with the same have the same plan."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:8]

    def __str__(self) -> str:
        return "\n".join(map(str, self.disturbances))


def make_plan(seed: int, seconds: float, workers: Sequence[str]) -> Plan:
    """Return the plan of a seed."""
    return Plan(seed, seconds, tuple(workers), tuple(_disturbances(random.Random(f"plan {seed}"), seconds, workers)))


def _disturbances(chance: random.Random, seconds: float, workers: Sequence[str]) -> Iterator[Disturbance]:
    free_at = dict.fromkeys((*workers, "lock", "full"), 0.0)
    at, cuts = 0.0, 0
    for what in _drawn(chance):
        at += chance.uniform(*GAP_SECONDS)
        if what == "cut" and cuts == MOST_CUTS:
            continue
        cuts += what == "cut"
        made = _disturbance(chance, what, at, free_at, min(CLOCK_SECONDS, seconds / 5))
        at = made.at
        if at >= seconds:
            return
        yield made


def _drawn(chance: random.Random) -> Iterator[What]:
    while True:
        yield from chance.sample(DECK, len(DECK))


def _disturbance(
    chance: random.Random, what: What, at: float, free_at: dict[str, float], most_clock: float
) -> Disturbance:
    """Return one disturbance, not before *at*, of something that is not disturbed already."""
    if what == "cut":
        return Disturbance(at, what, tail=chance.choice(TAILS))
    if what == "clock":
        return Disturbance(at, what, seconds=chance.uniform(-most_clock, most_clock))
    if what in ("lock", "full"):
        lasts = chance.uniform(*(LOCK_SECONDS if what == "lock" else FULL_SECONDS))
        begins = max(at, free_at[what])
        free_at[what] = begins + lasts
        return Disturbance(begins, what, seconds=lasts)
    workers = [name for name in free_at if name not in ("lock", "full")]
    lasts = chance.uniform(*(STOP_SECONDS if what in ("stop", "stop, kill") else RESTART_SECONDS))
    if what == "blackout":
        begins = max(at, *(free_at[name] for name in workers))
        free_at |= dict.fromkeys(workers, begins + lasts + RECOVER_SECONDS)
        return Disturbance(begins, what, seconds=lasts)
    # Who is to be free first, and by chance where several are.
    chance.shuffle(workers)
    worker = min(workers, key=lambda name: max(at, free_at[name]))
    begins = max(at, free_at[worker])
    free_at[worker] = begins + lasts + RECOVER_SECONDS
    return Disturbance(begins, what, worker, lasts)
