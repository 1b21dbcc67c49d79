"""Crash points, as users of `inngest_durable.testing` have them."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from inngest_durable._core.codec import result_codec
from inngest_durable.testing import Crash, CrashPoint


class Ledger:
    """Something that acts on the world."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def enter(self, text: str, *, times: int = 1) -> int:
        """Act, and return how much there is."""
        self.entries += [text] * times
        return len(self.entries)

    async def aenter(self, text: str) -> int:
        """Act on the event loop."""
        return self.enter(text)


def test_crash_point_dies_before_the_nth_effect_and_stays_dead() -> None:
    """What the dead process was to do is not done, nor what comes later."""
    ledger, crash = Ledger(), CrashPoint(before=3)
    enter = crash.wrap(ledger.enter)
    enter("a")
    enter("b", times=2)
    for text in ("c", "d"):
        with pytest.raises(Crash):
            enter(text)

    assert ledger.entries == ["a", "b", "b"]
    assert (crash.effects, crash.dead) == (3, True)


def test_crash_point_without_number_only_counts() -> None:
    """The first run tells how many points there are to die at."""
    crash = CrashPoint()
    enter = crash.wrap(Ledger().enter)

    assert [enter("a"), enter("b")] == [1, 2]
    assert (crash.effects, crash.dead) == (2, False)


async def test_crash_point_is_shared_by_all_it_is_wrapped_round() -> None:
    """A process has one death."""
    ledger, crash = Ledger(), CrashPoint(before=3)
    enter, aenter = crash.wrap(ledger.enter), crash.awrap(ledger.aenter)

    assert (enter("a"), await aenter("b")) == (1, 2)
    with pytest.raises(Crash):
        await aenter("c")
    with pytest.raises(Crash):
        enter("d")
    assert ledger.entries == ["a", "b"]


async def test_crash_point_dies_where_the_effect_is_awaited() -> None:
    """A coroutine that was made but not awaited has done nothing, and died of nothing."""
    crash = CrashPoint(before=1)
    effect = crash.awrap(Ledger().aenter)("a")

    assert not crash.dead
    with pytest.raises(Crash):
        await effect


def test_crash_point_that_kills_ends_the_process() -> None:
    """By SIGKILL, so nothing is tidied up, and not before the n-th effect."""
    script = (
        "crash = CrashPoint(before=2, kill=True); act = crash.wrap(lambda: print('acted', flush=True)); act(); act()"
    )
    died = subprocess.run(
        [sys.executable, "-c", f"from inngest_durable.testing import CrashPoint; {script}"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (died.returncode, died.stdout, died.stderr) == (-signal.SIGKILL, "acted\n", "")


def test_crash_is_caught_by_no_handler() -> None:
    """A process that dies does not run ``except Exception``."""
    assert not issubclass(Crash, Exception)


def test_crash_point_keeps_what_a_step_function_is() -> None:
    """Name and annotations stay, so a wrapped step function is typed like the bare one."""
    enter = CrashPoint().wrap(Ledger().enter)

    assert enter.__name__ == "enter"
    with pytest.raises(ValueError, match="Expected `int`, got `str`"):
        _decode(enter)


def _decode(function: object) -> object:
    assert callable(function)
    try:
        return result_codec(function).decode(b'"text"')
    except Exception as error:
        raise ValueError(str(error)) from error
