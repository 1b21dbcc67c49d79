"""The one Inngest client of this app."""

from __future__ import annotations

from inngest_durable import Inngest
from inngest_durable.quart import endpoint_adapter

inngest = Inngest(app_id="trip-booker", endpoint_adapter=endpoint_adapter)
