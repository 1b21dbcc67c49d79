"""Tests of `orders`, without a file, a server, or a moment of waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from inngest_durable import EmbeddedEngine
from inngest_durable.testing import MemoryStore, VirtualClock
from quart.typing import TestClientProtocol as Client

from docs.examples.orders import create_app


@dataclass
class FakeShop:
    """Takes orders, and fails as often as it is told."""

    failures: int = 0
    done: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    async def charge(self, order: str, key: str) -> str:
        """Take the money."""
        self.done.append(f"charge {order}")
        self.keys.add(key)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the bank does not answer")
        return f"receipt of {order}"

    async def ship(self, order: str) -> None:
        """Send the goods."""
        self.done.append(f"ship {order}")


@pytest.fixture
def shop() -> FakeShop:
    return FakeShop()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def client(shop: FakeShop, clock: VirtualClock) -> AsyncIterator[Client]:
    app = create_app(shop, EmbeddedEngine(store=MemoryStore(), clock=clock))
    async with app.test_app():
        yield app.test_client()


async def test_order_is_shipped_after_a_day(client: Client, shop: FakeShop, clock: VirtualClock) -> None:
    """The client waits at the URL that it is redirected to."""
    redirect = await client.post("/orders/7")
    await clock.advance("23h")
    assert shop.done == ["charge 7"]

    await clock.advance("1h")
    answer = await client.get(redirect.headers["location"])
    assert (redirect.status_code, answer.status_code) == (303, 200)
    assert await answer.get_json() == {"shipped": True, "receipt": "receipt of 7"}
    assert shop.done == ["charge 7", "ship 7"]


async def test_charge_is_tried_again(client: Client, shop: FakeShop, clock: VirtualClock) -> None:
    """With the same key, after pauses that pass on the clock."""
    shop.failures = 2
    await client.post("/orders/7")
    await clock.advance("25h")

    assert shop.done == ["charge 7", "charge 7", "charge 7", "ship 7"]
    assert len(shop.keys) == 1


async def test_bank_that_stays_away_is_told_to_the_client(client: Client, shop: FakeShop, clock: VirtualClock) -> None:
    """After the four attempts of the default policy."""
    shop.failures = 100
    redirect = await client.post("/orders/7")
    await clock.advance("5m")
    answer = await client.get(redirect.headers["location"])

    assert answer.status_code == 402
    assert await answer.get_json() == {"shipped": False, "why": "the bank does not answer"}
    assert shop.done == ["charge 7"] * 4


async def test_same_key_is_the_same_order(client: Client, shop: FakeShop) -> None:
    """A client that sends its request again is sent to the first one's run."""
    headers: dict[str, Any] = {"Idempotency-Key": "7f3a"}
    first = await client.post("/orders/7", headers=headers)
    second = await client.post("/orders/7", headers=headers)

    assert second.headers["x-inngest-run-id"] == first.headers["x-inngest-run-id"]
    assert shop.done == ["charge 7"]
