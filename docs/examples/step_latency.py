"""What a step costs: `python -m docs.examples.step_latency`, with ``INNGEST_DEV=1`` on a Dev Server."""

from __future__ import annotations

import asyncio
import logging
import socket
import statistics
import sys
import time
from typing import Any

import httpx
import hypercorn.asyncio
from hypercorn.config import Config
from inngest_durable import Inngest, step
from inngest_durable.quart import endpoint_adapter
from quart import Quart

REQUESTS, STEPS, NAPS = 5, 21, 3

inngest = Inngest(app_id="step-latency", endpoint_adapter=endpoint_adapter)
app = Quart(__name__)
inngest.init_app(app)


@app.post("/steps")
@inngest.endpoint
async def steps() -> Any:
    """Run steps one after another; answer how long each took, in seconds."""
    took = []
    for number in range(STEPS):
        began = time.perf_counter()
        await step.run(f"step-{number}", one)
        took.append(time.perf_counter() - began)
    return took


@app.post("/nap")
@inngest.endpoint
async def nap() -> Any:
    """Sleep for a second."""
    await step.sleep("nap", "1s")
    return {"slept": True}


async def one() -> int:
    """Do what takes no time."""
    return 1


async def measure(url: str) -> str:
    """Return a line of numbers of the application at *url*."""
    naps, first, further = [], [], []
    async with httpx.AsyncClient(base_url=url, timeout=60, follow_redirects=True, trust_env=False) as client:
        # Not counted: what is made once.
        await client.post("/steps")
        for _ in range(REQUESTS):
            took = (await client.post("/steps")).raise_for_status().json()
            first.append(took[0])
            further += took[1:]
        for _ in range(NAPS):
            began = time.perf_counter()
            (await client.post("/nap")).raise_for_status()
            naps.append(time.perf_counter() - began)
    middle, most = statistics.median(further), sorted(further)[int(0.9 * len(further))]
    return (
        f"first step {1000 * statistics.median(first):.1f} ms, further steps {1000 * middle:.1f} ms "
        f"(p90 {1000 * most:.1f} ms), 1 s sleep {statistics.median(naps):.2f} s"
    )


async def measured(address: str) -> str:
    """Serve the application at *address* and return a line of numbers."""
    config, stop = Config(), asyncio.Event()
    config.bind = [address]
    config.errorlog = None
    serving = asyncio.create_task(hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait))
    try:
        await reachable(f"http://{address}")
        return f"{type(inngest.engine).__name__}: {await measure(f'http://{address}')}"
    finally:
        stop.set()
        await serving


async def reachable(url: str) -> None:
    """Wait until something answers at *url*."""
    async with asyncio.timeout(30), httpx.AsyncClient(trust_env=False) as client:
        while True:
            try:
                await client.get(url)
            except httpx.TransportError:
                await asyncio.sleep(0.02)
            else:
                return


if __name__ == "__main__":
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        there = f"127.0.0.1:{free.getsockname()[1]}"
    sys.stdout.write(asyncio.run(measured(there)) + "\n")
