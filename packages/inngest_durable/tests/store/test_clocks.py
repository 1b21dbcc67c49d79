"""Real time, and time that moves on command."""

from __future__ import annotations

import asyncio
import functools
import time
from datetime import timedelta

import pytest
from inngest_durable.engines import clock as clock_module
from inngest_durable.engines.base import Clock
from inngest_durable.engines.clock import SystemClock
from inngest_durable.testing import VirtualClock


class TestVirtualClock:
    async def test_time_stands_still_until_it_is_moved(self) -> None:
        clock = VirtualClock(start=100.0)
        await asyncio.sleep(0.01)

        assert clock.now() == 100.0

        await clock.advance(2.5)
        await clock.advance("1m")
        await clock.advance(timedelta(hours=1))

        assert clock.now() == 100.0 + 2.5 + 60 + 3600

    async def test_timers_fire_in_order_each_at_its_own_time(self) -> None:
        clock = VirtualClock(start=0.0)
        fired: list[tuple[str, float]] = []

        def note(name: str) -> None:
            fired.append((name, clock.now()))

        for name, when in (("late", 30.0), ("early", 10.0), ("second at 10", 10.0), ("never", 31.0)):
            clock.call_at(when, functools.partial(note, name))
        await clock.advance("30s")

        assert fired == [("early", 10.0), ("second at 10", 10.0), ("late", 30.0)]
        assert clock.now() == 30.0

    async def test_what_a_timer_starts_comes_to_rest_before_the_next_fires(self) -> None:
        clock = VirtualClock(start=0.0)
        story: list[str] = []

        async def work(name: str) -> None:
            for _ in range(10):
                await asyncio.sleep(0)
            story.append(name)

        tasks: list[asyncio.Task[None]] = []

        def fire(name: str) -> None:
            story.append("timer")
            tasks.append(asyncio.create_task(work(name)))

        clock.call_at(1.0, functools.partial(fire, "first"))
        clock.call_at(2.0, functools.partial(fire, "second"))
        await clock.advance("2s")

        assert story == ["timer", "first", "timer", "second"]

    async def test_timer_set_by_a_timer_fires_in_the_same_move(self) -> None:
        clock = VirtualClock(start=0.0)
        fired: list[float] = []

        def again() -> None:
            fired.append(clock.now())
            clock.call_at(clock.now() + 10, again)

        clock.call_at(10.0, again)
        await clock.advance("35s")

        assert fired == [10.0, 20.0, 30.0]

    async def test_cancelled_timer_does_not_fire(self) -> None:
        clock = VirtualClock(start=0.0)
        fired: list[str] = []
        timer = clock.call_at(1.0, lambda: fired.append("timer"))
        timer.cancel()
        await clock.advance("2s")
        timer.cancel()

        assert fired == []

    async def test_timer_in_the_past_fires_without_a_move(self) -> None:
        clock = VirtualClock(start=5.0)
        fired: list[str] = []
        clock.call_at(4.0, lambda: fired.append("past"))
        clock.call_at(5.0, lambda: fired.append("now"))

        assert fired == []

        await clock.settle()

        assert fired == ["past", "now"]

    async def test_time_does_not_go_backwards(self) -> None:
        clock = VirtualClock()
        with pytest.raises(ValueError, match="backwards"):
            await clock.advance(-1)
        with pytest.raises(ValueError, match="not a duration"):
            await clock.advance("soon")


class TestSystemClock:
    async def test_tells_the_time(self) -> None:
        before = time.time()
        told = SystemClock().now()

        assert before <= told <= time.time()

    async def test_timer_fires_at_its_time_and_not_before(self) -> None:
        clock = SystemClock()
        fired: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        when = clock.now() + 0.05
        clock.call_at(when, lambda: fired.set_result(clock.now()))

        assert await asyncio.wait_for(fired, timeout=20) >= when

    async def test_timer_in_the_past_fires_at_once(self) -> None:
        clock: Clock = SystemClock()
        fired = asyncio.Event()
        clock.call_at(0.0, fired.set)
        await asyncio.wait_for(fired.wait(), timeout=20)

    async def test_cancelled_timer_does_not_fire(self) -> None:
        clock = SystemClock()
        fired: list[str] = []
        timer = clock.call_at(clock.now() + 0.01, lambda: fired.append("timer"))
        timer.cancel()
        await asyncio.sleep(0.03)
        timer.cancel()

        assert fired == []

    async def test_timer_waits_on_when_the_clock_is_set_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = SystemClock()
        offset = [0.0]
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + offset[0])
        monkeypatch.setattr(clock_module, "_LONGEST_DELAY_SECONDS", 0.02)
        fired = asyncio.Event()
        timer = clock.call_at(clock.now() + 0.05, fired.set)
        offset[0] = -3600.0
        await asyncio.sleep(0.15)

        assert not fired.is_set()

        offset[0] = 0.0
        await asyncio.wait_for(fired.wait(), timeout=20)
        timer.cancel()

    async def test_timer_notices_that_the_clock_was_set_forward(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = SystemClock()
        real = time.time
        monkeypatch.setattr(clock_module, "_LONGEST_DELAY_SECONDS", 0.02)
        fired = asyncio.Event()
        clock.call_at(clock.now() + 3600, fired.set)
        monkeypatch.setattr(time, "time", lambda: real() + 3601)

        await asyncio.wait_for(fired.wait(), timeout=20)

    async def test_timer_cancelled_after_it_was_armed_again_does_not_fire(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(clock_module, "_LONGEST_DELAY_SECONDS", 0.005)
        clock = SystemClock()
        real = time.time
        fired: list[str] = []
        timer = clock.call_at(clock.now() + 3600, lambda: fired.append("timer"))
        await asyncio.sleep(0.03)
        timer.cancel()
        # What was armed again would look at the clock, and fire.
        monkeypatch.setattr(time, "time", lambda: real() + 3601)
        await asyncio.sleep(0.03)

        assert fired == []
