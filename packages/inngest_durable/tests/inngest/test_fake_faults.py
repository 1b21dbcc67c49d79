"""The fake server misbehaves when told to, and sees what an SDK should not send."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from packages.inngest_durable.tests.inngest.conftest import MakeApp, MakeRun
from packages.inngest_durable.tests.inngest.fake_checks import check_create, check_op, check_sync_ops
from packages.inngest_durable.tests.inngest.fake_clock import FakeClock
from packages.inngest_durable.tests.inngest.fake_pace import Pace
from packages.inngest_durable.tests.inngest.fake_server import FakeInngest
from packages.inngest_durable.tests.inngest.fake_wire import new_ulid, step_hash
from packages.inngest_durable.tests.inngest.scripted_app import (
    FINISH,
    SDK,
    Answer,
    discovery,
    op,
    ran,
    sleep,
    wait_for,
)


def test_lost_checkpoint_is_answered_200(fake: FakeInngest, by_hand: MakeRun) -> None:
    hand = by_hand(fake)
    hand.create(ran("a"))
    fake.faults.lose(step="c*", skip=1)
    statuses = {hand.post(ran(name)).status_code for name in ("b", "c1", "c2", "c3")}

    assert statuses == {200}
    assert fake.run(hand.run_id).steps() == ["a", "b", "c1", "c3"]
    assert step_hash("c2") not in hand.actions()


def test_call_can_be_answered_with_an_error(fake: FakeInngest, by_hand: MakeRun) -> None:
    hand = by_hand(fake)
    fake.faults.answer(409, 2)
    statuses = [hand.create(ran("a")).status_code for _ in range(3)]

    assert statuses == [409, 409, 200]


@pytest.mark.parametrize("is_stored", [False, True])
def test_connection_can_be_cut(fake: FakeInngest, by_hand: MakeRun, is_stored: bool) -> None:
    hand = by_hand(fake)
    hand.create(ran("a"))
    (fake.faults.cut_after if is_stored else fake.faults.cut)(op="StepRun")
    with pytest.raises(httpx.TransportError):
        hand.post(ran("b"))

    assert (step_hash("b") in hand.actions()) is is_stored


def test_server_can_be_unreachable_for_a_while(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    app = scripted()
    hand = by_hand(fake, app)
    hand.create(sleep("nap", "1s"))
    with fake.unreachable():
        fake.advance(2)
        with pytest.raises(httpx.TransportError):
            hand.actions()
        assert app.requests == []

    assert hand.ended() == "Completed"


def test_dispatch_can_be_delivered_twice(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    app = scripted(Answer([sleep("nap", "1h")]))
    hand = by_hand(fake, app)
    fake.faults.twice = 1
    hand.create(discovery("go"))
    fake.wait_until(lambda: len(app.requests) == 2 and all(each.is_over for each in fake.dispatches()), "both")
    ids = {headers["x-request-id"] for _, _, headers, _ in app.requests}

    assert len(ids) == 1
    assert [each.is_applied for each in fake.dispatches()] == [True, False]


def test_job_can_be_dispatched_beside_itself(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    app = scripted(Answer([sleep("nap", "1h")]))
    hand = by_hand(fake, app)
    fake.faults.beside = 1
    hand.create(discovery("go"))
    fake.wait_until(lambda: len(app.requests) == 2 and all(each.is_over for each in fake.dispatches()), "both")

    assert len({headers["x-request-id"] for _, _, headers, _ in app.requests}) == 2
    assert len({headers["x-inngest-job-id"] for _, _, headers, _ in app.requests}) == 1


def test_restart_that_loses_state_leaves_runs_running(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    hand = by_hand(fake, scripted())
    hand.create(ran("a"))
    hand.post(sleep("nap", "1s"))
    fake.restart(keep_state=False)
    fake.advance(10)
    gone = hand.client.get(f"/v0/runs/{hand.run_id}/actions")

    assert (gone.status_code, gone.json()["status"]) == (410, 410)
    assert hand.post(ran("b")).status_code == 200
    assert hand.status() == "Running"
    assert hand.client.delete(f"/v1/runs/{hand.run_id}").status_code == 200
    assert hand.status() == "Running"
    assert hand.create(ran("a")).json()["data"]["run_id"] == hand.run_id
    assert hand.actions() == {step_hash("a"): {"data": None}}
    hand.post(discovery("go"))
    assert hand.ended() == "Completed"


def test_restart_that_keeps_state_goes_on(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    hand = by_hand(fake, scripted())
    hand.create(sleep("nap", "1s"))
    fake.restart(keep_state=True)
    fake.advance(1)

    assert hand.ended() == "Completed"


def test_jobs_can_be_late_or_early(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    app = scripted()
    late, early = by_hand(fake, app), by_hand(fake, app)
    fake.faults.late_seconds = 5
    late.create(sleep("nap", "1m"))
    fake.wait_until(lambda: fake.jobs()[0].at == fake.clock.now() + 65, "the queue's look")
    fake.faults.late_seconds = 0
    early.create(sleep("nap", "1h"))
    fake.hurry(early.run_id)

    assert early.ended() == "Completed"
    assert late.status() == "Running"


def test_old_request_can_be_made_again(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    app = scripted()
    hand = by_hand(fake, app)
    hand.create(discovery("go"))
    hand.ended()
    again = fake.replay(fake.dispatches()[0], f"{app.domain}/other", x_run_id="another")

    assert again.status == 206
    assert app.requests[1][1] == "/other"
    assert app.requests[1][2]["x-run-id"] == "another"
    assert app.requests[1][2]["x-request-id"] == app.requests[0][2]["x-request-id"]


def test_look_at_a_run_may_be_stale(by_hand: MakeRun) -> None:
    with FakeInngest(pace=Pace(cache_seconds=60), clock=FakeClock(0)) as fake:
        hand = by_hand(fake)
        hand.create(ran("a"))
        before = hand.status()
        hand.client.delete(f"/v1/runs/{hand.run_id}")

        assert (before, hand.status()) == ("Running", "Running")
        assert fake.run(hand.run_id).status == "Cancelled"


def test_slow_call_is_answered_all_the_same(fake: FakeInngest, by_hand: MakeRun) -> None:
    hand = by_hand(fake)
    hand.create(ran("a"))
    fake.faults.slow(0.05, where="GET /v0/runs/.*/actions")

    assert hand.actions() == {step_hash("a"): {"data": None}}


def test_wrong_ids_are_seen(fake: FakeInngest, by_hand: MakeRun) -> None:
    hand = by_hand(fake)
    hand.create(ran("a"))
    hand.ids["fn_id"] = hand.ids["app_id"]
    hand.post(ran("b"))

    assert [text.partition(": ")[2][:8] for text in fake.take_violations()] == ["fn_id is"]


def test_answer_without_the_sdk_header_is_seen(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    hand = by_hand(fake, scripted(Answer(FINISH, headers={**SDK, "X-Inngest-SDK": ""})))
    hand.create(discovery("go"))
    hand.ended()

    assert "x-inngest-sdk" in fake.take_violations()[0]


BAD = {
    "another step's ID": (ran("a") | {"id": step_hash("b")}, "not its SHA-1"),
    "ID without index": (ran("a") | {"userland": {"id": "a", "index": 1}}, "not its SHA-1"),
    "no userland": (ran("a") | {"userland": None}, "userland"),
    "no name": (ran("a") | {"displayName": ""}, "displayName"),
    "opcode in another case": (ran("a") | {"op": "stepRun"}, "there is no opcode"),
    "result missing": ({key: value for key, value in ran("a").items() if key != "data"}, "no data"),
    "sleep unclear": (sleep("nap", "1 hour"), "is no duration"),
    "sleep too long": (sleep("nap", "367d"), "366 days"),
    "sleep negative": (sleep("nap", "-1s"), "366 days"),
    "event unnamed": (wait_for("w", ""), "no event"),
    "timeout unclear": (wait_for("w", "e", "soon"), "is no duration"),
    "condition unclear": (wait_for("w", "e", condition="async.data.x ="), "no CEL"),
    "signal unnamed": (op("WaitForSignal", "s") | {"opts": {"timeout": "1s"}}, "no signal"),
    "conflict": (op("WaitForSignal", "s") | {"opts": {"signal": "s", "timeout": "1s", "conflict": "x"}}, "conflict"),
    "condition over unknown names": (wait_for("w", "e", condition="nope.x == 1"), "no CEL"),
    "error empty": (op("StepFailed", "f", error={}), "its error is"),
    "end of another ID": (FINISH | {"id": step_hash("done")}, "RunComplete has the ID"),
    "end without result": (FINISH | {"data": None}, "no result"),
    "header with two values": (FINISH | {"data": {"status": 200, "headers": {"a": ["b"]}}}, "not one text each"),
    "body of another type": (FINISH | {"data": {"status": 200, "body": {}}}, "a body that is no text"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_opcode_is_seen(case: str) -> None:
    bad, problem = BAD[case]
    problems = list(check_op(bad))

    assert len(problems) == 1, problems
    assert problem in problems[0]


@pytest.mark.parametrize(
    "good",
    [
        *(ran("a"), sleep("nap", "1.5s"), wait_for("w", "e", condition="async.data.x == 1"), FINISH, discovery("d")),
        op("StepRun", "a:1", data=1) | {"userland": {"id": "a", "index": 1}},
        op("WaitForSignal", "s") | {"opts": {"signal": "s", "timeout": "1s"}},
    ],
    ids=lambda value: f"{value['op']}-{value['id'][:4]}",
)
def test_good_opcode_passes(good: dict[str, Any]) -> None:
    assert list(check_sync_ops([good])) == []


def test_several_opcodes_in_one_checkpoint_are_seen() -> None:
    assert list(check_sync_ops([ran("a"), FINISH])) == []
    assert len(list(check_sync_ops([ran("a"), ran("b")]))) == 1
    assert len(list(check_sync_ops([op("StepPlanned", "a")]))) == 1


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"domain": "http://host/"}, "domain"),
        ({"domain": "host"}, "domain"),
        ({"path": "/a?b"}, "path"),
        ({"path": "a"}, "path"),
        ({"method": "get"}, "method"),
        ({"query_params": "?a=1"}, "begins with ?"),
        ({"content_type": None}, "no text"),
        ({"body": "YQ"}, "base64"),
        ({"body": "Y-E="}, "base64"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(next(iter(value.values()))),
)
def test_bad_create_is_seen(fields: dict[str, Any], problem: str) -> None:
    data = {"domain": "http://host:1", "path": "/a", "method": "GET", "body": "YQ==", "query_params": "a=1"}
    body = {"run_id": new_ulid(1), "event": {"name": "inngest/http.request", "data": data}, "request_version": 2}
    assert list(check_create(body)) == []
    data |= fields
    problems = list(check_create(body))

    assert len(problems) == 1, problems
    assert problem in problems[0]
