"""The examples work; `nox -s docs` sees that the pages show them as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.examples import flask_cities, flask_trip, quart_trip

WANTED = {"flight": "SB418", "hotel": "plaza", "card": "4242424242424242"}


@pytest.fixture(autouse=True)
def _own_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNGEST_DURABLE_DB", str(tmp_path / "durable.db"))


def check(answer: dict[str, object]) -> None:
    assert answer["success"] is True
    assert answer["flight"] == {"what": "flight", "name": "SB418", "price": 500}
    payment = answer["payment"]
    assert isinstance(payment, dict)
    assert (payment["amount"], payment["card"], len(payment["key"])) == (1000, "**** 4242", 32)


async def test_trip_on_quart() -> None:
    """The client waits behind the redirect while the traveller thinks."""
    async with quart_trip.app.test_app() as running:
        client = running.test_client()
        redirect = await client.post("/trips", json=WANTED)
        assert redirect.status_code == 303
        answer = await client.get(redirect.headers["location"])
        check(await answer.get_json())


def test_each_branch_of_a_loop_asks_in_its_own_city() -> None:
    with flask_cities.inngest.running():
        answer = flask_cities.app.test_client().post("/hotels", json={"cities": ["berlin", "rom", "paris"]})

    assert answer.get_json() == {"city": "rom", "price": 30}


def test_trip_on_flask() -> None:
    """The same, without an event loop in sight."""
    with flask_trip.inngest.running():
        client = flask_trip.app.test_client()
        redirect = client.post("/trips", json=WANTED)
        assert redirect.status_code == 303
        check(client.get(redirect.headers["location"]).get_json())
