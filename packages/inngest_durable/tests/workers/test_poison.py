"""A run that kills every worker that runs it is failed; the runs beside it are not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import httpx

from packages.inngest_durable.tests.workers.team import WAITS_SECONDS, Member, Team
from packages.inngest_durable.tests.workers.workers_app import MAX_RECOVERIES
from testkit.waiting import wait_until

INNOCENTS = 20
# The first two deaths may be any run's fault.
DEATHS = 2 + MAX_RECOVERIES


async def insist(url: str, key: str = "", *, waits: bool = False) -> httpx.Response:
    """GET *url*, again when its worker dies. The redirect of a run is not followed; that of a wait URL is to itself."""
    deadline = time.monotonic() + 4 * WAITS_SECONDS
    async with httpx.AsyncClient(trust_env=False, timeout=WAITS_SECONDS) as client:
        while True:
            try:
                response = await client.get(url, headers={"Idempotency-Key": key} if key else {})
            except httpx.TransportError:
                # Nobody listens until the supervisor has started another.
                await asyncio.sleep(0.05)
                response = None
            if response is not None and not (waits and response.status_code == 303):
                return response
            assert time.monotonic() < deadline


async def insist_on_end(url: str, path: str, key: str) -> httpx.Response:
    """GET *path* and follow the redirect of its run."""
    response = await insist(f"{url}{path}", key)
    return await insist(f"{url}{response.headers['location']}", waits=True) if response.is_redirect else response


async def supervise(members: Sequence[Member]) -> None:
    """Start each worker again that has died."""
    while True:
        for member in members:
            member.restart_if_dead()
        await asyncio.sleep(0.02)


def begun(team: Team) -> int:
    """Return how many runs have begun with their first step; the first may be in their second by now."""
    return sum(action.endswith("/one") for action in team.outside.counts())


async def test_poison_run_fails_and_innocent_ones_complete(team: Team) -> None:
    """It is failed after its deaths, with an error that says so; 20 long runs that died with it complete."""
    members = await asyncio.to_thread(team.start, 2)
    supervisor = asyncio.create_task(supervise(members))
    innocents = [
        asyncio.create_task(insist_on_end(members[number % 2].url, f"/chain/i{number}?ms=600", f"i{number}"))
        for number in range(INNOCENTS)
    ]
    await asyncio.to_thread(wait_until, lambda: begun(team) == INNOCENTS, "the innocent runs to begin")
    accepted = await insist(f"{members[0].url}/poison")
    failed = await insist(f"{members[1].url}{accepted.headers['location']}", waits=True)
    ends = await asyncio.gather(*innocents)
    supervisor.cancel()
    await asyncio.wait([supervisor])

    assert accepted.status_code == 303
    assert failed.status_code == 500
    assert failed.json()["error"] == (
        f"The run was failed because {DEATHS} workers died while they ran it; see max_recoveries"
    )
    assert len(team.outside.calls("poison")) == DEATHS
    assert len(team.outside.calls("before")) == 1
    assert [end.status_code for end in ends] == [200] * INNOCENTS
    assert [end.json()["three"] for end in ends] == [team.last_token(f"i{number}/three") for number in range(INNOCENTS)]
    assert sorted(run.status for run in team.records.runs()) == ["completed"] * INNOCENTS + ["failed"]
