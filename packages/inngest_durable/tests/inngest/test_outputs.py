from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from inngest_durable._core.model import (
    Failure,
    Finish,
    Memo,
    RecordedRequest,
    RecordedResponse,
    Run,
    RunStatus,
    StepOp,
    StepState,
)
from inngest_durable.engines.clock import SystemClock
from inngest_durable.engines.inngest.answers import api_result, completion
from inngest_durable.engines.inngest.api import InngestApi
from inngest_durable.engines.inngest.follow import Followed
from inngest_durable.engines.inngest.ops import Op, run_complete
from inngest_durable.engines.inngest.outputs import Outputs
from inngest_durable.engines.inngest.protocol import Created, HttpRequestEvent, checkpoint_body, create_body
from inngest_durable.engines.inngest.records import memo_op, request_op
from inngest_durable.engines.inngest.settings import Settings, settings_from
from inngest_durable.engines.records import CancelRun, FinishRun, Insert
from inngest_durable.engines.ulids import new_ulid

from packages.inngest_durable.tests.inngest.fake_server import FakeInngest
from packages.inngest_durable.tests.inngest.fake_wire import run_token

REQUEST = RecordedRequest("GET", "http", "", "/pay", b"/pay", b"", (), None, None, "1.1", b"")
RESPONSE = RecordedResponse(418, ((b"x-tea", b"yes"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")), b"\xff\x00tea")
COMPLETED = Finish(RunStatus.COMPLETED, RESPONSE)
FAILED = Finish(RunStatus.FAILED, RecordedResponse(500, (), b"sorry"), Failure("CardDeclined", "no money"))


class Process:
    """What an application's process has of a server: one that begins runs, or another one."""

    def __init__(self, fake: FakeInngest) -> None:
        self.clock = SystemClock()
        self.api = InngestApi(settings_from(fake.environment()), first_pause_seconds=0)
        self.followed = Followed(self.clock, True)
        self.outputs = Outputs(self.api, self.followed, self.clock, pause_seconds=0.01)

    async def begin(self) -> tuple[Run, Created]:
        run = Run(new_ulid(), "app", "pay", REQUEST, self.clock.now())
        event = HttpRequestEvent(domain="http://127.0.0.1:9", path="/pay", method="GET")
        created = await self.api.create(create_body(run.id, event, [request_op(run, "n", 0.0)], 20, 1))
        self.followed.note(Insert(run))
        self.outputs.issued(run.id, created.token)
        return run, created

    async def post(self, created: Created, op: Op) -> None:
        body = checkpoint_body(created.run_id, created.fn_id, created.app_id, [op], 1)
        await self.api.checkpoint(created.run_id, body)

    async def finish(self, created: Created, finish: Finish) -> None:
        await self.post(created, run_complete(completion(finish)))

    async def stop(self) -> None:
        self.followed.close()
        await self.outputs.close()
        await self.api.close()


@pytest.fixture
async def here(fake: FakeInngest) -> AsyncIterator[Process]:
    process = Process(fake)
    await process.api.open()
    yield process
    await process.stop()


@pytest.fixture
async def there(fake: FakeInngest) -> AsyncIterator[Process]:
    """Another process, which knows nothing but what the server has."""
    process = Process(fake)
    await process.api.open()
    yield process
    await process.stop()


async def ended(process: Process, run_id: str) -> Run:
    run = await process.outputs.ended(run_id, 20)
    assert run is not None
    return run


def output_calls(fake: FakeInngest) -> int:
    return sum(call.path.endswith("/output") for call in fake.calls)


@pytest.mark.parametrize("finish", [COMPLETED, FAILED], ids=["completed", "failed"])
async def test_end_is_what_the_server_has_to_the_byte(here: Process, there: Process, finish: Finish) -> None:
    run, created = await here.begin()
    assert await there.outputs.opens(run.id, created.token)
    waiting = [asyncio.ensure_future(ended(process, run.id)) for process in (here, there)]
    await here.finish(created, finish)
    here.followed.note(FinishRun(run.id, 1, finish, 5.0))

    for found in await asyncio.gather(*waiting):
        assert (found.status, found.response) == (finish.status, finish.response)
    assert there.followed.status(run.id) is finish.status


async def test_what_only_memory_knows_is_no_answer(here: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inngest_durable.engines.inngest.outputs._CONFIRM_SECONDS", 0.1)
    run, created = await here.begin()
    here.followed.note(FinishRun(run.id, 1, COMPLETED, 5.0))
    unsure = await here.outputs.ended(run.id, 0)
    await here.finish(created, COMPLETED)
    sure = await here.outputs.ended(run.id, 20)

    assert unsure is not None
    assert (unsure.status, unsure.response) == (RunStatus.RUNNING, None)
    assert sure is not None
    assert (sure.status, sure.response) == (RunStatus.COMPLETED, RESPONSE)


async def test_end_in_this_process_is_not_waited_for_until_the_servers_next_look() -> None:
    looks, has_ended, run_id = [0], asyncio.Event(), new_ulid()
    kept = msgspec.to_builtins(api_result(COMPLETED))

    async def server(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/actions"):
            return httpx.Response(410) if has_ended.is_set() else httpx.Response(200, json={})
        looks[0] += 1
        if not has_ended.is_set():
            # The server looks again some time.
            await asyncio.Event().wait()
        body = httpx.ByteStream(kept["body"].encode())
        return httpx.Response(kept["status"], headers=kept["headers"], stream=body)

    clock = SystemClock()
    api = InngestApi(
        Settings(is_dev=True, api_url="http://s.test", event_url="http://s.test"), httpx.MockTransport(server)
    )
    await api.open()
    followed = Followed(clock, True)
    followed.note(Insert(Run(run_id, "app", "pay", REQUEST, 1.0)))
    outputs = Outputs(api, followed, clock, pause_seconds=0.01)
    outputs.issued(run_id, "token")
    waiting = asyncio.ensure_future(outputs.ended(run_id, 20))
    while not looks[0]:
        await asyncio.sleep(0)
    has_ended.set()
    followed.note(FinishRun(run_id, 1, COMPLETED, 5.0))
    run = await waiting
    await outputs.close()
    await api.close()

    assert run is not None
    assert run.response == RESPONSE
    assert looks == [2]


async def test_run_that_goes_on_is_returned_after_the_timeout(here: Process) -> None:
    run, _ = await here.begin()
    found = await here.outputs.ended(run.id, 0)

    assert found is not None
    assert found.status is RunStatus.RUNNING


async def test_clients_of_a_run_share_one_poll_and_find_it_again(here: Process, fake: FakeInngest) -> None:
    run, created = await here.begin()
    await asyncio.gather(*(here.outputs.ended(run.id, 0) for _ in range(5)))
    waiting = [asyncio.ensure_future(ended(here, run.id)) for _ in range(5)]
    await here.finish(created, COMPLETED)
    await asyncio.gather(*waiting)

    assert output_calls(fake) == 1


async def test_server_says_after_a_while_that_the_run_goes_on_and_is_asked_again(
    here: Process, fake: FakeInngest
) -> None:
    fake.pace.output_seconds = 0.01
    run, created = await here.begin()
    waiting = asyncio.ensure_future(ended(here, run.id))
    await fake.until(lambda: output_calls(fake) > 2, "a third poll")
    await here.finish(created, COMPLETED)

    assert (await waiting).response == RESPONSE


async def test_cancelled_run_has_ended_for_every_process(here: Process, there: Process) -> None:
    run, created = await here.begin()
    assert await there.outputs.opens(run.id, created.token)
    assert await here.api.cancel(run.id)
    here.followed.note(CancelRun(run.id, 5.0))

    assert (await ended(here, run.id)).status is RunStatus.CANCELLED
    assert (await ended(there, run.id)).status is RunStatus.CANCELLED


async def test_outage_is_waited_out(here: Process, fake: FakeInngest) -> None:
    run, created = await here.begin()
    fake.faults.cut(3, where="GET .*/output")
    waiting = asyncio.ensure_future(ended(here, run.id))
    await fake.until(lambda: output_calls(fake) > 3, "a poll after the outage")
    await here.finish(created, COMPLETED)

    assert (await waiting).response == RESPONSE


async def test_run_is_looked_at_when_its_token_has_expired(here: Process, fake: FakeInngest) -> None:
    run, created = await here.begin()
    fake.advance(3601)
    await here.finish(created, FAILED)
    found = await ended(here, run.id)

    assert (found.status, found.response, found.failure) == (RunStatus.FAILED, FAILED.response, FAILED.failure)
    assert await here.outputs.opens(run.id, created.token)


async def test_unknown_run_has_no_end(here: Process) -> None:
    assert await here.outputs.ended(new_ulid(), 0) is None


async def test_token_that_was_issued_here_opens_without_asking(here: Process, fake: FakeInngest) -> None:
    run, created = await here.begin()
    before = len(fake.calls)

    assert here.outputs.token(run.id) == created.token
    assert await here.outputs.opens(run.id, created.token)
    assert len(fake.calls) == before


async def test_token_of_another_process_is_checked_by_the_server_once(there: Process, here: Process, fake: Any) -> None:
    run, created = await here.begin()
    pay = Memo("pay", "pay", StepOp.RUN, StepState.COMPLETED, 1, b"1")
    await here.post(created, memo_op(pay, 1, 1.0, 2.0))

    assert await there.outputs.opens(run.id, created.token)
    asked = len(fake.calls)
    assert await there.outputs.opens(run.id, created.token)
    assert len(fake.calls) == asked
    assert there.outputs.token(run.id) == created.token
    assert [event.kind for event in there.followed.run_events(run.id, 0, 9)] == ["run.started", "step.completed"]


async def test_token_of_a_run_that_has_ended_opens_it(there: Process, here: Process) -> None:
    run, created = await here.begin()
    await here.finish(created, COMPLETED)

    assert await there.outputs.opens(run.id, created.token)
    assert (await ended(there, run.id)).response == RESPONSE


@pytest.mark.parametrize("where", ["here", "there"])
async def test_wrong_token_opens_nothing(here: Process, there: Process, fake: FakeInngest, where: str) -> None:
    process = here if where == "here" else there
    run, created = await here.begin()
    _other, others = await here.begin()
    now = fake.clock.now()
    for token in (
        *("", "x", "a.b.c", "\ud800", f"{created.token}x", created.token[:-2]),
        others.token,
        run_token(run.id, now, os.urandom(16)),
        run_token(run.id, now - 7200),
    ):
        assert not await process.outputs.opens(run.id, token)
    assert not await process.outputs.opens("../../etc", created.token)
    assert not await process.outputs.opens("", "")


async def test_slow_refusal_is_not_taken_for_silence(there: Process, here: Process, fake: FakeInngest) -> None:
    run, _ = await here.begin()
    fake.faults.slow(0.6, 2, where="GET .*/output")

    assert not await there.outputs.opens(run.id, run_token(run.id, fake.clock.now(), b"another secret"))


async def test_token_that_cannot_be_checked_opens_nothing_yet(there: Process, here: Process, fake: FakeInngest) -> None:
    run, created = await here.begin()
    with fake.unreachable():
        assert not await there.outputs.opens(run.id, created.token)

    assert await there.outputs.opens(run.id, created.token)


async def test_who_follows_a_run_of_another_process_is_told_of_its_steps_and_its_end(
    there: Process, here: Process
) -> None:
    run, created = await here.begin()
    assert await there.outputs.opens(run.id, created.token)
    with there.outputs.watch(run.id) as watch:
        watch.look()
        await here.post(created, memo_op(Memo("pay", "pay", StepOp.RUN, StepState.COMPLETED, 1, b"1"), 1, 1.0, 2.0))
        assert await watch.news(20)
        assert [event.kind for event in there.followed.run_events(run.id, 0, 9)][-1] == "step.completed"
        await here.finish(created, COMPLETED)
        while there.followed.status(run.id) is not RunStatus.COMPLETED:
            watch.look()
            assert await watch.news(20)


async def test_stopping_engine_lets_everybody_go(here: Process) -> None:
    run, _ = await here.begin()
    waiting = asyncio.ensure_future(here.outputs.ended(run.id, 3600))
    with here.outputs.watch(run.id):
        await asyncio.sleep(0)
        here.followed.close()
        found = await waiting

    assert found is not None
    assert found.status is RunStatus.RUNNING
