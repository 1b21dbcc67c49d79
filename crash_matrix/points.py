"""The moments in which the process dies. Each says where it is known: elsewhere its cells are empty."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from crash_matrix.patterns import Pattern

# In milliseconds. Long enough for a kill to come before its end, and for the run to be parked rather than to go on in
# place, however busy the machine is.
LONG_PAUSE, SHORT_PAUSE = 2500, 1000


@dataclass(frozen=True, slots=True)
class Rule:
    """Which patterns know a moment, with how many workers; *says* where, and so why the other fields are empty."""

    says: str
    holds: Callable[[Pattern, int], bool]


ALL = Rule("everywhere", lambda pattern, workers: True)
SLEEPS = Rule("only in patterns with a durable sleep", lambda pattern, workers: pattern.name == "sleep")
WAITS = Rule(
    "only in patterns that wait for something other than time: an event, or the end of the run they invoked",
    lambda pattern, workers: pattern.name in ("wait", "invoke"),
)
RACES = Rule("only with two workers, since one cannot be late", lambda pattern, workers: workers == 2)


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """
    A moment in which the process dies.

    Attributes:
        name: As it is written on the command line.
        moment: When that is, in words.
        traps: The places at which a process kills itself, as `Effects.arm` takes them; ``{hit}`` is the step.
        killed_in: What the run is in when its process is killed from outside: ``"backoff"``, ``"pause"`` or
            ``"commit"``.
        calls: How often the step's function is called, where it does not fail.
        effects: How often it has its effect in all.
        rule: Where it is known.
        flaky: Whether the step fails once, so that the run backs off; always, or where the run has no other pause.
        hold: The step whose function takes until something has happened: ``"one"``; the one that is hit; or that one
            where it is in a run of its own, the ``"child"``.
        pause: Milliseconds of the backoff or the sleep.
        accepted: Whether the run was accepted before the death.
        code: How the processes end.
        env: Variables of the process that is asked first.
        env_again: Variables of each process that is started after a death.
    """

    name: str
    moment: str
    traps: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    killed_in: str = ""
    calls: int = 1
    effects: int = 1
    rule: Rule = ALL
    flaky: str = ""
    hold: str = ""
    pause: int = 1
    accepted: bool = True
    code: int = -signal.SIGKILL
    env: Mapping[str, str] = field(default_factory=dict)
    env_again: Mapping[str, str] = field(default_factory=dict)

    @property
    def deaths(self) -> int:
        """How many processes die."""
        return sum(map(len, self.traps.values())) + bool(self.killed_in)


POINTS = {
    point.name: point
    for point in (
        Point(
            "accept-rows",
            "the commit that accepts the run is being written: its rows are, its COMMIT is not",
            {"accept rows": (1,)},
            accepted=False,
        ),
        Point("accept-told", "the run is accepted on disk, and nobody has been told", {"accept told": (1,)}),
        Point("before-step", "in the handler, before the step", {"subject.before {hit}": (1,)}),
        Point("in-step", "inside the step, before its effect", {"subject.{hit} begins": (1,)}, calls=2),
        Point("after-effect", "after the effect, before the checkpoint", {"subject.{hit}": (1,)}, calls=2, effects=2),
        Point(
            "commit-rows",
            "the step's checkpoint is being written: its rows are, its COMMIT is not",
            {"checkpoint rows": (1,)},
            calls=2,
            effects=2,
        ),
        Point(
            "commit-torn",
            "inside the COMMIT of the step's checkpoint: half a page of it is in the log",
            {"checkpoint torn": (1,)},
            calls=2,
            effects=2,
            code=-signal.SIGXFSZ,
        ),
        Point(
            "commit-held",
            "the step's checkpoint waits for its commit, because another process holds the database",
            killed_in="commit",
            hold="hit",
            calls=2,
            effects=2,
        ),
        Point("commit-told", "the COMMIT has returned, and nobody has been told", {"checkpoint told": (1,)}),
        Point("response", "after the last commit of a step, before the response leaves", {"subject.response": (1,)}),
        Point("end-rows", "the run's end is being written: its rows are, its COMMIT is not", {"end rows": (1,)}),
        Point("backoff", "during the backoff of the step", killed_in="backoff", flaky="always", pause=LONG_PAUSE),
        Point("sleep", "during a durable sleep", killed_in="pause", rule=SLEEPS, pause=LONG_PAUSE),
        Point("wait", "while the run waits for something else", killed_in="pause", rule=WAITS, hold="child"),
        Point(
            "event-wake",
            "what the run waits for is on disk, and the run has not been woken",
            {"arrival told": (1,)},
            rule=WAITS,
        ),
        Point(
            "redirect",
            "the run waits on disk, and its client has not been redirected yet",
            {"park told": (1,)},
            flaky="where there is no pause",
            pause=SHORT_PAUSE,
        ),
        Point(
            "recovery",
            "after the effect, and then again and again during the recovery: twice while the dead worker's run is made "
            "due, twice when it is claimed, once in the handler",
            {"subject.{hit}": (1,), "recovery rows": (1, 2), "claim told": (1, 2), "subject.before {hit}": (2,)},
            calls=2,
            effects=2,
        ),
        Point(
            "recovery-race",
            "after the effect, and then during the recovery; when both workers are started again, both find the dead "
            "one's run, and the second acts on what it found after the first has claimed the run",
            {"subject.{hit}": (1,), "recovery rows": (1,)},
            calls=2,
            effects=2,
            rule=RACES,
            env_again={"RACES": "orphans"},
        ),
        Point(
            "claim-race",
            "the same, except that both find the run when it has been made due, and the second claims it late",
            {"subject.{hit}": (1,), "recovery rows": (1,)},
            calls=2,
            effects=2,
            rule=RACES,
            env_again={"RACES": "due"},
        ),
        Point(
            "migration",
            "after the effect, and then while the next version of the package migrates the database",
            {"subject.{hit}": (1,), "migration": (1,)},
            calls=2,
            effects=2,
            env_again={"MIGRATES": "1"},
        ),
        Point(
            "retention",
            "while a batch of old runs is being deleted: its rows are deleted, its COMMIT is not written",
            {"delete rows": (2,)},
            hold="one",
            env={"PRUNES": "1"},
            env_again={"PRUNES": "1"},
        ),
    )
}
