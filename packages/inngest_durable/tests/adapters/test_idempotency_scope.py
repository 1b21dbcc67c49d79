"""What can be an endpoint's ``idempotency_scope``: a plain function that returns a string."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import ConfigurationError, step

from packages.inngest_durable.tests.adapters.quart_app import small_app

KEY = {"Idempotency-Key": "order-1"}


async def user() -> str:
    return "ada"


async def user_of(name: str) -> str:
    return name


class User:
    """A callable object whose call is asynchronous."""

    async def __call__(self) -> str:
        return "ada"


@pytest.mark.parametrize(
    ("scope", "name"),
    [(user, "user"), (functools.partial(user_of, "ada"), "partial"), (User(), "User")],
    ids=["function", "partial", "object"],
)
def test_async_scope_is_refused_when_the_handler_is_decorated(tmp_path: Path, scope: Any, name: str) -> None:
    """It would not be awaited, so no two requests would have the same scope."""
    _, inngest, _ = small_app(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        inngest.endpoint(idempotency_scope=scope)

    assert str(caught.value) == (
        f"idempotency_scope={name} is `async def`, but it is called without await: make it a `def`, and await what "
        "it needs in a before_request hook"
    )


@pytest.mark.parametrize(
    ("scope", "kind"),
    [(lambda: None, "None"), (lambda: 7, "int"), (lambda: b"ada", "bytes"), (lambda: user_of("ada"), "coroutine")],
    ids=["None", "int", "bytes", "coroutine"],
)
async def test_scope_that_is_no_string_runs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, scope: Callable[[], Any], kind: str
) -> None:
    """None would make the Authorization header the scope, which this endpoint has been told not to take."""
    app, inngest, outside = small_app(tmp_path)

    @app.get("/")
    @inngest.endpoint(id="order", idempotency_scope=scope)
    async def order() -> str:
        return await step.run("charge", outside.act, "charge")

    inngest.init_app(app)
    async with app.test_app() as test_app:
        response = await test_app.test_client().get("/", headers=KEY)

    assert response.status_code == 500
    assert f"idempotency_scope of order returned {kind}, not str: return whose key it is" in caplog.text
    assert outside.counts() == {}
