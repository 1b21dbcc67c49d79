"""Generated handlers with generated crashes: the value is that of the handler on paper, and nothing is done twice."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inngest_durable._core.model import Memo
from inngest_durable.testing import Crash, CrashPoint

from packages.inngest_durable.tests.core.process import Disk
from packages.inngest_durable.tests.core.programs import (
    Caught,
    Do,
    Each,
    Life,
    Nap,
    Node,
    Order,
    Outside,
    Pause,
    Replay,
    Together,
    labelled,
    result_of,
)
from packages.inngest_durable.tests.core.virtual_time import VirtualTime

IDS = st.sampled_from("ab")
LEAVES = (
    st.builds(Do, IDS, st.sampled_from([0, 0, 0, 1, 2]))
    | st.builds(Nap, IDS, st.sampled_from([10, 1_000, 3_600_000]))
    | st.builds(Caught, IDS)
    | st.builds(Pause)
)


# Branches that get to their first steps, which often have the same ID, in any order.
UNEVEN = st.lists(st.lists(LEAVES, min_size=1, max_size=2), min_size=2, max_size=3).map(
    lambda branches: Together(tuple(Each((Pause(), *leaves)) for leaves in branches))
)


def parts_of(nodes: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    """Return sequences and sets of branches of *nodes*."""
    parts = st.lists(nodes, min_size=1, max_size=4).map(tuple)
    return st.builds(Each, parts) | st.builds(Together, parts) | UNEVEN


PROGRAMS = parts_of(st.recursive(LEAVES, parts_of, max_leaves=12)).map(labelled)
CRASHES = st.lists(st.integers(1, 40), max_size=3)
# In which order branches get their turns, life by life.
ORDERS: st.SearchStrategy[list[Order]] = st.lists(
    st.sampled_from(["forward", "reverse", "interleaved"]), min_size=4, max_size=4
)


@pytest.fixture(autouse=True, scope="module")
def quiet_logs() -> Iterator[None]:
    """Formatting the log of thousands of crashes takes longer than the crashes."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def latency(backwards: bool, label: str) -> float:
    """Return how long a step takes; *backwards*, what was fast is slow."""
    rank = int(label) % 7 / 100
    return 0.07 - rank if backwards else rank


@given(PROGRAMS, CRASHES, ORDERS, st.booleans())
def test_drive_survives_generated_crashes(program: Node, crashes: list[int], orders: list[Order], uneven: bool) -> None:
    """Whatever a handler in threads is made of, crashes do not change its value, nor does an order that changes."""
    memos: dict[str, Memo] = {}
    outside = Outside()
    for number, before in enumerate([*crashes, None]):
        crash = CrashPoint(before)
        try:
            value = Replay(memos, outside, crash, orders[number if uneven else 0]).run(program)
        except Crash:
            continue

        assert value == result_of(program)
    assert outside.repeated == []


@given(PROGRAMS, CRASHES, st.booleans())
def test_pass_survives_generated_crashes(program: Node, crashes: list[int], uneven: bool) -> None:
    """Whatever a handler on asyncio is made of, crashes do not change its value, nor does an order that changes."""
    disk, outside, time = Disk(), Outside(), VirtualTime()
    for number, before in enumerate([*crashes, None]):
        backwards = uneven and number % 2 == 1
        life = Life(program, disk, outside, partial(latency, backwards), before)
        try:
            value = life.live(time)
        except Crash:
            continue

        assert value == result_of(program)
    assert outside.repeated == []
