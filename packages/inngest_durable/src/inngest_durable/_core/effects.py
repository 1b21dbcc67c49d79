"""What a step asks its driver to do. A closed union: drivers match on it and nothing else."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from msgspec import Struct

from .model import Memo


class Call(Struct, frozen=True, gc=False):
    """Call the user's function; send what it returned into the flow, or throw its exception."""

    attempt: int


class Save(Struct, frozen=True, gc=False):
    """Checkpoint *memo*; resume when it is durable."""

    memo: Memo


class Wait(Struct, frozen=True, gc=False):
    """Park this step until ``memo.wake_at``, or until the pass is interrupted."""

    memo: Memo


Effect = Call | Save | Wait
StepFlow = Generator[Effect, Any, Any]
