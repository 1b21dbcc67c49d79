"""
The endpoints of `bench.life` and `bench.waits`.

One dies in its third step of five, one has slept and is woken, and one waits until its order is paid.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from inngest_durable import Inngest, step
from inngest_durable.quart import endpoint_adapter
from quart import Quart

app = Quart("life")
EVENT_KEY = "key"
inngest = Inngest(app_id="life", endpoint_adapter=endpoint_adapter, event_key=EVENT_KEY)


def work(number: int) -> int:
    """Die in the third step, the first time."""
    died = Path(os.environ["DIED"])
    if number == 3 and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@app.get("/five")
@inngest.endpoint(id="five")
async def five() -> str:
    """Take five steps."""
    for number in range(1, 6):
        await step.run(f"step-{number}", work, number)
    return "done"


@app.get("/woken")
@inngest.endpoint(id="woken")
async def woken() -> str:
    """Go on after a sleep."""
    return "awake"


@app.get("/paid/<int(signed=True):order>")
@inngest.endpoint(id="paid")
async def paid(order: int) -> str:
    """Wait until the order is paid."""
    match = {"data.shop": "Zurich", "data.order": order}
    event = await step.wait_for_event("payment", event="order/paid", match=match, timeout="1h")
    return "paid" if event else "unpaid"


inngest.init_app(app)
