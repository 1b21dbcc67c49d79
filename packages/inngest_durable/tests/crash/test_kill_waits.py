"""A server process is killed while its runs wait for the world, and started again: nothing is lost, nothing twice."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from packages.inngest_durable.tests.crash import waits_app
from testkit.effects import Effects
from testkit.forks import ForkedSite, Zygote
from testkit.records import RunRecord
from testkit.site_process import SiteProcess
from testkit.third_party import HELD, third_party
from testkit.waiting import wait_until

APPROVED = {"name": "approved", "id": "e1", "data": {"by": "Ann"}}


@pytest.fixture(params=["quart", "flask"])
def site(request: pytest.FixtureRequest, zygote: Zygote, tmp_path: Path) -> Iterator[SiteProcess]:
    """Serve the application of `waits_app` in a process, on each framework."""
    app = f"{waits_app.__name__}:create_{request.param}_app"
    with closing(ForkedSite(zygote, app, tmp_path)) as site:
        yield site


def send(site: SiteProcess) -> int:
    """Send the event; return the status of the answer, or 0 where the server died."""
    with suppress(httpx.TransportError):
        url = f"http://127.0.0.1:{site.port}/_inngest/e/{waits_app.KEY}"
        return httpx.post(url, json=APPROVED, timeout=20, trust_env=False).status_code
    return 0


def cancel(site: SiteProcess, location: str) -> int:
    """Cancel the run that is awaited there; return the status of the answer, or 0 where the server died."""
    with suppress(httpx.TransportError):
        return httpx.delete(f"http://127.0.0.1:{site.port}{location}", timeout=20, trust_env=False).status_code
    return 0


def go(site: SiteProcess) -> None:
    """Send the signal."""
    with suppress(httpx.TransportError):
        site.get("/go")


def killed(site: SiteProcess) -> None:
    """Wait until the server has killed itself, and start it again."""
    site.process.wait()
    site.restart()


def park(site: SiteProcess, path: str) -> None:
    """Send a request whose run comes to wait."""
    assert site.get(path).status_code == 303
    site.records.wait_for_only_run("waiting")


def answer(site: SiteProcess, run: RunRecord) -> object:
    """Return the JSON that a run was answered with."""
    assert run.status == "completed"
    return json.loads(site.records.response_of(run.id))


def sent_events(site: SiteProcess) -> int:
    """Return how many events are stored."""
    with closing(sqlite3.connect(site.records.path)) as db:
        (count,) = db.execute("SELECT count(*) FROM events").fetchone()
    return int(count)


def ended(site: SiteProcess, endpoint: str) -> RunRecord:
    """Return the one run of an endpoint once it has ended."""

    def found() -> list[RunRecord]:
        return [run for run in site.records.runs() if run.endpoint.endswith(endpoint) and run.is_final]

    wait_until(found, f"the run of {endpoint} to end")
    (run,) = found()
    return run


def check_once(site: SiteProcess, *actions: str) -> None:
    """Check that each of these steps was executed once."""
    counts = site.outside.counts()
    assert {action: counts[action] for action in actions} == dict.fromkeys(actions, 1)


def test_kill_while_a_run_waits(site: SiteProcess) -> None:
    """Its wait is on disk: what comes after the restart wakes it."""
    park(site, "/approval")
    site.process.kill()
    site.restart()

    assert send(site) == 200
    run = site.records.wait_for_only_run()
    assert answer(site, run) == {"by": "Ann", "after": site.outside.calls("after")[0]["token"]}
    check_once(site, "after")


@pytest.mark.parametrize("place", ["told", "handler"])
def test_kill_between_an_event_and_the_wake_up(site: SiteProcess, place: str) -> None:
    """The event is on disk with the step: the next process goes on with it, and a second event changes nothing."""
    park(site, "/approval")
    Effects(site.folder).arm(place, 1 if place == "told" else 2)
    send(site)
    killed(site)
    run = site.records.wait_for_only_run()

    assert answer(site, run) == {"by": "Ann", "after": site.outside.calls("after")[0]["token"]}
    assert send(site) == 200
    assert sent_events(site) == 1
    check_once(site, "after")


def test_kill_while_an_event_is_being_sent(site: SiteProcess) -> None:
    """Before its commit nothing of it is there; who sends it again, since there was no answer, sends it once."""
    park(site, "/approval")
    Effects(site.folder).arm("rows", 1)

    assert send(site) == 0
    killed(site)
    assert sent_events(site) == 0
    assert site.records.runs()[0].status == "waiting"
    assert [send(site), send(site)] == [200, 200]
    run = site.records.wait_for_only_run()
    assert answer(site, run) == {"by": "Ann", "after": site.outside.calls("after")[0]["token"]}
    assert sent_events(site) == 1
    check_once(site, "after")


@pytest.mark.parametrize("place", ["rows", "told"])
def test_kill_while_a_step_sends_an_event(site: SiteProcess, place: str) -> None:
    """The event and the step's memo are in one commit: it was sent once, whether the kill came before or after it."""
    park(site, "/approval")
    Effects(site.folder).arm(place, 1)
    with site.request("/sender"):
        site.process.wait()
    site.restart()
    if place == "rows":
        # The run was not accepted, since its first step was not on disk, and nothing was sent.
        assert sent_events(site) == 0
        assert site.get("/sender").status_code == 200
    run = ended(site, "approval")

    assert answer(site, run) == {"by": "Ann", "after": site.outside.calls("after")[0]["token"]}
    assert ended(site, "sender").status == "completed"
    assert sent_events(site) == 1
    check_once(site, "after", "sent")


def test_kill_while_a_run_waits_for_a_signal(site: SiteProcess) -> None:
    """It still has the name after the restart: another run is refused, and the signal wakes the first."""
    park(site, "/signal")
    site.process.kill()
    site.restart()

    assert site.get("/signal").status_code == 500
    go(site)
    wait_until(lambda: any(run.status == "completed" for run in site.records.runs()), "the signal to wake the run")
    first, second = site.records.runs()
    assert answer(site, first) == {"by": "Ann", "after": site.outside.calls("after")[0]["token"]}
    assert second.status == "failed"
    check_once(site, "after")


def test_kill_while_a_signal_is_being_sent(site: SiteProcess) -> None:
    """Before its commit nothing of it is there; who sends it again wakes the run once."""
    park(site, "/signal")
    Effects(site.folder).arm("rows", 1)
    go(site)
    killed(site)

    assert site.records.runs()[0].status == "waiting"
    go(site)
    run = site.records.wait_for_only_run()
    assert answer(site, run) == {"by": "Ann", "after": site.outside.calls("after")[0]["token"]}
    assert site.get("/go").json() == {"waited": False}
    check_once(site, "after")


@pytest.mark.parametrize("place", ["rows", "told"])
def test_kill_while_a_step_sends_a_signal(site: SiteProcess, place: str) -> None:
    """The signal and the step's memo are in one commit, so the step knows what it has done, whenever the kill came."""
    park(site, "/signal")
    Effects(site.folder).arm(place, 1)
    with site.request("/signaller"):
        site.process.wait()
    site.restart()
    if place == "rows":
        # The run was not accepted, since its first step was not on disk, and nothing was sent.
        assert site.get("/signaller").status_code == 200
    run, sender = ended(site, "signal"), ended(site, "signaller")

    assert answer(site, run) == {"by": "Ann", "after": site.outside.calls("after")[0]["token"]}
    assert answer(site, sender) == {"waited": True, "sent": site.outside.calls("sent")[0]["token"]}
    check_once(site, "after", "sent")


def test_kill_between_a_signal_and_the_wake_up(site: SiteProcess) -> None:
    """As with an event."""
    park(site, "/signal")
    Effects(site.folder).arm("told", 1)
    go(site)
    killed(site)
    run = site.records.wait_for_only_run()

    assert answer(site, run) == {"by": "Ann", "after": site.outside.calls("after")[0]["token"]}
    check_once(site, "after")


@pytest.mark.parametrize(
    ("place", "call"),
    [
        # In the child, twice; then between its end and its parent's wake-up; then in the parent that was woken.
        ("child", 1),
        ("charge", 1),
        ("told", 1),
        ("handler", 2),
    ],
)
def test_kill_of_parent_and_child(site: SiteProcess, place: str, call: int) -> None:
    """Each goes on from where it was; the child runs once."""
    Effects(site.folder).arm(place, call)
    with suppress(httpx.TransportError):
        site.get("/parent")
    killed(site)
    parent, child = ended(site, "parent"), ended(site, "child")
    charges = site.outside.calls("charge")

    assert answer(site, child) == {"charge": charges[-1]["token"]}
    assert answer(site, parent) == {
        "called": {"charge": charges[-1]["token"]},
        "after": site.outside.calls("after")[0]["token"],
    }
    assert len(charges) == (2 if place == "charge" else 1)
    assert len({charge["key"] for charge in charges}) == 1
    check_once(site, "after")


def test_kill_while_a_request_is_under_way(site: SiteProcess) -> None:
    """It is made again after the restart, with the same key, so that the other side does its work once."""
    with third_party() as party:
        party.answers = [HELD, *party.answers]
        with site.request(f"/fetch?url={party.url}/book"):
            party.wait_asked(1)
            site.process.kill()
        site.restart()
        run = site.records.wait_for_only_run()

        assert answer(site, run) == {"answer": {"seats": 3}, "after": site.outside.calls("after")[0]["token"]}
        assert [(path, body) for _, path, _, body in party.asked] == [("/book", b'{"seats":2}')] * 2
        assert len(set(party.idempotency_keys())) == 1
    check_once(site, "before", "after")


@pytest.mark.parametrize("place", ["cancelling", "cancelled"])
def test_kill_while_a_family_is_cancelled(site: SiteProcess, place: str) -> None:
    """Before the commit nothing of it is cancelled; after it all of it is, and nothing wakes it any more."""
    location = site.get("/top").headers["location"]
    wait_until(lambda: [run.status for run in site.records.runs()] == ["waiting"] * 3, "the family to wait")
    Effects(site.folder).arm(place, 1)

    assert cancel(site, location) == 0
    killed(site)
    if place == "cancelling":
        assert [run.status for run in site.records.runs()] == ["waiting"] * 3
        assert cancel(site, location) == 202
    assert [run.status for run in site.records.runs()] == ["cancelled"] * 3
    assert (send(site), cancel(site, location), site.get(location).status_code) == (200, 202, 410)
    assert "after" not in site.outside.counts()
