"""Handlers of `application` that answer in many ways, or with what they saw of the request, on Quart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inngest_durable import Inngest, step
from quart import Quart, Response, abort, g, jsonify, redirect, request, session, url_for
from quart.typing import ResponseReturnValue

from packages.inngest_durable.tests.adapters.application import BINARY, CONNECTION_HEADERS, KINDS, LARGE, QUICK
from packages.inngest_durable.tests.adapters.outside import OutageError, Outside
from packages.inngest_durable.tests.adapters.waiting import wait_until

ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def add(app: Quart, inngest: Inngest, outside: Outside, folder: Path) -> None:
    """Add the handlers to *app*."""
    _add_answers(app, inngest, outside, folder)
    _add_echoes(app, inngest, outside)


def _add_answers(app: Quart, inngest: Inngest, outside: Outside, folder: Path) -> None:
    @app.route("/kinds/<kind>", methods=["GET", "POST"])
    @inngest.endpoint(retries=QUICK)
    async def kinds(kind: str) -> ResponseReturnValue:
        await step.run("flaky", outside.act, "flaky", request.args.get("fail", 0, type=int))
        return await ANSWERS[kind](folder)

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


async def _json(folder: Path) -> ResponseReturnValue:
    return jsonify(number=1, text="zwölf")


async def _created(folder: Path) -> ResponseReturnValue:
    return "made", 201, {"Location": "/things/7", "X-Extra": "a, b"}


async def _cookies(folder: Path) -> ResponseReturnValue:
    response = Response("cookies")
    # Without it, werkzeug counts from now, and two answers may fall into two seconds.
    response.set_cookie("one", "1", max_age=60, expires=datetime(2100, 1, 1, tzinfo=UTC), httponly=True)
    response.set_cookie("two", "2", path="/kinds", samesite="Lax")
    response.delete_cookie("three")
    return response


async def _session(folder: Path) -> ResponseReturnValue:
    session["user"] = "ada"
    return "logged in"


async def _binary(folder: Path) -> ResponseReturnValue:
    return Response(BINARY, content_type="application/octet-stream")


async def _large(folder: Path) -> ResponseReturnValue:
    return Response(LARGE, content_type="text/plain")


async def _streamed(folder: Path) -> ResponseReturnValue:
    return Response(_chunks(), content_type="text/plain")


async def _empty(folder: Path) -> ResponseReturnValue:
    return "", 204


async def _elsewhere(folder: Path) -> ResponseReturnValue:
    return redirect("/whoami", 302)


async def _links(folder: Path) -> ResponseReturnValue:
    response = Response("links")
    response.headers.add("Link", "</a>; rel=preload")
    response.headers.add("Link", "</b>; rel=preload")
    return response


async def _connection_headers(folder: Path) -> ResponseReturnValue:
    return "hello", {"Connection": "close", "Keep-Alive": "timeout=5", "Trailer": "X-Sum", "Server": "mine"}


async def _nothing(folder: Path) -> ResponseReturnValue:
    return None  # type: ignore[return-value]  # a mistake that is easily made


async def _broken_hook(folder: Path) -> ResponseReturnValue:
    return "never seen"


_IN_ORDER = (
    *(_json, _created, _cookies, _session, _binary, _large, _streamed, _empty, _elsewhere, _links),
    *(_nothing, _broken_hook),
)
ANSWERS: dict[str, Callable[[Path], Awaitable[ResponseReturnValue]]] = {
    **dict(zip(KINDS, _IN_ORDER, strict=True)),
    CONNECTION_HEADERS: _connection_headers,
}


async def _chunks() -> AsyncIterator[bytes]:
    for number in range(20):
        yield b"chunk %d\n" % number


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
    @app.route("/echo/<tail>", methods=ALL_METHODS)
    @inngest.endpoint(retries=QUICK)
    async def echo(tail: str) -> dict[str, Any]:
        body = await request.get_data()
        assert isinstance(body, bytes)
        seen = _seen(tail) | {
            "body": body.hex(),
            "json": await request.get_json(silent=True),
        }
        outside.record("pass", seen=seen)
        await step.run("note", outside.act, "note", 1)
        return seen

    @app.post("/form")
    @inngest.endpoint(retries=QUICK)
    async def form() -> dict[str, Any]:
        fields = await request.form
        files = await request.files
        seen = {
            "fields": [[name, value] for name, value in fields.items(multi=True)],
            "files": [[name, file.filename, file.content_type, file.read().hex()] for name, file in files.items()],
        }
        outside.record("pass", seen=seen)
        await step.run("note", outside.act, "note", 1)
        return seen


def _seen(tail: str) -> dict[str, Any]:
    authorization = request.authorization
    return {
        "tail": tail,
        "method": request.method,
        "url": request.url,
        "path": request.path,
        "query": [[name, value] for name, value in request.args.items(multi=True)],
        "headers": [[name, value] for name, value in request.headers.items()],
        "cookies": request.cookies,
        "user": session.get("user"),
        "authorization": authorization and [authorization.type, authorization.username, authorization.password],
        "remote": request.remote_addr,
        "g": g.user,
        "endpoint": request.endpoint,
        "url_for": url_for("echo", tail="next", _external=True),
    }
