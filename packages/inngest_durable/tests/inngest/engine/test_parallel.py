"""Branches run in place and are recorded one by one; the server plans nothing but waits."""

from __future__ import annotations

import json

from packages.inngest_durable.tests.inngest.engine.rig import Rig


def test_branches_run_in_place_and_are_recorded_one_by_one(rig: Rig) -> None:
    response = rig.ask("/wide?n=10")
    run = rig.fake.only_run()
    posts = [json.loads(call.body)["steps"] for call in rig.fake.calls if call.method == "POST"]

    assert response.status_code == 200
    assert response.json() == {"found": [f"b{i}#1" for i in range(10)], "join": "join#1"}
    assert rig.outside.counts() == {"pass wide": 1, "join": 1} | {f"b{i}": 1 for i in range(10)}
    # A second operation in one checkpoint makes the server plan every step from then on.
    assert {len(steps) for steps in posts} == {1}
    assert sorted(step for step in run.steps() if step[0] == "b") == [f"b{i}" for i in range(10)]
    assert run.steps("StepPlanned") == run.steps("StepError") == []


def test_branches_that_fail_are_joined_once(rig: Rig) -> None:
    answer = rig.answer("/wide?n=10&fail=1")

    assert answer.json() == {"found": [f"b{i}#2" for i in range(10)], "join": "join#1"}
    assert rig.outside.counts()["join"] == 1
    assert {count for name, count in rig.outside.counts().items() if name[0] == "b"} == {2}
    assert not any(dispatch.header("x-inngest-force-step-plan") for dispatch in rig.fake.dispatches())


def test_what_a_run_waits_for_is_planned_in_the_answer_to_a_request(rig: Rig) -> None:
    response = rig.ask("/either")
    run = rig.fake.only_run()
    (dispatch,) = rig.dispatched(1)
    planned = [op["op"] for op in json.loads(dispatch.response)]

    assert response.status_code == 303
    assert len(run.steps("DiscoveryRequest")) == 1
    assert planned == ["WaitForEvent", "WaitForEvent"]

    rig.fake.send_event("b", {"n": 2})
    rig.fake.send_event("a", {"n": 1})
    assert rig.follow(response).json() == {"found": [{"n": 1}, {"n": 2}], "join": "join#1"}
    assert rig.outside.counts()["join"] == 1
    assert run.steps("StepPlanned") == []
