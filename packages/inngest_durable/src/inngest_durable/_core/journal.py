"""
The journal of one run: its memos, and the key under which each step finds its own. Pure.

Steps are matched by key, not by position, so a replay may reach them in another order. A *branch* is a task other
than the handler's own: its first step takes its ID as the key, each later one is put under that first key, so that two
branches with equal IDs inside cannot take each other's results.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass

from msgspec import Struct

from ..errors import LimitExceededError, ReplayMismatchError
from .limits import Limits, exceeded
from .model import Memo, StepOp


@dataclass(slots=True, eq=False)
class Branch:
    """
    A sequence of steps in a run: the handler's own (no parent), or that of a task it started.

    Attributes:
        parent: The branch whose task started this one.
        inherited: Prefix that was in force where the task was started.
        prefix: Key of this branch's first step, once it has one. If branches of its own took keys before it did, the
            smallest of theirs: which of two such branches reaches its step first is chance, what is inside is not.
        below: Smallest first key of its own branches, while it has no prefix.
    """

    parent: Branch | None = None
    inherited: str = ""
    prefix: str = ""
    below: str = ""

    def ancestry(self) -> Iterator[Branch]:
        """Yield this branch, then its parent, and so on up to the handler's own."""
        branch: Branch | None = self
        while branch is not None:
            yield branch
            branch = branch.parent

    def begin(self, key: str) -> None:
        """Take *key* as the key of the first step, and note it in the branches above that have none."""
        self.prefix = key
        above = self.parent
        while above is not None and above.parent is not None and not above.prefix:
            above.below = min(above.below or key, key)
            above = above.parent

    def settle(self) -> None:
        """Take a prefix from within, if this branch has no first step and branches of its own have."""
        if not self.prefix and self.below:
            self.begin(self.below)


# The handler's own branch, in every run: nothing is noted in it.
ROOT = Branch()


class StepIdentity(Struct, frozen=True, gc=False):
    """Which step of which run: its key, the ID it was given, and what guards against a mix-up."""

    run_id: str
    key: str
    id: str
    fingerprint: str


class Journal:
    """
    The memos of one run, and the keys given out in this pass.

    Args:
        run_id: ULID of the run.
        memos: What was recorded by earlier passes.
        now: Returns the current time in seconds since the epoch.
        jitter: Returns a random share in [0, 1) for the next pause.
        limits: How much the run may hold.

    Attributes:
        progressed: Whether this pass has recorded anything.
        limits: How much the run may hold.
    """

    def __init__(
        self,
        run_id: str,
        memos: Iterable[Memo],
        now: Callable[[], float],
        jitter: Callable[[], float],
        limits: Limits | None = None,
    ) -> None:
        self.run_id = run_id
        self.now = now
        self.jitter = jitter
        self.progressed = False
        self.limits = limits or _DEFAULT_LIMITS
        self._memos: dict[str, Memo] = {}
        self._size = 0
        self._keys_of: dict[str, list[str]] = {}
        for memo in memos:
            self._memos[memo.key] = memo
            self._size += _size(memo)
            if memo.fingerprint:
                self._keys_of.setdefault(memo.fingerprint, []).append(memo.key)
        self._given: set[str] = set()
        self._used: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._memos)

    def __iter__(self) -> Iterator[Memo]:
        return iter(list(self._memos.values()))

    def identify(
        self, step_id: str, branch: Branch, make_fingerprint: Callable[[], str], in_flight: Sized | int = 0
    ) -> StepIdentity:
        """
        Give out the next key for *step_id* in *branch*: ``pay``, then ``pay:1``; ``book/pay`` inside a branch.

        A numbered key, or one in a branch, also gets a fingerprint, so that a mix-up is noticed. So does one that is
        first taken while other steps are *in_flight*, which is false if none is: which of them ends first, and so
        what the handler asks for next, is chance.

        Raises:
            LimitExceededError: The run has as many steps as it may have.
        """
        if len(self._given) >= self.limits.steps:
            raise LimitExceededError(exceeded("steps", len(self._given) + 1, self.limits.steps), self.run_id, step_id)
        if branch.parent is None:
            key, fingerprint = self._next_free(step_id), ""
            if key != step_id:
                fingerprint = make_fingerprint()
            elif in_flight if (memo := self._memos.get(key)) is None else memo.fingerprint.endswith(_IN_FLIGHT):
                fingerprint = make_fingerprint() + _IN_FLIGHT
            return StepIdentity(self.run_id, key, step_id, fingerprint)
        branch.settle()
        if branch.prefix:
            key = self._next_free(f"{branch.prefix}/{step_id}")
            fingerprint = make_fingerprint()
        else:
            fingerprint = make_fingerprint()
            base = f"{branch.inherited}/{step_id}" if branch.inherited else step_id
            key = self._first_key(base, fingerprint)
            branch.begin(key)
        return StepIdentity(self.run_id, key, step_id, fingerprint)

    def settle(self, branch: Branch) -> str:
        """Return the prefix of the branches that *branch* starts from here on."""
        branch.settle()
        return branch.prefix

    def _next_free(self, base: str) -> str:
        if base not in self._used and base not in self._given:
            self._used[base] = 1
            self._given.add(base)
            return base
        number = self._used.get(base, 0)
        key = f"{base}:{number}" if number else base
        # A literal ID such as "pay:1" may stand where the second "pay" would go.
        while key in self._given:
            number += 1
            key = f"{base}:{number}"
        self._used[base] = number + 1
        self._given.add(key)
        return key

    def _first_key(self, base: str, fingerprint: str) -> str:
        """
        Give out the key of a branch's first step.

        Branches with equal IDs may arrive in another order than when they were recorded. A call with arguments takes
        the memo that the same call made, and leaves other memos to the calls that made them. A call without arguments
        looks the same in every branch: if no hint tells such calls apart, only their order can.
        """
        if fingerprint.endswith(")") or HINT in fingerprint:
            for key in sorted(self._keys_of.get(fingerprint, ()), key=_number):
                if key not in self._given and _is_numbered(key, base):
                    self._given.add(key)
                    return key
        while True:
            key = self._next_free(base)
            memo = self._memos.get(key)
            if memo is None or _is_same_call(memo.fingerprint, fingerprint):
                return key
            self._given.discard(key)

    def lookup(self, step: StepIdentity, op: StepOp | None = None) -> Memo | None:
        """
        Return the memo of *step*, which is of kind *op*, if there is one.

        Raises:
            ReplayMismatchError: It was made by a step of another kind, by another function or with other arguments.
        """
        memo = self._memos.get(step.key)
        if memo is None:
            return None
        if op is not None and memo.op is not op:
            raise ReplayMismatchError(
                f"the memo of step {step.key!r} is that of a {memo.op} step, "
                f"and this replay reached it with a {op} step",
                self.run_id,
                step.key,
            )
        if memo.fingerprint != step.fingerprint and not _is_same_call(memo.fingerprint, step.fingerprint):
            raise ReplayMismatchError(
                f"the memo of step {step.key!r} was made by {memo.fingerprint or 'a step outside any branch'}, "
                f"and this replay reached it with {step.fingerprint or 'a step outside any branch'}",
                self.run_id,
                step.key,
            )
        return memo

    def check_size(self, step: StepIdentity, result: bytes) -> None:
        """
        Check that *result* may be stored.

        Raises:
            LimitExceededError: The result, or all results of the run together, are too large.
        """
        limits = self.limits
        if len(result) <= limits.step_result and self._size + len(result) <= limits.run_state:
            return
        if len(result) > limits.step_result:
            text = exceeded("step_result", len(result), limits.step_result)
            raise LimitExceededError(text, step.run_id, step.key)
        replaced = self._memos.get(step.key)
        size = self._size + len(result) - (0 if replaced is None else _size(replaced))
        if size > limits.run_state:
            text = exceeded("run_state", size, limits.run_state)
            raise LimitExceededError(text, step.run_id, step.key)

    def record(self, memo: Memo) -> None:
        """Remember *memo*, which is durable now."""
        key = memo.key
        if key in self._memos:
            self._size -= _size(self._memos[key])
        self._size += _size(memo)
        self._memos[key] = memo
        self.progressed = True

    def unvisited(self) -> list[str]:
        """Return the keys of memos that this pass did not reach: the handler changed while its run was under way."""
        return [key for key in self._memos if key not in self._given]


def _is_same_call(one: str, other: str) -> bool:
    """Return whether two fingerprints are of the same call, whatever their hints."""
    return _HINTED.sub("", one) == _HINTED.sub("", other)


def _number(key: str) -> int:
    number = key.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def _is_numbered(key: str, base: str) -> bool:
    """Return whether *key* is *base*, or *base* with a number."""
    stem, _, number = key.rpartition(":")
    return key == base or (stem == base and number.isdecimal())


def _size(memo: Memo) -> int:
    if memo.failure is None:
        return 0 if memo.result is None else len(memo.result)
    return len(memo.failure.message) + len(memo.failure.traceback)


# Goes before a digest in a fingerprint. That digest tells branches apart but does not identify the call: it may differ
# at a replay, and must not make a completed step run again.
HINT = " holding "
_HINTED = re.compile(f"{HINT}[0-9a-f]{{16}}")
# Ends the fingerprint of a handler's own plain key, so that it is not mistaken for that of a branch.
_IN_FLIGHT = " beside steps in flight"
_DEFAULT_LIMITS = Limits()
