"""A worker dies; another one on the same file goes on with its runs."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from itertools import cycle

import httpx
import pytest

from packages.inngest_durable.tests.workers.team import WAITS_SECONDS, Team, kill, request
from testkit.waiting import wait_until

RUNS = 50
# Less than a client is held for.
FINISHES_SECONDS = 24
STEPS = {"chain": ["one", "two", "three"], "fan": ["one", "left", "middle", "right", "three"], "nap": ["one", "two"]}
# Every third run of a kind of its own.
JOURNEYS = [(kind, f"{kind}{number}") for number, kind in zip(range(RUNS), cycle(STEPS), strict=False)]
# Runs that are past their first step while most of them are in the next one.
ENOUGH = 10


class Clients:
    """
    Clients that insist: a request whose connection breaks is sent again with its idempotency key.

    Args:
        urls: Where to send it first, where then, and so on; the last one is asked again and again.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self.broken = 0

    async def ask_all(self) -> dict[str, httpx.Response]:
        """Ask for each journey, all at the same time; return the final responses by name."""
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(trust_env=False, timeout=WAITS_SECONDS, limits=limits) as client:
            responses = await asyncio.gather(*(self._ask(client, kind, name) for kind, name in JOURNEYS))
        return {name: response for (_, name), response in zip(JOURNEYS, responses, strict=True)}

    async def _ask(self, client: httpx.AsyncClient, kind: str, name: str) -> httpx.Response:
        url, *others = self._urls
        deadline = time.monotonic() + WAITS_SECONDS
        headers = {"Idempotency-Key": name}
        while True:
            path = f"/{kind}/{name}?ms=500&pause=1000"
            try:
                while True:
                    response = await client.get(f"{url}{path}", headers=headers)
                    if response.status_code != 303:
                        return response
                    path = response.headers["location"]
            except httpx.TransportError:
                self.broken += 1
                assert time.monotonic() < deadline
                if others:
                    url = others.pop(0)


def check_answers(team: Team, responses: dict[str, httpx.Response]) -> None:
    """Check that each client was answered once what its run's steps returned, and that there is one run for each."""
    runs = team.records.runs()

    assert len(runs) == RUNS
    assert {run.status for run in runs} == {"completed"}
    for kind, name in JOURNEYS:
        assert responses[name].status_code == 200
        assert responses[name].json() == {key: team.last_token(f"{name}/{key}") for key in STEPS[kind]}


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
async def test_other_process_finishes_what_a_killed_one_had_in_flight(team: Team, server: str) -> None:
    """50 runs are under way in one of two processes when it is killed: the other completes them all."""
    first, second = await asyncio.to_thread(team.start, 2, server)
    clients = Clients([first.url, second.url])
    asking = asyncio.create_task(clients.ask_all())
    await asyncio.to_thread(wait_until, lambda: len(team.outside.calls()) >= RUNS + ENOUGH, "second steps to begin")
    in_flight = team.owners()[first.process.popen.pid]
    kill(first.process.popen.pid)
    killed_at = time.monotonic()
    responses = await asking

    assert time.monotonic() - killed_at < FINISHES_SECONDS
    assert in_flight > RUNS / 2
    assert clients.broken > RUNS / 2
    assert team.check_steps() > 0
    check_answers(team, responses)
    assert len(team.records.workers()) == 1


async def test_other_child_of_uvicorn_finishes_what_a_killed_one_had_in_flight(team: Team) -> None:
    """The same where both processes share a socket, and their parent replaces the one that died."""
    (server,) = await asyncio.to_thread(team.start, 1, "uvicorn --workers 2")
    await asyncio.to_thread(wait_until, lambda: len(team.records.workers()) == 2, "both children to start")
    clients = Clients([server.url])
    asking = asyncio.create_task(clients.ask_all())
    await asyncio.to_thread(wait_until, lambda: len(team.outside.calls()) >= RUNS + ENOUGH, "second steps to begin")
    owners = team.owners()
    busiest = max(owners, key=lambda pid: owners[pid])
    kill(busiest)
    killed_at = time.monotonic()
    responses = await asking

    assert time.monotonic() - killed_at < FINISHES_SECONDS
    assert owners[busiest] > RUNS / 5
    assert team.check_steps() > 0
    check_answers(team, responses)


def test_takeover_begins_within_two_seconds(team: Team) -> None:
    """The step that was in flight at the kill begins again, in the other process."""
    first, second = team.start(2)
    late: list[float] = []
    for name in ("x", "y", "z"):
        with request(first, f"/held/{name}"):
            team.outside.wait_for(f"{name}/two")
            killed_at = time.time()
            kill(first.process.popen.pid)
        team.outside.wait_for(f"{name}/two", 2)
        team.outside.open(name)
        team.outside.wait_for(f"{name}/three")
        calls = [call for call in team.outside.calls() if call["action"].startswith(f"{name}/")]
        one, begun, again, three = calls
        late.append(again["at"] - killed_at)

        assert [one["pid"], begun["pid"]] == [first.process.popen.pid] * 2
        assert [again["pid"], three["pid"]] == [second.process.popen.pid] * 2
        assert [call["action"] for call in calls] == [f"{name}/{key}" for key in ("one", "two", "two", "three")]
        first.process.wait()
        first.start()
        first.wait_ready()
    ended = [team.records.wait_for_end(run.id) for run in team.records.runs()]

    # One that met a busy machine is no rule.
    assert statistics.median(late) < 2, late
    assert [run.status for run in ended] == ["completed"] * 3


def test_living_worker_keeps_its_runs(team: Team) -> None:
    """Workers that come and go beside it, killed or not, do not touch the run of one that lives."""
    first, second = team.start(2)
    with request(first, "/held/x"):
        team.outside.wait_for("x/two")
        second.process.kill()
        (third,) = team.start()
        third.process.terminate()
        third.process.wait()
        wait_until(lambda: len(team.records.workers()) == 1, "the others to be forgotten")
        team.outside.open("x")
        run = team.records.wait_for_only_run()

    assert (run.status, run.epoch) == ("completed", 1)
    assert team.outside.counts() == {"x/one": 1, "x/two": 1, "x/three": 1}
