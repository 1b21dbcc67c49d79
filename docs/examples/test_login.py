"""Tests of `login`: a token expires while a run sleeps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from inngest_durable import EmbeddedEngine
from inngest_durable.testing import MemoryStore, VirtualClock

from docs.examples import login

TOKEN = {"Authorization": "Bearer ada"}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    login.expired.clear()
    login.shipped.clear()


async def test_run_goes_on_after_its_token_has_expired() -> None:
    """The customer waits at the wait URL, which needs no login."""
    clock = VirtualClock()
    app = login.create_app(EmbeddedEngine(store=MemoryStore(), clock=clock))
    async with app.test_app():
        client = app.test_client()
        redirect = await client.post("/orders", headers=TOKEN)
        login.expired.add(TOKEN["Authorization"])
        await clock.advance("24h")
        answer = await client.get(redirect.headers["location"])

    assert (redirect.status_code, answer.status_code) == (303, 200)
    assert login.shipped == ["ada"]


async def test_expired_token_begins_no_run() -> None:
    """A client's own request is checked in full, and so is one without a token."""
    login.expired.add(TOKEN["Authorization"])
    app = login.create_app(EmbeddedEngine(store=MemoryStore(), clock=VirtualClock()))
    async with app.test_app():
        client = app.test_client()
        answers = [await client.post("/orders", headers=TOKEN), await client.post("/orders")]

    assert [answer.status_code for answer in answers] == [401, 401]
    assert login.shipped == []
