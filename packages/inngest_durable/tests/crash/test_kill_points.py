"""A server process is killed with SIGKILL at a named point, and started again. Nobody touches the application."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from packages.inngest_durable.tests.crash import trips_app
from testkit.effects import Effects
from testkit.forks import ForkedSite, Zygote
from testkit.server_process import hypercorn_command
from testkit.site_process import SiteProcess
from testkit.waiting import wait_until

TRIP = {"handler", "one", "between", "left", "right", "three"}


@pytest.fixture(params=["quart", "flask"])
def site(request: pytest.FixtureRequest, zygote: Zygote, tmp_path: Path) -> Iterator[SiteProcess]:
    """Serve the application of `trips_app` in a process, on each framework, by uvicorn or waitress."""
    app = f"{trips_app.__name__}:create_{request.param}_app"
    with closing(ForkedSite(zygote, app, tmp_path)) as site:
        yield site


@pytest.fixture
def hypercorn(tmp_path: Path) -> Iterator[SiteProcess]:
    """Serve it by hypercorn."""
    # Without a master process, which would hide the end of the one that is killed.
    app = f"{trips_app.__name__}:create_quart_app"
    with closing(SiteProcess(lambda port: hypercorn_command(app, port, "--workers", "0"), tmp_path)) as site:
        yield site


def kill_waiting(site: SiteProcess, until_due: bool) -> float:
    """Kill the server while its only run waits, and return when that is due; with *until_due*, no sooner than then."""
    site.records.wait_for_only_run("waiting")
    site.process.kill()
    wake_at = site.records.only_wake_time()
    if until_due:
        wait_until(lambda: time.time() > wake_at, "the run to be due")
    return wake_at


def crash(site: SiteProcess, path: str) -> None:
    """Send a request that makes the server kill itself, and start the server again."""
    with site.request(path):
        site.process.wait()
    site.restart()


def check_effects(site: SiteProcess, run_id: str) -> None:
    """
    Check the effects of a run that has completed.

    Executions of one step carry one idempotency key, those of two steps never the same; each execution but the last
    died with its process; and it is the last one that was memoized.
    """
    steps = site.records.steps(run_id)
    effects = [call for call in site.outside.calls() if "key" in call]
    keys: dict[str, set[str]] = {}
    last: dict[str, dict[str, Any]] = {}
    for call in effects:
        keys.setdefault(call["action"], set()).add(call["key"])
        last[call["action"]] = call

    assert all(len(found) == 1 for found in keys.values())
    assert len({key for found in keys.values() for key in found}) == len(keys)
    for action, call in last.items():
        assert steps[action].result == f'"{call["token"]}"'


@pytest.mark.parametrize(
    ("armed", "again"),
    [
        # In a step's function, after its effect and before its checkpoint: that step runs once more.
        ({"three": [1]}, {"handler": 2, "between": 2, "three": 2}),
        # Between two steps, in the handler's own code: no step runs again.
        ({"between": [1]}, {"handler": 2, "between": 2}),
        # At the start of a re-entry, three times over.
        ({"between": [1], "handler": [2, 3, 4]}, {"handler": 5, "between": 2}),
        # In the same step twice, and then in the re-entry after it.
        ({"three": [1, 2], "handler": [3]}, {"handler": 4, "between": 3, "three": 3}),
    ],
    ids=["in a step", "between steps", "in re-entries", "in a step and in re-entries"],
)
def test_run_completes_after_kills(site: SiteProcess, armed: dict[str, list[int]], again: dict[str, int]) -> None:
    """After each kill the next process goes on by itself; completed steps ran once."""
    effects = Effects(site.folder)
    for action, calls in armed.items():
        effects.arm(action, *calls)
    with site.request("/trip"):
        site.process.wait()
    for _ in range(sum(map(len, armed.values())) - 1):
        # Killed by its own recovery, maybe before it listened.
        site.restart(ready=False)
        site.process.wait()
    site.restart()
    run = site.records.wait_for_only_run()

    assert run.status == "completed"
    assert site.outside.counts() == dict.fromkeys(TRIP, 1) | again
    check_effects(site, run.id)


def test_run_completes_after_a_kill_under_hypercorn(hypercorn: SiteProcess) -> None:
    """Another server changes nothing."""
    site = hypercorn
    Effects(site.folder).arm("three", 1)
    crash(site, "/trip")
    run = site.records.wait_for_only_run()

    assert run.status == "completed"
    assert site.outside.counts() == dict.fromkeys(TRIP, 1) | {"handler": 2, "between": 2, "three": 2}
    check_effects(site, run.id)


def test_parallel_steps_in_flight_run_at_most_once_more(site: SiteProcess) -> None:
    """A kill in one of two parallel steps: both may have been in flight, what came before them was not."""
    Effects(site.folder).arm("right", 1)
    crash(site, "/trip")
    run = site.records.wait_for_only_run()
    counts = site.outside.counts()

    assert run.status == "completed"
    assert counts.pop("left") in (1, 2)
    assert counts == {"handler": 2, "one": 1, "between": 2, "right": 2, "three": 1}
    check_effects(site, run.id)


def test_kill_in_the_first_step_of_an_accepted_run(site: SiteProcess) -> None:
    """The run's row is on disk while step one still runs: the step runs once more, and the run completes."""
    Effects(site.folder).arm("one", 1)
    with site.request("/held"):
        site.records.wait_for_only_run("running")
        site.outside.open("one begins")
        site.process.wait()
    site.restart()
    run = site.records.wait_for_only_run()

    assert run.status == "completed"
    assert site.outside.counts() == {"one begins": 2, "one": 2, "two": 1}
    check_effects(site, run.id)


def test_nothing_is_visible_before_it_is_durable(site: SiteProcess) -> None:
    """While a step's result cannot be written, the handler does not go on, and a kill makes the step run again."""
    with site.request("/held"):
        site.records.wait_for_only_run("running")
        with site.records.locked():
            site.outside.open("one begins")
            site.outside.wait_for("one")
            # Requests come and go meanwhile: the server's event loop had every chance to resume the handler.
            for _ in range(20):
                assert site.get("/no such page").status_code == 404
            before = site.outside.counts()
            site.process.kill()
    site.restart()
    run = site.records.wait_for_only_run()

    assert before == {"one begins": 1, "one": 1}
    assert run.status == "completed"
    assert site.outside.counts() == {"one begins": 2, "one": 2, "two": 1}
    check_effects(site, run.id)


def test_kill_before_the_run_is_accepted_leaves_one_effect_at_most(site: SiteProcess) -> None:
    """A kill in step one, a moment after it began, leaves its one effect and no run; or a run, which completes."""
    Effects(site.folder).arm("one", 1)
    crash(site, "/trip")
    # Runs that are there at the start are recovered before another request is served.
    accepted = site.records.runs()
    for run in accepted:
        assert site.records.wait_for_end(run.id).status == "completed"

    assert site.outside.counts()["one"] == 1 + len(accepted)


def test_kill_before_any_step_leaves_nothing(site: SiteProcess) -> None:
    """A handler that was killed before its first step has never been."""
    Effects(site.folder).arm("handler", 1)
    crash(site, "/trip")
    site.get("/trip")
    site.records.wait_for_only_run()

    assert site.outside.counts() == dict.fromkeys(TRIP, 1) | {"handler": 2}


@pytest.mark.parametrize("is_over", [True, False], ids=["over before the restart", "goes on after it"])
def test_kill_during_a_sleep(site: SiteProcess, is_over: bool) -> None:
    """A sleep outlives the process: the run goes on at its time, or at once when that has passed."""
    redirect = site.get("/sleepy?ms=2000")
    wake_at = kill_waiting(site, is_over)
    site.restart()
    run = site.records.wait_for_only_run()
    ended_at = site.records.end_time(run.id)

    assert redirect.status_code == 303
    assert run.status == "completed"
    assert ended_at >= wake_at
    assert site.outside.counts() == {"handler": 2, "one": 1, "two": 1}
    check_effects(site, run.id)


@pytest.mark.parametrize("is_over", [True, False], ids=["over before the restart", "goes on after it"])
def test_kill_during_a_backoff(site: SiteProcess, is_over: bool) -> None:
    """A failed attempt is on disk: after the restart the next one comes at its time, and the count goes on."""
    site.get("/flaky?ms=2000")
    wake_at = kill_waiting(site, is_over)
    site.restart()
    run = site.records.wait_for_only_run()

    assert run.status == "completed"
    assert site.records.end_time(run.id) >= wake_at
    assert site.outside.counts() == {"one": 1, "flaky": 2, "two": 1}
    assert site.records.steps(run.id)["flaky"].attempt == 2
    check_effects(site, run.id)


def test_redirected_client_gets_its_answer_after_a_kill(site: SiteProcess) -> None:
    """The wait URL that a client was given before the kill answers after it, with what the handler returned."""
    Effects(site.folder).arm("two", 1)
    redirect = site.get("/sleepy?ms=50")
    site.process.wait()
    site.restart()
    answer = site.get(redirect.headers["location"])
    tokens = [site.outside.calls(action)[-1]["token"] for action in ("one", "two")]

    assert (answer.status_code, answer.json()) == (200, tokens)
    assert site.outside.counts() == {"handler": 3, "one": 1, "two": 2}


def test_finished_answer_is_there_after_a_kill(site: SiteProcess) -> None:
    """What a waiting client was given is on disk: after a kill the wait URL gives the same, and nothing runs again."""
    redirect = site.get("/sleepy?ms=50")
    before = site.get(redirect.headers["location"])
    site.process.kill()
    site.restart()
    after = site.get(redirect.headers["location"])

    assert (before.status_code, before.content) == (after.status_code, after.content)
    assert site.outside.counts() == {"handler": 2, "one": 1, "two": 1}


def test_answer_in_the_same_response_is_not_lost_by_a_kill(site: SiteProcess) -> None:
    """The last step is durable before the response leaves: a kill right after it replays memos, and runs nothing."""
    answer = site.get("/trip")
    site.process.kill()
    site.restart()
    run = site.records.wait_for_only_run()
    counts = site.outside.counts()

    assert run.status == "completed"
    assert [counts[action] for action in ("one", "left", "right", "three")] == [1, 1, 1, 1]
    assert answer.json() == [site.outside.calls(action)[0]["token"] for action in ("one", "left", "right", "three")]


def test_processes_of_the_dead_leave_no_locks(site: SiteProcess) -> None:
    """The lock file and the row of a killed worker are removed by the next one."""
    site.process.kill()
    locks = site.records.path.with_name(f"{site.records.path.name}.workers")
    (dead,) = locks.iterdir()
    site.restart()

    wait_until(lambda: dead not in set(locks.iterdir()), "the dead worker's lock to be removed")
    assert site.records.workers() == [path.stem for path in locks.iterdir()]
