"""Handlers of `application` that answer in many ways, or with what they saw of the request, on Flask."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from typing import Any

import flask
from flask import Flask, Response, abort, request, session
from flask.typing import ResponseReturnValue
from inngest_durable import Inngest
from inngest_durable.sync import step

from packages.inngest_durable.tests.adapters import answers
from packages.inngest_durable.tests.adapters.application import QUICK
from testkit.outside import OutageError, Outside
from testkit.waiting import wait_until


def add(app: Flask, inngest: Inngest, outside: Outside) -> None:
    """Add the handlers to *app*."""
    _add_answers(app, inngest, outside)
    _add_echoes(app, inngest, outside)


def _add_answers(app: Flask, inngest: Inngest, outside: Outside) -> None:
    @app.route("/kinds/<kind>", methods=["GET", "POST"])
    @inngest.endpoint(retries=QUICK)
    def kinds(kind: str) -> Any:
        step.run("flaky", outside.act, "flaky", request.args.get("fail", 0, type=int))
        return answers.answer(flask, kind, _chunks())

    @app.get("/stream")
    @inngest.endpoint(retries=QUICK)
    def stream() -> ResponseReturnValue:
        step.run("flaky", outside.act, "flaky", request.args.get("fail", 0, type=int))
        return Response(_stream_at_gate(outside), content_type="text/plain")

    @app.get("/stream-breaks")
    @inngest.endpoint(retries=QUICK)
    def stream_breaks() -> ResponseReturnValue:
        step.run("flaky", outside.act, "flaky", request.args.get("fail", 0, type=int))
        chunks = _broken_stream(outside, request.args.get("times", 0, type=int))
        return Response(chunks, content_type="text/plain")

    @app.get("/leaves-a-step")
    @inngest.endpoint(retries=0)
    def leaves_a_step() -> str:
        step.run("one", outside.act, "one")
        branch = contextvars.copy_context()
        threading.Thread(target=branch.run, args=(step.run, "two", outside.held, "two"), daemon=True).start()
        outside.wait_for("two")
        outside.record("left")
        if request.args.get("answer") == "error":
            raise ZeroDivisionError("never mind step two")
        abort(409)

    @app.get("/whoami")
    def whoami() -> str:
        return str(session.get("user", "nobody"))


def _chunks() -> Iterator[bytes]:
    yield from answers.CHUNKS


def _stream_at_gate(outside: Outside) -> Iterator[bytes]:
    outside.record("streaming")
    yield b"one "
    wait_until(lambda: outside.is_open("stream"), "the stream's gate")
    yield b"two"


def _broken_stream(outside: Outside, times: int) -> Iterator[bytes]:
    number = outside.record("streaming")
    yield b"one "
    if number <= times:
        raise OutageError("the stream is broken")
    yield b"two"


def _add_echoes(app: Flask, inngest: Inngest, outside: Outside) -> None:
    @app.route("/echo/<tail>", methods=answers.ALL_METHODS)
    @inngest.endpoint(retries=QUICK)
    def echo(tail: str) -> dict[str, Any]:
        body = request.get_data()
        assert isinstance(body, bytes)
        seen = answers.seen(flask, tail, body, request.get_json(silent=True))
        outside.record("pass", seen=seen)
        step.run("note", outside.act, "note", 1)
        return seen

    @app.post("/form")
    @inngest.endpoint(retries=QUICK)
    def form() -> dict[str, Any]:
        seen = answers.seen_form(request.form, request.files)
        outside.record("pass", seen=seen)
        step.run("note", outside.act, "note", 1)
        return seen
