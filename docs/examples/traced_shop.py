"""An application whose runs are traced. The spans are printed; an OTLP exporter sends them to a collector."""

from __future__ import annotations

from inngest_durable import Inngest, step
from inngest_durable.otel import instrument
from inngest_durable.quart import endpoint_adapter
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from quart import Quart

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)

app = Quart(__name__)
inngest = Inngest("shop", endpoint_adapter)
instrument(inngest)  # before the first endpoint


async def charge_card() -> str:
    """Below the span of this step are those of what it calls."""
    return "charged"


@app.post("/orders")
@inngest.endpoint
async def place_order() -> dict[str, str]:
    """Charge the card."""
    return {"charge": await step.run("charge", charge_card)}


inngest.init_app(app)
