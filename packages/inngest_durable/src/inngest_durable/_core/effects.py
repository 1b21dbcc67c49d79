"""What a step asks its driver to do. A closed union: drivers match on it and nothing else."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from msgspec import Struct

from .events import SentEvent
from .matching import WaitFor
from .model import Memo, Run


class Call(Struct, frozen=True, gc=False):
    """Call the user's function; send what it returned into the flow, or throw its exception."""

    attempt: int


class Save(Struct, frozen=True, gc=False):
    """Checkpoint *memo*; resume when it is durable."""

    memo: Memo


class Invoke(Struct, frozen=True, gc=False):
    """The run *child* begins, and the step waits for its end."""

    child: Run


class StopWaiting(Struct, frozen=True, gc=False):
    """The step waits no longer, unless what it waited for has come before this is recorded."""


class SendEvents(Struct, frozen=True, gc=False):
    """These events are sent."""

    events: tuple[SentEvent, ...]


class SendSignal(Struct, frozen=True, gc=False):
    """A signal is sent; *result* completes the step that waits for it. The memo says whether there was one."""

    name: str
    result: bytes


Along = WaitFor | Invoke | StopWaiting | SendEvents | SendSignal


class SaveWith(Struct, frozen=True, gc=False):
    """
    Checkpoint *memo*, and in the same commit what goes along with it; resume with the memo as it is recorded then.

    That is another one if what the step waits for is there already, or had come before.
    """

    memo: Memo
    along: Along


class Wait(Struct, frozen=True, gc=False):
    """
    Park this step until ``memo.wake_at``, or until the pass is interrupted.

    Resume with the final memo as soon as something else has completed it, or with None when its time has come.
    """

    memo: Memo


Effect = Call | Save | SaveWith | Wait
StepFlow = Generator[Effect, Any, Any]
