"""Handlers of `application` that answer in many ways, or with what they saw of the request, on Quart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import quart
from inngest_durable import Inngest, step
from quart import Quart, Response, abort, request, session
from quart.typing import ResponseReturnValue

from packages.inngest_durable.tests.adapters import answers
from packages.inngest_durable.tests.adapters.application import QUICK
from testkit.outside import OutageError, Outside
from testkit.waiting import wait_until


def add(app: Quart, inngest: Inngest, outside: Outside) -> None:
    """Add the handlers to *app*."""
    _add_answers(app, inngest, outside)
    _add_echoes(app, inngest, outside)


def _add_answers(app: Quart, inngest: Inngest, outside: Outside) -> None:
    @app.route("/kinds/<kind>", methods=["GET", "POST"])
    @inngest.endpoint(retries=QUICK)
    async def kinds(kind: str) -> Any:
        await step.run("flaky", outside.act, "flaky", request.args.get("fail", 0, type=int))
        return answers.answer(quart, kind, _chunks())

    @app.get("/stream")
    @inngest.endpoint(retries=QUICK)
    async def stream() -> ResponseReturnValue:
        await step.run("flaky", outside.act, "flaky", request.args.get("fail", 0, type=int))
        return Response(_stream_at_gate(outside), content_type="text/plain")

    @app.get("/stream-breaks")
    @inngest.endpoint(retries=QUICK)
    async def stream_breaks() -> ResponseReturnValue:
        await step.run("flaky", outside.act, "flaky", request.args.get("fail", 0, type=int))
        chunks = _broken_stream(outside, request.args.get("times", 0, type=int))
        return Response(chunks, content_type="text/plain")

    @app.get("/leaves-a-step")
    @inngest.endpoint(retries=0)
    async def leaves_a_step() -> str:
        await step.run("one", outside.act, "one")
        left = asyncio.create_task(step.run("two", outside.held, "two"))
        await asyncio.to_thread(outside.wait_for, "two")
        outside.record("left", done=left.done())
        if request.args.get("answer") == "error":
            raise ZeroDivisionError("never mind step two")
        abort(409)

    @app.get("/whoami")
    async def whoami() -> str:
        return str(session.get("user", "nobody"))


async def _chunks() -> AsyncIterator[bytes]:
    for chunk in answers.CHUNKS:
        yield chunk


async def _stream_at_gate(outside: Outside) -> AsyncIterator[bytes]:
    outside.record("streaming")
    yield b"one "
    await asyncio.to_thread(wait_until, lambda: outside.is_open("stream"), "the stream's gate")
    yield b"two"


async def _broken_stream(outside: Outside, times: int) -> AsyncIterator[bytes]:
    number = outside.record("streaming")
    yield b"one "
    if number <= times:
        raise OutageError("the stream is broken")
    yield b"two"


def _add_echoes(app: Quart, inngest: Inngest, outside: Outside) -> None:
    @app.route("/echo/<tail>", methods=answers.ALL_METHODS)
    @inngest.endpoint(retries=QUICK)
    async def echo(tail: str) -> dict[str, Any]:
        body = await request.get_data()
        assert isinstance(body, bytes)
        seen = answers.seen(quart, tail, body, await request.get_json(silent=True))
        outside.record("pass", seen=seen)
        await step.run("note", outside.act, "note", 1)
        return seen

    @app.post("/form")
    @inngest.endpoint(retries=QUICK)
    async def form() -> dict[str, Any]:
        seen = answers.seen_form(await request.form, await request.files)
        outside.record("pass", seen=seen)
        await step.run("note", outside.act, "note", 1)
        return seen
