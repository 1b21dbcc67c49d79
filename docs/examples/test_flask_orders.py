"""A test of a Flask application: `flask_app`, with an engine that the test moves through time."""

from __future__ import annotations

import pytest
from inngest_durable import EmbeddedEngine
from inngest_durable.testing import MemoryStore, VirtualClock

from docs.examples import flask_app

ORDER = {"article": "tent", "card": "4242424242424242", "email": "ada@example.com"}


def test_mail_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The customer has paid. `clock.advance` blocks until what it has started has come to rest."""
    clock, mailed = VirtualClock(), []

    def mail(address: str, receipt: str) -> None:
        mailed.append(f"{receipt} to {address}")
        if len(mailed) < 20:
            raise ConnectionError("the mail server does not answer")

    monkeypatch.setattr(flask_app, "mail", mail)
    app = flask_app.create_app(EmbeddedEngine(store=MemoryStore(), clock=clock))
    with app.extensions["inngest"].running():
        client = app.test_client()
        redirect = client.post("/orders", json=ORDER)
        clock.advance("1h")
        answer = client.get(redirect.headers["location"])

    assert (redirect.status_code, answer.status_code) == (303, 200)
    assert mailed == ["30 paid by the card ending in 4242 to ada@example.com"] * 20
