"""What the client refuses when it is made: each mistake gets an error that names the fix."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from inngest_durable import ConfigurationError, EmbeddedEngine, Inngest
from inngest_durable.flask import endpoint_adapter


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"app_id": ""}, r"app_id is empty"),
        ({"app_id": Flask("shop")}, r"app_id is a name .*not a Flask: .*inngest\.init_app\(app\)"),
        ({"app_id": "shop", "engine": "shop.db"}, r"not 'shop\.db': .*EmbeddedEngine\(path\)"),
        ({"app_id": "shop", "engine": EmbeddedEngine}, r"engine is .*not <class"),
    ],
)
def test_argument_that_cannot_work_is_refused(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Inngest(**arguments)


def test_endpoint_id_in_place_of_the_handler_is_refused() -> None:
    """It has to be named; without that, it would be taken for the handler."""
    inngest: Any = Inngest("shop", endpoint_adapter)

    with pytest.raises(ConfigurationError, match=r"not 'book-trip': .*@inngest\.endpoint\(id=…\)"):
        inngest.endpoint("book-trip")
