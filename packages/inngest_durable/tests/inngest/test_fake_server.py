"""The fake server does what the real one was seen to do: runs, checkpoints, and the answers it makes of them."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

from packages.inngest_durable.tests.inngest.conftest import MakeApp, MakeRun
from packages.inngest_durable.tests.inngest.fake_clock import FakeClock
from packages.inngest_durable.tests.inngest.fake_pace import Pace
from packages.inngest_durable.tests.inngest.fake_server import EVENT_KEY, SIGNING_KEY, FakeInngest
from packages.inngest_durable.tests.inngest.fake_state import MIB
from packages.inngest_durable.tests.inngest.fake_wire import (
    TOKEN_SECONDS,
    duration,
    hashed_key,
    mentions_event,
    new_ulid,
    run_of_token,
    run_token,
    signature,
    step_hash,
)
from packages.inngest_durable.tests.inngest.scripted_app import FINISH, RESULT, discovery, ran, sleep

NIL = "00000000-0000-0000-0000-000000000000"


def test_hashes_are_those_of_captured_exchanges() -> None:
    assert step_hash("complete") == "0737c22d3bfae812339732d14d8c7dbd6dc4e09c"
    assert step_hash("one") == "fe05bcdcdc4928012781a5f1a2a77cbb5398e106"
    assert step_hash("same:1").startswith("c1023f")
    assert hashed_key("ab12cd34" * 8) == "f936c15b3f8831d8d5106c8aacc86461685f581ccd7cf045e7d3de263a82de33"
    assert signature(b"", "ab12cd34" * 8, 1795354231).startswith("t=1795354231&s=80d6509b")


def test_tokens_are_those_of_captured_exchanges() -> None:
    token = (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJhcGkuaW5uZ2VzdC5jb20iLCJzdWIiOiJydW4tY2xhaW0iLCJleHAiOjE3OTUz"
        "NTkwMzEsImlhdCI6MTc5NTM1NTQzMSwiRW52IjoiMDAwMDAwMDAtMDAwMC00MDAwLWIwMDAtMDAwMDAwMDAwMDAwIiwiUnVuSUQiOiIwMU04MV"
        "JCTUFNQVBZVlM0QTY0WlM0N1NGSCJ9.niuwdAi0ziILUXbnjnAmRoa3FOMBhEMOrhqqGFr-Q-Q"
    )

    assert run_token("01M81RBMAMAPYVS4A64ZS47SFH", 1795355431) == token
    assert run_of_token(token, 1795355431) == "01M81RBMAMAPYVS4A64ZS47SFH"
    assert run_of_token(token, 1795355431 + TOKEN_SECONDS) is None
    assert run_of_token(token[:-1] + "R", 1795355431) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1h30m", 5400), ("2s", 2), ("500ms", 0.5), ("1.5s", 1.5), ("1w2d", 777600), ("-3s", -3), ("0", 0)],
)
def test_duration_is_read_as_the_server_does(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["banana", "", "5", "1h 30m", "s", None, 7])
def test_duration_refuses_the_rest(text: object) -> None:
    assert duration(text) is None


@pytest.mark.parametrize("text", ["event.data.id == async.data.id", "async.data.x == 'an event. Yes'", "event == 1"])
def test_event_is_found_even_in_text_literals(text: str) -> None:
    assert mentions_event(text)


@pytest.mark.parametrize("text", ["async.data.event == 1", "async.name == 'event'", "async.data.eventful == 1"])
def test_event_is_not_found_elsewhere(text: str) -> None:
    assert not mentions_event(text)


def test_create_answers_with_ids_and_token_that_stay(fake: FakeInngest, by_hand: MakeRun) -> None:
    first, second = by_hand(fake), by_hand(fake)
    data = first.create(ran("a", 1)).json()["data"]
    again = first.create(ran("a", 2)).json()["data"]
    second.create()

    assert data == again
    assert data["run_id"] == first.run_id
    assert second.ids["fn_id"] == data["fn_id"]
    assert second.token == "", "without steps there is none"
    assert first.actions() == {step_hash("a"): {"data": 1}}, "the first value stays"


def test_create_refuses_a_body_that_is_not_base64(fake: FakeInngest, by_hand: MakeRun) -> None:
    hand = by_hand(fake)
    hand.data["body"] = '{"a": 1}'
    response = hand.create(ran("a"))

    assert response.status_code == 400
    assert response.json() == {"error": "Invalid request body", "data": None, "status": 400}
    assert fake.runs == []
    assert any("base64" in text for text in fake.take_violations())


def test_create_refuses_more_than_4_mib(fake: FakeInngest, by_hand: MakeRun) -> None:
    response = by_hand(fake).create(ran("a", "x" * 4 * MIB))

    assert response.status_code == 400
    assert fake.take_violations()


def test_checkpoint_stores_results_in_turn(fake: FakeInngest, by_hand: MakeRun) -> None:
    hand = by_hand(fake)
    hand.create(ran("a", {"x": [1, None]}))
    assert hand.post(ran("b")).content == b""
    hand.post(ran("a", "late"))

    assert hand.actions() == {step_hash("a"): {"data": {"x": [1, None]}}, step_hash("b"): {"data": None}}
    assert fake.run(hand.run_id).steps() == ["a", "b"]
    assert fake.run(hand.run_id).steps(stored=False) == ["a", "b", "a"]


def test_checkpoint_of_an_unknown_run_is_answered_200(fake: FakeInngest, by_hand: MakeRun) -> None:
    hand = by_hand(fake)
    hand.ids = {"run_id": hand.run_id, "fn_id": NIL, "app_id": NIL}

    assert hand.post(ran("a")).status_code == 200
    assert any("there is no run" in text for text in fake.take_violations())


def test_output_beyond_4_mib_is_silently_not_stored(fake: FakeInngest, by_hand: MakeRun) -> None:
    hand = by_hand(fake)
    hand.create(ran("a"))
    # The result is kept as {"data":"..."}: 11 bytes around the text.
    assert hand.post(ran("fits", "x" * (4 * MIB - 11))).status_code == 200
    assert hand.post(ran("big", "x" * (4 * MIB - 10))).status_code == 200

    assert set(hand.actions()) == {step_hash("a"), step_hash("fits")}
    assert any("not stored" in text for text in fake.take_violations())


def test_state_beyond_32_mib_is_silently_not_stored(fake: FakeInngest, by_hand: MakeRun) -> None:
    hand = by_hand(fake)
    hand.create()
    for number in range(10):
        assert hand.post(ran(str(number), "x" * (4 * MIB - 100))).status_code == 200

    assert fake.run(hand.run_id).steps() == [str(number) for number in range(8)]


def test_run_complete_in_the_sync_phase_keeps_the_body_alone(fake: FakeInngest, by_hand: MakeRun) -> None:
    hand = by_hand(fake)
    hand.create(ran("a"))
    hand.post({**FINISH, "data": {"status": 201, "headers": {"x-a": "b"}, "body": '{"done": true}'}})
    output = hand.output()

    assert hand.status() == "Completed"
    assert (output.status_code, output.text) == (200, '{"done": true}')
    assert "x-a" not in output.headers
    assert hand.client.get(f"/v0/runs/{hand.run_id}/actions").status_code == 410
    assert [event["name"] for event in fake.events] == ["inngest/function.finished"]
    assert fake.events[0]["data"]["run_id"] == hand.run_id
    assert fake.events[0]["data"]["function_id"] == "GET /work"


def test_kept_body_that_looks_like_a_result_is_answered_as_one(fake: FakeInngest, by_hand: MakeRun) -> None:
    hand = by_hand(fake)
    hand.create(ran("a"), {**FINISH, "data": {"status": 200, "headers": {}, "body": json.dumps({"data": RESULT})}})
    output = hand.output()

    assert (output.status_code, output.text, output.headers["x-tea"]) == (418, "short and stout", "yes")


@pytest.mark.parametrize("status", [302, 404, 500])
def test_run_complete_with_another_status_fails_the_run(fake: FakeInngest, status: int, by_hand: MakeRun) -> None:
    hand = by_hand(fake)
    hand.create({**FINISH, "data": {"status": status, "headers": {}, "body": "{}"}})

    assert hand.status() == "Failed"
    assert [event["name"] for event in fake.events] == ["inngest/function.finished", "inngest/function.failed"]


def test_run_that_has_ended_gets_a_state_once_more(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    app = scripted()
    hand = by_hand(fake, app)
    hand.create(FINISH | {"data": {"status": 200, "headers": {}, "body": '"one"'}})

    assert hand.create(ran("a")).status_code == 200
    assert hand.actions() == {step_hash("a"): {"data": None}}
    assert len(fake.take_violations()) == 1
    hand.post(discovery("go"))
    fake.wait_until(lambda: len(fake.events) == 2, "its second end")
    assert (hand.status(), hand.output().text, len(app.requests)) == ("Completed", '"one"', 1)


def test_values_are_kept_decoded(fake: FakeInngest, by_hand: MakeRun) -> None:
    hand = by_hand(fake)
    hand.create(ran("a", {"z": 2**53 + 1, "a": 1.0, "m": 1e30, "f": 0.1}))
    text = hand.client.get(f"/v0/runs/{hand.run_id}/actions").text

    assert text.endswith(':{"data":{"a":1,"f":0.1,"m":1e+30,"z":9007199254740992}}}\n')


def test_look_at_a_run_tells_of_its_output(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    """As it is after the sync phase, in base64 after a re-entry."""
    sync, later = by_hand(fake), by_hand(fake, scripted())
    sync.create(FINISH | {"data": {"status": 200, "headers": {}, "body": '{"x":1}'}})
    later.create(discovery("go"))
    later.ended()
    outputs = [hand.client.get(f"/v1/runs/{hand.run_id}").json()["data"]["output"] for hand in (sync, later)]

    assert outputs[0] == {"x": 1}
    assert json.loads(base64.b64decode(outputs[1])) == FINISH


def test_batch_gives_the_event_back(fake: FakeInngest, by_hand: MakeRun) -> None:
    hand = by_hand(fake, body=bytes(range(256)), query_params="x=1&y=2%203", method="POST", content_type="a/b")
    hand.create()
    (event,) = hand.client.get(f"/v0/runs/{hand.run_id}/batch").json()

    assert event["name"] == "inngest/http.request"
    assert base64.b64decode(event["data"]["body"]) == bytes(range(256))
    assert event["data"]["query_params"] == "x=1&y=2%203"


def test_cancel_ends_the_run(fake: FakeInngest, by_hand: MakeRun) -> None:
    hand = by_hand(fake)
    hand.create(sleep("nap", "1h"))
    assert hand.client.delete(f"/v1/runs/{hand.run_id}").status_code == 200
    output = hand.output()

    assert hand.status() == "Cancelled"
    assert (output.status_code, output.content) == (200, b"")
    assert fake.jobs() == []
    assert [event["name"] for event in fake.events][1:] == ["inngest/function.cancelled"]


def test_unknown_run_is_told_by_the_body_alone(fake: FakeInngest) -> None:
    response = httpx.get(f"{fake.url}/v1/runs/{new_ulid(0)}", timeout=20)

    assert response.status_code == 200
    assert response.json()["status"] == 500
    assert "data" in response.json()
    assert httpx.delete(f"{fake.url}/v1/runs/{new_ulid(0)}", timeout=20).status_code == 404


def test_jobs_are_listed(fake: FakeInngest, by_hand: MakeRun) -> None:
    hand = by_hand(fake)
    hand.create(sleep("nap", "1h"))
    (job,) = hand.client.get(f"/v1/runs/{hand.run_id}/jobs").json()["data"]

    assert job["kind"] == "sleep"


def test_output_says_that_the_run_goes_on(by_hand: MakeRun) -> None:
    with FakeInngest(pace=Pace(output_seconds=0.05)) as fake:
        hand = by_hand(fake)
        hand.create(ran("a"))
        response = hand.output()

    assert response.status_code == 200
    assert response.json() == {"status": "running", "message": "run did not end within 5 minutes"}
    assert response.headers["content-type"].startswith("text/plain")


def test_output_opens_by_token_alone(fake: FakeInngest, by_hand: MakeRun) -> None:
    one, other = by_hand(fake), by_hand(fake)
    for hand in (one, other):
        hand.create(ran("a"), {**FINISH, "data": {"status": 200, "headers": {}, "body": json.dumps(hand.run_id)}})
    crossed = one.client.get(f"/v1/checkpoint/{other.run_id}/output", params={"token": one.token})
    other.token = run_token(other.run_id, fake.clock.now(), b"another secret")

    assert crossed.json() == one.run_id
    assert other.output().status_code == 401
    fake.advance(TOKEN_SECONDS)
    assert one.output().status_code == 401


def test_calls_need_the_signing_key(by_hand: MakeRun) -> None:
    with FakeInngest(signing_key=SIGNING_KEY, event_key=EVENT_KEY, clock=FakeClock(0)) as fake:
        hand = by_hand(fake)
        refused = hand.create(ran("a"))
        raw_key = SIGNING_KEY
        hand.client.headers["Authorization"] = f"Bearer {raw_key}"
        accepted = hand.create(ran("a"))
        problems = fake.take_violations()
        hand.client.headers["Authorization"] = f"bearer signkey-test-{hashed_key(SIGNING_KEY)}"

        assert (refused.status_code, refused.text) == (401, "Authentication failed")
        assert accepted.status_code == 200
        assert len(problems) == 2, "the key as it is works, but should not be sent"
        assert hand.actions() == {step_hash("a"): {"data": None}}
        assert fake.violations == []
        assert httpx.post(f"{fake.url}/e/wrong", json={"name": "a"}, timeout=20).status_code == 401
        taken = httpx.post(f"{fake.url}/e/{EVENT_KEY}", json={"name": "a"}, timeout=20)
        assert taken.json()["status"] == 200


def test_same_endpoint_shares_one_function_row(fake: FakeInngest, scripted: MakeApp, by_hand: MakeRun) -> None:
    """With a name of its own, an endpoint of two methods is entered again with that of its newest run."""
    app = scripted()
    first, second = by_hand(fake, app, fn="work", method="POST"), by_hand(fake, app, fn="work", method="GET")
    first.create(ran("a"))
    second.create(ran("a"))
    first.post(discovery("go"))

    assert first.ended() == "Completed"
    assert app.requests[0][0] == "GET"
