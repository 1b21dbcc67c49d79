"""
The promise of the package, exhaustively: die before every single effect of a run, start again from what was saved,
and the run ends as if nothing had happened.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec
import pytest
from inngest_durable import Event, NonRetriableError, StepError, step
from inngest_durable.testing import Crash

from packages.inngest_durable.tests.core.process import Death, Disk, Process, live
from packages.inngest_durable.tests.core.virtual_time import VirtualTime, run
from packages.inngest_durable.tests.eager import begin_tasks_at_once, needs_eager_tasks


class Outside:
    """The third parties of a run: what was done to them is not undone by a crash."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.repeated: list[str] = []


class Life:
    """
    One life of a process that books trips, and its step functions.

    In every second life, what was slow is fast: branches get to their steps, and steps end, in the reverse order.
    """

    # What the steps do, and how often if nothing happens; and how many of them do the same.
    called: ClassVar[Counter[str]]
    alike: ClassVar[dict[str, int]] = {}

    def __init__(self, outside: Outside, disk: Disk, number: int, before: int | None) -> None:
        self.outside = outside
        self.disk = disk
        self.number = number
        self.death = Death(before)

    async def do(self, name: str) -> str:
        """Do something that works at once."""
        await self._call(name)
        return name

    async def fail(self, name: str, times: int) -> str:
        """Do something that works after some attempts."""
        if await self._call(name) <= times:
            raise ConnectionError(f"{name} is not reachable")
        return name

    async def decline(self, name: str) -> str:
        """Do something that never works."""
        await self._call(name)
        raise NonRetriableError(f"{name} is declined")

    async def _call(self, name: str) -> int:
        self.death.pass_by()
        self.outside.calls[name] += 1
        if msgspec.json.encode(name) in {memo.result for memo in self.disk.memos.values()}:
            self.outside.repeated.append(name)
        await asyncio.sleep(self.latency(name))
        return self.outside.calls[name]

    async def handle(self) -> Any:
        """Be the handler."""
        raise NotImplementedError

    def latency(self, name: str) -> float:
        """Return how long *name* takes in this life: another time, and another order, than in the one before."""
        rank = sum(name.encode()) % 7 / 100
        return 0.1 - rank if self.number % 2 else rank


class TripLife(Life):
    """Books a trip for two."""

    called: ClassVar = Counter(
        {"search": 1, "left": 1, "right": 1, "upgrade": 1, "confirm": 3}
        | {f"{what} {who}": 1 for who in ("alice", "bob") for what in ("reserve", "meal", "bag", "meal+", "bag+")}
        | {f"pay {who}": 2 for who in ("alice", "bob")}
    )

    async def handle(self) -> Any:
        """Sequence, gather, nested branches, retries, a sleep and a caught failure."""
        found = await step.run("search", self.do, "search")
        seats = await asyncio.gather(step.run("seat", self.do, "left"), step.run("seat", self.do, "right"))
        trips = await asyncio.gather(self.book("alice"), self.book("bob"))
        await step.sleep("think it over", "8h")
        try:
            upgrade = await step.run("upgrade", self.decline, "upgrade")
        except StepError as error:
            upgrade = str(error)
        return [found, seats, trips, upgrade, await step.run("confirm", self.fail, "confirm", 2)]

    async def book(self, who: str) -> list[Any]:
        """Book for one traveller, in a branch with the same step IDs as the other's."""
        hold = await step.run("reserve", self.do, f"reserve {who}")
        async with asyncio.TaskGroup() as group:
            extras = [group.create_task(self.add(f"{what} {who}")) for what in ("meal", "bag")]
        return [hold, [extra.result() for extra in extras], await step.run("pay", self.fail, f"pay {who}", 1)]

    async def add(self, extra: str) -> list[str]:
        """Add an extra, in a branch of the branch."""
        what, who = extra.split()
        return [await step.run("price", self.do, extra), await step.run("add", self.do, f"{what}+ {who}")]


REFUSED = "coroutine 'TripLife.add' was never awaited"


class EagerTripLife(TripLife):
    """The same trip on a loop whose tasks begin at once, and may die there."""

    async def handle(self) -> Any:
        """Do the same."""
        begin_tasks_at_once()
        return await super().handle()


class SmallLife(Life):
    """The same ingredients, once each, for the test that dies twice."""

    called: ClassVar = Counter({"a1": 1, "b1": 2, "a2": 1, "b2": 1, "never": 1})

    async def handle(self) -> Any:
        """Two branches with equal step IDs, one of them with a retry and one with a sleep."""
        both = await asyncio.gather(self.branch("a"), self.branch("b"))
        try:
            await step.run("never", self.decline, "never")
        except StepError as error:
            return [both, error.name]

    async def branch(self, name: str) -> list[str]:
        """Fail once, or sleep."""
        first = await step.run("one", self.fail, f"{name}1", 1 if name == "b" else 0)
        if name == "a":
            await step.sleep("nap", "1h")
        return [first, await step.run("two", self.do, f"{name}2")]


class UnevenLife(Life):
    """Branches that wait for something that is no step before their first step, which has the same ID in each."""

    called: ClassVar = Counter({"a1": 1, "b1": 1, "c1": 1, "a2": 1, "b2": 1, "c2": 1})

    async def handle(self) -> Any:
        """Run three branches; which is first differs from life to life."""
        return await asyncio.gather(*map(self.branch, "abc"))

    async def branch(self, name: str) -> list[str]:
        """Wait, then do two things."""
        await asyncio.sleep(self.latency(name) / 2)
        return [await step.run("one", self.do, f"{name}1"), await step.run("two", self.do, f"{name}2")]


class EqualLife(Life):
    """Branches whose first calls are equal, and whose later ones are not."""

    called: ClassVar = Counter({"a": 1, "b": 1, "login": 2})
    alike: ClassVar = {"login": 2}

    async def handle(self) -> Any:
        """Run two branches; the second is through before the first has begun."""
        return await asyncio.gather(self.branch("a"), self.branch("b"))

    async def branch(self, name: str) -> list[str]:
        """Log in, without arguments, then do something."""
        return [await step.run("login", self.login), await step.run("do", self.do, name)]

    async def login(self) -> str:
        """Take much longer for the first branch than for the second."""
        self.death.pass_by()
        self.outside.calls["login"] += 1
        await asyncio.sleep(1.0 if self.outside.calls["login"] % 2 else 0.1)
        return "logged in"


class WaitingLife(Life):
    """Waits for the world, beside steps that execute, and sends something into it."""

    called: ClassVar = Counter({"search": 1, "beside": 1, "book": 1})

    async def handle(self) -> Any:
        """Wait for an event that is there, for others that do not come, and for a signal."""
        self.disk.came["approved"] = b'{"name":"approved","data":{"by":"Ann"},"id":"e1","ts":5}'
        found = await step.run("search", self.do, "search")
        approved, never, beside = await asyncio.gather(
            step.wait_for_event("approval", event="approved", timeout="24h", since="run"),
            step.wait_for_event("veto", event="rejected", timeout="1h"),
            step.run("beside", self.do, "beside"),
        )
        signal = await step.wait_for_signal("signal", signal="go", timeout="2h")
        sent = await step.send_event("tell", Event("booked", {"trip": found}))
        booked = await step.run("book", self.do, "book")
        return [approved and approved.data, never, beside, signal, sent, booked]


class Story:
    """A run through several lives of its process."""

    def __init__(self, life: type[Life]) -> None:
        self.life = life
        self.outside = Outside()
        self.disk = Disk()
        self.time = VirtualTime()
        self.lives = 0

    def live(self, before: int | None = None) -> tuple[Any, Death]:
        """Let a process live until it dies before effect *before*, or the run ends."""
        life = self.life(self.outside, self.disk, self.lives, before)
        self.lives += 1
        try:
            return run(live(Process(self.disk, life.death), life.handle), self.time), life.death
        except Crash:
            return None, life.death

    def check(self) -> None:
        """Check that a completed step was not called again, and one in flight at most once more per crash."""
        assert self.outside.repeated == []
        assert self.outside.calls.keys() == self.life.called.keys()
        for name, wanted in self.life.called.items():
            in_flight = (self.lives - 1) * self.life.alike.get(name, 1)
            assert wanted <= self.outside.calls[name] + in_flight, name
            assert self.outside.calls[name] <= wanted + in_flight, name


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    """Formatting the log of thousands of crashes takes longer than the crashes."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("life", "effects"),
    [
        (TripLife, 50),
        (WaitingLife, 15),
        # Before Python 3.13, a task group does not close the coroutine of a task that it refuses.
        pytest.param(EagerTripLife, 50, marks=[needs_eager_tasks, pytest.mark.filterwarnings(f"ignore:{REFUSED}")]),
    ],
)
def test_pass_survives_a_crash_before_every_effect(life: type[Life], effects: int) -> None:
    """Whatever effect a process dies before, the next one ends the run with the same value."""
    story = Story(life)
    expected, death = story.live()
    story.check()
    assert death.effects > effects
    for before in range(1, death.effects + 1):
        story = Story(life)

        assert story.live(before)[0] is None, before
        assert story.live()[0] == expected, before
        story.check()


@pytest.mark.parametrize(("life", "stride"), [(SmallLife, 1), (TripLife, 11), (WaitingLife, 1)])
def test_pass_survives_every_pair_of_crashes(life: type[Life], stride: int) -> None:
    """The process that goes on may die before each of its own effects, too. Of the long run every eleventh pair."""
    expected, death = Story(life).live()
    for first in range(1, death.effects + 1):
        for second in itertools.count(1 + first % stride, stride):
            story = Story(life)
            story.live(first)
            if not story.live(second)[1].dead:
                break

            assert story.live()[0] == expected, (first, second)
            story.check()


@pytest.mark.parametrize("life", [UnevenLife, EqualLife])
def test_pass_survives_crashes_between_branches_that_are_alike(life: type[UnevenLife | EqualLife]) -> None:
    """A branch finds its own memo, and takes no other's place, in whatever order they come or are through."""
    expected, death = Story(life).live()
    for before in range(1, death.effects + 1):
        story = Story(life)
        story.live(before)

        assert story.live()[0] == expected, before
        story.check()
