"""How the fake server misbehaves, as the real one does now and then: each fault is armed by a test and used up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packages.inngest_durable.tests.inngest.fake_state import Received

_ANY_POST = r"POST /v1/(checkpoint|http/runs)"


@dataclass(slots=True)
class Fault:
    """
    One kind of misbehaviour.

    Attributes:
        count: Calls that it will still befall.
        skip: Calls that match, but are spared first.
        where: Pattern of method and path, e.g. ``"GET /v0/runs/.*/actions"``.
        step: Only calls that carry this step, by its ID before hashing; or one that begins so, if it ends in ``*``.
        op: Only calls that carry this opcode.
        value: Status to answer with, or seconds to wait.
    """

    kind: str
    count: int
    where: str
    skip: int = 0
    step: str = ""
    op: str = ""
    value: float = 0

    def takes(self, method: str, path: str, body: Any) -> bool:
        """Tell whether a call is to suffer, and count it."""
        if self.count <= 0 or not re.match(self.where, f"{method} {path}") or not self._carries(body):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.count -= 1
        return True

    def _carries(self, body: Any) -> bool:
        if not self.step and not self.op:
            return True
        sent = body.get("steps") if isinstance(body, Mapping) else None
        ops = [Received(op, "sync") for op in sent or [] if isinstance(op, dict)]
        return any((not self.op or each.name == self.op) and self._names(each.step) for each in ops)

    def _names(self, step: str) -> bool:
        if self.step.endswith("*"):
            return step.startswith(self.step[:-1])
        return not self.step or step == self.step


class Faults:
    """
    What is to go wrong.

    Attributes:
        is_unreachable: While true, every connection is cut at once, and nothing is dispatched.
        twice: Dispatches to come that are delivered twice at the same time with the same request ID.
        beside: Dispatches to come that are accompanied by a second one of the same job with another request ID.
        late_seconds: Added to the time of each job that is made from now on; negative for early.
        signature_seconds: Added to the time in signatures.
    """

    def __init__(self) -> None:
        self._armed: list[Fault] = []
        self.is_unreachable = False
        self.twice = 0
        self.beside = 0
        self.late_seconds = 0.0
        self.signature_seconds = 0

    def lose(self, count: int = 1, *, skip: int = 0, step: str = "", op: str = "", where: str = _ANY_POST) -> None:
        """Answer checkpoints with 200 and store nothing."""
        self._armed.append(Fault("lose", count, where, skip, step, op))

    def answer(
        self, status: int, count: int = 1, *, skip: int = 0, step: str = "", op: str = "", where: str = _ANY_POST
    ) -> None:
        """Answer calls with *status*, and do nothing else."""
        self._armed.append(Fault("answer", count, where, skip, step, op, status))

    def cut(self, count: int = 1, *, skip: int = 0, step: str = "", op: str = "", where: str = _ANY_POST) -> Fault:
        """Cut the connection in place of doing what was asked for; returns what counts the calls to come."""
        fault = Fault("cut", count, where, skip, step, op)
        self._armed.append(fault)
        return fault

    def cut_after(self, count: int = 1, *, skip: int = 0, step: str = "", op: str = "", where: str = _ANY_POST) -> None:
        """Do what was asked for, and cut the connection in place of answering."""
        self._armed.append(Fault("cut-after", count, where, skip, step, op))

    def slow(self, seconds: float, count: int = 1, *, where: str = "", step: str = "", op: str = "") -> None:
        """Wait for so many real seconds before doing what was asked for."""
        self._armed.append(Fault("slow", count, where, 0, step, op, seconds))

    def clear(self) -> None:
        """Disarm what is not used up."""
        self._armed.clear()

    def take(self, kind: str, method: str, path: str, body: Any) -> Fault | None:
        """Return the fault that befalls a call, which is used up by it."""
        return next((fault for fault in self._armed if fault.kind == kind and fault.takes(method, path, body)), None)
