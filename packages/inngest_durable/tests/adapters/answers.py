"""What handlers of `application` answer, and what they see of a request: the same in every framework."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from packages.inngest_durable.tests.adapters.application import BINARY, CONNECTION_HEADERS, KINDS, LARGE

ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
CHUNKS = [b"chunk %d\n" % number for number in range(20)]


def answer(web: Any, kind: str, chunks: Any) -> Any:
    """
    Answer in one of the ways that `KINDS` lists.

    Args:
        web: The framework's module, such as `quart`.
        kind: Which way.
        chunks: What the framework streams `CHUNKS` from.
    """
    if kind == "streamed":
        return web.Response(chunks, content_type="text/plain")
    return _ANSWERS[kind](web)


def _cookies(web: Any) -> Any:
    response = web.Response("cookies")
    # Without it, werkzeug counts from now, and two answers may fall into two seconds.
    response.set_cookie("one", "1", max_age=60, expires=datetime(2100, 1, 1, tzinfo=UTC), httponly=True)
    response.set_cookie("two", "2", path="/kinds", samesite="Lax")
    response.delete_cookie("three")
    return response


def _session(web: Any) -> Any:
    web.session["user"] = "ada"
    return "logged in"


def _links(web: Any) -> Any:
    response = web.Response("links")
    response.headers.add("Link", "</a>; rel=preload")
    response.headers.add("Link", "</b>; rel=preload")
    return response


_IN_ORDER: tuple[Callable[[Any], Any], ...] = (
    lambda web: web.jsonify(number=1, text="zwölf"),
    lambda web: ("made", 201, {"Location": "/things/7", "X-Extra": "a, b"}),
    _cookies,
    _session,
    lambda web: web.Response(BINARY, content_type="application/octet-stream"),
    lambda web: web.Response(LARGE, content_type="text/plain"),
    lambda web: "streamed",
    lambda web: ("", 204),
    lambda web: web.redirect("/whoami", 302),
    _links,
    # A mistake that is easily made.
    lambda web: None,
    lambda web: "never seen",
)
_ANSWERS: dict[str, Callable[[Any], Any]] = {
    **dict(zip(KINDS, _IN_ORDER, strict=True)),
    CONNECTION_HEADERS: lambda web: (
        "hello",
        {"Connection": "close", "Keep-Alive": "timeout=5", "Trailer": "X-Sum", "Server": "mine"},
    ),
}


def seen(web: Any, tail: str, body: bytes, json: Any) -> dict[str, Any]:
    """Return what a handler sees of its request."""
    request = web.request
    authorization = request.authorization
    return {
        "tail": tail,
        "method": request.method,
        "url": request.url,
        "path": request.path,
        "query": [[name, value] for name, value in request.args.items(multi=True)],
        "headers": [[name, value] for name, value in request.headers.items()],
        "cookies": request.cookies,
        "user": web.session.get("user"),
        "authorization": authorization and [authorization.type, authorization.username, authorization.password],
        "remote": request.remote_addr,
        "g": web.g.user,
        "endpoint": request.endpoint,
        "url_for": web.url_for("echo", tail="next", _external=True),
        "body": body.hex(),
        "json": json,
    }


def seen_form(fields: Any, files: Any) -> dict[str, Any]:
    """Return what a handler sees of a form."""
    return {
        "fields": [[name, value] for name, value in fields.items(multi=True)],
        "files": [[name, file.filename, file.content_type, file.read().hex()] for name, file in files.items()],
    }
