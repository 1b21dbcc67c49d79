"""One worker receives an event, and a run of another one waits for it."""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import time
from contextlib import closing

import httpx
import pytest

from packages.inngest_durable.tests.workers.team import WAITS_SECONDS, Member, Team
from packages.inngest_durable.tests.workers.workers_app import EVENT_KEY
from testkit.waiting import wait_until

TIMES = 5
WAKES_SECONDS = 0.2


async def test_event_sent_through_two_workers_at_once_counts_once(team: Team) -> None:
    """Whichever of them records it first: it has the same ID."""
    members = await asyncio.to_thread(team.start, 2)
    event = {"name": "go", "id": "e1", "data": {"name": "x"}}
    async with httpx.AsyncClient(trust_env=False, timeout=WAITS_SECONDS) as client:
        assert (await client.get(f"{members[0].url}/waits/x")).status_code == 303
        sending = [client.post(f"{member.url}/_inngest/e/{EVENT_KEY}", json=event) for member in members * 8]
        answers = await asyncio.gather(*sending)
    run = await asyncio.to_thread(team.records.wait_for_only_run)

    assert {answer.status_code for answer in answers} == {200}
    assert run.status == "completed"
    assert team.outside.counts() == {"x/after": 1}
    with closing(sqlite3.connect(team.records.path)) as db:
        assert db.execute("SELECT count(*) FROM events").fetchone() == (1,)


async def go(client: httpx.AsyncClient, member: Member, name: str) -> float:
    """Send the event to a worker; return when that was, in seconds since the epoch."""
    sent_at = time.time()
    event = {"name": "go", "data": {"name": name}}
    answer = await client.post(f"{member.url}/_inngest/e/{EVENT_KEY}", json=event)
    assert answer.status_code == 200
    return sent_at


def late(team: Team, name: str, sent_at: float) -> float:
    """Return how many seconds after the event the run of that name went on."""
    team.outside.wait_for(f"{name}/after")
    at: float = team.outside.calls(f"{name}/after")[0]["at"]
    return at - sent_at


@pytest.mark.parametrize("route", ["alive", "waits"])
async def test_event_received_by_one_worker_wakes_a_run_of_another(team: Team, route: str) -> None:
    """Within 200 ms: in the pass that is alive there, or by a re-entry wherever it is first noticed."""
    first, second = await asyncio.to_thread(team.start, 2)
    times: list[float] = []
    async with httpx.AsyncClient(trust_env=False, timeout=WAITS_SECONDS) as client:
        for number in range(TIMES):
            name = f"x{number}"
            answering = asyncio.create_task(client.get(f"{first.url}/{route}/{name}"))
            if route == "alive":
                await asyncio.to_thread(team.outside.wait_for, f"{name}/work")
                await asyncio.to_thread(wait_for_wait, team, number + 1)
            else:
                assert (await answering).status_code == 303
            sent_at = await go(client, second, name)
            times.append(await asyncio.to_thread(late, team, name, sent_at))
            team.outside.open(name)
            await answering

    if route == "alive":
        assert {call["pid"] for call in team.outside.calls()} == {first.process.popen.pid}
    # One that met a busy machine is no rule.
    assert statistics.median(times) < WAKES_SECONDS, times


def wait_for_wait(team: Team, runs: int) -> None:
    """Return when the last of so many runs has recorded that it waits."""
    wait_until(lambda: len(found := team.records.runs()) == runs and "go" in team.records.steps(found[-1].id), "a wait")
