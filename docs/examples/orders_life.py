"""One life of a process that serves `orders`: `python -m docs.examples.orders_life FOLDER [POINT TO DIE AT]`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from inngest_durable import EmbeddedEngine
from inngest_durable.testing import CrashPoint, VirtualClock

from docs.examples.orders import create_app


class FileShop:
    """Writes what it did into a file, which outlives the process. It can die before and after each effect."""

    def __init__(self, ledger: Path, crash: CrashPoint) -> None:
        self.ledger = ledger
        self.crash = crash

    async def charge(self, order: str, key: str) -> str:
        """Take the money once for each key."""
        self.crash.pass_by()
        done = "charged" if key not in self.ledger.read_text() else "charged already"
        self.note(f"{done} {key}")
        self.crash.pass_by()
        return f"receipt of {order}"

    async def ship(self, order: str) -> None:
        """Send the goods."""
        self.crash.pass_by()
        self.note(f"shipped {order}")
        self.crash.pass_by()

    def note(self, text: str) -> None:
        """Write a line."""
        with self.ledger.open("a") as ledger:
            ledger.write(f"{text}\n")


async def live(folder: Path, crash: CrashPoint) -> object:
    """Send the order, as a client does that got no answer to it before; return the answer."""
    clock = VirtualClock()
    app = create_app(FileShop(folder / "ledger", crash), EmbeddedEngine(folder / "durable.db", clock=clock))
    async with app.test_app() as running:
        client = running.test_client()
        answer = await client.post("/orders/7", headers={"Idempotency-Key": "7f3a"})
        wait_url = answer.headers.get("location", "")
        while answer.status_code == 303:
            await clock.advance("1h")
            answer = await client.get(wait_url, headers={"Prefer": "wait=0"})
        return await answer.get_json()


if __name__ == "__main__":
    before = int(sys.argv[2]) if len(sys.argv) > 2 else None
    answered = asyncio.run(live(Path(sys.argv[1]), CrashPoint(before, kill=True)))
    sys.stdout.write(json.dumps(answered))
