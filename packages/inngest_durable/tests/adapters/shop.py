"""
A small application of which a test can set every option, for the tests of the HTTP contract.

    route                  what its handler does
    /flaky?fail=           step flaky (fails); answers its result as text
    /slow                  step first fails once, so the client is redirected; step held takes until its gate opens
    /asleep                step before, then a pause of an hour
    /plain-view            no endpoint; answers "plain"
    /wait                  `endpoint_proxy()`
"""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from inngest_durable import EmbeddedEngine, Inngest
from quart import Quart

from packages.inngest_durable.tests.adapters.application import QUICK
from testkit.colourless import adapter_of, endpoint_adapter, request, step, web
from testkit.outside import Outside
from testkit.records import database_of
from testkit.waiting import PATIENCE_SECONDS

# Holds nobody: for tests that only want to see where a run stands.
AT_ONCE = {"Prefer": "wait=0"}


@dataclass(frozen=True, slots=True)
class Shop:
    """One application, its client, and the outside world of its steps."""

    app: Quart
    inngest: Inngest
    outside: Outside


def bare_shop(
    folder: Path, adapter: Any = endpoint_adapter, *, engine: dict[str, Any] | None = None, **options: Any
) -> Shop:
    """
    Return an application without routes, and not yet connected.

    Args:
        folder: Where it keeps its database and its outside world.
        adapter: The framework's adapter.
        engine: Options of the engine.
        **options: Options of the client.
    """
    embedded = EmbeddedEngine(database_of(folder), **{"shutdown_grace": "5s", **(engine or {})})
    return Shop(web().app("shop"), Inngest("shop", adapter_of(adapter), embedded, **options), Outside(folder))


def open_shop(folder: Path, adapter: Any = endpoint_adapter, **options: Any) -> Shop:
    """Return the application with the routes that are listed above, connected."""
    shop = bare_shop(folder, adapter, **options)
    add_routes(shop, folder)
    shop.inngest.init_app(shop.app)
    mount_wait(shop)
    return shop


def mount_wait(shop: Shop) -> None:
    """Mount the proxy as the documentation shows it."""
    shop.app.add_url_rule("/wait", view_func=shop.inngest.endpoint_proxy(), methods=["GET", "OPTIONS"])


def add_routes(shop: Shop, folder: Path) -> None:
    """Add the routes that are listed above, but for the proxy."""
    app, inngest, outside = shop.app, shop.inngest, shop.outside
    note_visits(shop, folder)

    @app.get("/flaky")
    @inngest.endpoint(id="flaky", retries=QUICK)
    async def flaky() -> str:
        return await step.run("flaky", outside.act, "flaky", request.args.get("fail", 0, type=int))

    @app.get("/slow")
    @inngest.endpoint(id="slow", retries=QUICK)
    async def slow() -> str:
        await step.run("first", outside.act, "first", 1)
        return await step.run("held", outside.held, "held")

    @app.get("/asleep")
    @inngest.endpoint(id="asleep", retries=QUICK)
    async def asleep() -> str:
        await step.run("before", outside.act, "before")
        await step.sleep("pause", "1h")
        return "awake"

    @app.get("/plain-view")
    async def plain_view() -> str:
        return "plain"


def note_visits(shop: Shop, folder: Path) -> None:
    """Record the path of each request and re-entry, for `Site.visits`."""
    visits = Outside(folder / "visits")

    @shop.app.before_request
    async def note_visit() -> None:
        visits.record(request.path)


@contextmanager
def connection(port: int, path: str, headers: Mapping[str, str] | None = None) -> Iterator[socket.socket]:
    """Send a request by hand; the connection is cut at the end."""
    lines = [f"GET {path} HTTP/1.1", "Host: test", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as opened:
        opened.sendall("\r\n".join([*lines, "", ""]).encode())
        yield opened


def query_of(location: str) -> dict[str, str]:
    """Return the query parameters of a URL, each of which is there once."""
    parameters = parse_qs(urlsplit(location).query, keep_blank_values=True, strict_parsing=True)
    assert all(len(values) == 1 for values in parameters.values()), location
    return {name: values[0] for name, values in parameters.items()}


def change(database: Path, statement: str, parameters: Sequence[object] = ()) -> None:
    """Change the database behind the engine's back, as another process would."""
    with closing(sqlite3.connect(database, timeout=10)) as connection, connection:
        changed = connection.execute(statement, parameters)
        assert changed.rowcount == 1, statement


def cancel(database: Path, run_id: str) -> None:
    """Cancel a run that waits, by its row."""
    change(
        database,
        "UPDATE runs SET status = 'cancelled', wake_at = NULL, ended_at = 1 WHERE id = ? AND status = 'waiting'",
        (run_id,),
    )
