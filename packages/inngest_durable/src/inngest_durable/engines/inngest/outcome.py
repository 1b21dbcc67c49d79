"""How a pass that the server has started ends: what the answer to its request is made of."""

from __future__ import annotations

from msgspec import Struct

from ..._core.model import Finish
from .ops import Op


class Parked(Struct, frozen=True):
    """The run waits; the server is to schedule *ops*."""

    ops: tuple[Op, ...]


class Finished(Struct, frozen=True):
    """The run has ended."""

    finish: Finish


# None: the pass has lost its run, could not say how it ended, or has said so already.
Outcome = Parked | Finished | None
