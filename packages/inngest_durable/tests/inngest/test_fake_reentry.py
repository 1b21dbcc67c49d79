"""The fake server enters runs again, and reads the answers, as the real one was seen to do."""

from __future__ import annotations

import json

import pytest

from packages.inngest_durable.tests.inngest.conftest import MakeApp, MakeRun
from packages.inngest_durable.tests.inngest.fake_server import SIGNING_KEY, FakeInngest
from packages.inngest_durable.tests.inngest.fake_state import MIB
from packages.inngest_durable.tests.inngest.fake_wire import hashed_key, is_ulid, signature, step_hash
from packages.inngest_durable.tests.inngest.scripted_app import (
    FINISH,
    RESULT,
    SDK,
    Answer,
    discovery,
    failed,
    op,
    ran,
    sleep,
    wait_for,
)

PLAIN = {"Content-Type": "text/html"}
NO_RETRY = {**SDK, "X-Inngest-No-Retry": "true"}
SIGNAL = op("WaitForSignal", "s") | {"opts": {"signal": "go", "timeout": "1h", "conflict": "fail"}}
MAY_RETRY = {**SDK, "X-Inngest-No-Retry": "false"}


def test_request_is_replayed_with_the_headers_of_a_reentry(
    fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun
) -> None:
    app = scripted()
    body = bytes(range(256))
    options = {"method": "POST", "path": "/a/%20b", "query_params": "x=1&y=2%203", "content_type": "image/png"}
    hand = by_hand(fake, app, body=body, **options)
    hand.create(ran("a"))
    hand.post(discovery("go"))
    assert hand.ended() == "Completed"
    ((method, url, headers, received),) = app.requests

    assert (method, url, received) == ("POST", "/a/%20b?x=1&y=2%203", body)
    assert is_ulid(headers.pop("x-request-id"))
    assert headers.pop("x-inngest-job-id")
    assert headers == {
        "host": app.domain.removeprefix("http://"),
        "user-agent": "Inngest",
        "connection": "close",
        "content-type": "image/png",
        "content-length": "256",
        "x-inngest-generation-id": "1",
        "x-inngest-req-version": "2",
        "x-inngest-signature": "",
        "x-run-id": hand.run_id,
        "accept-encoding": "gzip",
    }


def test_request_is_signed_over_its_raw_body(scripted: MakeApp, by_hand: MakeRun) -> None:
    body = b'{"b": 2,  "a":1}'
    with FakeInngest(signing_key=SIGNING_KEY) as fake:
        hand = by_hand(fake, scripted(), body=body, method="POST")
        hand.client.headers["Authorization"] = f"Bearer {hashed_key(SIGNING_KEY)}"
        hand.create(discovery("go"))
        hand.ended()
        (dispatch,) = fake.dispatches()
        signed = dispatch.header("X-Inngest-Signature") or ""
        at = int(signed.partition("&")[0].removeprefix("t="))

        assert signed == signature(body, SIGNING_KEY, at)
        assert signed == signature(body, "ab12cd34" * 8, at)


def test_object_is_answered_to_the_waiting_client(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    hand = by_hand(fake, scripted(Answer(FINISH)))
    hand.create(discovery("go"))
    output = hand.output()

    assert (output.status_code, output.text, output.headers["x-tea"]) == (418, "short and stout", "yes")
    assert hand.status() == "Completed"


def test_array_with_run_complete_loses_the_body(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    hand = by_hand(fake, scripted(Answer([FINISH])))
    hand.create(discovery("go"))

    assert hand.output().text == "null"
    assert hand.status() == "Completed"
    assert any("its data is lost" in text for text in fake.take_violations())


def test_headers_with_several_values_give_the_raw_answer(
    fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun
) -> None:
    answer = {**FINISH, "data": {**RESULT, "headers": {"set-cookie": ["a=1", "b=2"]}}}
    hand = by_hand(fake, scripted(Answer(answer)))
    hand.create(discovery("go"))

    assert hand.output().json() == answer
    assert fake.take_violations()


def test_502_without_the_sdk_header_completes_the_run(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    hand = by_hand(fake, scripted(Answer(b"<h1>Bad gateway</h1>", 502, PLAIN)))
    hand.create(discovery("go"))
    output = hand.output()

    assert hand.status() == "Completed"
    assert output.status_code == 200
    assert output.json()["message"] == "Your server returned HTTP 502 before the SDK responded."
    assert len(fake.dispatches()) == 1
    assert fake.take_violations()


def test_failure_with_data_reaches_the_client_as_it_is(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    error = {"name": "ValueError", "message": "boom", "stack": "tb"}
    result = {"status": 500, "headers": {"content-type": "application/json"}, "body": '{"error":"boom"}'}
    hand = by_hand(fake, scripted(Answer({**error, "data": result}, 400, NO_RETRY)))
    hand.create(discovery("go"))
    output = hand.output()

    assert (output.status_code, output.text) == (500, '{"error":"boom"}')
    assert hand.status() == "Failed"
    assert fake.events[0]["data"]["error"]["name"] == "ValueError"


def test_failure_without_data_reaches_the_client_with_200(
    fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun
) -> None:
    hand = by_hand(fake, scripted(Answer({"name": "ValueError", "message": "boom"}, 400, NO_RETRY)))
    hand.create(discovery("go"))
    output = hand.output()

    assert (output.status_code, output.json()["message"], hand.status()) == (200, "boom", "Failed")


@pytest.mark.parametrize("status", [400, 401, 500, 503])
def test_error_status_is_retried_and_never_ends_the_run(
    fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun, status: int
) -> None:
    app = scripted(Answer({"message": "no"}, status))
    hand = by_hand(fake, app, retries=2)
    hand.create(discovery("go"))
    fake.wait_until(lambda: fake.jobs()[0].attempt == 1, "the first attempt")
    fake.advance(14)
    assert len(app.requests) == 1
    fake.advance(1)
    fake.wait_until(lambda: fake.jobs()[0].attempt == 2, "the second attempt")
    fake.advance(30)
    fake.wait_until(lambda: not fake.jobs(), "the last attempt")
    ids = [dispatch.header("X-Request-Id") for dispatch in fake.dispatches()]

    assert hand.status() == "Running"
    assert [headers["x-inngest-generation-id"] for _, _, headers, _ in app.requests] == ["1", "2", "3"]
    assert len({headers["x-inngest-job-id"] for _, _, headers, _ in app.requests}) == 1
    assert len(set(ids)) == 3


def test_app_that_is_down_is_tried_again(fake: FakeInngest, by_hand: MakeRun) -> None:
    hand = by_hand(fake, retries=1)
    hand.create(discovery("go"))
    fake.wait_until(lambda: fake.jobs()[0].attempt == 1, "the first attempt")
    fake.advance(15)
    fake.wait_until(lambda: not fake.jobs(), "the last attempt")

    assert [dispatch.error.partition(":")[0] for dispatch in fake.dispatches()] == ["ConnectError"] * 2
    assert hand.status() == "Running"


def test_step_result_is_followed_by_a_discovery(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    hand = by_hand(fake, scripted(Answer([ran("b", 2)]), Answer(FINISH)))
    hand.create(ran("a", 1))
    hand.post(discovery("go"))
    hand.ended()

    assert len(fake.dispatches()) == 2
    assert fake.run(hand.run_id).steps() == ["a", "b"]


def test_sleep_enters_the_run_again_when_it_is_over(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    app = scripted(Answer([sleep("lease", "1m")]), Answer(FINISH))
    hand = by_hand(fake, app)
    hand.create(sleep("nap", "1h30m"))
    fake.advance(5399)
    assert hand.actions() == {}
    fake.advance(1)
    fake.wait_until(lambda: app.requests and fake.jobs()[0].settles == step_hash("lease"), "the re-entry")

    assert hand.actions() == {step_hash("nap"): None}
    fake.advance(60)
    assert hand.ended() == "Completed"


def test_opcode_of_the_same_id_gets_one_job(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    app = scripted(Answer([sleep("nap", "1s")]))
    hand = by_hand(fake, app)
    hand.create(sleep("nap", "1s"))
    hand.post(sleep("nap", "2s"))
    (job,) = fake.jobs()
    assert job.at == fake.clock.now() + 1
    fake.advance(1)
    fake.wait_until(lambda: app.requests and not fake.jobs(), "the re-entry")

    assert hand.status() == "Running", "what was answered has had its job"
    assert any("nothing will enter it again" in text for text in fake.take_violations())


def test_empty_answer_enters_nothing_again(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    hand = by_hand(fake, scripted(Answer([])))
    hand.create(discovery("go"))
    fake.wait_until(lambda: fake.violations, "the answer")

    assert fake.jobs() == []
    assert "nothing will enter it again" in fake.take_violations()[0]


def test_event_resumes_who_waits_for_it(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    app = scripted(Answer([wait_for("next", "app/next")]), Answer(FINISH))
    hand = by_hand(fake, app)
    fake.send_event("app/approved", {"id": "17"})
    hand.create(wait_for("approve", "app/approved", condition="async.data.id == '17'"))
    fake.send_event("app/approved", {"id": "18"})
    fake.send_event("app/other", {"id": "17"})
    assert [job.kind for job in fake.jobs()] == ["pause"]
    sent = hand.client.post("/e/any", json=[{"name": "app/approved", "data": {"id": "17"}, "user": {"ext": 1}}])
    fake.wait_until(lambda: [job.settles for job in fake.jobs()] == [step_hash("next")], "the re-entry")
    event = hand.actions()[step_hash("approve")]

    assert sent.json()["status"] == 200
    assert event == {
        "data": {"id": "17"},
        "id": event["id"],
        "name": "app/approved",
        "ts": event["ts"],
        "user": {"ext": 1},
    }
    assert len(app.requests) == 1


@pytest.mark.parametrize("condition", ["async.data.x != 5", "async.data.x < 5", "async.data.deep.x == null"])
def test_missing_field_of_an_event_is_null(fake: FakeInngest, by_hand: MakeRun, condition: str) -> None:
    hand = by_hand(fake)
    hand.create(wait_for("w", "x/y", condition=condition))
    fake.send_event("x/y", {})

    assert step_hash("w") in hand.actions()


def test_wait_in_vain_gives_null(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    hand = by_hand(fake, scripted(Answer([wait_for("again", "app/never")]), Answer(FINISH)))
    hand.create(wait_for("approve", "app/approved", "3s"))
    fake.advance(3)
    fake.wait_until(lambda: [job.settles for job in fake.jobs()] == [step_hash("again")], "the re-entry")

    assert hand.actions() == {step_hash("approve"): None}
    fake.send_event("app/approved")
    assert hand.actions() == {step_hash("approve"): None}


def test_condition_over_the_own_event_breaks_a_checkpoint(fake: FakeInngest, by_hand: MakeRun) -> None:
    hand = by_hand(fake)
    hand.create(ran("a"))
    response = hand.post(wait_for("w", "x/y", condition="event.data.method == async.data.m"))

    assert (response.status_code, response.content) == (500, b"")
    assert fake.jobs() == []
    assert any("mentions `event`" in text for text in fake.take_violations())


def test_condition_over_the_own_event_works_from_a_reentry(
    fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun
) -> None:
    condition = "event.data.method == async.data.method"
    hand = by_hand(fake, scripted(Answer([wait_for("w", "x/y", condition=condition)]), Answer(FINISH)))
    hand.create(discovery("go"))
    fake.wait_until(lambda: [job.kind for job in fake.jobs()] == ["pause"], "the wait")
    fake.send_event("x/y", {})
    fake.send_event("x/y", {"method": "GET"})

    assert hand.ended() == "Completed"


def test_condition_that_is_no_cel_is_swallowed_or_fails_the_run(
    fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun
) -> None:
    hand = by_hand(fake, scripted(Answer([wait_for("w", "x/y", condition="async.data ==")])))
    hand.create(wait_for("v", "x/y", condition="async.data =="))
    assert fake.jobs() == []
    hand.post(discovery("go"))

    assert hand.ended() == "Failed"
    assert len(fake.take_violations()) == 2


def test_signal_resumes_who_waits_for_it(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    hand = by_hand(fake, scripted())
    hand.create(SIGNAL)
    answer = hand.client.post("/v1/signals", json={"signal": "go", "data": {"n": 1}})

    assert answer.json()["data"] == {"run_id": hand.run_id}
    assert hand.ended() == "Completed"
    assert hand.client.post("/v1/signals", json={"signal": "go"}).status_code == 404


def test_signal_that_another_run_waits_for_fails_the_run(
    fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun
) -> None:
    first, second = by_hand(fake), by_hand(fake, scripted(Answer([SIGNAL])))
    first.create(SIGNAL)
    second.create(discovery("go"))

    assert second.ended() == "Failed"
    assert fake.signal("go") == first.run_id


def test_conflict_in_a_checkpoint_is_swallowed_for_good(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    first, second = by_hand(fake), by_hand(fake, scripted(Answer([SIGNAL])))
    first.create(SIGNAL)
    second.create(SIGNAL)
    second.post(discovery("go"))
    fake.wait_until(lambda: fake.violations, "the answer")

    assert second.status() == "Running"
    assert "nothing will enter it again" in fake.take_violations()[0]


def test_signal_can_be_taken_over(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    first, second = by_hand(fake), by_hand(fake, scripted())
    first.create(SIGNAL)
    second.create({**SIGNAL, "opts": {**SIGNAL["opts"], "conflict": "replace"}})

    assert fake.signal("go") == second.run_id


def test_signal_is_stored_with_its_data(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    hand = by_hand(fake, scripted(Answer([sleep("nap", "1h")])))
    hand.create(op("WaitForSignal", "s") | {"opts": {"signal": "go", "timeout": "1h"}})
    assert fake.signal("go", {"n": 1}) == hand.run_id

    assert hand.actions() == {step_hash("s"): {"data": {"signal": "go", "data": {"n": 1}}}}


def test_first_retry_of_a_step_comes_after_5_seconds(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    later = Answer([failed("bad")], headers={**MAY_RETRY, "Retry-After": "3"})
    app = scripted(later, later, Answer(FINISH))
    hand = by_hand(fake, app, retries=2)
    hand.create(failed("bad"))
    assert any("StepError in a checkpoint" in text for text in fake.take_violations())
    fake.advance(4.9)
    assert fake.jobs()[0].at > fake.clock.now()
    fake.advance(0.1)
    fake.wait_until(lambda: app.requests and not fake.jobs()[0].is_dispatched, "the second attempt")
    assert fake.jobs()[0].at == pytest.approx(fake.clock.now() + 3)
    fake.advance(3)
    hand.ended()
    generations = [headers["x-inngest-generation-id"] for _, _, headers, _ in app.requests]

    assert generations == ["1", "2", "1"], "the last attempt failed, so that the handler was told of it"


def test_last_failure_of_a_step_is_memoized(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    hand = by_hand(fake, scripted(Answer([failed("bad", "StepFailed")]), Answer([sleep("nap", "1h")])))
    hand.create(discovery("go"))
    fake.wait_until(lambda: [job.kind for job in fake.jobs()] == ["sleep"], "the discovery after it")

    assert hand.actions() == {step_hash("bad"): {"error": {"name": "ValueError", "message": "no"}}}


def test_answer_beyond_8_mib_completes_the_run_without_output(
    fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun
) -> None:
    big, small = ({**FINISH, "data": {**RESULT, "body": "x" * size * MIB}} for size in (8, 7))
    one, other = by_hand(fake, scripted(Answer(big))), by_hand(fake, scripted(Answer(small)))
    for hand in (one, other):
        hand.create(discovery("go"))

    assert (one.output().content, one.status()) == (b"", "Completed")
    assert len(other.output().content) == 7 * MIB
    assert fake.take_violations()


def test_step_result_beyond_4_mib_completes_the_run_without_output(
    fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun
) -> None:
    hand = by_hand(fake, scripted(Answer([ran("big", "x" * 4 * MIB)])))
    hand.create(discovery("go"))

    assert (hand.output().content, hand.status()) == (b"", "Completed")
    assert fake.take_violations()


def test_unknown_opcode_completes_the_run(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    answer = [{**ran("a"), "op": "Stepped"}]
    hand = by_hand(fake, scripted(Answer(answer)))
    hand.create(discovery("go"))

    assert hand.output().json() == answer
    assert fake.take_violations()


@pytest.mark.parametrize(("duration", "status"), [("800d", "Failed"), ("banana", "Running")])
def test_sleep_that_cannot_be_is_swallowed_or_fails(
    fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun, duration: str, status: str
) -> None:
    hand = by_hand(fake, scripted(Answer([sleep("bad", duration)])))
    hand.create(sleep("nap", duration))
    assert fake.jobs() == []
    hand.post(discovery("go"))
    run = fake.run(hand.run_id)
    fake.wait_until(lambda: run.is_over or any(job.attempt == 1 for job in fake.jobs()), "the answer")

    assert hand.status() == status
    assert len(fake.take_violations()) == 2


def test_plan_from_a_reentry_is_joined_once(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    planned = [op("StepPlanned", name, name=name) for name in ("p0", "p1", "p2")]
    app = scripted(Answer(planned), *(Answer([ran(name)]) for name in ("p0", "p1", "p2")), Answer(FINISH))
    hand = by_hand(fake, app)
    hand.create(discovery("go"))
    hand.ended()
    steps = [headers.get("x-inngest-step-id") for _, _, headers, _ in app.requests]

    assert steps[0] is None
    assert set(steps[1:4]) == {step_hash(name) for name in ("p0", "p1", "p2")}
    assert steps[4:] == [None]
    assert all(headers["x-inngest-force-step-plan"] == "true" for _, _, headers, _ in app.requests[1:4])
    assert fake.take_violations() == [f"re-entry of run {hand.run_id}: StepPlanned in an answer"] * 3


def test_end_of_a_run_is_an_event_that_others_can_wait_for(
    fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun
) -> None:
    child, parent = by_hand(fake, scripted()), by_hand(fake, scripted(Answer([sleep("nap", "1h")])))
    child.create(ran("a"))
    parent.create(wait_for("child", "inngest/function.finished", condition=f"async.data.run_id == '{child.run_id}'"))
    child.post(discovery("go"))
    fake.wait_until(lambda: parent.actions(), "the parent's wait")
    event = parent.actions()[step_hash("child")]

    assert event["data"]["function_id"] == "GET /work"
    assert event["data"]["_inngest"] == {"status": "Completed"}
    assert json.loads(fake.run(child.run_id).output or b"") == FINISH
