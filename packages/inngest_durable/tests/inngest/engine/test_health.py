"""Readiness on this engine: what the process last heard of its server, and whether it begins runs at all."""

from __future__ import annotations

from packages.inngest_durable.tests.inngest.engine.rig import Rig
from packages.inngest_durable.tests.ops.test_health import ALIVE, CANNOT_RECORD, DRAINING, READY
from testkit.servers import WsgiThread
from testkit.waiting import wait_until


def ready(rig: Rig) -> tuple[int, object]:
    """Ask for readiness."""
    answer = rig.ask("/_inngest/health")
    return answer.status_code, answer.json()


def alive(rig: Rig) -> tuple[int, object]:
    """Ask for liveness."""
    answer = rig.ask("/_inngest/health/live")
    return answer.status_code, answer.json()


def why_unready(rig: Rig) -> str | None:
    """Ask as the application's own code does."""
    inngest = rig.rows.inngest
    return inngest.sync.unready() if isinstance(rig.server, WsgiThread) else rig.server.call(inngest.unready)


def test_process_that_has_heard_nothing_bad_is_ready(rig: Rig) -> None:
    """Nobody is asked: a balancer's questions are no load on the server, nor does its outage stop a deployment."""
    before = len(rig.fake.calls)
    with rig.fake.unreachable():
        told = ready(rig), alive(rig), why_unready(rig)

    assert told == (READY, ALIVE, None)
    assert len(rig.fake.calls) == before


def test_process_whose_server_cannot_be_reached_is_not_ready(rig: Rig) -> None:
    """From the first run that shows it, until the server is there again, which it finds out without a request."""
    with rig.fake.unreachable():
        refused = rig.ask("/book").status_code
        wait_until(lambda: ready(rig) == CANNOT_RECORD, "the outage to be told")
        why, living = why_unready(rig), alive(rig)
    wait_until(lambda: ready(rig) == READY, "the server to be found again")

    assert (refused, living) == (503, ALIVE)
    assert why is not None
    assert why.startswith("runs cannot be recorded: ")
    assert rig.ask("/book").status_code == 200


def test_process_that_drains_is_not_ready(rig: Rig) -> None:
    """While steps in flight end; it stays alive."""
    assert ready(rig) == READY
    asked = rig.asked("/held")
    rig.outside.wait_for("two")
    stopping = rig.server.submit(rig.rows.inngest.stop)
    wait_until(lambda: ready(rig) == DRAINING, "the drain to be told")
    during = alive(rig), why_unready(rig), stopping.done()
    rig.outside.open("two")
    stopping.result(20)

    assert during == (ALIVE, "no run is begun or resumed here any more: the process stops", False)
    assert asked.result(20).status_code == 303
