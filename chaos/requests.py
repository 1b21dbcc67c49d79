"""The requests of one client: kinds, order and manners, all of it from the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chaos.kinds import KINDS, Kind

# How long a step takes after its effect: mostly a moment, sometimes longer than a takeover.
STEP_MILLISECONDS = (0, 0, 5, 20, 60, 200, 1500)
PAUSE_MILLISECONDS = (10, 300, 1500)
THINK_SECONDS = (0.05, 0.6)
# Of the clients that leave, nearly all are gone before the answer comes.
LEAVES, LEAVE_SECONDS = 0.08, 0.03


@dataclass(frozen=True, slots=True)
class Request:
    """
    One request to be sent.

    Attributes:
        name: Its own, and its run's.
        kind_name: Its kind, one of `KINDS`.
        path: Where it goes.
        fails: How often its flaky step fails.
        workers: Names of the workers to turn to, one after the other, again and again.
        at_once: If it is sent twice, or waits for two events: whether they are sent at the same time.
        leaves: Whether the client goes away before the answer comes.
        think_seconds: How long the client waits after it.
    """

    name: str
    kind_name: str
    path: str
    fails: int
    workers: tuple[str, ...]
    at_once: bool
    leaves: bool
    think_seconds: float

    @property
    def kind(self) -> Kind:
        """What is known of its run."""
        return KINDS[self.kind_name]


def requests_of(seed: int, client: str, workers: Sequence[str]) -> Iterator[Request]:
    """Yield the requests of a client, without end; *workers* are those that it may turn to."""
    chance = random.Random(f"requests {seed} {client}")
    names, weights = list(KINDS), [kind.weight for kind in KINDS.values()]
    number = 0
    while True:
        number += 1
        (kind_name,) = chance.choices(names, weights)
        kind, name, fails = KINDS[kind_name], f"{client}-{number}", chance.randint(1, 2)
        query = f"ms={chance.choice(STEP_MILLISECONDS)}&pause={chance.choice(PAUSE_MILLISECONDS)}&fails={fails}"
        yield Request(
            name,
            kind_name,
            f"/{kind.route}/{name}?{query}",
            fails if kind.flaky else 0,
            tuple(chance.sample(workers, len(workers))),
            at_once=chance.random() < 0.5,
            leaves=chance.random() < LEAVES and not kind.keyed,
            think_seconds=chance.uniform(*THINK_SECONDS),
        )
