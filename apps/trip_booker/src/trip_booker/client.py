"""
The one Inngest client of this app.

Your app needs only the last line, with its own name and the adapter. The rest makes `--inngest` pleasant to watch: a
short lease, and a wait URL that is the app's own on either engine.
"""

from __future__ import annotations

from inngest_durable import Inngest, InngestEngine
from inngest_durable.quart import endpoint_adapter

from trip_booker.inngest_server import LEASE, is_chosen

ON_SERVER = is_chosen()

# Both engines run with their defaults if none is given; only a demo is in a hurry.
engine = InngestEngine(lease=LEASE) if ON_SERVER else None

# The server's own output URL knows neither cookies nor cancelled runs: clients wait here instead.
adapter = endpoint_adapter.with_options(async_redirect_url="/wait") if ON_SERVER else endpoint_adapter

inngest = Inngest(app_id="trip-booker", endpoint_adapter=adapter, engine=engine)
