"""A client waits at one worker for a run that is in another."""

from __future__ import annotations

import asyncio
import statistics
import time

import httpx

from packages.inngest_durable.tests.workers.team import WAITS_SECONDS, Team

TIMES = 5
ANSWERS_SECONDS = 0.2


async def test_held_wait_url_answers_when_another_worker_ends_the_run(team: Team) -> None:
    """Within 200 ms of the end of the run, as its record has it."""
    first, second = await asyncio.to_thread(team.start, 2)
    late: list[float] = []
    async with httpx.AsyncClient(trust_env=False, timeout=WAITS_SECONDS) as client:
        for number in range(TIMES):
            name, key = f"x{number}", {"Idempotency-Key": f"x{number}"}
            running = asyncio.create_task(client.get(f"{first.url}/held/{name}", headers=key))
            await asyncio.to_thread(team.outside.wait_for, f"{name}/two")
            # The same request at the other worker is told where to wait.
            found = await client.get(f"{second.url}/held/{name}", headers=key)
            waiting = asyncio.create_task(client.get(f"{second.url}{found.headers['location']}"))
            probe = await client.get(f"{second.url}{found.headers['location']}", headers={"Prefer": "wait=0"})
            assert not waiting.done()
            team.outside.open(name)
            answer = await waiting
            answered_at = time.time()
            late.append(answered_at - team.records.end_time(answer.headers["x-inngest-run-id"]))

            assert (found.status_code, probe.status_code, answer.status_code) == (303, 303, 200)
            assert answer.json() == (await running).json()

    assert {call["pid"] for call in team.outside.calls()} == {first.process.popen.pid}
    # One that met a busy machine is no rule.
    assert statistics.median(late) < ANSWERS_SECONDS, late
