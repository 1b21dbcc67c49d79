"""
Handlers as data, so that the same one can be generated, run by each driver, and have its result worked out on paper.

A program is a tree of nodes. Its steps have few different IDs, so that most of them clash, and each its own label,
which is what it returns: a result that belongs to another step shows.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import msgspec
from inngest_durable import RetryPolicy, StepError, step
from inngest_durable._core.codec import result_codec
from inngest_durable._core.effects import Call, Effect, Save, StepFlow, Wait
from inngest_durable._core.journal import Branch, Journal
from inngest_durable._core.model import Memo
from inngest_durable._core.step_flow import run_step, sleep_until
from inngest_durable._drive import adrive, drive
from inngest_durable.testing import Crash, CrashPoint

from packages.inngest_durable.tests.core.performers import Awaiting
from packages.inngest_durable.tests.core.process import Death, Disk, Process, live
from packages.inngest_durable.tests.core.virtual_time import VirtualTime, run

POLICY = RetryPolicy(max_retries=3, jitter=False)
RUN_ID = "run"
# A step that fails this often fails for good.
ALWAYS = 99


@dataclass(frozen=True)
class Do:
    """A step that fails some times before it returns its label."""

    id: str
    fails: int = 0
    label: str = ""


@dataclass(frozen=True)
class Nap:
    """A durable pause."""

    id: str
    milliseconds: int
    label: str = ""


@dataclass(frozen=True)
class Caught:
    """A step that always fails, and the handler goes on."""

    id: str
    label: str = ""


@dataclass(frozen=True)
class Pause:
    """An await that is no step, and takes another time in every life."""

    label: str = ""


@dataclass(frozen=True)
class Each:
    """Parts one after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Together:
    """Parts at the same time, each a branch."""

    parts: tuple[Node, ...]


Node = Do | Nap | Caught | Pause | Each | Together


def labelled(node: Node, numbers: Iterator[int] | None = None) -> Node:
    """Return *node* with a label of its own for every step, and a length of its own for every pause."""
    numbers = numbers or itertools.count(1)
    match node:
        case Each(parts) | Together(parts):
            return replace(node, parts=tuple(labelled(part, numbers) for part in parts))
        case Nap(_, milliseconds):
            number = next(numbers)
            return replace(node, label=f"{number}", milliseconds=milliseconds + number)
        case _:
            return replace(node, label=f"{next(numbers)}")


def result_of(node: Node) -> Any:
    """Return what *node* returns when it is run by the book."""
    match node:
        case Do():
            return node.label
        case Nap() | Pause():
            return None
        case Caught():
            return "OSError"
        case Each(parts) | Together(parts):
            return [result_of(part) for part in parts]


class Outside:
    """What the steps of a program act on. It survives crashes, and tells when a completed step is called again."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.repeated: list[str] = []

    def call(self, label: str, fails: int, memos: Container[bytes | None]) -> str:
        """Do the work of a step. *memos* are the results that are on disk."""
        if msgspec.json.encode(label) in memos:
            self.repeated.append(label)
        self.calls[label] += 1
        if self.calls[label] <= fails:
            raise OSError(f"{label} failed")
        return label


Order = Literal["forward", "reverse", "interleaved"]


class Replay:
    """
    Runs a program over the bare core.

    Args:
        memos: What is on disk.
        outside: What its steps act on.
        crash: Wrapped round the performer of effects.
        order: In which order branches get their turns.
    """

    def __init__(self, memos: dict[str, Memo], outside: Outside, crash: CrashPoint, order: Order = "forward") -> None:
        self.memos = memos
        self.outside = outside
        self.crash = crash
        self.order = order
        self.seconds = 0.0
        self.journal = Journal(RUN_ID, memos.values(), now=lambda: self.seconds, jitter=lambda: 0.0)

    def run(self, program: Node) -> Any:
        """Run *program* in this thread, by `drive`."""
        return _in_turns([self._turns(program, Branch())], self.order)[0]

    async def arun(self, program: Node) -> Any:
        """Run *program* on the event loop, by `adrive`."""
        return await self._run(program, Branch())

    def _turns(self, node: Node, branch: Branch) -> Generator[None, None, Any]:
        """Run *node*, and give the other branches a turn before each step."""
        match node:
            case Each(parts):
                return (yield from self._sequence(parts, branch))
            case Together(parts):
                yield
                return _in_turns([self._turns(part, Branch(branch, branch.prefix)) for part in parts], self.order)
            case Pause():
                yield
            case Do() | Nap() | Caught():
                yield
                try:
                    flow = self._flow(node, branch)
                    effect = next(flow)
                    return drive(flow, effect, self.crash.wrap(partial(self._perform, node)))
                except StopIteration as memoized:
                    return memoized.value
                except StepError as error:
                    return error.name

    def _sequence(self, parts: Sequence[Node], branch: Branch) -> Generator[None, None, list[Any]]:
        values = [None] * len(parts)
        for number, part in enumerate(parts):
            values[number] = yield from self._turns(part, branch)
        return values

    async def _run(self, node: Node, branch: Branch) -> Any:
        match node:
            case Each(parts):
                return [await self._run(part, branch) for part in parts]
            case Together(parts):
                return await asyncio.gather(*(self._run(part, Branch(branch, branch.prefix)) for part in parts))
            case Pause(label):
                return await asyncio.sleep(self._latency(label))
            case Do() | Nap() | Caught():
                try:
                    flow = self._flow(node, branch)
                    effect = next(flow)
                    performer = Awaiting(self.crash.awrap(partial(self._aperform, node)))
                    await adrive(flow, effect, performer)
                    return performer.outcome.result()
                except StopIteration as memoized:
                    return memoized.value
                except StepError as error:
                    return error.name

    def _flow(self, node: Do | Nap | Caught, branch: Branch) -> StepFlow:
        step = self.journal.identify(node.id, branch, lambda: f"act({node.label})")
        if isinstance(node, Nap):
            return sleep_until(self.journal, step, self.seconds + node.milliseconds / 1000)
        return run_step(self.journal, step, POLICY, result_codec(Outside.call))

    def _perform(self, node: Do | Nap | Caught, effect: Effect) -> Any:
        match effect:
            case Call():
                assert not isinstance(node, Nap)
                fails = node.fails if isinstance(node, Do) else ALWAYS
                return self.outside.call(node.label, fails, {memo.result for memo in self.memos.values()})
            case Save(memo):
                self.memos[memo.key] = memo
            case Wait(memo):
                self.seconds = max(self.seconds, memo.wake_at or 0.0)
        return None

    async def _aperform(self, node: Do | Nap | Caught, effect: Effect) -> Any:
        if self.crash.dead:
            raise Crash
        result = self._perform(node, effect)
        # Steps that act at the same time do not end at the same time.
        await asyncio.sleep(self._latency(node.label))
        return result

    def _latency(self, label: str) -> int:
        return int(label) % 3 if self.order == "forward" else 3 - int(label) % 3


def _in_turns(branches: Sequence[Generator[None, None, Any]], order: Order) -> list[Any]:
    """Run *branches* to their ends, each for one step in turn if *order* is interleaved, else one after the other."""
    values: list[Any] = [None] * len(branches)
    waiting = list(enumerate(branches))
    if order == "reverse":
        waiting.reverse()
    while waiting:
        number, branch = waiting.pop(0)
        try:
            next(branch)
        except StopIteration as stop:
            values[number] = stop.value
        else:
            waiting.insert(len(waiting) if order == "interleaved" else 0, (number, branch))
    return values


class Life:
    """
    One life of a process that serves a program through `inngest_durable.step`.

    Args:
        program: The handler.
        disk: What the process finds, and leaves.
        outside: What its steps act on.
        latency: How long a step, or a pause, takes, by its label.
        before: The effect before which it dies.
    """

    def __init__(
        self, program: Node, disk: Disk, outside: Outside, latency: Callable[[str], float], before: int | None = None
    ) -> None:
        self.program = program
        self.disk = disk
        self.outside = outside
        self.latency = latency
        self.death = Death(before)

    def live(self, time: VirtualTime) -> Any:
        """Run the program to its end, over as many passes as it takes. Raises `Crash` where it dies."""
        return run(live(Process(self.disk, self.death, POLICY), lambda: self.handle(self.program)), time)

    async def handle(self, node: Node) -> Any:
        """Run *node* as a handler does."""
        match node:
            case Each(parts):
                return [await self.handle(part) for part in parts]
            case Together(parts):
                return await asyncio.gather(*map(self.handle, parts))
            case Pause(label):
                return await asyncio.sleep(self.latency(label))
            case Nap():
                return await step.sleep(node.id, f"{node.milliseconds}ms")
            case Do():
                return await step.run(node.id, self.act, node.label, node.fails)
            case Caught():
                try:
                    return await step.run(node.id, self.act, node.label, ALWAYS)
                except StepError as error:
                    return error.name

    async def act(self, label: str, fails: int) -> str:
        """Do the work of a step."""
        self.death.pass_by()
        await asyncio.sleep(self.latency(label))
        if self.death.dead:
            raise Crash
        return self.outside.call(label, fails, {memo.result for memo in self.disk.memos.values()})
