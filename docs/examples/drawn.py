"""Draw the winner of a raffle: chance and time come from a step, so a replay finds what the first pass found."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from inngest_durable import Inngest, step
from inngest_durable.quart import endpoint_adapter
from quart import Quart

app = Quart(__name__)
inngest = Inngest(app_id="raffles", endpoint_adapter=endpoint_adapter)

told: list[str] = []


@dataclass
class Drawn:
    """Who has won, and when."""

    winner: str
    at: datetime


@app.post("/raffles/<players>")
@inngest.endpoint
async def draw(players: str) -> Any:
    """Draw a winner, and tell it an hour later: the same one, whoever would be drawn then."""
    drawn = await step.run("draw", pick, players.split("-"))
    await step.sleep("suspense", "1h")
    await step.run("tell", tell, drawn.winner)
    return {"winner": drawn.winner, "drawn": drawn.at.isoformat()}


async def pick(players: list[str]) -> Drawn:
    """Pick one of the players."""
    return Drawn(random.choice(players), datetime.now(UTC))


async def tell(winner: str) -> None:
    """Tell the winner."""
    told.append(winner)


inngest.init_app(app)
