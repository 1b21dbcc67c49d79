"""What was really done, when and to whom: by it the books decide which errors and repetitions have an explanation."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

# After a full disk is freed, a worker tries again within 2 s; clients may be refused until then.
_AFTERMATH_SECONDS = {"full": 3.0}
# Each error that a client may see, and what explains it. Nothing explains that it waits for longer than anything lasts.
EXPLANATIONS: Mapping[str, frozenset[str]] = {
    "connection refused": frozenset(("kill", "term", "crash")),
    "connection lost": frozenset(("kill", "term", "crash")),
    "503": frozenset(("full", "term")),
}
# What keeps a worker that is told to stop from writing down what it did.
_PREVENTS_WRITING = frozenset(("full", "lock", "stop"))


@dataclass(slots=True)
class Trouble:
    """A disturbance as it happened; *worker* is empty if it concerned all. Times are CLOCK_MONOTONIC."""

    what: str
    worker: str
    began: float
    ended: float = math.inf

    def meets(self, began: float, ended: float) -> bool:
        """Whether it went on at some time between *began* and *ended*, or had not worn off by then."""
        return self.began <= ended and began <= self.ended + _AFTERMATH_SECONDS.get(self.what, 0.0)


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a worker process, by SIGKILL or, *gently*, after SIGTERM."""

    worker: str
    told_at: float
    ended_at: float
    gently: bool


@dataclass(slots=True)
class Diary:
    """
    A record that the storm writes and the books read.

    Attributes:
        troubles: Everything that was done.
        deaths: Worker processes that have ended, by process ID, which may be given again.
        faults: What workers did that nobody told them to.
        skipped: Disturbances that had no effect, since their worker was not up.
    """

    troubles: list[Trouble] = field(default_factory=list)
    deaths: defaultdict[int, list[Death]] = field(default_factory=lambda: defaultdict(list))
    faults: list[str] = field(default_factory=list)
    skipped: int = 0

    def begin(self, what: str, worker: str = "") -> Trouble:
        """Note that something begins."""
        trouble = Trouble(what, worker, time.monotonic())
        self.troubles.append(trouble)
        return trouble

    def end(self, trouble: Trouble) -> None:
        """Note that it is over; harmless twice."""
        trouble.ended = min(trouble.ended, time.monotonic())

    def explanation(self, error: str, worker: str, began: float, ended: float) -> str:
        """Return what explains an *error* that a client saw in a request to *worker*, or an empty text."""
        known = EXPLANATIONS.get(error, frozenset())
        for trouble in self.troubles:
            concerns = trouble.worker in ("", worker)
            if trouble.what in known and concerns and trouble.meets(began, ended):
                return trouble.what
        return ""

    def may_have_lost(self, pid: int, at: float, before: float) -> bool:
        """Whether what process *pid* did *at* some time may be unwritten, as it ended before another one did it."""
        return any(
            at <= death.ended_at and death.told_at <= before and self._may_lose(death) for death in self.deaths[pid]
        )

    def _may_lose(self, death: Death) -> bool:
        return not death.gently or self.happened(_PREVENTS_WRITING, death.told_at, death.ended_at)

    def happened(self, what: frozenset[str], began: float, ended: float) -> bool:
        """Whether something of this went on between two times."""
        return any(trouble.what in what and trouble.meets(began, ended) for trouble in self.troubles)
