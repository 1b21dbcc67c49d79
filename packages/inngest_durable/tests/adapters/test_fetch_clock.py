"""When `step.fetch` asks again, on a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import RetryPolicy, StepOptions

from packages.inngest_durable.tests.adapters.office import Office, make_office, opened
from testkit.colourless import over_both, step
from testkit.third_party import ThirdParty

pytestmark = over_both


def asking(folder: Path, api: ThirdParty, policy: RetryPolicy) -> Office:
    """Return an application that asks the third party."""
    office = make_office(folder, "memory")

    async def seats() -> Any:
        return (await step.fetch(StepOptions("ask", retries=policy), api.url)).json()

    office.add("/seats", seats)
    return office


@pytest.mark.parametrize("kind", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_waited_for(tmp_path: Path, api: ThirdParty, status: int, kind: str) -> None:
    """It takes the place of the policy's pause, whether that is shorter or longer."""
    office = asking(tmp_path, api, RetryPolicy(initial="1h", maximum="1h", jitter=False))
    moment = datetime.fromtimestamp(office.clock.now(), UTC) + timedelta(seconds=120)
    after = "120" if kind == "seconds" else format_datetime(moment, usegmt=True)
    api.answers = [(status, {"retry-after": after}, b""), *api.answers]
    async with opened(office):
        location = await office.parked("/seats")

        # A date has no fractions of a second.
        assert office.memo(location, "ask").wake_at == pytest.approx(office.clock.now() + 120, abs=1)

        await office.advance("118s")
        await office.written()
        assert len(api.asked) == 1

        await office.advance("2s")
        assert await office.end(location) == {"seats": 3}
        assert len(api.asked) == 2


async def test_without_retry_after_the_policy_says_when(tmp_path: Path, api: ThirdParty) -> None:
    office = asking(tmp_path, api, RetryPolicy(initial="10m", maximum="10m", jitter=False))
    api.answers = [(503, {}, b""), *api.answers]
    async with opened(office):
        location = await office.parked("/seats")

        assert office.memo(location, "ask").wake_at == office.clock.now() + 600

        await office.advance("10m")
        assert await office.end(location) == {"seats": 3}
