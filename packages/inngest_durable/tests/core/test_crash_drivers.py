"""The exhaustive crash test of `test_crash_everywhere` once more, over the bare core: by `drive` and by `adrive`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from inngest_durable._core.model import Memo
from inngest_durable.testing import Crash, CrashPoint

from packages.inngest_durable.tests.core.programs import (
    Caught,
    Do,
    Each,
    Nap,
    Order,
    Outside,
    Replay,
    Together,
    labelled,
    result_of,
)
from packages.inngest_durable.tests.core.virtual_time import run

# A sequence, branches in branches with equal IDs, retries, sleeps and a caught failure.
EXTRAS = Together((Each((Do("price"), Do("add"))), Each((Do("price", fails=1), Do("add")))))
BOOK = Each((Do("reserve"), EXTRAS, Nap("wait", 60_000), Do("pay", fails=2)))
PROGRAM = labelled(Each((Do("search"), Together((BOOK, BOOK)), Do("reserve"), Caught("upgrade"), Do("pay", fails=1))))

ORDERS: tuple[Order, ...] = ("forward", "reverse", "interleaved")


class Story:
    """The program through several lives of its process."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.memos: dict[str, Memo] = {}
        self.outside = Outside()
        self.crashes = 0

    def live(self, before: int | None = None) -> tuple[Any, CrashPoint]:
        """Run the program in this thread until it ends, or dies."""
        crash = CrashPoint(before)
        try:
            return Replay(self.memos, self.outside, crash, self.order).run(PROGRAM), crash
        except Crash:
            self.crashes += 1
            return None, crash

    def alive(self, before: int | None = None) -> tuple[Any, CrashPoint]:
        """Run the program on an event loop until it ends, or dies."""
        crash = CrashPoint(before)

        async def main() -> Any:
            try:
                return await Replay(self.memos, self.outside, crash, self.order).arun(PROGRAM)
            finally:
                others = asyncio.all_tasks() - {asyncio.current_task()}
                for other in others:
                    other.cancel()
                await asyncio.gather(*others, return_exceptions=True)

        try:
            return run(main()), crash
        except Crash:
            self.crashes += 1
            return None, crash

    def check(self, calls_without_crash: Outside) -> None:
        """Check that no completed step was called again, and one in flight once more per crash at most."""
        assert self.outside.repeated == []
        for label, wanted in calls_without_crash.calls.items():
            assert abs(self.outside.calls[label] - wanted) <= self.crashes, label


@pytest.mark.parametrize("order", ORDERS)
def test_drive_survives_a_crash_before_every_effect(order: Order) -> None:
    """Branches that run one after the other, in whatever order, end with the same value."""
    untroubled = Story(order)
    value, crash = untroubled.live()
    assert value == result_of(PROGRAM)
    for before in range(1, crash.effects + 1):
        story = Story(order)

        assert story.live(before)[0] is None, before
        assert story.live()[0] == value, before
        story.check(untroubled.outside)


def test_drive_survives_pairs_of_crashes() -> None:
    """The process that goes on may die too: of all pairs of effects, every eleventh."""
    order: Order = "interleaved"
    untroubled = Story(order)
    value, crash = untroubled.live()
    for first in range(1, crash.effects + 1):
        for second in range(1 + first % 11, crash.effects + 1, 11):
            story = Story(order)
            story.live(first)
            story.live(second)

            assert story.live()[0] == value, (first, second)
            story.check(untroubled.outside)


@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_adrive_survives_a_crash_before_every_effect(order: Order) -> None:
    """Branches that run at the same time end with the same value."""
    untroubled = Story(order)
    value, crash = untroubled.alive()
    assert value == result_of(PROGRAM)
    for before in range(1, crash.effects + 1):
        story = Story(order)

        assert story.alive(before)[0] is None, before
        assert story.alive()[0] == value, before
        story.check(untroubled.outside)


def test_drive_survives_a_change_of_order() -> None:
    """A process that runs the branches in another order than the one that died ends with the same value."""
    untroubled = Story("forward")
    value, crash = untroubled.live()
    for order in ORDERS[1:]:
        for before in range(1, crash.effects + 1):
            story = Story("forward")
            story.live(before)
            story.order = order

            assert story.live()[0] == value, (before, order)
            story.check(untroubled.outside)
