"""
What runs that wait for events cost: `python -m bench.waits`.

How long one `send` takes until the run that it wakes has ended, with 100, 1,000 and 10,000 runs that wait for the same
event of other orders, and how much memory these take.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import httpx

from bench.life import resident_kib, serve
from bench.life_app import EVENT_KEY
from testkit.processes import answer_status

WAITING = 100, 1_000, 10_000
AT_A_TIME = 32
WOKEN = 21


async def let_wait(url: str, orders: range) -> dict[int, str]:
    """Let a run wait for each order; return their wait URLs."""
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
        turn = asyncio.Semaphore(AT_A_TIME)

        async def begin(order: int) -> str:
            async with turn:
                answer = await client.get(f"/paid/{order}")
            assert answer.status_code == 303
            return answer.headers["location"]

        return dict(zip(orders, await asyncio.gather(*map(begin, orders)), strict=True))


def wake_seconds(client: httpx.Client, order: int, location: str) -> float:
    """Return the time from sending the event of an order to the response of the run that waited for it."""
    started = time.perf_counter()
    event = {"name": "order/paid", "data": {"shop": "Zurich", "order": order}}
    assert client.post(f"/_inngest/e/{EVENT_KEY}", json=event).status_code == 200
    assert client.get(location).text == "paid"
    return time.perf_counter() - started


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="waits-") as name:
        folder = Path(name)
        process, port = serve(folder, folder / "durable.db")
        url = f"http://127.0.0.1:{port}"
        with ExitStack() as stack, httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            stack.callback(process.stop)
            process.wait_ready(lambda: answer_status(port) == 404)
            # The first of everything is no rule: neither in time nor in memory.
            [(order, location)] = asyncio.run(let_wait(url, range(-1, 0))).items()
            wake_seconds(client, order, location)
            idle_kib = resident_kib(process.pid)
            begun = 0
            for number in WAITING:
                locations = asyncio.run(let_wait(url, range(begun, number)))
                begun = number
                newest = list(locations.items())[-WOKEN:]
                times = [wake_seconds(client, order, location) * 1000 for order, location in newest]
                added = (resident_kib(process.pid) - idle_kib) / 1024
                print(
                    f"{number:>6,} runs wait: {statistics.median(times):.1f} ms from send to response "
                    f"(at most {max(times):.1f}), {added:.1f} MB above idle",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
