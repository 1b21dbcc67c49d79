"""The application factory."""

from __future__ import annotations

from quart import Quart

from trip_booker import (
    approval,
    booking,
    chaos,
    conditions,
    countdown,
    errors,
    orders,
    package,
    saga,
    settings,
    views,
)
from trip_booker.client import inngest


def create_app() -> Quart:
    """
    Build the application.

    Raises:
        ValueError: ``TRIP_BOOKER_SPEED`` is not a number from 0.
    """
    settings.speed()  # a bad value stops the start, not the first booking
    app = Quart(__name__)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it; answers read in order
    errors.install(app)
    chaos.install(app)
    conditions.install(app)
    for module in (booking, package, saga, approval, countdown, orders, views):
        app.register_blueprint(module.blueprint)
    app.add_url_rule("/wait", view_func=inngest.endpoint_proxy(), methods=["GET", "DELETE", "OPTIONS"])
    inngest.init_app(app)
    return app
