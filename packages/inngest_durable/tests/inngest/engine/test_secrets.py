"""What opens runs and what signs requests is shown to nobody; a wait URL opens one run."""

from __future__ import annotations

import logging

import httpx
import pytest

from packages.inngest_durable.tests.inngest.engine.conftest import OpenRig
from packages.inngest_durable.tests.inngest.fake_server import EVENT_KEY, SIGNING_KEY
from packages.inngest_durable.tests.inngest.fake_wire import hashed_key, run_token, without_prefix


def test_keys_and_tokens_are_not_shown(open_rig: OpenRig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "inngest_durable")
    caplog.set_level(logging.DEBUG, "httpx")
    rig = open_rig(signed=True, waits_at="/wait")
    response = rig.ask("/book?fail=2")
    run_id = response.headers["x-inngest-run-id"]
    token = rig.engine.token(run_id)
    refused = rig.dispatch(run_id, "/book?fail=2", key="signkey-test-" + "99" * 32)
    answer = rig.follow(response)
    rig.fake.faults.answer(401, 100_000, where=".*")
    failed, failing = rig.ask("/book"), rig.engine.failing
    rig.fake.faults.clear()

    answers = (refused, answer, failed)
    # The test's own client shows where it has waited.
    logged = "\n".join(line for line in caplog.text.splitlines() if rig.url not in line)
    shown = logged + "".join(f"{each.headers}{each.text}" for each in answers)
    shown += f"{rig.engine!r}{rig.engine.settings!r}{failing}"
    assert failed.status_code == 503
    # The operator is told what to look at.
    assert "INNGEST_SIGNING_KEY" in (failing or "")
    assert (failing or "") in logged
    assert token
    for secret in (without_prefix(SIGNING_KEY), hashed_key(SIGNING_KEY), EVENT_KEY, token):
        assert secret not in shown


def wait(client: httpx.Client, run_id: str, token: str) -> httpx.Response:
    """Ask at the wait URL, without staying."""
    return client.get("/wait", params={"runId": run_id, "token": token}, headers={"Prefer": "wait=0"})


def test_wait_url_opens_one_run(open_rig: OpenRig) -> None:
    rig = open_rig(signed=True, waits_at="/wait")
    mine, yours = (rig.ask("/sleep").headers["x-inngest-run-id"] for _ in range(2))
    token = rig.engine.token(mine)
    refused = [
        wait(rig.client, yours, token),
        wait(rig.client, mine, rig.engine.token(yours)),
        wait(rig.client, mine, token[:-2]),
        wait(rig.client, mine, run_token(mine, rig.clock.now(), b"another secret")),
        wait(rig.client, "../../v1/runs", token),
        wait(rig.client, f"{mine}/../{yours}", token),
    ]

    assert wait(rig.client, mine, token).status_code == 303
    assert {answer.status_code for answer in refused} == {404}
    # One shape for all of them: nobody learns which runs there are.
    assert len({answer.text for answer in refused}) == 1


def test_wait_url_of_a_run_that_another_process_has_begun_opens_with_its_token(open_rig: OpenRig) -> None:
    begun = open_rig(signed=True)
    other = open_rig(signed=True, base_url=begun.fake.url, waits_at="/wait")
    run_id, another = (begun.ask("/sleep").headers["x-inngest-run-id"] for _ in range(2))
    token = begun.engine.token(run_id)

    assert wait(other.client, run_id, token).status_code == 303
    assert wait(other.client, another, token).status_code == 404
    assert wait(other.client, run_id, run_token(run_id, begun.clock.now(), b"another secret")).status_code == 404
