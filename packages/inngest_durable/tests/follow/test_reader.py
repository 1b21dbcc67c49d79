"""The stream as an async generator, without a server: its beats, its pages, and bodies of every kind."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from inngest_durable import EmbeddedEngine, stream
from inngest_durable._core.model import Finish, RecordedResponse, RunStatus
from inngest_durable._core.run_events import encoded
from inngest_durable.engines.records import AddRunEvent, CancelRun, FinishRun, Insert
from inngest_durable.testing import MemoryStore

from packages.inngest_durable.tests.follow.listener import heard
from packages.inngest_durable.tests.store.samples import Samples


class NoHost:
    """There is no application: nothing is re-entered here."""

    async def reenter(self, claim: Any) -> None:
        raise AssertionError(claim)


@pytest.fixture
async def engine() -> AsyncIterator[EmbeddedEngine]:
    """An engine on a store in memory."""
    engine = EmbeddedEngine(store=MemoryStore())
    await engine.start(NoHost())
    yield engine
    await engine.stop()


async def test_silence_is_broken_by_heartbeats(engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.01)
    run = Samples().run()
    await engine.store.write(Insert(run))
    chunks = stream.events(engine, run.id)
    first = [await anext(chunks) for _ in range(4)]
    await engine.store.write(CancelRun(run.id, 1001.0))
    rest = b"".join([chunk async for chunk in chunks if chunk != b": heartbeat\n\n"])

    assert first[0] == b"retry: 1000\n\n"
    assert b"\nevent: run.started\ndata: {" in first[1]
    assert first[2:] == [b": heartbeat\n\n"] * 2
    assert [line for line in rest.decode().splitlines() if line.startswith("event")] == [
        "event: run.cancelled",
        "event: result",
    ]


async def test_reader_holds_one_page_at_a_time(engine: EmbeddedEngine) -> None:
    """However many events there are, and however slowly they are taken."""
    run = Samples().run()
    await engine.store.write(Insert(run))
    for number in range(stream.PAGE * 3):
        engine.store.write(AddRunEvent(run.id, 1, 1001.0, "step.progress", f'{{"number":{number}}}'))
    await engine.store.write(FinishRun(run.id, 1, Finish(RunStatus.COMPLETED, None), 1002.0))
    chunks = [chunk async for chunk in stream.events(engine, run.id)]
    counts = [chunk.count(b"\nevent: ") for chunk in chunks]

    assert max(counts) == stream.PAGE
    # The start, the lines, the end and the result.
    assert sum(counts) == stream.PAGE * 3 + 3


@pytest.mark.parametrize(
    ("content_type", "body", "told"),
    [
        (b"application/json", b'{"a": [1, null]}', {"body": {"a": [1, None]}}),
        (b"application/problem+json; charset=utf-8", b'"x"', {"body": "x"}),
        (b"application/json", b"no JSON", {"body": "no JSON"}),
        (b"text/plain; charset=utf-8", "grüße\n\nnext".encode(), {"body": "grüße\n\nnext"}),
        (b"image/png", b"\x89PNG\xff", {"body": None, "base64": "iVBOR/8="}),
        (b"", b"", {"body": ""}),
    ],
)
async def test_result_has_the_body_in_a_form_that_json_can_hold(
    engine: EmbeddedEngine, content_type: bytes, body: bytes, told: dict[str, Any]
) -> None:
    run = Samples().run()
    headers = ((b"content-type", content_type), (b"set-cookie", b"secret"), (b"x-a", b"1"), (b"x-a", b"2"))
    finish = Finish(RunStatus.COMPLETED, RecordedResponse(201, headers, body))
    await engine.store.write(Insert(run), FinishRun(run.id, 1, finish, 1002.0))
    *_, last = [chunk async for chunk in stream.events(engine, run.id)]
    result = json.loads(last.decode().split("data: ")[1])

    assert result == {
        "run_status": "completed",
        "status": 201,
        "headers": {"content-type": content_type.decode(), "x-a": "1, 2"},
        **told,
    }
    assert last.count(b"\n") == 4


async def test_event_is_one_line_however_its_reader_splits_text(engine: EmbeddedEngine) -> None:
    """Python, and so httpx, ends a line at more characters than a browser does."""
    run, text = Samples().run(), "one\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029two"
    response = RecordedResponse(200, ((b"content-type", b"text/plain; charset=utf-8"),), text.encode())
    finish = Finish(RunStatus.COMPLETED, response)
    progress = AddRunEvent(run.id, 1, 1001.0, "step.progress", encoded({"text": text}))
    await engine.store.write(Insert(run), progress, FinishRun(run.id, 1, finish, 1002.0))
    sent = b"".join([chunk async for chunk in stream.events(engine, run.id)])
    events = {event.kind: event.data for event in heard(httpx.Response(200, content=sent).iter_lines())}

    assert events["step.progress"]["text"] == text
    assert events["result"]["body"] == text


async def test_stream_of_a_deleted_run_ends(engine: EmbeddedEngine) -> None:
    assert [chunk async for chunk in stream.events(engine, "01JX")] == [b"retry: 1000\n\n"]


@pytest.mark.parametrize("seen", ["", "0", "garbage", "-1", "1.5", "²"])
async def test_last_event_id_that_is_none_starts_from_the_beginning(engine: EmbeddedEngine, seen: str) -> None:
    run = Samples().run()
    await engine.store.write(Insert(run), CancelRun(run.id, 1001.0))
    answer = stream.events_answer(engine, run.id, seen)
    assert not isinstance(answer, RecordedResponse)
    text = b"".join([chunk async for chunk in answer.chunks])

    assert text.count(b"event: ") == 3
